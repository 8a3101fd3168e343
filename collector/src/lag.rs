//! How far consumer groups are behind: what is asked of brokers becomes rows that page, API, SQL and metrics share. Pure.
//!
//! A partition's end is asked for again and again; each answer is a pair of times between which the end was what it was.
//! So the arrival of any offset lies between the last answer that ended at or below it and the first that ended above it
//! ([`Bracket`]), and time lag is a bound with an error, never an interpolation. What nobody asked early enough is *at
//! least* so old. Message lag is the distance of offsets: at most so many messages, since offsets also go to transaction
//! markers, aborted messages, and messages that compaction removed.

mod samples;
mod sum;

use std::fmt;

use serde::{Serialize, Serializer};

pub use samples::{STALE_AFTER_MS, Sample, samples};
pub use sum::by_topic;

/// Rows of one cluster that a round keeps at most: those that are furthest behind.
pub const ROWS_MAX: usize = 10_000;
/// How long the index keeps where partitions ended, where their logs reach back that far, ms: 14 days.
pub const INDEX_KEPT_MS: i64 = 14 * 86_400_000;

/// A span of time in which a partition was seen to end at the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its end.
    pub end: i64,
    /// By then it ended here: after the first answer that said so, ms.
    pub first_ms: i64,
    /// It still ended here: before the last question that was answered so, ms.
    pub last_ms: i64,
}

/// Between which times a message arrived, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bracket {
    /// Not before; absent when nobody had asked by then.
    pub after_ms: Option<i64>,
    /// Not after.
    pub before_ms: Option<i64>,
}

impl Bracket {
    /// What both say; `other` may reach further back.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = Self {
            after_ms: self.after_ms.max(other.after_ms),
            before_ms: match (self.before_ms, other.before_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        };
        match (both.after_ms, both.before_ms) {
            // A clock that was set back: only the later bound is safe to speak of.
            (Some(after), Some(before)) if after > before => Self { after_ms: None, ..both },
            _ => both,
        }
    }
}

/// Where a group stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everything is committed.
    CaughtUp,
    /// Something is not.
    Behind,
    /// The group has committed other partitions of the topic and not this one: how far behind it is, nobody knows.
    NoCommit,
    /// The broker did not say where the partition ends.
    Unknown,
    /// It committed more than there is: the log was truncated, or the topic made anew.
    BeyondEnd,
    /// Messages that it had not committed are gone.
    Eaten,
}

impl State {
    /// All, from calm to trouble.
    pub const ALL: [Self; 6] =
        [Self::CaughtUp, Self::Behind, Self::NoCommit, Self::Unknown, Self::BeyondEnd, Self::Eaten];

    /// The word in API, CSV and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaughtUp => "caught_up",
            Self::Behind => "behind",
            Self::NoCommit => "no_commit",
            Self::Unknown => "unknown",
            Self::BeyondEnd => "beyond_end",
            Self::Eaten => "eaten",
        }
    }
    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// Where something is going, over the last two minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trend {
    /// Not looked at for long enough.
    Unknown,
    /// Down.
    Falling,
    /// Neither, within what can be told.
    Steady,
    /// Up.
    Growing,
}

impl Trend {
    /// All.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Falling, Self::Steady, Self::Growing];

    /// The word in API, CSV and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Falling => "falling",
            Self::Steady => "steady",
            Self::Growing => "growing",
        }
    }
    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == word)
    }

    /// Of a backlog of `messages`, by the rates at which it fills and empties. Consumers commit in steps, so what comes
    /// in ten seconds, or a tenth of the backlog, says nothing.
    pub fn of_messages(messages: u64, rates: Option<Rates>) -> Self {
        let Some(Rates { produced, consumed }) = rates else { return Self::Unknown };
        let a_minute = (produced - consumed) * 60.0;
        #[allow(clippy::cast_precision_loss, reason = "a tolerance")]
        let tolerance = (produced * 10.0).max(messages as f64 / 10.0).max(1.0);
        match a_minute {
            _ if messages == 0 => Self::Steady,
            up if up > tolerance => Self::Growing,
            down if down < -tolerance => Self::Falling,
            _ => Self::Steady,
        }
    }
}

macro_rules! word {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    )*};
}
word!(State, Trend);

/// Offsets per second over the last two minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// By which the end moved.
    pub produced: f64,
    /// By which the commit moved.
    pub consumed: f64,
}

impl Rates {
    /// Until `messages` are worked off, ms, if it goes on like this and if it ever ends.
    pub fn catch_up_ms(self, messages: u64) -> Option<i64> {
        let gain = self.consumed - self.produced;
        if messages == 0 {
            return Some(0);
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate; `as` saturates")]
        (gain > 0.0).then(|| (messages as f64 / gain * 1_000.0).ceil() as i64)
    }
}

/// A group's lag in a partition, or over all partitions of a topic: the rows of `GET /api/v1/lag`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupLag {
    /// Cluster.
    pub cluster: String,
    /// Group.
    pub group: String,
    /// Topic, as the pipelines call it.
    pub topic: String,
    /// Partition; absent where the row is a topic.
    pub partition: Option<i32>,
    /// Of when this is, ms: after the groups had answered.
    pub at_ms: i64,
    /// The worst that is true of any partition.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: State,
    /// Committed offset: the oldest message that is not committed.
    pub committed: Option<i64>,
    /// End of the partition.
    pub end: Option<i64>,
    /// Its beginning, as far as it was asked for.
    pub log_start: Option<i64>,
    /// At most so many messages are there and not committed; absent where nobody knows.
    pub messages: Option<u64>,
    /// The oldest message that is not committed arrived so long ago, ms: at most, and at least so much less `error_ms`.
    pub lag_ms: Option<i64>,
    /// By how much `lag_ms` may be too much, ms; absent where it is a lower bound.
    pub error_ms: Option<i64>,
    /// `lag_ms` is a lower bound: nobody had asked when it arrived.
    pub at_least: bool,
    /// Where `messages` is going.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub trend: Trend,
    /// Where `lag_ms` is going.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub lag_trend: Trend,
    /// Offsets per second that come.
    pub produced_per_s: Option<f64>,
    /// Offsets per second that are committed.
    pub consumed_per_s: Option<f64>,
    /// Until it has caught up, ms, at these rates; absent if never or not known.
    pub catch_up_ms: Option<i64>,
    /// Until retention may take the oldest message that is not committed, ms; absent if never or not known.
    pub retention_left_ms: Option<i64>,
    /// Offsets that were gone before they were committed.
    pub eaten: u64,
    /// Who reads only what is committed waits for an open transaction.
    pub held: bool,
}

impl GroupLag {
    /// Both rates, where they are known.
    pub fn rates(&self) -> Option<Rates> {
        Some(Rates { produced: self.produced_per_s?, consumed: self.consumed_per_s? })
    }
}

/// What one look at a cluster found, for the store.
#[derive(Debug, Clone, PartialEq)]
pub struct LagRound {
    /// What it was.
    pub about: Round,
    /// One row per group, topic and partition; they replace those of the round before.
    pub rows: Vec<GroupLag>,
    /// Where partitions ended.
    pub index: Vec<Ended>,
}

/// One look at a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Round {
    /// Cluster.
    pub cluster: String,
    /// When, ms.
    pub at_ms: i64,
    /// How often, ms.
    pub every_ms: i64,
    /// Groups that were asked.
    pub groups: u32,
    /// Rows that were left out: [`ROWS_MAX`] were further behind.
    pub left_out: u32,
}

/// Where a partition ended: one row of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Topic, Kafka's name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Its end and when.
    pub run: Run,
    /// Where its log begins, if it was asked for: what ended before is of no use any more.
    pub log_start: Option<i64>,
    /// It is another log than before: what the index has of it is void.
    pub anew: bool,
}

/// All that is known now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LagReport {
    /// The last look at each cluster, by name.
    pub rounds: Vec<Round>,
    /// One row per cluster, group, topic and partition, in this order.
    pub rows: Vec<GroupLag>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_narrow_each_other_and_contradictions_are_not_believed() {
        let b = |after_ms, before_ms| Bracket { after_ms, before_ms };
        assert_eq!(b(Some(10), Some(20)).and(b(Some(5), Some(30))), b(Some(10), Some(20)));
        assert_eq!(b(None, Some(20)).and(b(Some(5), Some(18))), b(Some(5), Some(18)));
        assert_eq!(b(None, None).and(b(None, Some(3))), b(None, Some(3)));
        assert_eq!(b(Some(30), None).and(b(None, Some(3))), b(None, Some(3)), "a clock that was set back");
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for trend in Trend::ALL {
            assert_eq!(Trend::parse(trend.as_str()), Some(trend));
        }
        assert_eq!((State::parse("fine"), Trend::parse("")), (None, None));
    }

    #[test]
    fn a_trend_is_more_than_the_steps_of_commits() {
        let of = |messages, produced, consumed| Trend::of_messages(messages, Some(Rates { produced, consumed }));
        assert_eq!(of(1_000, 100.0, 90.0), Trend::Steady, "600 more a minute, and 1,000 come in ten seconds");
        assert_eq!(of(1_000, 100.0, 50.0), Trend::Growing);
        assert_eq!(of(10_000, 50.0, 100.0), Trend::Falling);
        assert_eq!(of(0, 100.0, 50.0), Trend::Steady);
        assert_eq!(of(5, 0.0, 0.0), Trend::Steady, "stuck is neither better nor worse");
        assert_eq!(Trend::of_messages(5, None), Trend::Unknown);
    }

    #[test]
    fn it_catches_up_only_if_it_is_faster() {
        let rates = |produced, consumed| Rates { produced, consumed };
        assert_eq!(rates(50.0, 100.0).catch_up_ms(5_000), Some(100_000));
        assert_eq!(rates(50.0, 50.0).catch_up_ms(5_000), None);
        assert_eq!(rates(50.0, 0.0).catch_up_ms(0), Some(0));
        assert_eq!(rates(0.0, 1e-300).catch_up_ms(u64::MAX), Some(i64::MAX), "saturates");
    }
}
