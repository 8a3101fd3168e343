//! How a recorder counts and reports, and why it did not start.
//!
//! Nothing here is read from files or the environment but the defaults for the host's name and the directory of slots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chaperone_wal::{Error as LogError, slots};

use crate::rule::TopicRule;
use crate::window::Width;
use crate::wire;

/// Where the counts of open windows live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Slots {
    /// In memory that outlives the process: a mapped file in `/dev/shm/chaperone-<uid>`, or in `$XDG_RUNTIME_DIR` where
    /// there is no `/dev/shm`. kill -9, abort and an OOM kill lose no count: the next recorder with the same `data_dir`
    /// reports them (with the same stage, application, cluster and datacenter where there is none), or
    /// `chaperone recover`.
    #[default]
    Shared,
    /// The same in a directory of the caller's, which should be in memory and survive the process: in containers a
    /// volume, for `/dev/shm` may go with the container.
    Dir(PathBuf),
    /// In the process's own memory: its death loses what was counted since the last checkpoint, and every record says
    /// so with the flag `no_crash_recovery`.
    Heap,
}

impl Slots {
    /// The directory, if there is one.
    pub fn dir(&self) -> Option<PathBuf> {
        match self {
            Self::Shared => {
                let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
                slots::default_dir(Path::new("/dev/shm"), runtime.as_deref())
            }
            Self::Dir(dir) => Some(dir.clone()),
            Self::Heap => None,
        }
    }
}

const SLOTS_MAX: usize = 1_000_000;
const LOG_BYTES_MIN: u64 = 1 << 20;

/// How a recorder counts and reports.
#[derive(Debug, Clone)]
pub struct Config {
    /// The stage that is counted, as the pipelines of the configuration name it.
    pub stage: String,
    /// Name of the application.
    pub application: String,
    /// Host; default the machine's name.
    pub host: String,
    /// Kafka cluster of the stage; empty outside Kafka.
    pub cluster: String,
    /// Datacenter; may be empty.
    pub datacenter: String,
    /// Directory of the write-ahead log, one for each recorder of a host. `None`: memory only; a crash loses all that
    /// was not sent, and every record says so with the flag `no_wal`.
    pub data_dir: Option<PathBuf>,
    /// Where the counts of open windows live.
    pub slots: Slots,
    /// The deployment's seed (`chaperone init` writes it). Stages with different seeds cannot be compared.
    pub seed: u64,
    /// Topics whose time and identity are not found by the default rule; the first that matches decides. Write what the
    /// taps' configuration has (`pipeline.NAME.time`, `.unit`, `.id`): stages with different rules cannot be compared.
    pub rules: Vec<TopicRule>,
    /// Width of a window, default 10 s.
    pub width: Width,
    /// How long after its end, and after its last message, a window stays open. Default 10 s. Later messages are
    /// counted too, in a slot of their own.
    pub grace: Duration,
    /// How often is reported, default 2 s. The collector calls a reporter silent after 30 s.
    pub heartbeat: Duration,
    /// How often the open slots go to the write-ahead log, default 10 s: what the machine's death may cost.
    pub checkpoint: Duration,
    /// Slot states told in a second, default 50, over some seconds. A host with more to tell tells the open slots more
    /// rarely, so it takes longer from one watermark to the next: first 10 s, then as long as it needs. Finals count, but are
    /// told at once; where they alone would be more than 80 %, with a log (`data_dir`), wider windows are told (60 s, 600 s).
    pub records_per_second: u32,
    /// The same for bytes of audit messages, default 32 KiB (JSON, before Kafka's compression).
    pub bytes_per_second: u32,
    /// Size of the write-ahead log, bytes; default 64 MiB, at least 1 MiB and room for eight times the slot table's states (1 KB
    /// each). With Kafka away it is what finals may take on disk and, once more, in memory; from half of it on windows become
    /// wider (60 s, then 600 s).
    pub log_bytes: u64,
    /// Lines of 1.3 KB in the slot table, all allocated at the start; default 4096, at most 1,000,000. A thread takes one
    /// for each topic, open window and class. When half are in use, threads share the further ones, one for each topic,
    /// window and class: so there is room for half as many of these, however many threads count. When all are in use, the
    /// overflow slot counts what is new.
    pub max_slots: usize,
}

impl Config {
    /// The defaults for a stage of an application.
    pub fn new(stage: impl Into<String>, application: impl Into<String>) -> Self {
        Self {
            stage: stage.into(),
            application: application.into(),
            host: host_name(),
            cluster: String::new(),
            datacenter: String::new(),
            data_dir: None,
            slots: Slots::default(),
            seed: 0,
            rules: Vec::new(),
            width: Width::default(),
            grace: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
            checkpoint: Duration::from_secs(10),
            records_per_second: 50,
            bytes_per_second: 32 << 10,
            log_bytes: 64 << 20,
            max_slots: 4096,
        }
    }

    pub(super) fn check(&self) -> Result<(), StartError> {
        let wrong = |field, problem: &dyn std::fmt::Display| StartError::Config { field, problem: problem.to_string() };
        wire::name("stage", &self.stage).map_err(|e| wrong("stage", &e))?;
        wire::name("reporter.host", &self.host).map_err(|e| wrong("host", &e))?;
        if self.heartbeat < Duration::from_millis(1) {
            return Err(wrong("heartbeat", &"is below 1 ms; set 2 s unless this is a test"));
        }
        for (field, rate) in
            [("records_per_second", self.records_per_second), ("bytes_per_second", self.bytes_per_second)]
        {
            if rate == 0 {
                return Err(wrong(field, &"is 0; allowed is 1 or more"));
            }
        }
        if self.log_bytes < LOG_BYTES_MIN {
            return Err(wrong("log_bytes", &format!("is {}; allowed is {LOG_BYTES_MIN} or more", self.log_bytes)));
        }
        if self.max_slots == 0 || self.max_slots > SLOTS_MAX {
            let allowed = "1 to 1000000; set at least the number of topics times open windows (3)";
            return Err(wrong("max_slots", &format!("is {}; allowed is {allowed}", self.max_slots)));
        }
        Ok(())
    }
}

fn host_name() -> String {
    if cfg!(miri) {
        return "miri".to_owned();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "unknown-host".to_owned() } else { name }
}

/// Why a recorder did not start. Counting has not begun; the host may go on without it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("recorder setting {field}: {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Another recorder, here or in another process, holds the directory.
    #[error(
        "recorder directory {} is in use by another recorder; give each recorder a data_dir of its own \
         (for example one per process or instance number)", dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The write-ahead log cannot be opened.
    #[error(
        "recorder directory {}: {source}; make it a writable directory on a local disk, or start with data_dir = None \
         to do without the write-ahead log", dir.display()
    )]
    Log {
        /// The directory.
        dir: PathBuf,
        /// The log's words.
        source: LogError,
    },
    /// There is no memory for the slots.
    #[error("slot table of {max_slots} slots: {source}; ask for fewer (max_slots)")]
    Slots {
        /// How many were asked for.
        max_slots: usize,
        /// What went wrong.
        source: slots::Error,
    },
    /// The reporter's thread cannot be started.
    #[error("cannot start the thread chaperone-report: {0}; raise the process's limit of threads")]
    Thread(std::io::Error),
}
