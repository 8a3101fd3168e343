//! Topics of this suite's own on the bed, and `chaperone run` with a tap on either cluster. What is on `agg` is called
//! otherwise there; the tap's patterns also match all that `MirrorMaker` keeps there for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::api::{self, Window};
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, paths};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::mirror::ALIAS;
use crate::traffic::PARTITIONS;

/// Upstream and downstream.
pub(crate) const STAGES: [&str; 2] = ["kafka:regional", "kafka:agg"];

/// See the module's head.
pub(crate) struct Scene {
    pub(crate) bed: &'static Bed,
    /// What the pipeline calls it, and `regional`.
    pub(crate) topic: String,
    /// What `agg` calls it.
    pub(crate) copy: String,
    pub(crate) dir: TempDir,
    /// Kept: it is killed when dropped.
    _chaperone: Program,
    url: String,
    began_ms: i64,
}

impl Scene {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let bed = Bed::get()?;
        let topic = bed.regional.fresh_topic("mm2orders", PARTITIONS.unsigned_abs() as usize, &[])?;
        std::fs::create_dir_all(paths::target())?;
        let mut dir = TempDir::with_prefix_in("mm2-", paths::target())?;
        // For looking at a failure: the store, the configurations and MirrorMaker's log stay.
        dir.disable_cleanup(std::env::var_os("CHAPERONE_TEST_KEEP").is_some());
        let config = dir.path().join("chaperone.toml");
        std::fs::write(&config, configuration(bed, &topic, &dir.path().join("data")))?;
        let mut chaperone = programs::chaperone(&["run"], &config)?;
        let url = programs::listening(&mut chaperone)?;
        let copy = format!("{ALIAS}.{topic}");
        Ok(Self { bed, topic, copy, dir, _chaperone: chaperone, url, began_ms: SystemClock.now_ms() })
    }

    /// All verdicts so far, by window; those of the message that is ahead of its time, too.
    pub(crate) fn windows(&self) -> anyhow::Result<BTreeMap<i64, Window>> {
        let day = i64::try_from(Duration::from_hours(24).as_millis())?;
        let rows = api::windows(&self.url, &self.topic, self.began_ms - day, self.began_ms + day)?;
        Ok(rows.into_iter().map(|row| (row.window_ms, row)).collect())
    }

    /// Messages counted at a stage, by window.
    pub(crate) fn counts(&self, stage: &str) -> anyhow::Result<BTreeMap<i64, u64>> {
        api::stage_counts(&self.data_dir(), &self.topic, stage)
    }

    /// The most that was ever said to be missing, by window: settled verdicts that were changed later are kept.
    pub(crate) fn ever_missing(&self) -> anyhow::Result<BTreeMap<i64, u64>> {
        let sql = "SELECT window_ms, max(max(old_missing, new_missing)) FROM v_amendment WHERE topic = ?1 GROUP BY 1";
        let mut most: BTreeMap<i64, u64> = self.pairs(sql)?;
        for (window_ms, row) in self.windows()? {
            let known = most.entry(window_ms).or_default();
            *known = row.missing_min.max(*known);
        }
        Ok(most)
    }

    /// Windows that were first said to be late, and that were amended.
    pub(crate) fn were_late(&self) -> anyhow::Result<BTreeSet<i64>> {
        let sql = "SELECT window_ms, count(*) FROM v_amendment
                   WHERE topic = ?1 AND old_verdict IN ('delayed', 'overdue') GROUP BY 1";
        Ok(self.pairs(sql)?.into_keys().collect())
    }

    /// How far the event times of the copy's partitions have come, by what the store knows; the furthest.
    pub(crate) fn frontier_ms(&self) -> anyhow::Result<i64> {
        let db = self.store()?;
        let sql = "SELECT max(t.frontier_ms) FROM tap_partition t JOIN name s ON s.id = t.stage WHERE s.text = ?1";
        let frontier: Option<i64> = db.query_row(sql, [STAGES[1]], |row| row.get(0))?;
        frontier.context("no frontier")
    }

    /// Waits until the copy's tap has spoken of all partitions' first messages.
    pub(crate) fn is_marked(&self) -> anyhow::Result<()> {
        let sql =
            "SELECT count(*) FROM tap_partition t JOIN name s ON s.id = t.stage WHERE s.text = ?1 AND position > 0";
        let marked: i32 = self.store()?.query_row(sql, [STAGES[1]], |row| row.get(0))?;
        ensure!(marked == PARTITIONS, "{marked} of {PARTITIONS} partitions");
        Ok(())
    }

    /// What `MirrorMaker` keeps on `agg` for itself is there, so that leaving it out means something.
    pub(crate) fn bookkeeping_is_there(&self) -> anyhow::Result<()> {
        for topic in
            ["heartbeats", "regional.heartbeats", "mm2-offsets.regional.internal", "regional.checkpoints.internal"]
        {
            let offsets = self.bed.agg.offsets(topic).with_context(|| format!("{topic} is not there"))?;
            println!("{topic}: {} messages", offsets.iter().map(|(first, next)| next - first).sum::<i64>());
        }
        Ok(())
    }

    /// Everything that a stage has counted, by what the store calls it.
    pub(crate) fn topics(&self) -> anyhow::Result<BTreeSet<String>> {
        let db = self.store()?;
        let mut query = db.prepare("SELECT DISTINCT topic FROM v_stage_window")?;
        let topics = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(topics)
    }

    fn pairs(&self, sql: &str) -> anyhow::Result<BTreeMap<i64, u64>> {
        let db = self.store()?;
        let mut query = db.prepare(sql)?;
        let rows = query.query_map([&self.topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut pairs = BTreeMap::new();
        for row in rows {
            let (window_ms, n): (i64, i64) = row?;
            pairs.insert(window_ms, u64::try_from(n)?);
        }
        Ok(pairs)
    }

    fn store(&self) -> anyhow::Result<Connection> {
        let file = self.data_dir().join("chaperone.sqlite");
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(10))?;
        Ok(db)
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Nothing is wrong with the process itself.
    pub(crate) fn is_ready(&self) -> anyhow::Result<()> {
        let (status, body) = api::get(&format!("{}/readyz", self.url))?;
        ensure!(status == 200, "/readyz is {status}: {body}");
        Ok(())
    }
}

fn configuration(bed: &Bed, topic: &str, data_dir: &std::path::Path) -> String {
    let ([up, down], data_dir) = (STAGES, data_dir.to_string_lossy());
    format!(
        r#"data_dir = {data_dir:?}
seed = "00c0ffee00c0ffee"
[web]
listen = "127.0.0.1:0"
[kafka.regional]
bootstrap_servers = "{regional}"
[kafka.regional.tap]
topics = ["{topic}"]
start = "earliest"
group = "{topic}-tap"
[kafka.regional.audit]
topic = "{topic}-audit"
partitions = 2
replication = 1
[kafka.agg]
bootstrap_servers = "{agg}"
[kafka.agg.tap]
topics = ['^{ALIAS}\.{topic}', '^.*heartbeats', '^mm2-.*', '^.*internal']
rename = [{{ from = '^{ALIAS}\.(.*)$', to = "$1" }}]
start = "earliest"
group = "{topic}-tap"
[pipeline.orders]
topics = ["{topic}"]
stages = ["{up}", "{down}"]
grace = "2s"
"#,
        regional = bed.regional.bootstrap_plain(),
        agg = bed.agg.bootstrap_plain(),
    )
}
