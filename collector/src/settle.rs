//! When a window is settled: pure.
//!
//! `T = max(end of the window, last arrival upstream in it) + grace`. A window is settled iff (i) every audit partition
//! has been applied through T, (ii) every live reporter of both stages, and the tap of a broker stage, has a watermark
//! ≥ T, (iii) nothing of it is in flight upstream (I6). Where something is absent and a consumer's position shows that
//! the hop was passed later than T, (ii) is asked again for that later time. All times are broker time but the judge's own `now_ms`, which
//! decides only whether the window has ended.

use crate::verdict::Progress;

/// Sources named in `awaited` before the rest is only counted.
const NAMED: usize = 3;

/// How far one source of evidence has come: an audit partition, a live reporter, a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its name, as `why` says it.
    pub name: String,
    /// Everything before this broker time is in; `None`: nothing is known.
    pub through_ms: Option<i64>,
}

/// What settling depends on.
#[derive(Debug, Clone, Copy)]
pub struct Settling<'a> {
    /// The judge's clock.
    pub now_ms: i64,
    /// End of the window.
    pub end_ms: i64,
    /// Last arrival upstream in it.
    pub last_arrival_ms: Option<i64>,
    /// Grace.
    pub grace_ms: i64,
    /// Audit partitions.
    pub audit: &'a [Mark],
    /// Live reporters of the upstream stage, or its tap.
    pub upstream: &'a [Mark],
    /// Live reporters of the downstream stage, or its tap.
    pub downstream: &'a [Mark],
    /// Messages without a delivery report upstream whose reporter lives.
    pub in_flight: u64,
}

/// T: the time through which everything must be in.
pub fn settles_at(end_ms: i64, last_arrival_ms: Option<i64>, grace_ms: i64) -> i64 {
    end_ms.max(last_arrival_ms.unwrap_or(i64::MIN)).saturating_add(grace_ms)
}

/// How far a window is.
pub fn settle(s: &Settling<'_>) -> Progress {
    if s.now_ms < s.end_ms {
        return Progress::Open;
    }
    let at_ms = settles_at(s.end_ms, s.last_arrival_ms, s.grace_ms);
    let mut awaited = Vec::new();
    if s.in_flight > 0 {
        let noun = if s.in_flight == 1 { "message" } else { "messages" };
        awaited.push(format!("{} {noun} in flight upstream", s.in_flight));
    }
    // Upstream, downstream, audit: the order in which people can do something about them.
    awaited.extend(late(s.upstream.iter().chain(s.downstream).chain(s.audit), at_ms));
    if !awaited.is_empty() && s.now_ms < at_ms {
        return Progress::Settling { awaited: format!("late arrivals until {}", clock(at_ms)) };
    }
    awaiting(awaited)
}

/// One stage must have reported through `at_ms`, a time that the other stage shows: where a consumer's position shows
/// that a hop was passed, what the stage's others processed before then (or nothing can be called absent); where the
/// downstream stage counted late arrivals, what was upstream before them (or nothing can be called too many).
pub fn settle_passed(at_ms: i64, stage: &[Mark]) -> Progress {
    awaiting(late(stage, at_ms).collect())
}

fn late<'a>(marks: impl IntoIterator<Item = &'a Mark>, at_ms: i64) -> impl Iterator<Item = String> {
    marks.into_iter().filter(move |m| m.through_ms.is_none_or(|through| through < at_ms)).map(say)
}

fn awaiting(mut awaited: Vec<String>) -> Progress {
    if awaited.is_empty() {
        return Progress::Settled;
    }
    let rest = awaited.len().saturating_sub(NAMED);
    awaited.truncate(NAMED);
    let mut text = awaited.join(", ");
    if rest > 0 {
        text = format!("{text} and {rest} more");
    }
    Progress::Settling { awaited: text }
}

fn say(m: &Mark) -> String {
    match m.through_ms {
        Some(ms) => format!("{} (watermark {})", m.name, clock(ms)),
        None => format!("{} (no watermark yet)", m.name),
    }
}

/// Time of day, UTC.
fn clock(ms: i64) -> String {
    let s = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref as one;

    const END: i64 = 10_000;
    const GRACE: i64 = 2_000;

    fn mark(name: &str, through_ms: Option<i64>) -> Mark {
        Mark { name: name.into(), through_ms }
    }

    /// Every combination of: now, last arrival, one mark of each kind (absent, unknown, before, at T), in flight.
    #[test]
    fn settled_iff_all_three_conditions_hold() {
        let mut settled = 0;
        let mut seen = 0;
        for now_ms in [END - 1, END, END + GRACE, END + 60_000] {
            for last_arrival_ms in [None, Some(END - 5_000), Some(END + 4_000)] {
                let at = END.max(last_arrival_ms.unwrap_or(0)) + GRACE;
                let marks = [vec![], vec![mark("m", None)], vec![mark("m", Some(at - 1))], vec![mark("m", Some(at))]];
                for code in 0..4usize.pow(3) {
                    let [audit, upstream, downstream] = [code % 4, code / 4 % 4, code / 16].map(|i| &marks[i]);
                    for in_flight in [0, 1] {
                        let said = settle(&Settling {
                            now_ms,
                            end_ms: END,
                            last_arrival_ms,
                            grace_ms: GRACE,
                            audit,
                            upstream,
                            downstream,
                            in_flight,
                        });
                        let is_in = |m: &Vec<Mark>| m.iter().all(|m| m.through_ms.is_some_and(|t| t >= at));
                        let all = is_in(audit) && is_in(upstream) && is_in(downstream) && in_flight == 0;
                        seen += 1;
                        match said {
                            Progress::Open => assert!(now_ms < END),
                            Progress::Settled => {
                                settled += 1;
                                assert!(all && now_ms >= END);
                            }
                            Progress::Settling { awaited } => {
                                assert!(!all && now_ms >= END);
                                assert!(!awaited.is_empty());
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 4 * 3 * 64 * 2);
        assert_eq!(settled, 3 * 3 * 8, "eight ways to have no late mark, at three times and three arrivals");
    }

    #[test]
    fn it_names_exactly_what_is_awaited() {
        let day = 86_400_000 * 20_000;
        let ask = |now_ms, upstream: &[Mark], audit: &[Mark], in_flight| {
            let end_ms = day + 45_680_000;
            let said = settle(&Settling {
                now_ms: day + now_ms,
                end_ms,
                last_arrival_ms: None,
                grace_ms: GRACE,
                audit,
                upstream,
                downstream: &[],
                in_flight,
            });
            match said {
                Progress::Settling { awaited } => awaited,
                other => panic!("{other:?}"),
            }
        };
        let reports = mark("reports of consumer on host-3", Some(day + 45_680_000));
        let partition = mark("audit partition chaperone-audit/2", None);
        assert_eq!(ask(45_681_000, one(&reports), &[], 0), "late arrivals until 12:41:22");
        assert_eq!(
            ask(45_690_000, one(&reports), one(&partition), 0),
            "reports of consumer on host-3 (watermark 12:41:20), audit partition chaperone-audit/2 (no watermark yet)"
        );
        assert_eq!(ask(45_690_000, &[], &[], 5), "5 messages in flight upstream");
        assert_eq!(settle_passed(day + 45_680_000, one(&reports)), Progress::Settled);
        let Progress::Settling { awaited } = settle_passed(day + 45_680_001, one(&reports)) else {
            panic!("what it processed until then is not reported")
        };
        assert_eq!(awaited, "reports of consumer on host-3 (watermark 12:41:20)");
        let many = vec![reports; 5];
        assert!(ask(45_690_000, &many, &[partition], 1).ends_with("and 4 more"));
    }
}
