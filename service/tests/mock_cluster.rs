//! Tap, intake and store, end to end over librdkafka's mock cluster.

mod common;

use std::sync::atomic::Ordering;

use chaperone_audit::{Clock, SystemClock};
use chaperone_collector::Store;
use common::{Bed, Source, cluster, config, eventually};

const STAGE: &str = "kafka:k";

#[test]
fn what_was_sent_is_counted_once_and_the_watermark_passes_it() {
    let kafka = cluster(4);
    let bed = Bed::new();
    let mut source = Source::new(&kafka.bootstrap_servers(), 4);
    source.send(500);
    let config = config(&kafka.bootstrap_servers(), "g", "earliest");
    let intake = bed.intake(&config);
    let tap = bed.tap(&config);
    bed.counts_exactly(STAGE, &source);
    source.send(1_500);
    bed.counts_exactly(STAGE, &source);
    bed.watermarks_pass(STAGE, 4, SystemClock.now_ms());
    let status = bed.runtime.block_on(bed.store.status()).expect("status");
    assert_eq!((status.fenced, status.hole, status.quarantined), (0, 0, 0), "{status:?}");
    assert!(bed.wrong().is_empty(), "{:?}", bed.wrong());
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn a_tap_that_starts_at_the_end_counts_what_comes_and_another_goes_on_where_it_stopped() {
    let kafka = cluster(2);
    let bed = Bed::new();
    let mut before = Source::new(&kafka.bootstrap_servers(), 2);
    before.send(100);
    let config = config(&kafka.bootstrap_servers(), "g", "end");
    let intake = bed.intake(&config);
    let tap = bed.tap(&config);
    bed.watermarks_pass(STAGE, 2, 0);
    let mut source = Source::new(&kafka.bootstrap_servers(), 2);
    source.send(300);
    bed.counts_exactly(STAGE, &source);
    Bed::stop(vec![tap], Vec::new());
    source.send(300);
    let tap = bed.tap(&config);
    bed.counts_exactly(STAGE, &source);
    assert_eq!(bed.epochs(STAGE).into_values().max(), Some(2), "one claim each");
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn two_taps_share_the_partitions_and_what_one_leaves_the_other_takes() {
    let kafka = cluster(4);
    let bed = Bed::new();
    let config = config(&kafka.bootstrap_servers(), "g", "earliest");
    let intake = bed.intake(&config);
    let mut source = Source::new(&kafka.bootstrap_servers(), 4);
    let first = bed.tap(&config);
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    let second = bed.tap(&config);
    eventually("two reporters", || {
        let reporters = bed.runtime.block_on(bed.store.reporters(SystemClock.now_ms())).expect("reporters");
        if reporters.len() == 2 { Ok(()) } else { Err(format!("{reporters:?}")) }
    });
    for _ in 0..10 {
        source.send(100);
    }
    bed.counts_exactly(STAGE, &source);
    Bed::stop(vec![first], Vec::new());
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    bed.watermarks_pass(STAGE, 4, SystemClock.now_ms());
    Bed::stop(vec![second], vec![intake]);
}

#[test]
fn a_fenced_tap_adds_nothing() {
    let kafka = cluster(2);
    let bed = Bed::new();
    let old = config(&kafka.bootstrap_servers(), "g1", "earliest");
    // A group of its own: both taps are given every partition, and only claims tell them apart.
    let new = config(&kafka.bootstrap_servers(), "g2", "earliest");
    let intake = bed.intake(&old);
    let mut source = Source::new(&kafka.bootstrap_servers(), 2);
    let zombie = bed.tap(&old);
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    let tap = bed.tap(&new);
    for _ in 0..20 {
        source.send(50);
    }
    bed.counts_exactly(STAGE, &source);
    source.send(100);
    bed.counts_exactly(STAGE, &source);
    Bed::stop(vec![zombie], Vec::new());
    source.send(100);
    bed.counts_exactly(STAGE, &source);
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn poison_is_quarantined_and_the_good_message_after_it_counts() {
    let kafka = cluster(1);
    let bed = Bed::new();
    let config = config(&kafka.bootstrap_servers(), "g", "earliest");
    let mut source = Source::new(&kafka.bootstrap_servers(), 1);
    let deep = "[".repeat(100_000);
    let poison: [&[u8]; 6] = [b"", b"\x00\xff", b"{}", b"{\"v\":1}", deep.as_bytes(), b"null"];
    for value in poison {
        source.poison(value);
    }
    let intake = bed.intake(&config);
    let tap = bed.tap(&config);
    source.send(50);
    bed.counts_exactly(STAGE, &source);
    let rows = eventually("quarantine", || {
        let rows = bed.runtime.block_on(bed.store.quarantined(100)).expect("rows");
        if rows.len() == poison.len() { Ok(rows) } else { Err(format!("{} rows", rows.len())) }
    });
    assert!(rows.iter().all(|r| r.sha256.len() == 64 && !r.reason.is_empty()), "{rows:?}");
    let status = bed.runtime.block_on(bed.store.status()).expect("status");
    assert_eq!(status.read, status.applied + status.noop + status.fenced + status.hole + status.quarantined);
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn a_recreated_topic_is_another_log_and_all_of_it_counts() {
    let (audit, first) = (cluster(1), cluster(1));
    let bed = Bed::new();
    let text = |data: &str| {
        let text = format!(
            "data_dir = 'unused'
[kafka.a]
bootstrap_servers = '{}'
[kafka.a.audit]
[kafka.k]
bootstrap_servers = '{data}'
[kafka.k.tap]
topics = ['orders']
start = 'end'
",
            audit.bootstrap_servers()
        );
        chaperone::config::Config::parse(&text, &chaperone::config::System).expect("configuration")
    };
    let before = text(&first.bootstrap_servers());
    let intake = bed.intake(&before);
    let tap = bed.tap(&before);
    bed.watermarks_pass(STAGE, 1, 0);
    let mut source = Source::new(&first.bootstrap_servers(), 1);
    source.send(100);
    bed.counts_exactly(STAGE, &source);
    Bed::stop(vec![tap], Vec::new());
    // The same name, as long as the old log, with other messages.
    let second = cluster(1);
    let mut other = Source::new(&second.bootstrap_servers(), 1);
    other.sent = 1_000;
    other.ids = source.ids;
    other.send(100);
    let after = text(&second.bootstrap_servers());
    let tap = bed.tap(&after);
    eventually("the new log is counted", || {
        let (n, ids) = bed.counted(STAGE);
        if (n, ids) == (200, other.ids) { Ok(()) } else { Err(format!("{n} counted")) }
    });
    let states = bed.runtime.block_on(bed.store.partitions(STAGE)).expect("partitions");
    assert_eq!(states[0].log, 1);
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn a_store_that_refuses_is_waited_for_and_nothing_is_lost_or_doubled() {
    let kafka = cluster(2);
    let bed = Bed::new();
    let config = config(&kafka.bootstrap_servers(), "g", "earliest");
    let intake = bed.intake(&config);
    let mut source = Source::new(&kafka.bootstrap_servers(), 2);
    let tap = bed.tap(&config);
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    bed.flaky.refuses.store(true, Ordering::SeqCst);
    source.send(200);
    eventually("the sentence", || {
        let said = bed.wrong();
        let found = said.iter().any(|p| p.contains("apply a batch") && p.contains("goes on by itself"));
        if found { Ok(()) } else { Err(format!("{said:?}")) }
    });
    bed.flaky.refuses.store(false, Ordering::SeqCst);
    bed.counts_exactly(STAGE, &source);
    eventually("solved", || {
        let said = bed.wrong();
        if said.is_empty() { Ok(()) } else { Err(format!("{said:?}")) }
    });
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn a_report_that_kafka_lost_is_noticed_and_counted_again() {
    let kafka = cluster(1);
    let bed = Bed::new();
    let config = config(&kafka.bootstrap_servers(), "g", "earliest");
    let intake = bed.intake(&config);
    let mut source = Source::new(&kafka.bootstrap_servers(), 1);
    let tap = bed.tap(&config);
    source.send(100);
    bed.counts_exactly(STAGE, &source);
    bed.flaky.loses.store(true, Ordering::SeqCst);
    source.send(100);
    eventually("another claim", || {
        let epochs = bed.epochs(STAGE);
        if epochs.get(&0).is_some_and(|e| *e > 1) { Ok(()) } else { Err(format!("{epochs:?}")) }
    });
    bed.flaky.loses.store(false, Ordering::SeqCst);
    bed.counts_exactly(STAGE, &source);
    Bed::stop(vec![tap], vec![intake]);
}

#[test]
fn brokers_that_go_away_are_waited_for_and_nothing_is_lost_or_doubled() {
    let kafka = cluster(2);
    let bed = Bed::new();
    let config = config(&kafka.bootstrap_servers(), "g", "earliest");
    let intake = bed.intake(&config);
    let mut source = Source::new(&kafka.bootstrap_servers(), 2);
    let tap = bed.tap(&config);
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    kafka.broker_down(-1).expect("down");
    eventually("the sentence", || {
        let said = bed.wrong();
        let found = said.iter().any(|p| p.contains("no broker answers"));
        if found { Ok(()) } else { Err(format!("{said:?}")) }
    });
    kafka.broker_up(-1).expect("up");
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    bed.watermarks_pass(STAGE, 2, SystemClock.now_ms());
    assert!(bed.wrong().is_empty(), "{:?}", bed.wrong());
    Bed::stop(vec![tap], vec![intake]);
}

/// The pipelines know `orders` of this cluster as `pay`. When a second topic comes that would be `pay` too, neither is
/// counted; once one is excluded, the other goes on where it stopped.
#[test]
fn a_renamed_topic_is_counted_under_its_name_in_the_pipelines_and_never_mixed_with_another() {
    let kafka = cluster(2);
    let bed = Bed::new();
    let text = |exclude: &str| {
        let text = format!(
            "data_dir = 'unused'
[kafka.k]
bootstrap_servers = '{}'
[kafka.k.tap]
topics = ['^.*orders']
start = 'earliest'
exclude = [{exclude}]
rename = [{{ from = '^(regional\\.)?orders', to = 'pay' }}]
",
            kafka.bootstrap_servers()
        );
        chaperone::config::Config::parse(&text, &chaperone::config::System).expect("configuration")
    };
    let before = text("");
    let intake = bed.intake(&before);
    let mut source = Source::new(&kafka.bootstrap_servers(), 2);
    let tap = bed.tap(&before);
    source.send(200);
    bed.counts_exactly(STAGE, &source);
    bed.watermarks_pass(STAGE, 2, SystemClock.now_ms());
    kafka.create_topic("regional.orders", 2, 1).expect("topic");
    eventually("the sentence", || {
        let said = bed.wrong();
        let words = "kafka.k: topics 'orders', 'regional.orders' are all called 'pay' after the stage's renames";
        if said.iter().any(|p| p.starts_with(words)) { Ok(()) } else { Err(format!("{said:?}")) }
    });
    source.send(100);
    Bed::stop(vec![tap], Vec::new());
    let tap = bed.tap(&text("'^regional.*'"));
    source.send(100);
    bed.counts_exactly(STAGE, &source);
    let topics: std::collections::BTreeSet<String> = bed.windows().into_iter().map(|w| w.topic).collect();
    assert_eq!(topics, ["pay".to_owned()].into());
    eventually("solved", || {
        let said = bed.wrong();
        if said.is_empty() { Ok(()) } else { Err(format!("{said:?}")) }
    });
    Bed::stop(vec![tap], vec![intake]);
}
