//! Slot states into audit messages: pure, but for the UUID.
//!
//! Invariant: no message exceeds [`MAX_BYTES`]; of the states of one look, each is in exactly one message.

use uuid::Uuid;

use super::table::Captured;
use crate::wire::{AuditMessage, MAX_BYTES, Reporter, SlotRecord, VERSION};

/// Slots in one message.
pub(super) const SLOTS_MAX: usize = 500;
/// Bytes of a message that are left for its head, sums and positions.
const HEAD_BYTES: usize = 16 << 10;
/// Bytes of positions in one message; what does not fit comes with the next.
pub(super) const POSITION_BYTES: usize = 250 << 10;
/// Bytes of slots in one message.
pub(super) const SLOT_BYTES: usize = MAX_BYTES - HEAD_BYTES - POSITION_BYTES;

/// What all messages of a recorder share.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) incarnation: Uuid,
    pub(super) reporter: Reporter,
    pub(super) stage: String,
    pub(super) cluster: String,
    pub(super) datacenter: String,
    pub(super) audited_since_ms: i64,
}

impl Head {
    pub(super) fn message(&self, seq: u64, sent_ms: i64, slots: Vec<SlotRecord>) -> AuditMessage {
        AuditMessage {
            v: VERSION,
            uuid: Uuid::now_v7(),
            incarnation: self.incarnation,
            seq,
            reporter: self.reporter.clone(),
            stage: self.stage.clone(),
            cluster: self.cluster.clone(),
            datacenter: self.datacenter.clone(),
            sent_ms,
            watermark_ms: None,
            audited_since_ms: Some(self.audited_since_ms),
            slots,
            merged: Vec::new(),
            intervals: Vec::new(),
            marks: Vec::new(),
            topics: Vec::new(),
            positions: Vec::new(),
            sum: None,
            cadence_ms: None,
            late: 0,
            dropped: crate::wire::Dropped::default(),
            end: None,
        }
    }
}

/// Anything that carries a slot's record.
pub(super) trait HasRecord {
    fn record(&self) -> &SlotRecord;
}
impl HasRecord for Captured {
    fn record(&self) -> &SlotRecord {
        &self.record
    }
}
impl HasRecord for SlotRecord {
    fn record(&self) -> &SlotRecord {
        self
    }
}

/// Splits states so that each part fits into one message, in order.
pub(super) fn split<R: HasRecord>(records: Vec<R>) -> Vec<Vec<R>> {
    let mut parts: Vec<Vec<R>> = Vec::new();
    let mut room = 0;
    for r in records {
        // One comma more than the record's own bytes.
        let bytes = 1 + serde_json::to_vec(r.record()).map_or(SLOT_BYTES, |v| v.len());
        if let Some(part) = parts.last_mut().filter(|part| part.len() < SLOTS_MAX && bytes <= room) {
            part.push(r);
        } else {
            room = SLOT_BYTES;
            parts.push(vec![r]);
        }
        room = room.saturating_sub(bytes);
    }
    parts
}
