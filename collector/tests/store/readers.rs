//! What readers get: order, caps, topics, views, quarantine, health.

use chaperone_audit::wire::AuditMessage;
use chaperone_collector::query::WindowQuery;
use chaperone_collector::{Batch, Content, Item, Pipelines, Refused, SqliteStore, Store, Verdict};
use rusqlite::Connection;

use crate::sim::{Audit, Msg, START, SimReporter, client_hop, item, memory, source, verdicts};

const ALL: WindowQuery = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };

/// Producer and consumer of three topics for a minute; one message of `payments` is lost.
pub(crate) async fn filled(store: &dyn Store) -> Pipelines {
    let mut pipelines = client_hop();
    pipelines.list[0].topics =
        ["orders", "payments", "alarms"].map(|t| chaperone_collector::TopicPattern::Name(t.into())).into();
    let mut audit = Audit::default();
    let mut producer = SimReporter::new(1, "producer", "h1", START - 1);
    let mut consumer = SimReporter::new(2, "consumer", "h2", START - 1).seeing();
    for second in 0..60 {
        let now_ms = START + second * 1_000;
        for (topic, id) in ["orders", "payments", "alarms", "unaudited"].into_iter().zip(1u128..) {
            let m = Msg { id: id * 1_000 + u128::from(second.unsigned_abs()), topic, event_ms: now_ms };
            producer.arrive(&m, now_ms);
            producer.acked(&m);
            if (topic, second) != ("payments", 15) {
                consumer.arrive(&m, now_ms);
            }
        }
        let (a, b) = (producer.beat(now_ms + 500), consumer.beat(now_ms + 500));
        audit.send(store, vec![a, b], now_ms + 500).await;
        store.judge(now_ms + 500, &pipelines).await.expect("judge");
    }
    pipelines
}

#[tokio::test]
async fn windows_come_newest_first_by_topic_and_hop_and_are_capped() {
    let store = memory();
    filled(&*store).await;
    let all = store.windows(ALL).await.expect("windows");
    let key = |w: &chaperone_collector::query::HopWindow| (std::cmp::Reverse(w.window_ms), w.topic.clone());
    assert_eq!(all.len(), 3 * 6, "three topics, six windows; a topic of no pipeline is not judged");
    assert!(all.is_sorted_by_key(key));
    let limited = store.windows(WindowQuery { limit: Some(4), ..ALL }).await.expect("windows");
    assert_eq!(limited, all[..4]);
    let some =
        WindowQuery { topic: Some("payments".into()), from_ms: START + 10_000, to_ms: START + 30_000, limit: None };
    let some = store.windows(some).await.expect("windows");
    let said: Vec<_> = some.iter().map(|w| (w.window_ms - START, w.verdict, w.missing_min)).collect();
    assert_eq!(said, [(20_000, Verdict::Ok, 0), (10_000, Verdict::Missing, 1)]);
    for q in [WindowQuery { topic: Some("nobody".into()), ..ALL }, WindowQuery { from_ms: START + 999_000, ..ALL }] {
        assert_eq!(store.windows(q.clone()).await.expect("windows"), []);
        assert_eq!(store.stage_windows(q.clone()).await.expect("totals"), []);
        assert_eq!(store.topics(q).await.expect("topics"), []);
    }
}

#[tokio::test]
async fn totals_are_per_stage_and_topics_show_the_worst() {
    let store = memory();
    filled(&*store).await;
    let q = WindowQuery { topic: Some("payments".into()), from_ms: START + 10_000, to_ms: START + 20_000, limit: None };
    let totals = store.stage_windows(q).await.expect("totals");
    let said: Vec<_> = totals.iter().map(|w| (w.stage.as_str(), w.n, w.acked, w.hist.total())).collect();
    assert_eq!(said, [("consumer", 9, 9, 9), ("producer", 10, 10, 10)]);
    let topics = store.topics(ALL).await.expect("topics");
    let names: Vec<_> = topics.iter().map(|t| t.topic.as_str()).collect();
    assert_eq!(names, ["alarms", "orders", "payments"]);
    let settled = WindowQuery { from_ms: START, to_ms: START + 40_000, ..ALL };
    let topics = store.topics(settled).await.expect("topics");
    assert_eq!((topics[0].worst, topics[0].missing_min), (Verdict::Ok, 0));
    assert_eq!((topics[2].worst, topics[2].missing_min), (Verdict::Missing, 1));
    assert_eq!(topics[2].stages, ["producer", "consumer"]);
    // The last beat is at 59.5 s: the window of 40 s is settled, that of 50 s is open.
    assert_eq!(topics[0].complete_through_ms, Some(START + 50_000));
    // By two readers at once it is the same but for that, wherever the range is cut.
    for (from_ms, to_ms) in [(0, 60_000), (20_000, 40_000), (-7_200_000, 60_000), (-86_400_000, 3_600_000)] {
        for topic in [None, Some("payments".to_owned())] {
            let range = WindowQuery { topic, from_ms: START + from_ms, to_ms: START + to_ms, limit: None };
            let mut whole = store.topics(range.clone()).await.expect("topics");
            for t in &mut whole {
                t.complete_through_ms = None;
            }
            assert!(
                !whole.is_empty() && whole == store.topics_judged(range.clone()).await.expect("topics"),
                "{range:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_views_are_there_with_their_columns_and_trouble_has_an_index() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s.sqlite");
    let store = SqliteStore::open(&path).expect("open");
    filled(&store).await;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(&path, flags).expect("others read while it runs");
    let sql = "SELECT topic, from_stage, to_stage, window_start, window_ms, width_ms, verdict, missing_min, surplus_min, \
               delayed, caveats, why, settled, settled_at FROM v_hop_window WHERE verdict = 'missing'";
    let row = conn
        .query_row(sql, [], |r| {
            let start: i64 = r.get("window_start")?;
            Ok((r.get::<_, String>("topic")?, start, r.get::<_, i64>("missing_min")?, r.get::<_, i64>("settled")?))
        })
        .expect("the one lost message");
    assert_eq!(row, ("payments".to_owned(), (START + 10_000) / 1000, 1, 1));
    for (view, columns) in [
        ("v_stage_window", "topic, stage, window_start, class, n, acked, failed, bytes, f_in"),
        ("v_reporter", "incarnation, stage, host, application, watermark_ms, last_append_ms, ended, n"),
        (
            "v_unaudited",
            "stage, topic, partition, log, from_offset, to_offset, at_ms, from_event_ms, to_event_ms, cause",
        ),
        ("v_amendment", "topic, from_stage, to_stage, window_ms, at_ms, old_verdict, new_verdict, cause"),
    ] {
        conn.prepare(&format!("SELECT {columns} FROM {view}")).expect(view);
    }
    let plan: String = conn
        .query_row("EXPLAIN QUERY PLAN SELECT * FROM hop_window WHERE verdict <> 'ok' AND window_ms > 5", [], |r| {
            r.get("detail")
        })
        .expect("plan");
    assert!(plan.contains("hop_window_trouble"), "{plan}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let size: i64 = conn.pragma_query_value(None, "page_size", |r| r.get(0)).expect("pragma");
    let journal: String = conn.pragma_query_value(None, "journal_mode", |r| r.get(0)).expect("pragma");
    assert_eq!((size, journal.as_str()), (8192, "wal"));
}

#[tokio::test]
async fn quarantine_keeps_the_newest_ten_thousand_and_counts_all() {
    let store = memory();
    let refused = |offset: i64| Item {
        offset,
        append_ms: START,
        received_ms: START,
        content: Content::Refused(Refused { length: 9, sha256: "ab".into(), reason: format!("poison {offset}") }),
    };
    for run in 0..11i64 {
        let items = (run * 1_000..(run + 1) * 1_000).map(refused).collect();
        let batch = Batch { source: source(0), log: 0, from: None, items, next: (run + 1) * 1_000 };
        assert_eq!(store.apply(batch).await.expect("apply").quarantined, 1_000);
    }
    let newest = store.quarantined(3).await.expect("quarantine");
    assert_eq!(newest.iter().map(|q| q.offset).collect::<Vec<_>>(), [10_999, 10_998, 10_997]);
    assert_eq!(newest[0].reason, "poison 10999");
    assert_eq!(store.quarantined(u32::MAX).await.expect("quarantine").len(), 10_000);
    let status = store.status().await.expect("status");
    assert_eq!((status.read, status.quarantined), (11_000, 11_000));
}

#[tokio::test]
async fn the_revision_moves_with_totals_and_verdicts_and_not_with_heartbeats() {
    let store = memory();
    let pipelines = client_hop();
    let mut audit = Audit::default();
    let revisions = store.revisions();
    let mut r = SimReporter::new(1, "producer", "h", START - 1);
    r.arrive(&Msg { id: 1, topic: "orders", event_ms: START }, START);
    let first = r.beat(START);
    let applied = audit.send(&*store, vec![first.clone()], START).await;
    assert_eq!((applied.applied, applied.revision), (1, 1));
    assert_eq!(*revisions.borrow(), 1);
    assert_eq!(audit.send(&*store, vec![first], START).await.revision, 1, "a duplicate is no news");
    let beat = AuditMessage { slots: vec![], ..r.beat(START + 1_000) };
    assert_eq!(audit.send(&*store, vec![beat], START + 1_000).await.revision, 1);
    assert_eq!(store.judge(START + 1_000, &pipelines).await.expect("judge"), 1, "open");
    assert_eq!(*revisions.borrow(), 2);
    assert_eq!(store.judge(START + 1_000, &pipelines).await.expect("judge"), 0);
    assert_eq!(*revisions.borrow(), 2);
    assert_eq!(store.status().await.expect("status").pending, 1);
}

#[tokio::test]
async fn a_bounded_judge_takes_the_longest_waiting_first_and_comes_to_all() {
    let options = chaperone_collector::sqlite::Options { judge_at_most: 4, ..Default::default() };
    let store = crate::place::memory_with(options);
    let mut r = SimReporter::new(1, "producer", "h", START - 1);
    for i in 0..10u32 {
        let event_ms = START + i64::from(i) * 10_000;
        r.arrive(&Msg { id: u128::from(i) + 1, topic: "orders", event_ms }, START + 200_000);
    }
    let mut audit = Audit::default();
    let beat = r.beat(START + 110_000);
    audit.send(&*store, vec![beat], START + 110_000).await;
    for (round, judged) in [4, 8, 10].into_iter().enumerate() {
        store.judge(START + 110_000, &client_hop()).await.expect("judge");
        let seen: Vec<i64> = verdicts(&*store, "orders").await.iter().map(|w| (w.window_ms - START) / 10_000).collect();
        assert_eq!(seen, (0..judged).collect::<Vec<i64>>(), "round {round}");
    }
}

#[tokio::test]
async fn many_readers_do_not_wait_for_the_writer() {
    let store = memory();
    filled(&*store).await;
    let mut tasks = vec![];
    for _ in 0..32 {
        let store = std::sync::Arc::clone(&store);
        tasks.push(tokio::spawn(async move { store.windows(ALL).await.expect("windows").len() }));
    }
    let mut audit = Audit::default();
    for i in 0..20 {
        let m = SimReporter::new(50 + i, "producer", "h", START).beat(START);
        let batch = Batch {
            source: source(5),
            log: 0,
            from: None,
            items: vec![item(i.cast_signed(), m, START)],
            next: i.cast_signed() + 1,
        };
        store.apply(batch).await.expect("apply");
    }
    audit.send(&*store, vec![], START).await;
    for task in tasks {
        assert_eq!(task.await.expect("task"), 18);
    }
}
