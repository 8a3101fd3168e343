//! The API as a stranger reads it, and the store as people write alert rules on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

use crate::eventually;

/// One row of `GET /api/v1/windows`; every field must be there.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Topic.
    pub topic: String,
    /// Upstream stage.
    pub from_stage: String,
    /// Downstream stage.
    pub to_stage: String,
    /// Window start, ms.
    pub window_ms: i64,
    /// Window width, ms.
    pub width_ms: i64,
    /// Verdict.
    pub verdict: String,
    /// At least so many missing.
    pub missing_min: u64,
    /// At least so many surplus.
    pub surplus_min: u64,
    /// Absent, not known to be lost.
    pub delayed: u64,
    /// What limits it.
    pub caveats: Vec<String>,
    /// The reason, in one sentence.
    pub why: String,
}

impl Window {
    /// Not judged yet.
    pub fn is_pending(&self) -> bool {
        matches!(self.verdict.as_str(), "open" | "settling")
    }
    /// Judged, and known to change when what is absent arrives.
    pub fn is_late(&self) -> bool {
        matches!(self.verdict.as_str(), "delayed" | "overdue")
    }
}

#[derive(Deserialize)]
struct Windows {
    windows: Vec<Window>,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .http_status_as_error(false)
        .build()
        .into()
}

/// `GET url` as text, with its status.
pub fn get(url: &str) -> anyhow::Result<(u16, String)> {
    let mut response = agent().get(url).call().with_context(|| format!("GET {url}"))?;
    let status = response.status().as_u16();
    let body =
        response.body_mut().with_config().limit(64 << 20).read_to_string().with_context(|| format!("GET {url}"))?;
    Ok((status, body))
}

/// All verdicts of `topic` in `[from_ms, to_ms)`.
pub fn windows(base: &str, topic: &str, from_ms: i64, to_ms: i64) -> anyhow::Result<Vec<Window>> {
    windows_by(base, &format!("topic={topic}&from={from_ms}&to={to_ms}"))
}

/// Verdicts by a query string.
pub fn windows_by(base: &str, query: &str) -> anyhow::Result<Vec<Window>> {
    let (status, body) = get(&format!("{base}/api/v1/windows?{query}"))?;
    anyhow::ensure!(status == 200, "status {status}: {body}");
    let answer: Windows =
        serde_json::from_str(&body).with_context(|| format!("not the documented shape: {body:.200}"))?;
    Ok(answer.windows)
}

/// The stage's counts in the store's public view: attempted or seen, per window of `topic`.
pub fn stage_counts(data_dir: &Path, topic: &str, stage: &str) -> anyhow::Result<BTreeMap<i64, u64>> {
    let file = data_dir.join("chaperone.sqlite");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let sql = "SELECT window_ms, n, failed FROM v_stage_window WHERE topic = ?1 AND stage = ?2";
    let mut query = db.prepare(sql)?;
    let rows = query
        .query_map([topic, stage], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)))?;
    let mut counts = BTreeMap::new();
    for row in rows {
        let (window, n) = row?;
        *counts.entry(window).or_default() += u64::try_from(n)?;
    }
    Ok(counts)
}

/// Offsets that nobody counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaudited {
    /// Partition.
    pub partition: i32,
    /// Which log.
    pub log: u32,
    /// The first of them.
    pub from: i64,
    /// One past the last, where that is known.
    pub to: Option<i64>,
    /// Why.
    pub cause: String,
}

/// The offsets that nobody counted, in the store's public view, oldest first.
pub fn unaudited(data_dir: &Path, topic: &str, stage: &str) -> anyhow::Result<Vec<Unaudited>> {
    let file = data_dir.join("chaperone.sqlite");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let sql = "SELECT partition, log, from_offset, to_offset, cause FROM v_unaudited WHERE topic = ?1 AND stage = ?2 \
               ORDER BY id";
    let mut query = db.prepare(sql)?;
    let rows = query.query_map([topic, stage], |r| {
        Ok(Unaudited { partition: r.get(0)?, log: r.get(1)?, from: r.get(2)?, to: r.get(3)?, cause: r.get(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What is lost of an audit topic, in the store's public view: partition, log in which it is read on, first offset, cause.
pub fn audit_lost(data_dir: &Path, audit: &str) -> anyhow::Result<Vec<(i32, u32, i64, String)>> {
    let db = Connection::open_with_flags(data_dir.join("chaperone.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let mut query = db.prepare(
        "SELECT l.partition, l.log, l.from_offset, l.cause FROM v_audit_lost l WHERE l.topic = ?1
         AND EXISTS (SELECT 1 FROM event e WHERE e.kind = 'audit_lost' AND e.text LIKE '%' || ?1 || '/' || l.partition || ' %')
         ORDER BY l.id",
    )?;
    let rows = query.query_map([audit], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where the collector stands in an audit topic, by partition.
pub fn audit_next(data_dir: &Path, audit: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let db = Connection::open_with_flags(data_dir.join("chaperone.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let mut query = db.prepare("SELECT partition, next FROM audit_partition WHERE topic = ?1")?;
    let rows = query.query_map([audit], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Waits until the collector has read an audit topic up to these ends of its partitions.
pub fn has_read(data_dir: &Path, audit: &str, offsets: &[(i64, i64)]) -> anyhow::Result<()> {
    let file = data_dir.join("chaperone.sqlite");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let sql = "SELECT next FROM audit_partition WHERE topic = ?1 AND partition = ?2";
    eventually(Duration::from_secs(120), "the audit topic is read", || {
        for (partition, (_, end)) in offsets.iter().enumerate() {
            let next: i64 = db.query_row(sql, rusqlite::params![audit, i64::try_from(partition)?], |r| r.get(0))?;
            ensure!(next >= *end, "partition {partition}: {next} of {end}");
        }
        Ok(())
    })
}
