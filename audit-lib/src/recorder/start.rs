//! Making a recorder: its log, its slots, and what it takes over from dead incarnations of its own home.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use chaperone_wal::slots::{self, Geometry, Start};
use chaperone_wal::{Entry, Error as LogError};
use parking_lot::Mutex;
use uuid::Uuid;

use super::config::{Config, StartError};
use super::dispatch::Dispatch;
use super::home::About;
use super::journal::Journal;
use super::message::Head;
use super::pace::Pace;
use super::positions::Positions;
use super::registry::OTHER_LINES;
use super::remains::{Remains, dead_in, others_in};
use super::report::{Command, Counters, Reporter, Shared, Timing};
use super::slot::SCHEMA;
use super::stretch::Stretch;
use super::table::Table;
use super::{Handle, Recorder, Sink};
use crate::clock::Clock;
use crate::histogram;
use crate::rule::Rules;
use crate::wire::Reporter as ReporterName;

/// Room for names for each slot; names are never removed from a table.
const NAME_BYTES_PER_SLOT: usize = 64;
const NAME_BYTES_MIN: usize = 64 << 10;
const NAME_BYTES_MAX: usize = 16 << 20;

/// How long a start waits for the lock of its log, looking again each slice.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_SLICE: Duration = Duration::from_millis(10);

/// What dead incarnations left.
pub(super) struct Left {
    /// In the log.
    pub(super) entries: Vec<Entry>,
    /// In slot files.
    pub(super) remains: Vec<Remains>,
}

/// A recorder, the reporter that is to be run, and its orders. `boot`: the machine's boot, 16 bytes.
pub(super) fn build(
    config: Config,
    sink: Box<dyn Sink>,
    clock: Arc<dyn Clock>,
    boot: [u8; 16],
) -> Result<(Recorder, Reporter, Receiver<Command>), StartError> {
    config.check()?;
    let (journal, entries) = open_log(&config)?;
    let head = head(&config, clock.now_ms());
    let about = About::new(&head, config.data_dir.as_deref());
    // Before our own file is there. What another application left is not ours to tell.
    let remains = config.slots.dir().map(|dir| dead_in(&dir, |other| about.is_home_of(other))).unwrap_or_default();
    if let Some(dir) = config.slots.dir()
        && let Some(advice) = others_in(&dir, |other| about.is_home_of(other)).advice(&dir)
    {
        tracing::warn!("{advice}");
    }
    let slots = open_slots(&config, &head, &about)?;
    let rules = Rules::with(config.seed, config.rules);
    let table = Table::new(slots, clock, rules, config.width, config.max_slots);
    let counters = Arc::new(Counters::default());
    let shared = Arc::new(Shared {
        table: Arc::clone(&table),
        positions: Positions::default(),
        counters: Arc::clone(&counters),
    });
    let timing = Timing {
        grace_ms: i64::try_from(config.grace.as_millis()).unwrap_or(i64::MAX),
        heartbeat: config.heartbeat,
        checkpoint: config.checkpoint,
    };
    let budget = (config.records_per_second, config.bytes_per_second);
    let pace = Pace::new(budget.0, budget.1);
    let stretch = Stretch::new(config.width, timing.grace_ms, budget);
    let (sender, receiver) = mpsc::channel();
    let incarnation = head.incarnation;
    let now = Instant::now();
    let mut reporter =
        Reporter::new(Arc::clone(&shared), head, (timing, stretch), Dispatch::new(sink, journal, pace, counters), now);
    reporter.boot = boot;
    reporter.recover(Left { entries, remains }, now);
    let handle = Handle { incarnation, table, shared, commands: sender, closed: Mutex::default() };
    Ok((Recorder { handle: Arc::new(handle) }, reporter, receiver))
}

fn head(config: &Config, now_ms: i64) -> Head {
    Head {
        incarnation: Uuid::now_v7(),
        reporter: ReporterName {
            host: config.host.clone(),
            application: config.application.clone(),
            library: concat!("chaperone-audit ", env!("CARGO_PKG_VERSION")).to_owned(),
            pid: std::process::id(),
        },
        stage: config.stage.clone(),
        cluster: config.cluster.clone(),
        datacenter: config.datacenter.clone(),
        audited_since_ms: now_ms,
    }
}

fn open_log(config: &Config) -> Result<(Journal, Vec<Entry>), StartError> {
    let Some(dir) = &config.data_dir else { return Ok((Journal::none(), Vec::new())) };
    let asked = Instant::now();
    let (journal, recovered) = loop {
        match Journal::open(dir, config.max_slots, config.log_bytes) {
            Ok(opened) => break opened,
            // An agent that takes over what the last process left, or somebody who looks, holds the lock for a moment.
            Err(LogError::Locked { .. }) if asked.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_SLICE),
            Err(LogError::Locked { .. }) => return Err(StartError::InUse { dir: dir.clone() }),
            Err(source) => return Err(StartError::Log { dir: dir.clone(), source }),
        }
    };
    if !recovered.torn.is_empty() || !recovered.corrupt.is_empty() {
        let (torn, corrupt) = (recovered.torn.len(), recovered.corrupt.len());
        tracing::warn!(dir = %dir.display(), torn, corrupt, "the write-ahead log was damaged; what is whole is sent");
    }
    Ok((journal, recovered.entries))
}

/// The mapped table; where none can be had one on the heap, for the host is to start all the same.
fn open_slots(config: &Config, head: &Head, about: &About) -> Result<slots::Table, StartError> {
    let wrong = |source| StartError::Slots { max_slots: config.max_slots, source };
    let geometry = geometry(config.max_slots);
    let about = about.encode();
    let start = Start {
        incarnation: head.incarnation,
        started_ms: head.audited_since_ms.max(0).cast_unsigned(),
        schema: SCHEMA,
        about: about.clone().unwrap_or_default(),
    };
    let table = match (config.slots.dir(), about) {
        (Some(dir), Some(_)) => mapped(&dir, &start, geometry),
        (Some(_), None) => {
            tracing::warn!("the names of host, application and stage are too long for a slot file; {NO_RECOVERY}");
            None
        }
        (None, _) => None,
    };
    match table {
        Some(table) => Ok(table),
        None => slots::Table::heap(&start, geometry).map_err(wrong),
    }
}

const NO_RECOVERY: &str = "the death of the process loses what it counted since the last checkpoint";

fn mapped(dir: &std::path::Path, start: &Start, geometry: Geometry) -> Option<slots::Table> {
    match slots::Table::create(dir, start, geometry) {
        Ok(table) => {
            if !table.in_memory() {
                tracing::warn!(dir = %dir.display(), "the slots are on a disk: its flushes may hold up counts; give a directory in memory");
            }
            Some(table)
        }
        Err(error) => {
            tracing::warn!(%error, "no mapped slots; {NO_RECOVERY}");
            None
        }
    }
}

fn geometry(max_slots: usize) -> Geometry {
    let names = (max_slots * NAME_BYTES_PER_SLOT).clamp(NAME_BYTES_MIN, NAME_BYTES_MAX);
    Geometry {
        slots: u32::try_from(max_slots.saturating_add(OTHER_LINES)).unwrap_or(u32::MAX),
        cells: u16::try_from(histogram::CELLS).unwrap_or(u16::MAX),
        names_bytes: u32::try_from(names.next_multiple_of(8)).unwrap_or(u32::MAX),
    }
}
