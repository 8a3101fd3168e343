//! `[retention]`: how long rows stay.

use std::time::Duration;

use chaperone_collector::Retention;

use super::Mistakes;
use crate::config::effective::span;
use crate::config::file;
use crate::config::text::Span;

/// Checks the table.
pub(super) fn check(raw: &file::Retention, m: &mut Mistakes) -> Retention {
    let usual = Retention::default();
    let before = m.0.len();
    let mut take = |key: &str, said: Option<Span>, usual: Duration| {
        let Some(Span(said)) = said else { return usual };
        if !(Retention::LEAST..=Retention::MOST).contains(&said) {
            let (least, most) = (span(Retention::LEAST), span(Retention::MOST));
            m.add(format!("retention.{key}"), format!("{} is not between {least} and {most}", span(said)));
        }
        said
    };
    let retention = Retention {
        windows: take("windows", raw.windows, usual.windows),
        minutes: take("minutes", raw.minutes, usual.minutes),
        ten_minutes: take("ten_minutes", raw.ten_minutes, usual.ten_minutes),
        hours: take("hours", raw.hours, usual.hours),
        incidents: take("incidents", raw.incidents, usual.incidents),
    };
    if let Some((first, second)) = retention.contradiction().filter(|_| m.0.len() == before) {
        m.add(format!("retention.{second}"), format!("is less than retention.{first}, which goes first"));
    }
    retention
}
