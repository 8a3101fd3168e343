//! How a reporter reports, for people who ask why a verdict waits: when it was heard, and what it could not place.
//!
//! Invariant: nothing here decides a verdict.

use chaperone_audit::wire::AuditMessage;
use chaperone_audit::{Class, SlotState};

use crate::checkins::{CheckIns, GAP_MS, Heard, LATE_MS};
use crate::db::{Done, Fault, Row, count, int};

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Manner {
    checkins: CheckIns,
    /// Messages that came after their window was closed, by its own account.
    late: u64,
    /// Messages without a time of their own: `no_time`, `malformed`, `out_of_range`.
    odd: [u64; 3],
}

/// What is written of it, in the order of `reporter_update.sql`.
pub(super) struct Written {
    pub(super) checkins: Vec<u8>,
    pub(super) counts: [i64; 4],
}

impl Manner {
    pub(super) fn read(r: &Row<'_>) -> Done<Self> {
        let checkins = checkins(r.named("checkins")?)?;
        let number = |column| -> Done<u64> { Ok(count(r.named(column)?)) };
        let odd = [number("no_time")?, number("malformed")?, number("out_of_range")?];
        Ok(Self { checkins, late: number("late")?, odd })
    }

    /// A message came; it was under way for so long, beyond the shortest way.
    pub(super) fn hear(&mut self, m: &AuditMessage, append_ms: i64, under_way_ms: i64) {
        // What is told for the dead is as old as they are, and no news of theirs.
        let speaks = m.watermark_ms.is_some() || !m.intervals.is_empty() || !m.marks.is_empty();
        let late = speaks && under_way_ms > LATE_MS;
        self.checkins.note(append_ms, if late { Heard::Late } else { Heard::OnTime });
        self.late = self.late.max(m.late);
    }

    /// Counts that it told are not here, since then.
    pub(super) fn lack(&mut self, append_ms: i64, since_ms: i64) {
        if append_ms.saturating_sub(since_ms) >= GAP_MS {
            self.checkins.note(append_ms, Heard::Gap);
        }
    }

    /// A slot of that class moved.
    pub(super) fn moved(&mut self, class: Class, old: &SlotState, new: &SlotState) {
        self.counted(class, new.n.saturating_sub(old.n));
    }

    /// Messages of that class were counted.
    pub(super) fn counted(&mut self, class: Class, n: u64) {
        let [no_time, malformed, out_of_range] = &mut self.odd;
        let counter = match class {
            Class::NoTime => no_time,
            Class::Malformed => malformed,
            Class::OutOfRange => out_of_range,
            Class::Stamped | Class::Bare | Class::Rewritten => return,
        };
        *counter = counter.saturating_add(n);
    }

    pub(super) fn written(&self) -> Written {
        let [no_time, malformed, out_of_range] = self.odd.map(int);
        Written { checkins: self.checkins.to_bytes(), counts: [int(self.late), no_time, malformed, out_of_range] }
    }
}

/// Check-ins as they are stored.
pub(super) fn checkins(bytes: Option<Vec<u8>>) -> Done<CheckIns> {
    bytes.map_or_else(
        || Ok(CheckIns::default()),
        |bytes| CheckIns::from_bytes(&bytes).ok_or_else(|| Fault::stored("check-ins")("it has another length")),
    )
}
