//! What no honest reporter writes: refused with the field at fault before anything is made of it.
//!
//! Limit: plausible is not true; who may write a stage is the audit topic's business.

use super::{Interval, SlotRecord, VERSION};

/// Why a text is not an audit message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It is not JSON of this shape.
    #[error("not an audit message: {0}")]
    Shape(String),
    /// Its major version is unknown here.
    #[error("audit message of version {found}; this build reads {VERSION}")]
    Version {
        /// The version it says.
        found: u32,
    },
    /// A field has a value that no honest reporter writes.
    #[error("audit message field {field}: {problem}")]
    Implausible {
        /// The field.
        field: &'static str,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
}

/// Counts above this in one slot or interval window are not believed (10^9 messages/s for a window of 600 s).
pub const MAX_COUNT: u64 = 600_000_000_000;

pub(super) fn implausible(field: &'static str, problem: impl Into<String>) -> WireError {
    WireError::Implausible { field, problem: problem.into() }
}

pub(super) fn at_least(field: &'static str, value: i64, least: i64) -> Result<(), WireError> {
    if value < least { Err(implausible(field, format!("{value}; allowed is {least} or more"))) } else { Ok(()) }
}

fn count(field: &'static str, value: u64) -> Result<(), WireError> {
    if value > MAX_COUNT { Err(implausible(field, format!("{value}; allowed is at most {MAX_COUNT}"))) } else { Ok(()) }
}

pub(crate) fn name(field: &'static str, text: &str) -> Result<(), WireError> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(implausible(field, "must be 1 to 255 bytes without control characters"));
    }
    Ok(())
}

/// Kafka's own rule for topic names.
pub(crate) fn topic_name(text: &str) -> Result<(), WireError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > 249 || !text.bytes().all(legal) {
        return Err(implausible("topic", "must be 1 to 249 characters of A-Z a-z 0-9 . _ -"));
    }
    Ok(())
}

/// Whether a slot can be an honest reporter's.
pub(crate) fn check_slot(s: &SlotRecord) -> Result<(), WireError> {
    topic_name(&s.topic)?;
    count("slots.n", s.state.n)?;
    count("slots.acked", s.state.acked)?;
    count("slots.failed", s.state.failed)?;
    count("slots.bytes / 2^30", s.state.bytes >> 30)?;
    if s.window_ms != s.width_ms.window_of(s.window_ms.0) {
        return Err(implausible("slots.window_ms", format!("{} is not a multiple of the width", s.window_ms.0)));
    }
    Ok(())
}

pub(super) fn check_interval(i: &Interval) -> Result<(), WireError> {
    topic_name(&i.topic)?;
    at_least("intervals.partition", i.partition.into(), 0)?;
    at_least("intervals.from", i.from, i.claim_from.max(0))?;
    at_least("intervals.to", i.to, i.from)?;
    let mut n = 0u64;
    if let Some(g) = &i.gaps {
        let offsets = u64::try_from(g.to.saturating_sub(g.from)).unwrap_or(0);
        if g.from < i.from || g.to > i.to || g.offsets == 0 || g.offsets > offsets {
            return Err(implausible("intervals.gaps", "must be offsets within the interval"));
        }
        n = g.offsets;
    }
    for w in &i.windows {
        count("intervals.windows.n", w.n)?;
        n = n.saturating_add(w.n);
        if w.window_ms != w.width_ms.window_of(w.window_ms.0) {
            return Err(implausible(
                "intervals.windows.window_ms",
                format!("{} is not a multiple of the width", w.window_ms.0),
            ));
        }
        if w.min_offset < i.from || w.max_offset >= i.to || w.min_offset > w.max_offset {
            return Err(implausible("intervals.windows.max_offset", "offsets must lie within the interval"));
        }
    }
    if i128::from(n) > i128::from(i.to) - i128::from(i.from) {
        return Err(implausible("intervals.windows.n", format!("{n} messages in {} offsets", i.to - i.from)));
    }
    Ok(())
}
