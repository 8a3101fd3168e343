//! What auditors ask beyond windows: check-ins, where hops stand, a range in sums, what is not believed, the books.

use chaperone_audit::Class;
use chaperone_audit::wire::AuditMessage;
use chaperone_collector::checkins::{Heard, cell_of};
use chaperone_collector::query::WindowQuery;
use chaperone_collector::{Batch, Content, Item, Refused, Verdict};

use crate::readers::filled;
use crate::sim::{Audit, Msg, START, SimReporter, client_hop, item, memory, source};

#[tokio::test]
async fn check_ins_tell_the_late_word_the_silence_and_the_counts_that_have_not_come() {
    let store = memory();
    let mut audit = Audit::default();
    let mut r = SimReporter::new(1, "producer", "h", START - 1);
    for second in [0, 5, 12, 41] {
        let beat = r.beat(START + second * 1_000);
        audit.send(&*store, vec![beat], START + second * 1_000 + 3).await;
    }
    // Six seconds under way.
    let slow = r.beat(START + 50_000);
    audit.send(&*store, vec![slow], START + 56_000).await;
    // It tells of a slot that never comes.
    r.arrive(&Msg { id: 1, topic: "orders", event_ms: START + 57_000 }, START + 57_000);
    for second in [60, 66, 72] {
        let beat = AuditMessage { slots: vec![], ..r.beat(START + second * 1_000) };
        audit.send(&*store, vec![beat], START + second * 1_000 + 3).await;
    }
    let seen = store.reporters(START + 73_000).await.expect("reporters");
    let first = cell_of(START);
    let cells: Vec<Heard> = (0..8).map(|i| seen[0].checkins.at(first + i)).collect();
    let (on, no) = (Heard::OnTime, Heard::Nothing);
    assert_eq!(cells, [on, on, no, no, on, Heard::Late, on, Heard::Gap]);
    assert_eq!((seen[0].lacking_since_ms, seen[0].skew_ms), (Some(START + 60_003), 3));
    assert_eq!((seen[0].first_ms, seen[0].state.as_str()), (START + 3, "live"));
}

#[tokio::test]
async fn messages_without_a_time_are_counted_by_reporter() {
    let store = memory();
    let mut r = SimReporter::new(1, "producer", "h", START - 1);
    r.arrive(&Msg { id: 1, topic: "orders", event_ms: START }, START);
    let mut beat = r.beat(START + 500);
    beat.slots[0].class = Class::NoTime;
    beat.late = 4;
    let again = Item { offset: 1, ..item(0, beat.clone(), START + 500) };
    let batch =
        Batch { source: source(0), log: 0, from: None, items: vec![item(0, beat, START + 500), again], next: 2 };
    store.apply(batch).await.expect("apply");
    let seen = store.reporters(START + 1_000).await.expect("reporters");
    assert_eq!((seen[0].no_time, seen[0].malformed, seen[0].out_of_range, seen[0].late), (1, 0, 0, 4), "once");
}

#[tokio::test]
async fn hops_stand_where_their_own_windows_are_settled() {
    let store = memory();
    assert_eq!(store.hops().await.expect("hops"), []);
    filled(&*store).await;
    let hops = store.hops().await.expect("hops");
    let said: Vec<_> = hops.iter().map(|h| (h.topic.as_str(), h.complete_through_ms - START)).collect();
    assert_eq!(said, [("alarms", 50_000), ("orders", 50_000), ("payments", 50_000)]);
    assert_eq!((hops[0].from_stage.as_str(), hops[0].to_stage.as_str()), ("producer", "consumer"));
    let rules = store.rules().await.expect("rules");
    assert_eq!(rules.len(), 2 * 4, "two stages have counted four topics, by one rule each");
}

#[tokio::test]
async fn a_range_comes_to_the_sums_of_its_windows() {
    let store = memory();
    filled(&*store).await;
    let range = WindowQuery { from_ms: START, to_ms: START + 40_000, ..WindowQuery::default() };
    let account = store.account(range.clone(), START + 59_000).await.expect("account");
    let windows = store.windows(range.clone()).await.expect("windows");
    assert_eq!(account.hops.len(), 3);
    for hop in &account.hops {
        let of = || windows.iter().filter(|w| w.topic == hop.topic);
        assert_eq!((hop.windows(), hop.settled()), (4, 4));
        assert_eq!(hop.missing_min, of().map(|w| w.missing_min).sum::<u64>());
        assert_eq!(hop.of(Verdict::Ok), of().filter(|w| w.verdict == Verdict::Ok).count() as u64);
        let worst = of().map(|w| w.verdict).max_by_key(|v| v.severity());
        assert_eq!(hop.parts.values().copied().max_by_key(|v| v.severity()), worst);
        assert_eq!(hop.parts.keys().copied().collect::<Vec<_>>(), [0, 6, 12, 18], "four windows in 24 parts");
        assert!(hop.is_bounded());
    }
    let stages = store.stage_windows(range.clone()).await.expect("totals");
    for sum in &account.stages {
        let of = stages.iter().filter(|w| (&w.topic, &w.stage) == (&sum.topic, &sum.stage));
        assert_eq!(sum.n, of.map(|w| w.n).sum::<u64>());
        assert_eq!(sum.delay.total(), sum.n);
    }
    assert_eq!((account.silent.len(), account.audit_lost, account.unaudited), (0, 0, 0), "both were heard later");
    let all = store.account(WindowQuery { to_ms: START + 60_000, ..range.clone() }, i64::MAX).await.expect("account");
    let silent: Vec<_> = all.silent.iter().map(|s| (s.stage.as_str(), s.host.as_str())).collect();
    assert_eq!(silent, [("consumer", "h2"), ("producer", "h1")], "nobody was heard since");
    assert!(!all.hops.iter().all(chaperone_collector::account::HopSum::is_bounded), "an open window says nothing");
    let none = store.account(WindowQuery { from_ms: 0, to_ms: 1, ..range }, i64::MAX).await.expect("account");
    assert_eq!((none.hops.len(), none.stages.len()), (0, 0));
}

#[tokio::test]
async fn what_is_not_believed_is_listed_and_the_books_add_up() {
    let store = memory();
    let mut audit = Audit::default();
    let mut r = SimReporter::new(1, "producer", "h", START - 1);
    r.arrive(&Msg { id: 1, topic: "orders", event_ms: START }, START);
    let beat = r.beat(START + 500);
    audit.send(&*store, vec![beat.clone(), beat.clone()], START + 500).await;
    let mut impostor = beat;
    impostor.slots[0].topic = "payments".into();
    audit.send(&*store, vec![impostor], START + 600).await;
    let refused = Refused { length: 9, sha256: "ab".into(), reason: "not JSON".into() };
    let refused = Item { offset: 0, received_ms: START, append_ms: START, content: Content::Refused(refused) };
    store.apply(Batch { source: source(7), log: 0, from: None, items: vec![refused], next: 1 }).await.expect("apply");
    store.judge(START + 700, &client_hop()).await.expect("judge");
    let found = store.unbelieved(10).await.expect("unbelieved");
    assert_eq!((found.quarantined[0].reason.as_str(), found.kept), ("not JSON", [1, 0, 0, 1]));
    assert_eq!((found.oddities[0].kind.as_str(), found.oddities[0].at_ms), ("divergent", START + 600));
    assert!(found.audit_lost.is_empty() && found.unaudited.is_empty());
    let books = store.books().await.expect("books");
    let read: Vec<_> =
        books.partitions.iter().map(|b| (b.partition, b.read, b.applied, b.noop, b.quarantined)).collect();
    assert_eq!(read, [(0, 3, 1, 2, 0), (7, 1, 0, 0, 1)]);
    assert!(books.partitions.iter().all(|b| b.difference() == 0) && books.store_bytes > 10_000);
    assert_eq!(books.oddities.get("divergent"), Some(&1));
}
