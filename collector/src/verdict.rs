//! The verdict: what one hop's two sums say, and why. Pure, total, first match wins.
//!
//! Upstream attempted T messages, A of them acked, X provably failed; T − A − X are in doubt (or still in flight).
//! Downstream saw N. Rules, in order, once the window is settled:
//!
//! 1. `N = A` with equal ids, or `N = T − X` with equal ids ⇒ `ok`, proven.
//! 2. `N < A` ⇒ at least `A − N` absent: `missing` if the hop has passed them, `delayed` if it has not, `overdue` if
//!    that cannot be told.
//! 3. `N > T − X` ⇒ `surplus`; at an at-least-once consumer `re-read`; where the upstream stage is not declared
//!    complete `partial`.
//! 4. Nothing in doubt ⇒ `mixed`: counts agree, ids do not.
//! 5. Else `unproven`: grey, never green.
//!
//! A hop may pass on other than every message once: `expect` says what changes.
//! A hop that is set to compare stamped messages only has the numbers of those alone, and `stamped` says what changes.
//!
//! Caveats widen the interval and never void what they cannot touch: doubt about the upstream count cannot excuse
//! "at least A − N absent"; doubt of v messages downstream lowers it by v. A hop whose upstream stage is not complete is
//! never `surplus`, and `ok` only by what is stamped. Invariant: red (`missing_min` or `surplus_min` > 0, or `mixed`) only in spite of all
//! caveats; `ok` only by ids.

mod expect;
mod members;
mod stamped;

use std::fmt;

use chaperone_audit::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::caveat::{Caveat, Doubt};
pub use expect::{Expect, UnknownExpect};
pub use members::Members;
pub use stamped::LeftOut;

/// The comparison of a hop in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Every message arrived, proven by ids.
    #[serde(rename = "ok")]
    Ok,
    /// At least `missing_min` messages did not arrive and will not.
    #[serde(rename = "missing")]
    Missing,
    /// At least `surplus_min` messages too many.
    #[serde(rename = "surplus")]
    Surplus,
    /// Surplus at an at-least-once consumer: information only.
    #[serde(rename = "re-read")]
    ReRead,
    /// Counts agree, ids do not: as many lost as doubled.
    #[serde(rename = "mixed")]
    Mixed,
    /// Nothing contradicts, nothing proves.
    #[serde(rename = "unproven")]
    Unproven,
    /// Downstream counts messages of sources that are not audited.
    #[serde(rename = "partial")]
    Partial,
    /// Absent, and the hop has provably not passed them yet.
    #[serde(rename = "delayed")]
    Delayed,
    /// Absent; delay and loss cannot be told apart yet.
    #[serde(rename = "overdue")]
    Overdue,
    /// The window has not ended.
    #[serde(rename = "open")]
    Open,
    /// The window has ended; reports are awaited.
    #[serde(rename = "settling")]
    Settling,
    /// One of the two stages has never reported.
    #[serde(rename = "no_report")]
    NoReport,
    /// A caveat touches the numbers so that nothing can be said.
    #[serde(rename = "uncertain")]
    Uncertain,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::Missing,
        Self::Surplus,
        Self::ReRead,
        Self::Mixed,
        Self::Unproven,
        Self::Partial,
        Self::Delayed,
        Self::Overdue,
        Self::Open,
        Self::Settling,
        Self::NoReport,
        Self::Uncertain,
    ];
    /// The word in store, API, SQL and page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::ReRead => "re-read",
            Self::Mixed => "mixed",
            Self::Unproven => "unproven",
            Self::Partial => "partial",
            Self::Delayed => "delayed",
            Self::Overdue => "overdue",
            Self::Open => "open",
            Self::Settling => "settling",
            Self::NoReport => "no_report",
            Self::Uncertain => "uncertain",
        }
    }
    /// Reads a stored word.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == s)
    }
    /// Whether evidence can still change it without a late record: it is not a settled verdict.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Open | Self::Settling)
    }
    /// How grave it is, for "the worst of these": red, then absent, then grey, then what is only information, then `ok`.
    pub const fn severity(self) -> u8 {
        match self {
            Self::Missing => 12,
            Self::Mixed => 11,
            Self::Surplus => 10,
            Self::Overdue => 9,
            Self::Delayed => 8,
            Self::Uncertain => 7,
            Self::NoReport => 6,
            Self::Unproven => 5,
            Self::Partial => 4,
            Self::ReRead => 3,
            Self::Settling => 2,
            Self::Open => 1,
            Self::Ok => 0,
        }
    }
    /// Something is wrong for certain.
    pub const fn is_red(self) -> bool {
        matches!(self, Self::Missing | Self::Surplus | Self::Mixed)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the hop has passed what is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Passage {
    /// It has: what is absent will not come.
    Passed,
    /// It provably has not.
    NotPassed,
    /// No evidence either way.
    #[default]
    None,
}

/// How far a window is from its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The window has not ended.
    Open,
    /// It has ended; the text names what is awaited.
    Settling {
        /// What is awaited, for `why`.
        awaited: String,
    },
    /// All evidence is in (I6).
    Settled,
}

/// Everything that a verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// T, attempted or seen upstream.
    pub attempted: u64,
    /// A, acked upstream (for stages that only see, and for taps: all of T).
    pub acked: u64,
    /// X, provably failed upstream.
    pub failed: u64,
    /// Of T − A − X: not yet in doubt, its reporter lives.
    pub in_flight: u64,
    /// N, seen downstream (attempted less failed where the stage produces). `None`: never reported.
    pub downstream: Option<u64>,
    /// Whether the upstream stage has ever reported.
    pub upstream_reports: bool,
    /// Σ of ids of T.
    pub f_in: Fingerprint,
    /// Σ of ids of A.
    pub f_acked: Fingerprint,
    /// Σ of ids of X.
    pub f_failed: Fingerprint,
    /// Σ of ids of N.
    pub f_down: Fingerprint,
    /// How far the window is.
    pub progress: Progress,
    /// Whether the hop has passed what is absent.
    pub passage: Passage,
    /// What limits the numbers.
    pub caveats: Vec<Caveat>,
    /// The upstream stage is declared to see every message.
    pub complete: bool,
    /// The downstream stage may read a message twice.
    pub at_least_once: bool,
    /// Only stamped messages are compared, and these are not: all numbers above are of what is stamped.
    pub left_out: Option<LeftOut>,
    /// What of it is expected downstream.
    pub expect: Expect,
    /// Of stages that are groups: which of their members something is to be said of.
    pub members: Members,
}

/// A verdict with its numbers and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// At least this many are lost for good.
    pub missing_min: u64,
    /// At least this many are too many.
    pub surplus_min: u64,
    /// Absent, but not known to be lost.
    pub delayed: u64,
    /// The rule that matched, its numbers, and what decided, in one sentence.
    pub why: String,
}

impl Judgement {
    fn plain(verdict: Verdict, why: String) -> Self {
        Self { verdict, missing_min: 0, surplus_min: 0, delayed: 0, why }
    }
}

fn n(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Judges one hop in one window.
pub fn judge(e: &Evidence) -> Judgement {
    let judged = first_match(&e.equation());
    Judgement { why: members::note(e, stamped::note(e, expect::note(e, judged.why))), ..judged }
}

fn first_match(e: &Evidence) -> Judgement {
    if let Some(waiting) = not_judged(e) {
        return waiting;
    }
    let down = e.downstream.unwrap_or(0);
    let (least, most) = (e.least(), e.most());
    let doubt = most.saturating_sub(e.acked);
    if let Some(proof) = proven(e, down, most) {
        return proof;
    }
    let void: Vec<&Caveat> = e.caveats.iter().filter(|c| c.kind.voids_comparison() || stamped::voids(e, c)).collect();
    if !void.is_empty() {
        let names = names(void);
        return Judgement::plain(Verdict::Uncertain, format!("the two stages cannot be compared: {names}"));
    }
    if down < least {
        return absent(e, down);
    }
    if down > most {
        return too_many(e, down);
    }
    if e.expect.is_share() {
        return expect::within(e, down);
    }
    if doubt == 0 {
        return masked(e, down);
    }
    let why = format!(
        "{} in doubt (attempted {}, acked {}, failed {}), downstream {down}: between {} and {most} is consistent, and ids prove neither end",
        n(doubt, "message"),
        e.attempted,
        e.acked,
        e.failed,
        e.acked
    );
    Judgement::plain(Verdict::Unproven, why)
}

fn not_judged(e: &Evidence) -> Option<Judgement> {
    let silent = match (e.upstream_reports, e.downstream) {
        (true, Some(_)) => None,
        (false, Some(_)) => Some("the upstream stage has never reported"),
        (true, None) => Some("the downstream stage has never reported"),
        (false, None) => Some("neither stage has ever reported"),
    };
    match (&e.progress, silent) {
        (Progress::Open, _) => {
            Some(Judgement::plain(Verdict::Open, "the window has not ended; messages may still arrive".into()))
        }
        (_, Some(why)) => {
            let why = members::silent(e).unwrap_or_else(|| why.to_owned());
            Some(Judgement::plain(Verdict::NoReport, format!("{why}: silence is not a zero")))
        }
        (Progress::Settling { awaited }, None) => {
            Some(Judgement::plain(Verdict::Settling, format!("the window has ended; awaited: {awaited}")))
        }
        (Progress::Settled, None) => None,
    }
}

/// Rule 1. Whatever the caveats, equal ids of equal counts are the same messages.
fn proven(e: &Evidence, down: u64, most: u64) -> Option<Judgement> {
    if e.expect.is_share() {
        return None;
    }
    let acked = down == e.acked && e.f_down == e.f_acked;
    let all = down == most && equals_difference(e.f_down, e.f_in, e.f_failed);
    if !acked && !all {
        return None;
    }
    let which = if acked { "acked" } else { "attempted less failed" };
    if let Some(left) = e.left_out {
        return Some(stamped::proven(left, e, down, which));
    }
    if !e.complete {
        let why = format!(
            "{} audited at the source arrived, proven by ids; the source stage is not declared complete, so that others are not excluded",
            n(down, "message")
        );
        return Some(Judgement::plain(Verdict::Partial, why));
    }
    Some(Judgement::plain(
        Verdict::Ok,
        format!("{} {which} upstream, {down} seen downstream, and the ids are the same", n(down, "message")),
    ))
}

/// `down = all − part`. Lanes are subtracted without a carry; a caller who sums ids as one 128-bit number carries
/// between them. Both readings are accepted: the chance that a wrong one fits is 2^-127.
fn equals_difference(down: Fingerprint, all: Fingerprint, part: Fingerprint) -> bool {
    down == all.minus(part) || down.to_u128() == all.to_u128().wrapping_sub(part.to_u128())
}

/// Rule 2.
fn absent(e: &Evidence, down: u64) -> Judgement {
    let gap = e.messages(e.least() - down);
    let doubt = Caveat::total(&e.caveats, Doubt::Downstream);
    let sure = match doubt {
        Some(v) => gap.saturating_sub(v),
        None => 0,
    };
    let numbers = format!("acked {} upstream, {down} seen downstream", e.acked);
    if sure == 0 {
        let why = format!(
            "{numbers}: {} absent, which may be no more than the downstream stage could not report ({})",
            gap,
            names(&e.caveats)
        );
        return Judgement { delayed: 0, ..Judgement::plain(Verdict::Uncertain, why) };
    }
    let lowered = if sure < gap {
        format!(", of which {} may be unreported downstream ({})", gap - sure, names(&e.caveats))
    } else {
        String::new()
    };
    match e.passage {
        Passage::Passed => Judgement {
            verdict: Verdict::Missing,
            missing_min: sure,
            surplus_min: 0,
            delayed: 0,
            why: format!("{numbers}: at least {sure} missing{lowered}; the hop has passed this window"),
        },
        Passage::NotPassed => Judgement {
            delayed: sure,
            ..Judgement::plain(
                Verdict::Delayed,
                format!("{numbers}: {sure} absent{lowered}, and the hop has not passed them yet"),
            )
        },
        Passage::None => Judgement {
            delayed: sure,
            ..Judgement::plain(
                Verdict::Overdue,
                format!("{numbers}: {sure} absent{lowered}; delay and loss cannot be told apart yet"),
            )
        },
    }
}

/// Rule 3.
fn too_many(e: &Evidence, down: u64) -> Judgement {
    let over = e.messages(down - e.most());
    let numbers = format!("attempted {} less failed {} upstream, {down} seen downstream", e.attempted, e.failed);
    if !e.complete {
        return Judgement::plain(Verdict::Partial, format!("{numbers}: {over} not audited at source"));
    }
    let sure = match Caveat::total(&e.caveats, Doubt::Upstream) {
        Some(v) => over.saturating_sub(e.of_upstream(v)),
        None => 0,
    };
    if sure == 0 {
        let why = format!(
            "{numbers}: {over} more, which may be no more than the upstream stage could not report ({})",
            names(&e.caveats)
        );
        return Judgement::plain(Verdict::Uncertain, why);
    }
    let (verdict, word) = if e.at_least_once { (Verdict::ReRead, "re-read") } else { (Verdict::Surplus, "surplus") };
    Judgement { surplus_min: sure, ..Judgement::plain(verdict, format!("{numbers}: at least {sure} {word}")) }
}

/// Rule 4.
fn masked(e: &Evidence, down: u64) -> Judgement {
    if let Some(judged) = stamped::others(e, down) {
        return judged;
    }
    let touched = |side| Caveat::total(&e.caveats, side) != Some(0);
    if touched(Doubt::Upstream) || touched(Doubt::Downstream) {
        let why = format!("counts agree ({down}) and ids do not, but not every report is in ({})", names(&e.caveats));
        return Judgement::plain(Verdict::Uncertain, why);
    }
    let why =
        format!("counts agree ({down}) but ids do not: at least one message was lost and as many others are too many");
    Judgement::plain(Verdict::Mixed, why)
}

fn names<'a>(caveats: impl IntoIterator<Item = &'a Caveat>) -> String {
    let all: Vec<String> = caveats.into_iter().map(ToString::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod expect_tests;
#[cfg(test)]
mod small_world;
#[cfg(test)]
mod stamped_tests;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
