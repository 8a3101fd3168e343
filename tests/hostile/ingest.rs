//! A real store is written while its page is flooded: batches go on being committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaperone_collector::batch::{AuditPartition, Batch, Content, Item, Refused};
use chaperone_collector::{SqliteStore, Store as _};
use chaperone_tests::figures;
use chaperone_web::{Connections, WebConfig};

use crate::client::{Server, config};
use crate::{fake::NOW_MS, sql};

const FOR: Duration = Duration::from_secs(4);
const FLOODERS: usize = 8;

/// Batches committed one after the other, and the longest that one took.
async fn commits(store: &SqliteStore, from: i64) -> anyhow::Result<(i64, Duration)> {
    let (began, mut longest, mut offset) = (Instant::now(), Duration::ZERO, from);
    while began.elapsed() < FOR {
        let source = AuditPartition { cluster: "c".into(), topic: "audit".into(), partition: 0 };
        let refused = Refused { length: 3, sha256: "00".repeat(32), reason: "not ours".into() };
        let item = Item { offset, append_ms: NOW_MS, received_ms: NOW_MS, content: Content::Refused(refused) };
        let one = Instant::now();
        store.apply(Batch { source, log: 0, from: None, items: vec![item], next: offset + 1 }).await?;
        longest = longest.max(one.elapsed());
        offset += 1;
    }
    Ok((offset - from, longest))
}

pub(crate) fn goes_on() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let store = sql::store(dir.path())?;
    let (state, _bench) = sql::state(Arc::clone(&store));
    let server = Server::start(state, WebConfig { ..config() }, Connections::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (alone, _) = runtime.block_on(commits(&store, 0))?;
    let over = AtomicBool::new(false);
    let (beside, longest, answered) = std::thread::scope(|scope| {
        let flood = |n: usize| {
            let mut answered = 0_u64;
            let targets = [
                "/",
                "/api/v1/windows?from=now-400d",
                "/t/x/orders?from=now-30d",
                "/api/v1/topics?from=now-400d",
                "/nope",
            ];
            while !over.load(Ordering::SeqCst) {
                let target = targets[(n + usize::try_from(answered).unwrap_or(0)) % targets.len()];
                answered += u64::from(server.get(target).is_ok_and(|a| a.status != 0));
            }
            answered
        };
        let flooders: Vec<_> = (0..FLOODERS).map(|n| scope.spawn(move || flood(n))).collect();
        let written = runtime.block_on(commits(&store, alone));
        over.store(true, Ordering::SeqCst);
        let answered: u64 = flooders.into_iter().map(|f| f.join().unwrap_or(0)).sum();
        written.map(|(n, longest)| (n, longest, answered))
    })?;
    println!("{alone} batches alone, {beside} beside {answered} requests, the longest {longest:?}");
    let (status, all) = (runtime.block_on(store.status())?, u64::try_from(alone + beside)?);
    anyhow::ensure!(status.read == all && status.quarantined == all, "every batch is there: {status:?}");
    anyhow::ensure!(answered > 100, "no flood: {answered} requests");
    figures::record("hostile", "commits_beside", beside)?;
    figures::record("hostile", "commit_longest_ms", u64::try_from(longest.as_millis())?)?;
    Ok(())
}
