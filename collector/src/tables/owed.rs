//! What a reporter's sums have more than ours: records that are under way, or that are lost. Pure.
//!
//! A heartbeat says the sums of everything before it, so what ours lack is under way only for as long as it changes or the
//! audit topic is behind. Once records of the topic are known to be lost, a lack that stays the same for [`WRITE_OFF_MS`]
//! is written off: without that the reporter's watermark would stand still for its whole life, and with it every window of
//! its stage. What is written off is doubted, not forgotten: see [`Owed::note`]. If the lack changes after all, it is
//! waited for anew.

use chaperone_audit::wire::Sum;
use serde::{Deserialize, Serialize};

/// How long a lack stays the same before it is taken for lost, in broker time, ms. Longer than any pause between two
/// attempts to send that follow a success.
pub(super) const WRITE_OFF_MS: i64 = 15_000;

/// What is lacking, and since when it has been just that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owed {
    lack: Sum,
    since_ms: i64,
    written_off: bool,
}

/// What `told` has more than `ours`; `None` if it has less of anything that is counted.
fn lack(told: Sum, ours: Sum) -> Option<Sum> {
    Some(Sum {
        slots: told.slots.checked_sub(ours.slots)?,
        n: told.n.checked_sub(ours.n)?,
        acked: told.acked.checked_sub(ours.acked)?,
        failed: told.failed.checked_sub(ours.failed)?,
        f_in: told.f_in.minus(ours.f_in),
    })
}

impl Owed {
    /// Since when just this is lacking, broker time, ms.
    pub(super) const fn since_ms(self) -> i64 {
        self.since_ms
    }

    /// Whether these sums are ours and what was written off.
    pub(super) fn explains(self, told: Sum, ours: Sum) -> bool {
        self.written_off && lack(told, ours) == Some(self.lack)
    }

    /// A heartbeat that was appended at `append_ms` told these sums, and they are not ours. `is_known`: records that may
    /// have been this reporter's are known to be lost. Returns what is owed now and, when it is written off, since when
    /// that had been lacking: nothing that arrived there later is lost.
    pub(super) fn note(
        before: Option<Self>,
        (told, ours): (Sum, Sum),
        append_ms: i64,
        is_known: bool,
    ) -> (Option<Self>, Option<i64>) {
        let Some(lack) = lack(told, ours) else { return (None, None) };
        match before.filter(|owed| owed.lack == lack) {
            None => (Some(Self { lack, since_ms: append_ms, written_off: false }), None),
            Some(owed) if owed.written_off || !is_known => (Some(owed), None),
            Some(owed) if append_ms.saturating_sub(owed.since_ms) < WRITE_OFF_MS => (Some(owed), None),
            Some(owed) => (Some(Self { written_off: true, ..owed }), Some(owed.since_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(slots: u64, n: u64) -> Sum {
        Sum { slots, n, acked: n, ..Sum::default() }
    }

    #[test]
    fn a_lack_is_written_off_once_it_has_stayed_the_same_and_a_loss_is_known() {
        let (told, ours) = (sum(5, 100), sum(3, 60));
        let (owed, off) = Owed::note(None, (told, ours), 1_000, true);
        assert!(off.is_none() && !owed.expect("a lack").explains(told, ours));
        let at = 1_000 + WRITE_OFF_MS;
        assert_eq!(Owed::note(owed, (told, ours), at - 1, true), (owed, None), "too early");
        assert_eq!(Owed::note(owed, (told, ours), at, false), (owed, None), "nothing is known to be lost");
        // More was counted since, here and there.
        let (told, ours) = (sum(6, 130), sum(4, 90));
        let (owed, off) = Owed::note(owed, (told, ours), at, true);
        assert_eq!(off, Some(1_000));
        assert!(owed.expect("a lack").explains(sum(9, 200), sum(7, 160)));
        assert!(!owed.expect("a lack").explains(sum(9, 200), sum(7, 161)), "some of it came after all");
        assert_eq!(Owed::note(owed, (told, ours), at + 1, true), (owed, None), "once");
    }

    #[test]
    fn a_lack_that_changes_is_waited_for_anew_and_more_than_was_told_is_none() {
        let (owed, _) = Owed::note(None, (sum(5, 100), sum(3, 60)), 0, true);
        let (owed, off) = Owed::note(owed, (sum(5, 100), sum(4, 60)), 90_000, true);
        assert_eq!(off, None);
        assert_eq!(Owed::note(owed, (sum(5, 100), sum(4, 60)), 90_001, true), (owed, None));
        assert_eq!(Owed::note(owed, (sum(5, 100), sum(4, 101)), 900_000, true), (None, None));
    }
}
