//! A hop that compares stamped messages only: what is left out, and what that takes from a verdict. Pure.
//!
//! Equal ids of equal counts prove that what was stamped at source arrived and nothing else that is stamped, so `ok` needs no
//! complete stage. It is not said where nothing is stamped, nor where the messages without a stamp contradict it: fewer of
//! them arrived than were acked. Too many is another matter: `CloudEvents` of others, and messages that were passed on with
//! their headers by who is not audited, are stamped and were never counted at source. Only a stage that is declared complete
//! (every *stamped* message passes an audited process there) makes them a surplus.
//! Limit: a path that strips headers from some messages and not from others looks like a loss; one that strips them from
//! all is told by the caveat `identity not preserved`, which voids the comparison here.

use serde::{Deserialize, Serialize};

use super::{Evidence, Judgement, Passage, Progress, Verdict, n};
use crate::caveat::{Caveat, CaveatKind};

/// Messages of the window that are not compared: those without a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftOut {
    /// Acked upstream.
    pub acked: u64,
    /// Seen downstream.
    pub downstream: u64,
}

/// Rule 1, where ids and counts of what is stamped are equal.
pub(super) fn proven(left: LeftOut, e: &Evidence, down: u64, which: &str) -> Judgement {
    if e.attempted == 0 && down == 0 {
        return Judgement::plain(Verdict::Partial, "no message is stamped: there is nothing to compare".into());
    }
    let arrived = format!("{} {which} upstream, {down} seen downstream, and the ids are the same", n(down, "message"));
    if left.downstream < left.acked {
        let why = format!("{arrived}, but of those without a stamp {} did not arrive", left.acked - left.downstream);
        return Judgement::plain(Verdict::Partial, why);
    }
    Judgement::plain(Verdict::Ok, arrived)
}

/// Rule 4, where others may stamp as well: one of theirs and one that is only late look like a loss and a double.
pub(super) fn others(e: &Evidence, down: u64) -> Option<Judgement> {
    if e.left_out.is_none() || e.complete || e.passage == Passage::Passed {
        return None;
    }
    let why = format!(
        "counts agree ({down}) and ids do not: some are not audited at source, and whether the hop has passed what is absent cannot be told"
    );
    Some(Judgement::plain(Verdict::Partial, why))
}

/// Whether a caveat voids the comparison of what is stamped.
pub(super) fn voids(e: &Evidence, caveat: &Caveat) -> bool {
    e.left_out.is_some() && caveat.kind == CaveatKind::IdentityNotPreserved
}

/// What `why` says of a hop that leaves messages out.
pub(super) fn note(e: &Evidence, why: String) -> String {
    match e.left_out {
        Some(left) if e.progress == Progress::Settled && e.upstream_reports && e.downstream.is_some() => format!(
            "{why}; compared are stamped messages only, left out {} acked upstream and {} seen downstream without a stamp",
            left.acked, left.downstream
        ),
        _ => why,
    }
}
