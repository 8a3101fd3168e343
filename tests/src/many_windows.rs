//! A store with millions of windows, made from a seed: what a year of a small deployment, or a day of a large one, looks like
//! to whoever reads it. Rows are written as the collector would, rolled up by its own sweep.
//!
//! One topic in a hundred has a week of windows, the others as many of the last hours as make up the number. About one hop
//! window in two thousand has lost something.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use chaperone_audit::Histogram;
use chaperone_collector::{Retention, SqliteStore, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::{Connection, params};

/// What is made.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows of totals: (topic, stage, window).
    pub windows: u64,
    /// Topics; `topic-0000` and every hundredth after it have a week.
    pub topics: u64,
    /// Of everything.
    pub seed: u64,
    /// The time that it is; the last windows have just been judged.
    pub now_ms: i64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Rows of totals.
    pub windows: u64,
    /// Rows of verdicts.
    pub hops: u64,
    /// Of these with something missing.
    pub bad: u64,
    /// Steps of the sweep.
    pub steps: u64,
}

/// Stages of every topic; a hop between any two neighbours.
pub const STAGES: [&str; 3] = ["producer", "kafka:regional", "kafka:agg"];
const WIDTH_MS: i64 = 10_000;
const WEEK: u64 = 7 * 8_640;
/// Rows in a transaction.
const BATCH: u64 = 200_000;

/// Makes a store at `path`, which must not be there.
pub fn make(path: &Path, size: &Size) -> anyhow::Result<Made> {
    anyhow::ensure!(!path.exists(), "{} is there already", path.display());
    drop(SqliteStore::open(path)?);
    let mut rng = StdRng::seed_from_u64(size.seed);
    let hists = (0..256).map(|_| delays(&mut rng)).collect();
    let mut maker = Maker { conn: Connection::open(path)?, rng, hists, made: Made::default() };
    maker.conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA temp_store = MEMORY")?;
    maker.names(size)?;
    let deep = size.topics.div_ceil(100);
    let stages = STAGES.len() as u64;
    let of_deep = WEEK.min(size.windows / stages / deep.max(1));
    let rest = (size.windows / stages).saturating_sub(deep * of_deep).checked_div(size.topics - deep).unwrap_or(0);
    maker.conn.execute_batch("BEGIN")?;
    for topic in 0..size.topics {
        let windows = if topic % 100 == 0 { of_deep } else { rest };
        maker.topic(size, topic, windows)?;
    }
    maker.conn.execute_batch("COMMIT")?;
    maker.levels()?;
    let mut made = maker.made;
    drop(maker);
    made.steps = sweep(path, size.now_ms)?;
    Connection::open(path)?.execute_batch("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(made)
}

/// Rolls up whatever is old enough, with nothing dropped.
fn sweep(path: &Path, now_ms: i64) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let long = Duration::from_secs(30 * 86_400);
    let retention = Retention { windows: long, minutes: long, ..Retention::default() };
    runtime.block_on(async {
        let options = chaperone_collector::sqlite::Options { durable: false, ..Default::default() };
        let store = SqliteStore::open_with(path, options)?;
        let mut steps = 0;
        while store.sweep(now_ms, retention).await?.more {
            steps += 1;
        }
        Ok(steps)
    })
}

struct Maker {
    conn: Connection,
    rng: StdRng,
    /// Delays of some windows.
    hists: Vec<String>,
    made: Made,
}

/// A window's delays.
fn delays(rng: &mut StdRng) -> String {
    let mut hist = Histogram::new();
    for _ in 0..rng.random_range(20..200) {
        hist.record(rng.random_range(20..90));
    }
    hist.encode()
}

/// A topic's name.
pub fn topic_name(topic: u64) -> String {
    format!("topic-{topic:04}")
}

impl Maker {
    /// Stages have the numbers 1 to 3, topics those after.
    fn names(&self, size: &Size) -> anyhow::Result<()> {
        let mut insert = self.conn.prepare("INSERT INTO name (id, text) VALUES (?1, ?2)")?;
        for (id, stage) in (1i64..).zip(STAGES) {
            insert.execute(params![id, stage])?;
        }
        for topic in 0..size.topics {
            insert.execute(params![number(topic)?, topic_name(topic)])?;
        }
        let mut pipeline =
            self.conn.prepare("INSERT INTO topic_pipeline (topic, pipeline) VALUES (?1, 'generated')")?;
        for topic in 0..size.topics {
            pipeline.execute(params![number(topic)?])?;
        }
        Ok(())
    }

    fn topic(&mut self, size: &Size, topic: u64, windows: u64) -> anyhow::Result<()> {
        let id = number(topic)?;
        let last_ms = size.now_ms.div_euclid(WIDTH_MS) * WIDTH_MS - 3 * WIDTH_MS;
        for back in (0..i64::try_from(windows)?).rev() {
            let window_ms = last_ms - back * WIDTH_MS;
            self.window(id, window_ms)?;
            if self.made.windows.is_multiple_of(BATCH) {
                self.conn.execute_batch("COMMIT; BEGIN")?;
            }
        }
        Ok(())
    }

    fn window(&mut self, topic: i64, window_ms: i64) -> anyhow::Result<()> {
        let mut totals = self.conn.prepare_cached(
            "INSERT INTO stage_window VALUES (?1, ?2, ?3, 1, 10000, 7, 7, ?4, ?4, 0, ?5, ?6, ?6, zeroblob(16), ?7, ?8, ?9, ?10, ?11)",
        )?;
        let mut verdicts = self.conn.prepare_cached(
            "INSERT INTO hop_window (topic, window_ms, from_stage, to_stage, hop, width_ms, verdict, missing_min, surplus_min,
                 delayed, caveats, why, settled_ms, settled_verdict, settled_missing, settled_surplus, amendments)
             VALUES (?1, ?2, ?3, ?4, ?5, 10000, ?6, ?7, 0, 0, '[]', ?8, ?9, ?6, ?7, 0, 0)",
        )?;
        let sent: i64 = self.rng.random_range(20..200);
        let mut n = sent;
        let mut ids: [u8; 16] = self.rng.random();
        for (stage, delay_ms) in (1i64..).zip([3, 40, 180]) {
            let lost = if stage > 1 && self.rng.random_bool(0.0005) { self.rng.random_range(1..=20) } else { 0 };
            if lost > 0 {
                ids = self.rng.random();
            }
            n -= lost;
            let hist = self.rng.random_range(0..self.hists.len());
            let hist = self.hists.get(hist).map_or("", String::as_str);
            let last_ms = window_ms + WIDTH_MS + delay_ms;
            totals.execute(params![
                topic,
                window_ms,
                stage,
                n,
                n * 220,
                &ids[..],
                hist,
                window_ms + 3,
                window_ms + 9_990,
                last_ms,
                window_ms
            ])?;
            self.made.windows += 1;
            if stage > 1 {
                let (verdict, why) = if lost > 0 {
                    self.made.bad += 1;
                    (
                        "missing",
                        format!(
                            "{} acked upstream, {n} seen downstream: at least {lost} missing; the hop has passed this window",
                            n + lost
                        ),
                    )
                } else {
                    ("ok", format!("{n} messages acked upstream, {n} seen downstream, and the ids are the same"))
                };
                verdicts.execute(params![
                    topic,
                    window_ms,
                    stage - 1,
                    stage,
                    stage - 2,
                    verdict,
                    lost,
                    why,
                    last_ms + 10_000
                ])?;
                self.made.hops += 1;
            }
        }
        Ok(())
    }

    /// What the judge would have written with each verdict.
    fn levels(&self) -> anyhow::Result<()> {
        for level_ms in [60_000i64, 600_000, 3_600_000] {
            self.conn
                .execute(
                    "INSERT INTO hop_level
                     SELECT topic, ?1, window_ms / ?1 * ?1, from_stage, to_stage, max(hop), sum(verdict = 'ok'),
                            sum(verdict = 'missing'), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(missing_min), 0, 0, 0
                     FROM hop_window GROUP BY topic, window_ms / ?1, from_stage, to_stage",
                    params![level_ms],
                )
                .context("levels")?;
        }
        Ok(())
    }
}

fn number(topic: u64) -> anyhow::Result<i64> {
    Ok(i64::try_from(topic)? + 10)
}
