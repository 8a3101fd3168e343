//! Each formula against numbers worked out by hand; unknowns stay unknown.

use super::*;

fn sample(mean_bytes: f64, disorder_ms: i64) -> Sample {
    Sample { messages: 1_000, mean_bytes, without_time: 0, disorder_ms }
}

/// A topic of `partitions`, each with `each` messages in 60 s.
fn seen(topic: &str, partitions: usize, each: u64) -> Seen {
    let arrived = vec![each; partitions];
    Seen {
        cluster: "k".into(),
        topic: topic.into(),
        arrived,
        unanswered: 0,
        seconds: 60.0,
        sample: Some(sample(200.0, 0)),
        stages: 2,
        taps: 1,
    }
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= expected.abs() * 1e-9, "{found} is not {expected}");
}

#[test]
fn a_steady_topic_costs_what_the_formulae_say() {
    let e = estimate(&[seen("orders", 4, 15_000)], 3);
    let cost = e.topics[0].cost.as_ref().expect("traffic");
    near(cost.messages_per_s, 1_000.0);
    near(cost.bytes_per_s.expect("a sample"), 200_000.0);
    near(cost.cores.expect("a sample"), 1_000.0 / MESSAGES_PER_CORE + 200_000.0 / BYTES_PER_CORE);
    near(cost.tap_records_per_s, 4.0 / 2.0);
    // Three processes at the one other stage: every 2 s, at the close of each window of 10 s, and a minute after.
    near(cost.reporter_slots_per_s, 3.0 * (0.5 + 0.2));
    // Two stages and the hop between them, 8,640 windows.
    near(cost.rows_per_day, 3.0 * 8_640.0);
    near(cost.store_gb_per_day, 8_640.0 * (2.0 * STAGE_ROW_BYTES + HOP_ROW_BYTES) / 1e9);
    let sum = e.sum.cost.as_ref().expect("traffic");
    near(sum.tap_records_per_s, 2.0 + 0.5);
    near(e.sum.reporter_records_per_s.expect("traffic"), 3.0 * 0.7);
}

#[test]
fn a_tap_with_many_busy_partitions_reports_less_often() {
    let few = estimate(&[seen("a", 60, 15_000), seen("b", 40, 15_000)], 0);
    near(few.sum.cost.as_ref().expect("traffic").tap_records_per_s, 100.0 / 2.0 + 0.5);
    let many = estimate(&[seen("a", 60, 15_000), seen("b", 41, 15_000)], 0);
    near(many.sum.cost.as_ref().expect("traffic").tap_records_per_s, 101.0 / 10.0 + 0.1);
    // Another cluster has another tap.
    let other = Seen { cluster: "l".into(), ..seen("b", 41, 15_000) };
    let two = estimate(&[seen("a", 60, 15_000), other], 0);
    near(two.sum.cost.as_ref().expect("traffic").tap_records_per_s, 101.0 / 2.0 + 2.0 * 0.5);
}

#[test]
fn a_partition_with_less_than_a_message_a_heartbeat_sends_no_more_than_it_gets() {
    let e = estimate(&[seen("slow", 2, 6)], 1);
    let cost = e.topics[0].cost.as_ref().expect("traffic");
    near(cost.tap_records_per_s, 0.2);
    near(cost.reporter_slots_per_s, 0.6);
    assert_eq!(e.topics[0].traffic, Traffic::TooShort);
}

#[test]
fn without_traffic_nothing_is_known_and_the_sum_leaves_it_out() {
    let e = estimate(&[seen("idle", 2, 0), seen("orders", 2, 6_000)], 1);
    let idle = &e.topics[0];
    assert_eq!((idle.traffic, &idle.cost, &idle.width), (Traffic::None, &None, &None));
    assert_eq!((e.sum.topics, e.sum.topics_unknown), (1, 1));
    near(e.sum.cost.as_ref().expect("traffic").messages_per_s, 200.0);
    let nothing = estimate(&[seen("idle", 2, 0)], 1);
    assert_eq!((&nothing.sum.cost, nothing.sum.reporter_records_per_s), (&None, None));
    let json = serde_json::to_value(&nothing).expect("json");
    assert!(json["topics"][0]["cost"].is_null() && json["topics"][0]["traffic"] == "none", "{json}");
}

#[test]
fn without_a_sample_bytes_and_cores_are_unknown_and_the_sum_says_of_how_many() {
    let blind = |topic| Seen { sample: None, ..seen(topic, 1, 6_000) };
    let e = estimate(&[blind("blind"), seen("orders", 1, 6_000)], 1);
    let sum = e.sum.cost.as_ref().expect("traffic");
    near(sum.messages_per_s, 200.0);
    near(sum.bytes_per_s.expect("of one"), 100.0 * 200.0);
    assert_eq!(e.sum.topics_without_sample, 1);
    let e = estimate(&[blind("a"), blind("b")], 1);
    let sum = e.sum.cost.as_ref().expect("traffic");
    assert_eq!((sum.bytes_per_s, sum.cores, e.sum.topics_without_sample), (None, None, 2));
}

#[test]
fn partitions_that_do_not_answer_are_said_and_no_traffic_is_not_claimed() {
    let half = Seen { unanswered: 2, ..seen("half", 2, 6_000) };
    let silent = Seen { unanswered: 4, sample: None, ..seen("silent", 0, 0) };
    let e = estimate(&[half, silent], 1);
    assert_eq!((e.topics[0].traffic, e.topics[0].partitions_unanswered), (Traffic::Seen, 2));
    assert_eq!((e.topics[1].traffic, &e.topics[1].cost), (Traffic::NoAnswer, &None));
    assert_eq!((e.sum.topics, e.sum.topics_unknown), (1, 1));
}

#[test]
fn the_width_is_the_finest_that_the_store_and_the_event_times_allow() {
    let width = |all: &[Seen]| -> Vec<i64> {
        estimate(all, 0).topics.iter().filter_map(|line| line.width.as_ref()).map(|w| w.width_s).collect()
    };
    assert_eq!(width(&[seen("a", 1, 6_000)]), [10]);
    let late = |ms| Seen { sample: Some(sample(1.0, ms)), ..seen("late", 1, 6_000) };
    assert_eq!(width(&[late(10_000), late(10_001), late(60_001), late(9_999_999)]), [10, 60, 600, 600]);
    // 25,920 rows a day each at 10 s: 1,929 topics fit, and all get wider when they do not.
    let topics = |n: usize| -> Vec<Seen> { (0..n).map(|i| seen(&format!("t{i}"), 1, 6_000)).collect() };
    assert_eq!(width(&topics(1_929)).into_iter().max(), Some(10));
    assert_eq!(width(&topics(1_930)).into_iter().min(), Some(60));
    let e = estimate(&topics(1_930), 0);
    let why = &e.topics[0].width.as_ref().expect("traffic").why;
    assert!(why.contains("50 million rows a day"), "{why}");
}

#[test]
fn linked_processes_of_many_topics_tell_as_their_budget_says() {
    let states = |n: usize| {
        let all: Vec<Seen> = (0..n).map(|i| seen(&format!("t{i}"), 1, 6_000)).collect();
        estimate(&all, 1).sum.cost.expect("traffic").reporter_slots_per_s
    };
    near(states(50), 50.0_f64.min(50.0 * 0.7));
    // More than 100: every 10 s, and no more than the budget.
    near(states(150), 150.0 * (0.1 + 0.2));
    near(states(400), 50.0);
    // More than 400: in windows of 60 s, from 2,400 on of 600 s, and nothing open.
    near(states(402), 402.0 * 2.0 / 60.0);
    near(states(1_000), 1_000.0 * 2.0 / 60.0);
    assert_eq!(told_width(Width::default(), 2_400, 50).ms(), 60_000);
    assert_eq!(told_width(Width::default(), 2_401, 50).ms(), 600_000);
}

#[test]
fn a_rare_topic_has_no_more_windows_than_messages() {
    let e = estimate(&[seen("rare", 1, 1)], 0);
    near(e.topics[0].cost.as_ref().expect("traffic").rows_per_day, 3.0 * 1_440.0);
}

#[test]
fn two_taps_of_a_pipeline_share_its_rows() {
    let of = |cluster: &str| Seen { cluster: cluster.into(), stages: 4, taps: 2, ..seen("orders", 1, 6_000) };
    let e = estimate(&[of("a"), of("b")], 0);
    near(e.sum.cost.as_ref().expect("traffic").rows_per_day, 7.0 * 8_640.0);
}

#[test]
fn counts_become_numbers_without_loss_where_it_matters() {
    for n in [0, 1, u64::from(u32::MAX), 1 << 40, (1 << 53) - 1] {
        assert_eq!(format!("{:.0}", real(n)), n.to_string());
    }
}
