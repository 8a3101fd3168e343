//! A folder with a configuration, a steady producer, and the questions that every test asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::kafka::{AuditedProducer, KafkaSink};
use chaperone_audit::recorder::{Config, Recorder};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::api::{self, Window};
use chaperone_tests::{Cluster, eventually, paths, recount};
use rdkafka::producer::BaseRecord;
use tempfile::TempDir;

/// Windows, grace, reports, rebalances, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two messages.
const PACE: Duration = Duration::from_millis(2);

/// A folder of one test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let mut dir = TempDir::with_prefix_in(format!("{name}-"), paths::scratch("processes")?)?;
        dir.disable_cleanup(std::env::var_os("CHAPERONE_TEST_KEEP").is_some());
        Ok(Self(dir))
    }
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Writes the configuration file.
    pub(crate) fn write(&self, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path("chaperone.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }
    /// A recorder of this process, stage `producer`.
    pub(crate) fn recorder(&self, cluster: &Cluster, audit: &str) -> anyhow::Result<Recorder> {
        let sink = KafkaSink::new(&cluster.plain_config(), audit)?;
        let config = Config {
            data_dir: Some(self.path("recorder")),
            grace: Duration::from_secs(2),
            ..Config::new("producer", "processes")
        };
        Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).context("recorder")
    }
}

/// A topic of the test, and an audit topic for it.
pub(crate) fn topics(cluster: &Cluster, name: &str, partitions: usize) -> anyhow::Result<(String, String)> {
    let topic = cluster.fresh_topic(name, partitions, &[])?;
    let audit = format!("{topic}-audit");
    cluster.create_topic(&audit, 3, &[("message.timestamp.type", "LogAppendTime")])?;
    Ok((topic, audit))
}

/// Messages at a steady pace while something is done to those who count them.
#[derive(Default)]
pub(crate) struct Traffic {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Traffic {
    /// Messages handed over so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Waits until so many more were sent; returns how many that are in all.
    pub(crate) fn more(&self, messages: u64) -> anyhow::Result<u64> {
        let mark = self.sent() + messages;
        eventually(PATIENCE, "more traffic", || {
            ensure!(self.sent() >= mark, "{} of {mark}", self.sent());
            Ok(mark)
        })
    }

    /// Calls `send` with number and time of each message until `act` is over.
    pub(crate) fn during<T>(
        &self,
        send: impl Fn(u64, i64) -> anyhow::Result<()> + Sync,
        act: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| self.send_all(&send));
            let outcome = act(self);
            self.stop.store(true, Ordering::SeqCst);
            sending.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
            outcome
        })
    }

    fn send_all(&self, send: &impl Fn(u64, i64) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let begun = Instant::now();
        for number in 0_u64.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let due = begun + PACE * u32::try_from(number)?;
            eventually(PATIENCE, "the next message is due", || {
                ensure!(Instant::now() >= due, "not yet");
                Ok(())
            })?;
            send(number, SystemClock.now_ms())?;
            self.sent.store(number + 1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Sends one message with a time of its own.
pub(crate) fn send(producer: &AuditedProducer, topic: &str, number: u64, time_ms: i64) -> anyhow::Result<()> {
    let (key, value) = (number.to_be_bytes(), format!("message {number}"));
    let record = BaseRecord::to(topic).key(&key[..]).payload(&value).timestamp(time_ms);
    producer.send(record).map_err(|(e, _)| e.into())
}

/// `/readyz`: the status, and the sentences in one text.
pub(crate) fn ready(url: &str) -> anyhow::Result<(u16, String)> {
    api::get(&format!("{url}/readyz"))
}

/// Waits until `/readyz` says that all is well.
pub(crate) fn becomes_ready(url: &str, log: impl Fn() -> String) -> anyhow::Result<()> {
    eventually(PATIENCE, "it is ready", || {
        let (status, said) = ready(url)?;
        ensure!(status == 200, "{status}: {said}\n{}", log());
        Ok(())
    })
}

/// Waits until `/readyz` and the page say all `words`, as a fault and not as a note; returns the answer of `/readyz`.
pub(crate) fn says(url: &str, words: &[&str], deadline: Duration) -> anyhow::Result<String> {
    eventually(deadline, &format!("it says {words:?}"), || {
        let (status, said) = ready(url)?;
        ensure!(status == 503 && words.iter().all(|word| said.contains(word)), "{status}: {said}");
        let (_, page) = api::get(&format!("{url}/"))?;
        let page = page.replace("&#39;", "'").replace("&#x27;", "'").replace("&#96;", "`");
        ensure!(page.contains("stale:") && words.iter().all(|word| page.contains(word)), "the page does not: {page}");
        Ok(said)
    })
}

/// A figure of `/metrics`: the sum of all samples of that name whose labels contain `label`.
pub(crate) fn metric(url: &str, name: &str, label: &str) -> anyhow::Result<f64> {
    let (status, text) = api::get(&format!("{url}/metrics"))?;
    ensure!(status == 200, "{status}: {text}");
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((sample, value)) = line.rsplit_once(' ') else { continue };
        let (found, labels) = sample.split_once('{').unwrap_or((sample, ""));
        if found == name && labels.contains(label) {
            *sum.get_or_insert(0.0) += value.parse::<f64>()?;
        }
    }
    sum.with_context(|| format!("no {name} with {label}:\n{text}"))
}

/// By how much a stage's counts differ from what the topic holds, over all windows.
pub(crate) fn difference(
    data_dir: &Path,
    (cluster, topic, messages): (&Cluster, &str, u64),
    stage: &str,
) -> anyhow::Result<u64> {
    let truth = recount::by_window(cluster, topic, messages)?;
    let stored = api::stage_counts(data_dir, topic, stage)?;
    let windows: std::collections::BTreeSet<&i64> = truth.keys().chain(stored.keys()).collect();
    let of = |counts: &std::collections::BTreeMap<i64, u64>, w: &i64| counts.get(w).copied().unwrap_or(0);
    Ok(windows.into_iter().map(|w| of(&truth, w).abs_diff(of(&stored, w))).sum())
}

/// What a stage has counted of a topic.
pub(crate) fn counted(data_dir: &Path, topic: &str, stage: &str) -> u64 {
    // The store may not be there yet.
    api::stage_counts(data_dir, topic, stage).map_or(0, |counts| counts.values().sum())
}

/// Waits until a stage has counted at least so many.
pub(crate) fn counts(data_dir: &Path, topic: &str, stage: &str, messages: u64) -> anyhow::Result<()> {
    eventually(PATIENCE, &format!("{stage} counts {messages}"), || {
        let n = counted(data_dir, topic, stage);
        ensure!(n >= messages, "{n} of {messages}");
        Ok(())
    })
}

/// All verdicts of a topic.
pub(crate) fn windows(url: &str, topic: &str) -> anyhow::Result<Vec<Window>> {
    api::windows_by(url, &format!("topic={topic}&from=now-1h&to=now%2B1m"))
}

/// Waits until every window of a topic is ok.
pub(crate) fn all_ok(url: &str, topic: &str) -> anyhow::Result<usize> {
    eventually(PATIENCE, "every window is ok", || {
        let windows = windows(url, topic)?;
        ensure!(!windows.is_empty(), "no window");
        let bad = windows.iter().find(|w| w.verdict != "ok");
        ensure!(bad.is_none(), "{bad:?}");
        Ok(windows.len())
    })
}
