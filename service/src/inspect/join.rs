//! `inspect join`: two reports of one slot, merged.

use std::collections::BTreeSet;

use chaperone_audit::{Fingerprint, Histogram, SlotState};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    a: State,
    b: State,
}

/// A slot's state as this command reads and prints it; what was absent in both is absent in the answer.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    n: u64,
    bytes: u64,
    acked: u64,
    failed: u64,
    sketch_n: Option<u64>,
    flags: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f_in: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f_acked: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f_failed: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hist: Option<Histogram>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ms: Option<i64>,
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    is_final: Option<bool>,
}

impl From<State> for SlotState {
    fn from(s: State) -> Self {
        Self {
            n: s.n,
            bytes: s.bytes,
            f_in: s.f_in,
            hist: s.hist,
            min_ms: s.min_ms,
            max_ms: s.max_ms,
            last_ms: s.last_ms,
            acked: s.acked,
            failed: s.failed,
            f_acked: s.f_acked,
            f_failed: s.f_failed,
            sketch_n: s.sketch_n,
            sketch: None,
            flags: s.flags,
            is_final: s.is_final.unwrap_or(false),
        }
    }
}

/// `{"a":STATE,"b":STATE}` → STATE
///
/// # Errors
/// What is wrong with the line.
pub fn answer(line: &str) -> Result<String, String> {
    let Pair { a, b } = super::read(line)?;
    let says_final = a.is_final.is_some() || b.is_final.is_some();
    let mut joined = SlotState::from(a);
    joined.join(&b.into());
    let state = State {
        n: joined.n,
        bytes: joined.bytes,
        acked: joined.acked,
        failed: joined.failed,
        sketch_n: joined.sketch_n,
        flags: joined.flags,
        f_in: joined.f_in,
        f_acked: joined.f_acked,
        f_failed: joined.f_failed,
        hist: joined.hist,
        min_ms: joined.min_ms,
        max_ms: joined.max_ms,
        last_ms: joined.last_ms,
        is_final: says_final.then_some(joined.is_final),
    };
    serde_json::to_string(&state).map_err(|e| e.to_string())
}
