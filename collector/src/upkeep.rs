//! What whoever keeps a store asks of it: how large it is, its rows as raw numbers, and its room back.

use serde::Serialize;

/// A store by size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreSize {
    /// Bytes of all tables with their indexes.
    pub bytes: u64,
    /// By name.
    pub tables: Vec<TableSize>,
    /// By width, windows before slices.
    pub widths: Vec<WidthRows>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableSize {
    /// Its name.
    pub table: String,
    /// Rows; `None` for a table that this build does not count.
    pub rows: Option<u64>,
    /// Bytes with its indexes.
    pub bytes: u64,
}

/// Rows of one width in one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WidthRows {
    /// `stage_window`, `stage_level`, `hop_window` or `hop_level`.
    pub table: String,
    /// Width, ms.
    pub width_ms: i64,
    /// Rows: of totals one a (topic, stage, class, window), of verdicts one a (topic, hop, window).
    pub rows: u64,
    /// Start of the first, ms.
    pub first_ms: i64,
    /// Start of the last, ms.
    pub last_ms: i64,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// The rows of `v_hop_window`.
    Windows,
    /// The rows of `v_stage_window`.
    Stages,
    /// The rows of `v_reporter`, whatever the range.
    Reporters,
}

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportQuery {
    /// Of which view.
    pub what: Export,
    /// Only this topic.
    pub topic: Option<String>,
    /// First window start, ms, inclusive.
    pub from_ms: i64,
    /// End, ms, exclusive.
    pub to_ms: i64,
}

/// A value as the view has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Not known, or does not apply.
    Null,
    /// A whole number.
    Int(i64),
    /// Another number.
    Real(f64),
    /// A text.
    Text(String),
}

/// Rows of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// Their columns, as documented.
    pub columns: &'static [&'static str],
    /// By time, then name.
    pub rows: Vec<Vec<Cell>>,
}

/// What came of giving room back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Vacuumed {
    /// Bytes of the file before.
    pub before: u64,
    /// And after.
    pub after: u64,
}
