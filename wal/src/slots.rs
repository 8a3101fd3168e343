//! Counts that survive the death of their process: a table of slots in mapped memory.
//!
//! A slot is lines of 8-byte words with an owner, a state and a sequence; what they mean is the caller's. Its *in* line
//! is counted by one owning thread with plain stores ([`Line::count`]); its *out* line by any thread
//! ([`Table::add`]). The table is a file in memory (tmpfs), allocated in full and locked for life: kill -9, abort, a
//! crash, an OOM kill leave the pages, and whoever comes next reads them ([`recovery`]).
//!
//! Guarantees: a kill at any instruction loses no count that was published, and tears none: n and its words belong
//! together, so do the histogram's cells, so do the outcomes. A slot's use is numbered; what comes late for an earlier use
//! is refused, never added to another. A full disk is an error when the table is made, never a signal later. A child that
//! is forked later is refused. Files are read as hostile input.
//!
//! Limits: machine death loses the table: that is what the log is for. Bytes: docs/FORMATS.md, "The slot file". The
//! rooms: `chain` (what a kill cannot tear), `gate` (who may write), `table` (uses of slots), `line` (the owner),
//! `layout` and `reading` (bytes, pure), `names`, `memory` (pages; the only `unsafe`), `file`, `recovery`, and `word`,
//! `mutant`, by which tests cut and break it.
//!
//! ```
//! use chaperone_wal::slots::{Geometry, Start, Table};
//! let table = Table::heap(&Start::default(), Geometry { slots: 8, ..Geometry::default() })?;
//! let mut line = table.open(1, "orders", &[0; 8])?;
//! line.count(|words| {
//!     words[0] += 200; // bytes, say
//!     12 // the histogram's cell
//! })?;
//! table.add(line.at(), &[1, 0, 0, 0, 0, 0, 0])?; // a delivery report, from any thread
//! let slot = table.read(line.at())?;
//! assert_eq!((slot.n, slot.words_in[0], slot.cells[12], slot.m), (1, 200, 1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chain;
mod error;
#[cfg(not(loom))]
mod file;
mod gate;
mod layout;
mod line;
#[cfg_attr(loom, path = "slots/memory_loom.rs")]
mod memory;
mod mutant;
mod names;
mod reading;
#[cfg(not(loom))]
pub mod recovery;
mod table;
mod word;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use chain::Words;
pub use error::Error;
#[cfg(not(loom))]
pub use file::{Table, default_dir};
pub use layout::{ABOUT_BYTES, Geometry, Header, TAGS, WORDS};
pub use line::Line;
pub use reading::{At, Limits, Slot, Trouble};
#[cfg(not(loom))]
pub use recovery::boot_id;
pub use table::{Refused, Standing};

use uuid::Uuid;

/// What a table says about the process that makes it.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// One life of the process; the file is named after it.
    pub incarnation: Uuid,
    /// Wall time, ms since 1970.
    pub started_ms: u64,
    /// What the caller's words mean: a version of the caller's.
    pub schema: u64,
    /// The caller's bytes about itself, at most [`ABOUT_BYTES`].
    pub about: Vec<u8>,
}
