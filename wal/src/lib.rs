//! What survives: a durable append-only log of opaque entries, each pending or done ([`Log`]), and counts that outlive
//! their process ([`slots`]).
//!
//! Nothing here knows of Kafka or auditing. To the log an entry is an id (UUID) and bytes. It is *pending* from the moment
//! [`Log::append`] returns until [`Log::done`]; what is pending is recovered after a crash, under the same id. A
//! *checkpoint* supersedes the checkpoint before it.
//!
//! Guarantees: an entry whose append returned `Ok` and that was not marked done is recovered exactly once, also after
//! the loss of all unsynced writes, and what opening returns is durable again. A lost `done` only means that the entry
//! comes again. [`Log::replace`] puts one record in the place of several, in one step. Damage is reported with its span
//! and never hides its neighbours.
//!
//! Limits: an entry ≤ the segment less 140 bytes; the log ≤ [`Config::max_bytes`], beyond it [`Error::Full`] and the log
//! is unharmed. One process at a time (a lock is held for life; a child that it forked holds up nobody). Bytes: docs/FORMATS.md, "The log".
//!
//! ```
//! use chaperone_wal::{Config, Log};
//! let dir = tempfile::tempdir()?;
//! let (log, recovered) = Log::open(dir.path(), Config::default())?;
//! assert!(recovered.entries.is_empty());
//! let seq = log.append(uuid::Uuid::now_v7(), b"a closed window")?;
//! assert_eq!(log.pending_count(), 1);
//! log.done(seq)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod commit;
mod error;
mod frame;
mod gate;
#[cfg_attr(loom, allow(dead_code, reason = "models make no files"))]
mod here;
mod inspect;
mod lock;
mod log;
mod recovery;
mod scan;
mod segments;
pub mod slots;
mod state;
mod storage;

#[cfg(any(test, feature = "testing"))]
pub mod sim;

pub use error::Error;
pub use frame::Kind;
pub use inspect::{Inspection, Listed, SegmentInfo, Standing, inspect, inspect_dir, peek_dir};
pub use lock::is_in_use;
pub use log::Log;
pub use recovery::{Recovered, Span};
pub use state::{Config, Entry, Seq};
pub use storage::{Disk, File, Storage};
