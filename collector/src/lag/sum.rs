//! Partitions to topics: one row per cluster, group and topic. Pure.
//!
//! Messages and rates add up, but only where all are known: a sum without one of its parts would be too small and look
//! fine. Time lag is that of the partition that is furthest behind.

use super::{GroupLag, Rates, State, Trend};

/// The rows of partitions, in order, as rows of topics.
pub fn by_topic(rows: &[GroupLag]) -> Vec<GroupLag> {
    let same = |a: &GroupLag, b: &GroupLag| (&a.cluster, &a.group, &a.topic) == (&b.cluster, &b.group, &b.topic);
    rows.chunk_by(same).filter_map(topic).collect()
}

fn topic(rows: &[GroupLag]) -> Option<GroupLag> {
    let first = rows.first()?;
    // What is known to be later than another is the worse; a lower bound may be anything above.
    let worst = rows.iter().max_by_key(|r| (r.lag_ms, r.at_least));
    let messages = all(rows, |r| r.messages).map(|all| all.into_iter().fold(0_u64, u64::saturating_add));
    let rates = all(rows, GroupLag::rates).map(|all| Rates {
        produced: all.iter().map(|r| r.produced).sum(),
        consumed: all.iter().map(|r| r.consumed).sum(),
    });
    let behind: Vec<&GroupLag> = rows.iter().filter(|r| r.messages != Some(0)).collect();
    Some(GroupLag {
        cluster: first.cluster.clone(),
        group: first.group.clone(),
        topic: first.topic.clone(),
        partition: None,
        at_ms: rows.iter().map(|r| r.at_ms).min().unwrap_or(first.at_ms),
        state: rows.iter().map(|r| r.state).max().unwrap_or(State::Unknown),
        committed: None,
        end: None,
        log_start: None,
        messages,
        lag_ms: worst.and_then(|w| w.lag_ms),
        error_ms: worst.filter(|_| !rows.iter().any(|r| r.at_least)).and_then(|w| w.error_ms),
        // A partition of which nothing is known may be further behind than all others.
        at_least: rows.iter().any(|r| r.at_least || r.lag_ms.is_none()) && worst.is_some_and(|w| w.lag_ms.is_some()),
        trend: messages.map_or(Trend::Unknown, |m| Trend::of_messages(m, rates)),
        lag_trend: worst.map_or(Trend::Unknown, |w| w.lag_trend),
        produced_per_s: rates.map(|r| r.produced),
        consumed_per_s: rates.map(|r| r.consumed),
        // It has caught up when its last partition has.
        catch_up_ms: all(&behind, |r| r.catch_up_ms).map(|all| all.into_iter().max().unwrap_or(0)),
        retention_left_ms: rows.iter().filter_map(|r| r.retention_left_ms).min(),
        eaten: rows.iter().fold(0, |sum, r| sum.saturating_add(r.eaten)),
        held: rows.iter().any(|r| r.held),
    })
}

/// All values, or none if one is missing.
fn all<R, T>(rows: &[R], value: impl Fn(&R) -> Option<T>) -> Option<Vec<T>> {
    rows.iter().map(value).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn row(partition: i32, messages: Option<u64>, lag_ms: Option<i64>) -> GroupLag {
        GroupLag {
            cluster: "c".into(),
            group: "g".into(),
            topic: "t".into(),
            partition: Some(partition),
            at_ms: 1_000 + i64::from(partition),
            state: if messages == Some(0) { State::CaughtUp } else { State::Behind },
            committed: Some(10),
            end: Some(20),
            log_start: Some(0),
            messages,
            lag_ms,
            error_ms: lag_ms.map(|_| 7),
            at_least: false,
            trend: Trend::Steady,
            lag_trend: Trend::Growing,
            produced_per_s: Some(10.0),
            consumed_per_s: Some(20.0),
            catch_up_ms: Some(5_000),
            retention_left_ms: None,
            eaten: 0,
            held: false,
        }
    }

    #[test]
    fn a_topic_is_as_far_behind_as_its_worst_partition() {
        let mut late = row(1, Some(900), Some(60_000));
        late.retention_left_ms = Some(30_000);
        late.catch_up_ms = Some(90_000);
        let sum = by_topic(&[row(0, Some(100), Some(4_000)), late, row(2, Some(0), Some(0))]);
        let [one] = sum.as_slice() else { panic!("{sum:?}") };
        assert_eq!((one.partition, one.messages, one.lag_ms, one.error_ms), (None, Some(1_000), Some(60_000), Some(7)));
        assert_eq!((one.state, one.at_ms, one.at_least), (State::Behind, 1_000, false));
        assert_eq!((one.catch_up_ms, one.retention_left_ms), (Some(90_000), Some(30_000)));
        assert_eq!((one.produced_per_s, one.consumed_per_s), (Some(30.0), Some(60.0)));
    }

    #[test]
    fn what_one_partition_does_not_know_the_topic_does_not_know() {
        let mut none = row(1, None, None);
        (none.state, none.catch_up_ms, none.produced_per_s, none.consumed_per_s) = (State::NoCommit, None, None, None);
        let sum = by_topic(&[row(0, Some(100), Some(4_000)), none]);
        assert_eq!((sum[0].messages, sum[0].catch_up_ms, sum[0].trend), (None, None, Trend::Unknown));
        assert_eq!((sum[0].state, sum[0].lag_ms, sum[0].at_least), (State::NoCommit, Some(4_000), true));
        let mut old = row(1, Some(5), Some(900));
        (old.at_least, old.error_ms) = (true, None);
        let sum = by_topic(&[row(0, Some(100), Some(4_000)), old]);
        assert_eq!((sum[0].lag_ms, sum[0].error_ms, sum[0].at_least), (Some(4_000), None, true), "900 may be 9,000");
    }

    #[test]
    fn groups_topics_and_clusters_stay_apart() {
        let mut other = row(0, Some(1), Some(1));
        other.topic = "u".into();
        let mut third = other.clone();
        third.group = "h".into();
        assert_eq!(by_topic(&[row(0, Some(1), Some(1)), other, third]).len(), 3);
        assert_eq!(by_topic(&[]), Vec::new());
    }
}
