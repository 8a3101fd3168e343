//! A sink that keeps the books that a collector keeps, and notes when it was told how much.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chaperone_audit::SlotState;
use chaperone_audit::recorder::{Sink, SinkError};
use chaperone_audit::wire::{AuditMessage, Sum};
use uuid::Uuid;

#[derive(Default)]
struct State {
    away: bool,
    second: u64,
    /// Records and bytes by second.
    told: BTreeMap<u64, (u64, u64)>,
    slots: BTreeMap<(Uuid, u64), SlotState>,
    sums: BTreeMap<Uuid, Sum>,
    reports: Vec<(u64, Result<(), SinkError>)>,
    believed_ms: Option<i64>,
    doubted: u64,
}

/// Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Books(Arc<Mutex<State>>);

impl Books {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// It is that second.
    pub(crate) fn at(&self, second: u64) {
        self.lock().second = second;
    }
    pub(crate) fn away(&self, away: bool) {
        self.lock().away = away;
    }
    /// What was told of one incarnation.
    pub(crate) fn sum(&self, incarnation: Uuid) -> Sum {
        self.lock().sums.get(&incarnation).copied().unwrap_or_default()
    }
    /// Through which second after `t0_ms` a watermark was believed.
    pub(crate) fn believed_through(&self, t0_ms: i64) -> Option<u64> {
        self.lock().believed_ms.and_then(|ms| u64::try_from((ms - t0_ms) / 1000).ok())
    }
    /// Watermarks whose sums were not these when they came.
    pub(crate) fn doubted(&self) -> u64 {
        self.lock().doubted
    }
    /// Most records and most bytes in any run of so many seconds.
    pub(crate) fn worst(&self, seconds: u64) -> (u64, u64) {
        self.worst_after(0, seconds)
    }
    pub(crate) fn worst_after(&self, from: u64, seconds: u64) -> (u64, u64) {
        let told = &self.lock().told;
        let run = |at: u64| told.range(at..at + seconds).fold((0, 0), |(r, b), (_, t)| (r + t.0, b + t.1));
        told.range(from..).map(|(at, _)| run(*at)).fold((0, 0), |(r, b), t| (r.max(t.0), b.max(t.1)))
    }
}

impl State {
    fn apply(&mut self, m: &AuditMessage) {
        let sum = self.sums.entry(m.incarnation).or_default();
        for record in &m.slots {
            let new = !self.slots.contains_key(&(m.incarnation, record.id));
            let slot = self.slots.entry((m.incarnation, record.id)).or_default();
            let old = (slot.n, slot.acked, slot.failed, slot.f_in());
            slot.join(&SlotState { hist: None, ..record.state.clone() });
            sum.slots += u64::from(new);
            sum.n += slot.n - old.0;
            sum.acked += slot.acked - old.1;
            sum.failed += slot.failed - old.2;
            sum.f_in = sum.f_in.plus(slot.f_in()).minus(old.3);
        }
        for id in m.merged.iter().flat_map(|(from, to)| *from..*to) {
            sum.slots += u64::from(self.slots.insert((m.incarnation, id), SlotState::default()).is_none());
        }
        if let (Some(said), Some(watermark_ms)) = (m.sum, m.watermark_ms) {
            if said == *sum {
                self.believed_ms = Some(watermark_ms);
            } else {
                self.doubted += 1;
            }
        }
    }
}

impl Sink for Books {
    fn send(&mut self, _key: &[u8], payload: &[u8], token: u64) -> Result<(), SinkError> {
        let mut state = self.lock();
        if state.away {
            return Err(SinkError::Full);
        }
        let message = AuditMessage::decode(payload).map_err(|e| SinkError::NotStored(e.to_string()))?;
        let second = state.second;
        let told = state.told.entry(second).or_default();
        *told = (told.0 + message.slots.len() as u64, told.1 + payload.len() as u64);
        state.apply(&message);
        state.reports.push((token, Ok(())));
        Ok(())
    }
    fn poll(&mut self, _timeout: Duration) -> Vec<(u64, Result<(), SinkError>)> {
        std::mem::take(&mut self.lock().reports)
    }
    fn flush(&mut self, _deadline: Duration) {}
}
