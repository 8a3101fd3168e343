//! Which topics stand on a page, and the ways to the others. Pure.
//!
//! Invariant: a page begins behind a place in the order, not behind a number of rows, so that a topic whose look changes
//! meanwhile moves no other from page to page.

use std::cmp::Reverse;

use chaperone_collector::query::TopicSummary;

use super::filter::Filter;
use crate::error::WebError;
use crate::format;
use crate::look::Look;
use crate::page::{self, Paging};
use crate::params::Params;

/// Most topics on a page.
pub(super) const TOPICS_MAX: usize = 200;

/// A topic's place: worst first.
pub(super) type Place = (u8, Reverse<u64>, String);

/// A topic's place.
pub(super) fn place(topic: &TopicSummary) -> Place {
    (Look::of_verdict(topic.worst) as u8, Reverse(topic.missing_min), topic.topic.clone())
}

/// Behind which place the page begins.
pub(super) fn after(params: &Params) -> Result<Option<Place>, WebError> {
    let paging = Paging::of(params)?;
    let Some(text) = paging.after() else { return Ok(None) };
    let (look, missing, topic): (u8, u64, String) = serde_json::from_str(text).map_err(|_| paging.wrong())?;
    Ok(Some((look, Reverse(missing), topic)))
}

/// Topics in their order, in three parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// Those on pages before.
    pub(super) before: &'a [TopicSummary],
    /// Those on the page.
    pub(super) rows: &'a [TopicSummary],
    /// Those on later pages, then those that the filter leaves out.
    pub(super) rest: &'a [TopicSummary],
    /// How many of the rest are on later pages.
    pub(super) later: usize,
}

impl<'a> Shown<'a> {
    /// Of topics in their order.
    pub(super) fn of(topics: &'a [TopicSummary], filter: &Filter, after: Option<&Place>) -> Self {
        let wanted = topics.partition_point(|t| filter.shows(t));
        let start = after.map_or(0, |after| topics.partition_point(|t| place(t) <= *after)).min(wanted);
        let (before, others) = topics.split_at(start);
        let (rows, rest) = others.split_at((wanted - start).min(TOPICS_MAX));
        Self { before, rows, rest, later: wanted - start - rows.len() }
    }

    /// Those that are not on the page.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = &'a TopicSummary> {
        self.before.iter().chain(self.rest)
    }

    /// What stands under the list, and the ways to other pages: words, and what an address ends with.
    pub(super) fn ways(&self, filter: &Filter, calm: u64) -> (String, Vec<(String, String)>) {
        let mut ways = Vec::new();
        if !self.before.is_empty() {
            ways.push(("first page".to_owned(), String::new()));
        }
        if let (1.., Some(last)) = (self.later, self.rows.last()) {
            let (look, Reverse(missing), topic) = place(last);
            let cursor = page::cursor(&serde_json::json!([look, missing, topic]).to_string());
            ways.push((format!("next {}", self.later.min(TOPICS_MAX)), format!("&after={cursor}")));
        }
        let said = match (self.later as u64, filter.trouble) {
            (0, true) => format!("{} without trouble not shown", format::plural(calm, "topic")),
            (0, false) => String::new(),
            (n, _) => format!("{} more", format::plural(n, "topic")),
        };
        (said, ways)
    }
}

#[cfg(test)]
mod tests {
    use chaperone_collector::Verdict;

    use super::*;

    fn topics(n: usize, red: usize) -> Vec<TopicSummary> {
        let one = |i: usize| TopicSummary {
            topic: format!("t{i:03}"),
            stages: vec![],
            worst: if i < red { Verdict::Missing } else { Verdict::Ok },
            missing_min: if i < red { 9 } else { 0 },
            surplus_min: 0,
            delayed: 0,
            complete_through_ms: None,
        };
        (0..n).map(one).collect()
    }

    fn asked(query: &str) -> (Filter, Option<Place>) {
        let params = Params::of(&format!("/?{query}").parse().expect("an address"));
        (Filter::of(&params).expect("a filter"), after(&params).expect("a place"))
    }

    /// All pages, one after the other as their links lead.
    fn walk(topics: &[TopicSummary], query: &str) -> Vec<Vec<String>> {
        let (mut found, mut tail) = (Vec::new(), String::new());
        loop {
            let (filter, after) = asked(&format!("{query}{tail}"));
            let shown = Shown::of(topics, &filter, after.as_ref());
            assert_eq!(shown.rows.len() + shown.elsewhere().count(), topics.len());
            found.push(shown.rows.iter().map(|t| t.topic.clone()).collect());
            let ways = shown.ways(&filter, 0).1;
            assert_eq!(ways.iter().any(|(words, _)| words == "first page"), found.len() > 1);
            match ways.into_iter().find(|(words, _)| words.starts_with("next")) {
                Some((_, way)) => tail = way,
                None => return found,
            }
        }
    }

    #[test]
    fn pages_hold_every_topic_once_in_order() {
        for (n, red, query, on_pages) in
            [(0, 0, "", 0), (200, 3, "", 200), (201, 0, "", 201), (612, 250, "", 612), (612, 250, "only=trouble", 250)]
        {
            let (all, pages) = (topics(n, red), walk(&topics(n, red), query));
            assert!(pages.iter().all(|page| page.len() <= TOPICS_MAX));
            let names: Vec<&String> = all.iter().map(|t| &t.topic).take(on_pages).collect();
            assert_eq!(pages.iter().flatten().collect::<Vec<_>>(), names, "{n} {red} {query}");
        }
    }

    #[test]
    fn a_topic_that_goes_or_comes_meanwhile_moves_no_other() {
        let mut all = topics(500, 0);
        let (filter, _) = asked("");
        let way = Shown::of(&all, &filter, None).ways(&filter, 0).1.remove(0).1;
        all.remove(199);
        all.remove(3);
        let (_, after) = asked(&way);
        let next = Shown::of(&all, &filter, after.as_ref());
        assert_eq!(next.rows.first().map(|t| t.topic.as_str()), Some("t200"));
    }

    #[test]
    fn a_cursor_that_is_none_of_ours_is_refused() {
        for bad in ["after=%21", "after=W10", "after=WzEsMl0"] {
            let params = Params::of(&format!("/?{bad}").parse().expect("an address"));
            let said = format!("{:?}", after(&params).expect_err(bad));
            assert!(said.contains("after") && said.contains("next"), "{said}");
        }
    }
}
