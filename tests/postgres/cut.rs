//! A proxy before the database that ends a connection at the k-th statement, before the server has it or after it has
//! answered: for every k the store holds what it would have held.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chaperone_collector::query::WindowQuery;
use chaperone_collector::sqlite::Options;
use chaperone_collector::{Batch, Content, Item, PostgresStore, Refused, Store, StoreError};

use chaperone_tests::figures;
use chaperone_tests::postgres::server;
use parking_lot::Mutex;

use crate::place::{Place, settings};
use crate::sim::{Audit, Msg, START, SimLog, SimReporter, SimTap, client_hop, source};

/// Where a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The server does not get the statement.
    Before,
    /// The server has done it, and its answer is lost.
    After,
}

/// What the proxy does to whom it serves.
#[derive(Debug)]
struct Fuse {
    /// Statements that still pass.
    left: AtomicI64,
    cut: Cut,
    /// Statements that came.
    seen: AtomicU64,
    /// Which of them were COMMIT.
    commits: Mutex<Vec<i64>>,
    blown: AtomicU64,
    /// Nobody gets through.
    away: AtomicBool,
}

/// Listens for as long as the process lives.
fn proxy(upstream: PathBuf, fuse: &Arc<Fuse>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let fuse = Arc::clone(fuse);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            if fuse.away.load(Ordering::SeqCst) {
                continue;
            }
            let server = UnixStream::connect(&upstream).expect("the server");
            serve(client, server, Arc::clone(&fuse));
        }
    });
    port
}

/// Serves one connection. Who only looks at the revision comes at times of its own, and is let through.
fn serve(client: TcpStream, server: UnixStream, fuse: Arc<Fuse>) {
    client.set_nodelay(true).expect("set");
    // Set: the answer to the statement that was let through is not passed on.
    let mute = Arc::new(AtomicBool::new(false));
    let (mut to_client, mut from_server) = (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
    let muted = Arc::clone(&mute);
    std::thread::spawn(move || {
        let mut first = false;
        while let Some(frame) = frame(&mut from_server, &mut first) {
            let ready = frame.first() == Some(&b'Z');
            let mute = muted.load(Ordering::SeqCst);
            if (mute && ready) || (!mute && to_client.write_all(&frame).is_err()) {
                break;
            }
        }
        drop(to_client.shutdown(std::net::Shutdown::Both));
        drop(from_server.shutdown(std::net::Shutdown::Both));
    });
    let (mut from_client, mut to_server) = (client, server);
    std::thread::spawn(move || {
        let mut first = true;
        let mut looks = false;
        while let Some(frame) = frame(&mut from_client, &mut first) {
            looks |= frame.windows(8).any(|w| w == b"revision") && frame.first() == Some(&0);
            // Each statement ends by a Sync, or is a simple query.
            if matches!(frame.first(), Some(b'S' | b'Q')) && !looks {
                let no = fuse.seen.fetch_add(1, Ordering::SeqCst) + 1;
                if frame.windows(6).any(|w| w == b"COMMIT") {
                    fuse.commits.lock().push(i64::try_from(no).expect("few"));
                }
                let left = fuse.left.fetch_sub(1, Ordering::SeqCst) - 1;
                if left == 0 {
                    fuse.blown.fetch_add(1, Ordering::SeqCst);
                    if fuse.cut == Cut::Before {
                        break;
                    }
                    mute.store(true, Ordering::SeqCst);
                }
            }
            if fuse.away.load(Ordering::SeqCst) || to_server.write_all(&frame).is_err() {
                break;
            }
            if mute.load(Ordering::SeqCst) {
                // The other direction ends it, when the answer has come.
                return;
            }
        }
        drop(from_client.shutdown(std::net::Shutdown::Both));
        drop(to_server.shutdown(std::net::Shutdown::Both));
    });
}

/// One message of the protocol; the first of a client has no letter.
fn frame(from: &mut impl Read, first: &mut bool) -> Option<Vec<u8>> {
    let mut head = vec![0; if std::mem::take(first) { 4 } else { 5 }];
    from.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[head.len() - 4..].try_into().expect("four"));
    let mut rest = vec![0; length as usize - 4];
    from.read_exact(&mut rest).ok()?;
    head.extend(rest);
    Some(head)
}

fn store(port: u16, database: &str, patience: Duration) -> PostgresStore {
    let settings = settings(&format!("postgres://chaperone@127.0.0.1:{port}/{database}")).patience(patience);
    PostgresStore::open(&settings, Options::default()).expect("opens")
}

/// Everything that a reader sees, in words.
type Seen = Vec<String>;

/// A producer, a tap and a consumer report twice; a claim, a poisoned record, two judgements. What is left of it, and how many
/// batches were found to be there already.
async fn work(store: &PostgresStore) -> (Seen, u64) {
    let mut producer = SimReporter::new(1, "producer", "h", START);
    let mut consumer = SimReporter::new(2, "consumer", "h", START).seeing();
    let mut log = SimLog::new(1);
    let mut tap = SimTap::new(3, "kafka", "orders");
    let mut audit = Audit::default();
    let mut found_done = 0;
    tap.claim(store, 0, START).await;
    for round in 0..2u32 {
        let now_ms = START + i64::from(round + 1) * 9_000;
        for i in 0..3u128 {
            let m = Msg { id: u128::from(round) * 10 + i, topic: "orders", event_ms: now_ms - 5_000 };
            producer.arrive(&m, now_ms - 4_000);
            producer.acked(&m);
            log.append(0, m, now_ms - 4_000);
            if i > 0 {
                consumer.arrive(&m, now_ms - 3_000);
            }
        }
        let messages = vec![producer.beat(now_ms), tap.beat(&log, now_ms), consumer.beat(now_ms)];
        let sent = u64::try_from(messages.len()).expect("few");
        let applied = audit.send(store, messages, now_ms).await;
        let fates = applied.applied + applied.noop + applied.fenced + applied.hole;
        assert!(fates == sent || fates == 0, "a batch is applied whole or was: {applied:?}");
        found_done += u64::from(fates == 0);
        store.judge(now_ms, &client_hop()).await.expect("judged");
    }
    let refused = Refused { length: 1, sha256: "00".into(), reason: "poison".into() };
    let content = Content::Refused(refused);
    let items = vec![Item { offset: 0, append_ms: START + 30_000, received_ms: START + 30_000, content }];
    store.apply(Batch { source: source(1), log: 0, from: None, items, next: 1 }).await.expect("applied");
    store.audit_through(vec![(source(1), START + 60_000).into()]).await.expect("through");
    for beat in [producer.goodbye(START + 31_000), consumer.goodbye(START + 31_000)] {
        audit.send(store, vec![beat], START + 31_000).await;
    }
    store.judge(START + 60_000, &client_hop()).await.expect("judged");
    (seen(store).await, found_done)
}

async fn seen(store: &dyn Store) -> Seen {
    let all = WindowQuery { topic: None, from_ms: 0, to_ms: i64::MAX, limit: None };
    let status = store.status().await.expect("status");
    let of =
        |name: &str, rows: Vec<String>| rows.into_iter().map(move |row| format!("{name}: {row}")).collect::<Vec<_>>();
    let text = |rows: &[&dyn std::fmt::Debug]| rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>();
    let mut lines = Vec::new();
    for w in store.windows(all.clone()).await.expect("windows") {
        lines.extend(of("verdict", text(&[&w])));
    }
    for w in store.stage_windows(all).await.expect("totals") {
        lines.extend(of("total", text(&[&w])));
    }
    for q in store.quarantined(10).await.expect("quarantine") {
        lines.extend(of("quarantine", text(&[&q])));
    }
    for p in store.partitions("kafka").await.expect("partitions") {
        lines.push(format!("partition: {} {} {:?}", p.partition, p.next, p.watermark_ms));
    }
    let fates =
        [status.read, status.applied, status.noop, status.fenced, status.hole, status.quarantined, status.pending];
    lines.push(format!("fates: {fates:?} through {:?}", status.applied_through_ms));
    lines
}

fn fuse(left: i64, cut: Cut) -> Arc<Fuse> {
    let (seen, blown) = (AtomicU64::new(0), AtomicU64::new(0));
    let (left, commits, away) = (AtomicI64::new(left), Mutex::default(), AtomicBool::new(false));
    Arc::new(Fuse { left, cut, seen, commits, blown, away })
}

/// Cuts at every `step`-th statement, both ways.
async fn cuts(step: usize, section: &str) {
    let mut place = Place::new();
    let socket = server().socket();
    let whole = fuse(i64::MAX, Cut::Before);
    let patience = Duration::from_secs(20);
    let port = proxy(socket.clone(), &whole);
    let (expected, none) = work(&store(port, place.database(), patience)).await;
    assert_eq!(none, 0);
    let statements = i64::try_from(whole.seen.load(Ordering::SeqCst)).expect("few");
    assert!(statements > 50, "only {statements} statements");
    let (mut found_done, mut committed, mut cut_at) = (0, 0, 0u64);
    for cut in [Cut::Before, Cut::After] {
        let commits = whole.commits.lock().clone();
        // After it is where the answer to a COMMIT is lost: all of those.
        for k in (1..=statements)
            .filter(|k| k % i64::try_from(step).expect("small") == 0 || cut == Cut::After && commits.contains(k))
        {
            place.renew();
            let fuse = fuse(k, cut);
            let store = store(proxy(socket.clone(), &fuse), place.database(), patience);
            let (found, done) = work(&store).await;
            assert_eq!(found, expected, "{cut:?} statement {k}");
            assert_eq!(fuse.blown.load(Ordering::SeqCst), 1, "{cut:?} statement {k} was never said");
            assert!(cut == Cut::After || done == 0, "statement {k} never came, and was done");
            found_done += done;
            cut_at += 1;
            committed += u64::from(cut == Cut::After && commits.contains(&k));
        }
    }
    // Of the batches, those that were committed and whose answers were lost: without that nothing was shown.
    assert!(
        found_done == 2 && committed > found_done,
        "{committed} answers to COMMIT lost, {found_done} to that of a batch"
    );
    println!("{statements} statements, every {step}th cut before and after, {committed} answers to COMMIT lost");
    figures::record(section, "cuts", cut_at).expect("recorded");
    figures::record(section, "commits", committed).expect("recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_at_a_statement_loses_nothing_and_doubles_nothing() {
    cuts(17, "postgres").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_size_a_connection_that_ends_at_any_statement_loses_nothing_and_doubles_nothing() {
    cuts(1, "postgres_full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_said_and_everything_goes_on_when_it_is_back() {
    let place = Place::new();
    let fuse = fuse(i64::MAX, Cut::Before);
    let port = proxy(server().socket(), &fuse);
    let store = store(port, place.database(), Duration::from_millis(300));
    let mut producer = SimReporter::new(1, "producer", "h", START);
    let mut audit = Audit::default();
    audit.send(&store, vec![producer.beat(START)], START).await;
    fuse.away.store(true, Ordering::SeqCst);
    let refused = store.judge(START, &client_hop()).await.expect_err("away");
    let said = format!("{refused} {:?}", refused.advice());
    assert!(matches!(refused, StoreError::Database { .. }) && said.contains("judge windows"), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("store.url"), "{said}");
    assert!(store.status().await.is_err(), "readers are told too");
    fuse.away.store(false, Ordering::SeqCst);
    audit.send(&store, vec![producer.beat(START + 1_000)], START + 1_000).await;
    assert_eq!(store.status().await.expect("status").read, 2);
}
