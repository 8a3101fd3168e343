//! Messages that came after their window was closed: a figure of its own. They are counted in their window like all
//! others, in a slot that is opened for them.
//!
//! A slot that is first seen at a look was opened after the look before it. Did grace end before that one, everything in the slot came late.
//! What comes while a window is still open, because something of it is in flight or messages keep coming, is not late.

use std::collections::BTreeMap;

use super::table::{Capture, Captured};
use crate::wire::OVERFLOW_TOPIC;

#[derive(Debug, Default)]
pub(super) struct Late {
    /// Slots numbered up to the last look.
    ids: u64,
    /// The watermark of the last look that was whole.
    looked_ms: Option<i64>,
    /// Late slots that are not final, and what of them is counted.
    open: BTreeMap<u64, u64>,
    sum: u64,
}

impl Late {
    /// Enters what a look found, at which `ids` slots were numbered; all that came late so far.
    pub(super) fn look(&mut self, capture: &Capture, grace_ms: i64, ids: u64) -> u64 {
        for (found, is_final) in [(&capture.dirty, false), (&capture.finals, true)] {
            for Captured { record, .. } in found {
                if record.id >= self.ids && self.is_over(record, grace_ms) {
                    self.open.insert(record.id, 0);
                }
                if let Some(known) = self.open.get_mut(&record.id) {
                    self.sum = self.sum.saturating_add(record.state.n.saturating_sub(*known));
                    *known = record.state.n;
                }
                if is_final {
                    self.open.remove(&record.id);
                }
            }
        }
        self.ids = ids;
        if !capture.partial {
            self.looked_ms = Some(capture.watermark_ms);
        }
        self.sum
    }

    /// Whether the window's grace had ended at the last look. Windows of arrival are never late.
    fn is_over(&self, record: &crate::wire::SlotRecord, grace_ms: i64) -> bool {
        let end_ms = record.window_ms.end_ms(record.width_ms).saturating_add(grace_ms);
        let timed = record.class.has_time() && record.topic != OVERFLOW_TOPIC;
        timed && self.looked_ms.is_some_and(|looked| looked >= end_ms)
    }
}
