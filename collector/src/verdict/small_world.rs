//! The small world: every window of a few messages, each with its fate, and what is known of it. Tests judge all of them.

use super::tests::settled;
use super::{Evidence, LeftOut};
use chaperone_audit::{Fingerprint, MessageId};

/// What becomes of one message: delivered, lost after its ack, doubled, failed, in doubt (arrived or not), or nobody
/// counted it at source; the bare ones have no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Lost,
    Doubled,
    Failed,
    DoubtArrived,
    DoubtLost,
    Others,
    BareDelivered,
    BareLost,
    BareOthers,
}

/// All of them; the first [`COUNTED`] are of messages that were counted at source and are compared.
pub(super) const FATES: [Fate; 10] = [
    Fate::Delivered,
    Fate::Lost,
    Fate::Doubled,
    Fate::Failed,
    Fate::DoubtArrived,
    Fate::DoubtLost,
    Fate::Others,
    Fate::BareDelivered,
    Fate::BareLost,
    Fate::BareOthers,
];
/// See [`FATES`].
pub(super) const COUNTED: usize = 6;

/// Every window of at most `longest` messages with these fates; returns how many there are.
pub(super) fn each(fates: &[Fate], longest: u32, mut see: impl FnMut(&[Fate])) -> usize {
    let mut windows = 0;
    for length in 0..=longest {
        for code in 0..fates.len().pow(length) {
            let window: Vec<Fate> = (0..length).map(|i| fates[code / fates.len().pow(i) % fates.len()]).collect();
            see(&window);
            windows += 1;
        }
    }
    windows
}

/// How many messages of a window have this fate.
pub(super) fn count(fates: &[Fate], fate: Fate) -> u64 {
    fates.iter().filter(|f| **f == fate).count() as u64
}

/// What is known of a window once it has settled, and what of it is not compared.
pub(super) fn world(fates: &[Fate]) -> (Evidence, LeftOut) {
    let mut e = settled(0, 0, 0, 0);
    (e.f_in, e.f_acked, e.f_failed, e.f_down) = Default::default();
    let (mut down, mut left) = (0, LeftOut::default());
    for (i, fate) in fates.iter().enumerate() {
        let id = MessageId(i as u128 + 1).hash(9);
        let (attempted, acked, failed, copies) = match fate {
            Fate::Delivered => (1, 1, 0, 1),
            Fate::Lost => (1, 1, 0, 0),
            Fate::Doubled => (1, 1, 0, 2),
            Fate::Failed => (1, 0, 1, 0),
            Fate::DoubtArrived => (1, 0, 0, 1),
            Fate::DoubtLost => (1, 0, 0, 0),
            Fate::Others => (0, 0, 0, 1),
            Fate::BareDelivered | Fate::BareLost | Fate::BareOthers => {
                left.acked += u64::from(*fate != Fate::BareOthers);
                left.downstream += u64::from(*fate != Fate::BareLost);
                continue;
            }
        };
        let times = |f: Fingerprint, n: u64| (0..n).fold(f, |f, _| f.plus(id));
        (e.attempted, e.f_in) = (e.attempted + attempted, times(e.f_in, attempted));
        (e.acked, e.f_acked) = (e.acked + acked, times(e.f_acked, acked));
        (e.failed, e.f_failed) = (e.failed + failed, times(e.f_failed, failed));
        (down, e.f_down) = (down + copies, times(e.f_down, copies));
    }
    e.downstream = Some(down);
    (e, left)
}
