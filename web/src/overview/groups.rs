//! Topics in groups, and what they come to.
//!
//! Invariants: every topic that fits the filter is counted, whether it is on the page or not; within a group the worst come
//! first, and so do the groups.

use std::cmp::Reverse;

use chaperone_collector::query::TopicSummary;

use super::TopicLine;
use super::details::Crowd;
use super::filter::By;
use crate::format;
use crate::look::{self, Look};
use crate::zone::Zone;

/// Topics under one heading; the first may have none.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) lines: Vec<TopicLine>,
}

/// A sum, over a sentence that says of what.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) note: String,
    pub(super) class: &'static str,
}

/// How many topics look how.
pub(super) struct Tally(Vec<Look>);

impl Tally {
    pub(super) fn of<'a>(lines: &[TopicLine], hidden: impl Iterator<Item = &'a TopicSummary>) -> Self {
        // One that is not shown counts for what it is.
        let hidden = hidden.map(|t| Look::of_verdict(t.worst));
        Self(lines.iter().map(|l| l.look).chain(hidden).collect())
    }

    fn count(&self, which: impl Fn(&Look) -> bool) -> u64 {
        self.0.iter().filter(|look| which(look)).count() as u64
    }

    fn trouble(&self) -> u64 {
        self.count(|look| look.is_trouble())
    }

    fn proven(&self) -> u64 {
        self.count(|look| *look == Look::Proven)
    }

    /// Those that need no look.
    pub(super) fn calm(&self) -> u64 {
        self.count(|look| !look.is_trouble())
    }

    pub(super) fn title(&self) -> String {
        let all = self.0.len() as u64;
        match (self.trouble(), all) {
            (_, 0) => "No topic has been counted yet".to_owned(),
            (0, n) => format!("{} without trouble", format::plural(n, "topic")),
            (1, n) => format!("1 of {} needs a look", format::plural(n, "topic")),
            (t, n) => format!("{} of {} need a look", format::count(t), format::plural(n, "topic")),
        }
    }

    pub(super) fn lede(&self) -> String {
        match (self.proven(), self.calm()) {
            (_, 0) => String::new(),
            (p, n) if p == n && self.trouble() == 0 => {
                "Every message of every settled window is proven to have arrived at every stage.".to_owned()
            }
            (p, n) if p == n => "Everything else is proven message by message.".to_owned(),
            (p, n) => format!(
                "{} proven message by message, {} without proof or fault so far.",
                format::plural(p, "topic"),
                format::count(n - p)
            ),
        }
    }
}

/// What the topics come to. Sums are of lower bounds.
pub(super) fn figures(topics: &[TopicSummary], tally: &Tally, crowd: &Crowd, zone: Zone) -> Vec<Figure> {
    let sum = |name, look: Look, of: fn(&TopicSummary) -> u64| {
        let in_topics = topics.iter().filter(|t| of(t) > 0).count() as u64;
        let all = topics.iter().map(of).fold(0u64, u64::saturating_add);
        Figure {
            name,
            value: format::count(all),
            note: if all > 0 { format!("in {}", format::plural(in_topics, "topic")) } else { "in no topic".to_owned() },
            class: if all > 0 { look::class(look) } else { "zero" },
        }
    };
    let (heard, all) = crowd.all();
    let silent = Figure {
        name: "silent reporters",
        value: format::count(all - heard),
        note: match &crowd.newest_silent {
            Some((host, last_ms)) => {
                format!("of {}; {} since {}", format::count(all), format::name(host), zone.clock(*last_ms))
            }
            None => format!("of {}", format::count(all)),
        },
        class: if heard < all { "" } else { "zero" },
    };
    let proven = Figure {
        name: "proven",
        value: format::count(tally.proven()),
        note: format!("of {}, every id of every settled window", format::plural(topics.len() as u64, "topic")),
        class: "",
    };
    vec![
        sum("missing at least", Look::Missing, |t| t.missing_min),
        sum("surplus at least", Look::Surplus, |t| t.surplus_min),
        sum("delayed", Look::Delayed, |t| t.delayed),
        silent,
        proven,
    ]
}

/// In the order in which they are read. `calm`: topics without trouble, on the page or not.
pub(super) fn groups(mut lines: Vec<TopicLine>, by: By, calm: u64) -> Vec<Group> {
    lines.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    if by == By::Look {
        let (trouble, rest): (Vec<_>, Vec<_>) = lines.into_iter().partition(|l| l.look.is_trouble());
        let title = match (trouble.is_empty(), rest.is_empty()) {
            (false, false) => format!("{} without trouble", format::plural(calm, "topic")),
            _ => String::new(),
        };
        let groups = [Group { title: String::new(), lines: trouble }, Group { title, lines: rest }];
        return groups.into_iter().filter(|g| !g.lines.is_empty()).collect();
    }
    let mut groups: Vec<(String, Group)> = Vec::new();
    for line in lines {
        let name = if by == By::Owner { line.owner.clone() } else { line.cluster.clone() };
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.lines.push(line),
            None => groups.push((name, Group { title: String::new(), lines: vec![line] })),
        }
    }
    for (name, group) in &mut groups {
        let trouble = group.lines.iter().filter(|l| l.look.is_trouble()).count() as u64;
        let said = match name.as_str() {
            "" if by == By::Owner => "no owner",
            "" => "no pipeline matches now",
            name => name,
        };
        let topics = format::plural(group.lines.len() as u64, "topic");
        group.title =
            if trouble > 0 { format!("{said} · {trouble} of {topics}") } else { format!("{said} · {topics}") };
    }
    // A group is as bad as its first.
    groups.sort_by_key(|(_, group)| group.lines.first().map(|l| (l.order.0, Reverse(l.order.1))));
    groups.into_iter().map(|(_, group)| group).collect()
}
