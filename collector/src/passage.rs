//! Whether a hop has passed a window: what is absent downstream is then lost, else delayed, else nobody can tell. Pure.
//!
//! | hop | evidence |
//! |---|---|
//! | client → Kafka | the tap's watermark, which settling asks for anyway, and past the word of the last ack: passed |
//! | client → client | a downstream reporter, live or cleanly ended, with a watermark ≥ T, and past that word |
//! | Kafka → client | the consumer's position against the window's largest offset, on every partition that holds it |
//! | Kafka → Kafka | the partition's event-time frontier against the end of the window, and what came behind its last arrival |
//! | several Kafka → any | a later window in which so many arrived that some are of the partition, and behind the window's |
//!
//! Where several clusters flow into one place, a position or a frontier there is that of whichever came last: one cluster may be
//! hours behind while another's messages pass. What is counted there can still be told apart by number ([`is_followed`]).

use crate::verdict::Passage;

/// Client → client: `watermarks` of downstream reporters that live or ended cleanly.
pub fn by_watermark(watermarks: impl IntoIterator<Item = Option<i64>>, settles_at_ms: i64) -> Passage {
    let passed = watermarks.into_iter().flatten().any(|w| w >= settles_at_ms);
    if passed { Passage::Passed } else { Passage::None }
}

/// One partition that holds messages of the window upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Largest offset of the window.
    pub max_offset: i64,
    /// One past the last offset that the consumer processed, if known.
    pub position: Option<i64>,
}

/// Kafka → client.
pub fn by_position(held: &[Held]) -> Passage {
    if held.iter().any(|h| h.position.is_some_and(|p| p <= h.max_offset)) {
        return Passage::NotPassed;
    }
    // With nothing known of where the window lies, nothing is proven.
    if !held.is_empty() && held.iter().all(|h| h.position.is_some()) { Passage::Passed } else { Passage::None }
}

/// One downstream partition that the window's messages would arrive in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frontier {
    /// The 5th percentile of the event times last read there.
    pub downstream_ms: Option<i64>,
    /// Upstream's: of the same partition where both have equally many, else the furthest.
    pub upstream_ms: Option<i64>,
    /// Whether all that upstream holds of the time of `downstream_ms` lies behind the window's last message. A frontier is
    /// the time of a message that downstream has read, and replicators keep the order of a partition.
    pub is_behind: bool,
}

impl Frontier {
    /// Whether downstream's alone proves that the hop has passed a window whose last message came at `last_ms`. Such a message may
    /// lie behind others whose event times are past the window's end: downstream must also have come to event times of when
    /// it came, or as far as upstream itself.
    pub fn proves(&self, end_ms: i64, last_ms: Option<i64>) -> bool {
        let came_ms = last_ms.map(|last| self.upstream_ms.map_or(last, |upstream| last.min(upstream)));
        self.is_beyond(end_ms) && came_ms.is_none_or(|came| self.downstream_ms >= Some(came))
    }

    /// Whether downstream has come past the window's end.
    pub fn is_beyond(&self, end_ms: i64) -> bool {
        self.downstream_ms.is_some_and(|f| f >= end_ms)
    }
}

/// Kafka → Kafka without positions: by the frontier alone, or by what lies behind the window's last message. Limit: a late
/// message that nothing follows in its partition cannot be told from one that was lost.
pub fn by_frontier(end_ms: i64, last_ms: Option<i64>, relevant: &[Frontier]) -> Passage {
    if relevant.is_empty() {
        return Passage::None;
    }
    let passed = |f: &&Frontier| f.proves(end_ms, last_ms) || (f.is_beyond(end_ms) && f.is_behind);
    let mut behind = relevant.iter().filter(|f| !passed(f)).peekable();
    if behind.peek().is_none() {
        return Passage::Passed;
    }
    // Upstream went on and downstream did not follow: it has not passed. Where upstream itself stands still, a frontier
    // that does not move says nothing.
    if behind.any(|f| f.upstream_ms.is_some_and(|upstream| upstream >= end_ms)) {
        Passage::NotPassed
    } else {
        Passage::None
    }
}

/// A partition of a broker stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub number: i32,
    /// Its event-time frontier.
    pub frontier_ms: Option<i64>,
    /// Whether a message was ever counted in it.
    pub traffic: bool,
}

/// The partitions that decide a Kafka → Kafka hop. `counts`: partitions upstream and downstream, where known; `held`:
/// the upstream partitions that hold messages of the window.
pub fn relevant(
    counts: (Option<i32>, Option<i32>),
    held: &[i32],
    upstream: &[Partition],
    downstream: &[Partition],
) -> Vec<Frontier> {
    let frontier = |of: &[Partition], q: i32| of.iter().find(|p| p.number == q).and_then(|p| p.frontier_ms);
    if let (Some(up), Some(down)) = counts
        && up == down
    {
        let of = |q: &i32| Frontier {
            downstream_ms: frontier(downstream, *q),
            upstream_ms: frontier(upstream, *q),
            is_behind: false,
        };
        return held.iter().map(of).collect();
    }
    with_traffic(upstream, downstream)
}

/// The downstream partitions that ever held a message, against the furthest upstream; of all members of groups.
pub fn with_traffic<'a>(
    upstream: impl IntoIterator<Item = &'a Partition>,
    downstream: impl IntoIterator<Item = &'a Partition>,
) -> Vec<Frontier> {
    let furthest = upstream.into_iter().filter_map(|p| p.frontier_ms).max();
    let downstream = downstream.into_iter().filter(|p| p.traffic);
    downstream.map(|p| Frontier { downstream_ms: p.frontier_ms, upstream_ms: furthest, is_behind: false }).collect()
}

/// A later window of one partition of one of several clusters, with both sides of the hop's equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// The first offset that holds it.
    pub first_offset: i64,
    /// How many of what is expected are the partition's.
    pub messages: u64,
    /// Expected downstream of all clusters.
    pub expected: u64,
    /// Counted downstream.
    pub arrived: u64,
}

/// Whether a message of the partition behind `max_offset` has provably arrived: more did than all the others could have
/// brought. Replicators and consumers keep the order of a partition, so what lies before it was passed. Nothing is said of a
/// window with more than was expected. Limit: copies too many that hide behind as many losses count as arrivals.
pub fn is_followed(max_offset: i64, f: &Follower) -> bool {
    let others = f.expected.saturating_sub(f.messages);
    f.first_offset > max_offset && f.messages > 0 && others < f.arrived && f.arrived <= f.expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_downstream_watermark_at_t_passes_and_nothing_else_does() {
        for (marks, passage) in [
            (vec![], Passage::None),
            (vec![None], Passage::None),
            (vec![Some(9)], Passage::None),
            (vec![Some(9), None, Some(10)], Passage::Passed),
            (vec![Some(11)], Passage::Passed),
        ] {
            assert_eq!(by_watermark(marks.clone(), 10), passage, "{marks:?}");
        }
    }

    /// All combinations of up to three partitions: unknown, at the offset (not past it), past it.
    #[test]
    fn positions_pass_iff_all_are_known_and_past() {
        let kinds = [None, Some(5), Some(6)];
        let mut seen = 0;
        for len in 0..=3u32 {
            for code in 0..3usize.pow(len) {
                let held: Vec<Held> =
                    (0..len).map(|i| Held { max_offset: 5, position: kinds[code / 3usize.pow(i) % 3] }).collect();
                let expected = if held.iter().any(|h| h.position == Some(5)) {
                    Passage::NotPassed
                } else if held.is_empty() || held.iter().any(|h| h.position.is_none()) {
                    Passage::None
                } else {
                    Passage::Passed
                };
                assert_eq!(by_position(&held), expected, "{held:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, 1 + 3 + 9 + 27);
    }

    /// All combinations of two partitions with each frontier unknown, before, or at the end of the window.
    #[test]
    fn frontiers_pass_iff_all_are_past_and_do_not_pass_iff_upstream_went_on() {
        let kinds = [None, Some(9), Some(10)];
        let mut counted = [0; 3];
        for code in 0..81usize {
            let f = |i: usize| kinds[code / 3usize.pow(u32::try_from(i).expect("small")) % 3];
            let all = [
                Frontier { downstream_ms: f(0), upstream_ms: f(1), is_behind: false },
                Frontier { downstream_ms: f(2), upstream_ms: f(3), is_behind: false },
            ];
            let past = |f: Option<i64>| f == Some(10);
            let expected = if all.iter().all(|f| past(f.downstream_ms)) {
                Passage::Passed
            } else if all.iter().any(|f| !past(f.downstream_ms) && past(f.upstream_ms)) {
                Passage::NotPassed
            } else {
                Passage::None
            };
            assert_eq!(by_frontier(10, None, &all), expected, "{all:?}");
            counted[match expected {
                Passage::Passed => 0,
                Passage::NotPassed => 1,
                Passage::None => 2,
            }] += 1;
        }
        assert_eq!(counted, [9, 32, 40]);
        assert_eq!(by_frontier(10, None, &[]), Passage::None);
    }

    /// The window ended at 10 and was passed; then one more of its messages came at 30, while the replicator stood still.
    #[test]
    fn what_comes_late_is_passed_when_downstream_has_come_to_that_time_or_as_far_as_upstream() {
        for (downstream_ms, upstream_ms, last_ms, passage) in [
            (12, 12, 11, Passage::Passed),
            (12, 13, 30, Passage::NotPassed),
            (12, 40, 30, Passage::NotPassed),
            (29, 40, 30, Passage::NotPassed),
            (30, 40, 30, Passage::Passed),
            (20, 20, 30, Passage::Passed),
            (9, 9, 30, Passage::None),
        ] {
            let mut f =
                Frontier { downstream_ms: Some(downstream_ms), upstream_ms: Some(upstream_ms), is_behind: false };
            assert_eq!(by_frontier(10, Some(last_ms), &[f]), passage, "{f:?} {last_ms}");
            // What it read of that time came later still: so it has read the late message too, or it was lost.
            f.is_behind = true;
            let behind = if downstream_ms < 10 { passage } else { Passage::Passed };
            assert_eq!(by_frontier(10, Some(last_ms), &[f]), behind, "{f:?} {last_ms}");
        }
        let unknown = Frontier { downstream_ms: Some(20), upstream_ms: None, is_behind: false };
        assert_eq!(by_frontier(10, Some(30), &[unknown]), Passage::None);
    }

    /// Every small window of a partition and the others: it is followed iff no choice of arrivals leaves it out.
    #[test]
    fn a_partition_is_followed_iff_so_many_arrived_that_some_are_its_own() {
        let mut followed = 0;
        for (messages, others, arrived) in
            (0..5u64).flat_map(|m| (0..5).flat_map(move |o| (0..12).map(move |a| (m, o, a))))
        {
            let expected = messages + others;
            let f = Follower { first_offset: 8, messages, expected, arrived };
            // How many of its own may be among them.
            let mut own = (0..=messages).filter(|own| arrived >= *own && arrived - own <= others).peekable();
            let certain = own.peek().is_some_and(|least| *least > 0);
            assert_eq!(is_followed(7, &f), certain, "{f:?}");
            assert!(!is_followed(8, &f), "its first message may be the window's own last");
            followed += u32::from(certain);
        }
        assert!(followed > 40, "{followed}");
    }

    #[test]
    fn equal_counts_compare_partition_by_partition_others_all_with_traffic() {
        let p = |number, frontier_ms, traffic| Partition { number, frontier_ms, traffic };
        let up = [p(0, Some(5), true), p(1, Some(20), true)];
        let down = [p(0, Some(6), true), p(1, None, false)];
        let both = |downstream_ms, upstream_ms| Frontier { downstream_ms, upstream_ms, is_behind: false };
        assert_eq!(relevant((Some(2), Some(2)), &[0], &up, &down), [both(Some(6), Some(5))]);
        assert_eq!(relevant((Some(2), Some(2)), &[1], &up, &down), [both(None, Some(20))]);
        for counts in [(Some(2), Some(3)), (None, Some(2)), (Some(2), None), (None, None)] {
            assert_eq!(relevant(counts, &[1], &up, &down), [both(Some(6), Some(20))]);
        }
        assert_eq!(relevant((Some(2), Some(2)), &[], &up, &down), []);
    }
}
