//! Groups in every state.

use chaperone_collector::lag::{GroupLag, LagReport, Round, State, Trend};

use super::NOW_MS;

/// A row of a group that stands in the middle of a partition.
pub(crate) fn row(group: &str, topic: &str, partition: i32, messages: u64, lag_ms: i64) -> GroupLag {
    GroupLag {
        cluster: "sjc".into(),
        group: group.into(),
        topic: topic.into(),
        partition: Some(partition),
        at_ms: NOW_MS - 2_000,
        state: if messages == 0 { State::CaughtUp } else { State::Behind },
        committed: Some(1_000),
        end: Some(1_000 + i64::try_from(messages).unwrap_or(0)),
        log_start: Some(10),
        messages: Some(messages),
        lag_ms: Some(lag_ms),
        error_ms: Some(if messages == 0 { 0 } else { 5_040 }),
        at_least: false,
        trend: Trend::Steady,
        lag_trend: Trend::Steady,
        produced_per_s: Some(50.0),
        consumed_per_s: Some(100.0),
        catch_up_ms: Some(i64::try_from(messages).unwrap_or(0) * 20),
        retention_left_ms: None,
        eaten: 0,
        held: false,
    }
}

/// What is known of a row whose group has committed nothing there.
pub(crate) fn unknown(group: &str, topic: &str, partition: i32) -> GroupLag {
    GroupLag {
        state: State::NoCommit,
        committed: None,
        messages: None,
        lag_ms: None,
        error_ms: None,
        produced_per_s: None,
        consumed_per_s: None,
        catch_up_ms: None,
        trend: Trend::Unknown,
        lag_trend: Trend::Unknown,
        ..row(group, topic, partition, 0, 0)
    }
}

pub(crate) fn report(rows: Vec<GroupLag>) -> LagReport {
    let round = Round { cluster: "sjc".into(), at_ms: NOW_MS - 2_000, every_ms: 5_000, groups: 6, left_out: 0 };
    LagReport { rounds: vec![round], rows }
}

/// One of each.
pub(crate) fn scene() -> LagReport {
    let burst = GroupLag {
        trend: Trend::Falling,
        lag_trend: Trend::Growing,
        retention_left_ms: Some(200_000),
        ..row("billing", "eats.orders", 0, 19_500, 120_000)
    };
    let eaten = GroupLag {
        state: State::Eaten,
        eaten: 1_204,
        retention_left_ms: Some(0),
        at_least: true,
        error_ms: None,
        ..row("reports", "rides.events", 0, 48_211, 7_500_000)
    };
    let grows = GroupLag {
        trend: Trend::Growing,
        lag_trend: Trend::Growing,
        consumed_per_s: Some(10.0),
        catch_up_ms: None,
        retention_left_ms: Some(3_600_000),
        ..row("search-indexer", "eats.menus", 0, 9_120, 188_000)
    };
    let held = GroupLag { held: true, ..row("settle", "payments.captured", 0, 12, 41_000) };
    report(vec![
        burst,
        row("billing", "eats.orders", 1, 40, 1_200),
        eaten,
        grows,
        held,
        row("surge", "driver.locations", 0, 0, 0),
        row("surge", "driver.locations", 1, 0, 0),
        unknown("surge", "rides.events", 7),
    ])
}
