//! Which topics a reader wants to see, and how they are grouped; the API over topics asks the same.

use chaperone_collector::query::TopicSummary;

use crate::error::WebError;
use crate::format;
use crate::look::Look;
use crate::params::Params;

/// What topics stand together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Trouble, and none.
    Look,
    Owner,
    Cluster,
}

impl By {
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::Look, "no groups"), (Self::Owner, "by owner"), (Self::Cluster, "by cluster")];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Look => "",
            Self::Owner => "owner",
            Self::Cluster => "cluster",
        }
    }
}

/// What a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Part of a topic's or an owner's name; empty: all.
    pub(crate) q: String,
    /// Only those that need a look.
    pub(crate) trouble: bool,
    pub(crate) by: By,
}

impl Filter {
    pub(crate) fn of(params: &Params) -> Result<Self, WebError> {
        let by = match params.get("by")? {
            None => By::Look,
            Some(text) => By::ALL
                .into_iter()
                .map(|(by, _)| by)
                .find(|by| by.as_str() == text)
                .ok_or_else(|| WebError::parameter("by", text, "owner or cluster".to_owned()))?,
        };
        Ok(Self { by, ..Self::of_rows(params)? })
    }

    /// Without groups, which rows have not.
    pub(crate) fn of_rows(params: &Params) -> Result<Self, WebError> {
        let trouble = match params.get("only")? {
            None | Some("") => false,
            Some("trouble") => true,
            Some(text) => return Err(WebError::parameter("only", text, "trouble".to_owned())),
        };
        Ok(Self { q: params.get("q")?.unwrap_or_default().to_owned(), trouble, by: By::Look })
    }

    /// Whether the name fits, whatever is wrong there.
    pub(crate) fn names(&self, topic: &TopicSummary, owner: Option<&str>) -> bool {
        let q = self.q.to_lowercase();
        [Some(topic.topic.as_str()), owner].into_iter().flatten().any(|name| name.to_lowercase().contains(&q))
    }

    /// Whether it is shown.
    pub(crate) fn shows(&self, topic: &TopicSummary) -> bool {
        !self.trouble || Look::of_verdict(topic.worst).is_trouble()
    }

    /// Parameters of it, for forms.
    pub(crate) fn kept(&self) -> Vec<(&'static str, String)> {
        let only = if self.trouble { "trouble" } else { "" };
        // Whoever follows a link with characters that pretend sees them spelt out.
        let all = [("q", format::name(&self.q)), ("only", only.to_owned()), ("by", self.by.as_str().to_owned())];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The same at the end of an address that has others before: `&q=orders`.
    pub(crate) fn address(&self) -> String {
        let one = |(name, value): (&str, String)| format!("&{name}={}", format::url(&value));
        self.kept().into_iter().map(one).collect::<Vec<_>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use chaperone_collector::Verdict;

    use super::*;

    fn filter(query: &str) -> Result<Filter, String> {
        let uri = format!("/?{query}").parse().expect("an address");
        Filter::of(&Params::of(&uri)).map_err(|e| format!("{e:?}"))
    }

    #[test]
    fn what_is_asked_for_is_kept_and_what_cannot_be_is_named() {
        let all = filter("").expect("nothing asked");
        assert_eq!((all.address(), all.kept().len()), (String::new(), 0));
        let some = filter("by=owner&q=%26a&only=trouble").expect("a filter");
        assert_eq!(some.address(), "&q=%26a&only=trouble&by=owner");
        assert_eq!(filter(some.address().trim_start_matches('&')), Ok(some));
        for (bad, allowed) in [("by=host", "owner or cluster"), ("only=ok", "trouble")] {
            let said = filter(bad).expect_err(bad);
            assert!(said.contains(allowed), "{said}");
        }
    }

    #[test]
    fn a_part_of_the_topics_or_the_owners_name_fits() {
        let topic = |worst| TopicSummary {
            topic: "Rides.events".into(),
            stages: vec![],
            worst,
            missing_min: 0,
            surplus_min: 0,
            delayed: 0,
            complete_through_ms: None,
        };
        let ok = topic(Verdict::Ok);
        for (q, owner, fits) in [
            ("", None, true),
            ("rides", None, true),
            ("EVENTS", None, true),
            ("trip", None, false),
            ("trip", Some("Trip platform"), true),
        ] {
            let filter = filter(&format!("q={q}")).expect("a filter");
            assert_eq!(filter.names(&ok, owner), fits, "{q}");
        }
        let only = filter("only=trouble").expect("a filter");
        assert!(!only.shows(&ok) && only.shows(&topic(Verdict::Missing)));
    }
}
