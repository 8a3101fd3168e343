//! What was injected against what the API says. Pure.
//!
//! Of a fault it knows hop, window, kind and count; of the pipeline nothing but the rows of `GET /api/v1/windows`.
//!
//! | fault | it is caught when the API says |
//! |---|---|
//! | loss | `missing`, exactly so many |
//! | dup | `surplus`, exactly so many |
//! | masked | `mixed` |
//! | stall | `delayed` or `overdue`, at least so many |
//! | kill | anything settled that is not red, with the caveat `reporter gone` |
//!
//! *Invented* is a red verdict on a hop and window without a fault that explains it, and `ok` over a loss, a dup or a
//! masked loss: each hop and window counts once, however long it is said. Invariant: a fault is caught once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::plan::{Fault, WIDTH_MS};
use super::spec::Kind;

/// Caught faults and old cells are kept for so long, ms of event time.
const KEEP_MS: i64 = 600_000;
/// Rows are asked for from so long ago at least, ms.
const LOOK_BACK_MS: i64 = 180_000;

/// One hop in one window, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Upstream.
    pub from_stage: String,
    /// Downstream.
    pub to_stage: String,
    /// Window start, ms.
    pub window_ms: i64,
    /// The verdict's word.
    pub verdict: String,
    /// At least so many missing.
    pub missing_min: u64,
    /// At least so many surplus.
    pub surplus_min: u64,
    /// Absent, not known to be lost.
    pub delayed: u64,
    /// What limits it.
    pub caveats: Vec<String>,
    /// The reason, in one sentence.
    pub why: String,
}

impl Row {
    fn is_red(&self) -> bool {
        matches!(self.verdict.as_str(), "missing" | "surplus" | "mixed")
    }
    fn is_settled(&self) -> bool {
        !matches!(self.verdict.as_str(), "open" | "settling" | "no_report")
    }
    fn is_late(&self) -> bool {
        matches!(self.verdict.as_str(), "delayed" | "overdue")
    }
    /// How many it speaks of; 0 where it gives no number.
    fn count(&self) -> u64 {
        match self.verdict.as_str() {
            "missing" => self.missing_min,
            "surplus" | "re-read" => self.surplus_min,
            _ => self.delayed,
        }
    }
}

/// A fault that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Caught {
    /// Which.
    pub fault: Fault,
    /// What the API says.
    pub verdict: String,
    /// How many it says; 0 where it gives no number.
    pub count: u64,
    /// From the injection to the sight.
    pub after: Duration,
}

/// A verdict that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invented {
    /// Hop.
    pub hop: u8,
    /// Window start, ms.
    pub window_ms: i64,
    /// What the API says, and why.
    pub said: String,
}

/// What a look at the rows brought.
#[derive(Debug, Default, PartialEq)]
pub struct Sights {
    /// Faults seen for the first time.
    pub caught: Vec<Caught>,
    /// Inventions seen for the first time.
    pub invented: Vec<Invented>,
}

/// The sums at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Faults injected.
    pub injected: u64,
    /// Of those seen.
    pub caught: u64,
    /// Verdicts that nothing explains.
    pub invented: u64,
    /// Hops and windows settled `ok`.
    pub settled_ok: u64,
}

#[derive(Debug)]
struct Expected {
    fault: Fault,
    at: Instant,
    caught: bool,
    given_up: bool,
}

impl Expected {
    const fn waits(&self) -> bool {
        !self.caught && !self.given_up
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Ledger {
    stages: &'static [&'static str],
    expected: Vec<Expected>,
    ok: BTreeSet<(u8, i64)>,
    invented: BTreeSet<(u8, i64)>,
    /// The last rows: hop and window to verdict.
    seen: BTreeMap<(u8, i64), Row>,
    sums: Sums,
}

impl Ledger {
    /// For these stages, upstream first.
    pub const fn new(stages: &'static [&'static str]) -> Self {
        let sums = Sums { injected: 0, caught: 0, invented: 0, settled_ok: 0 };
        Self {
            stages,
            expected: Vec::new(),
            ok: BTreeSet::new(),
            invented: BTreeSet::new(),
            seen: BTreeMap::new(),
            sums,
        }
    }

    /// A fault was injected.
    pub fn expect(&mut self, fault: Fault, at: Instant) {
        self.sums.injected += 1;
        self.expected.push(Expected { fault, at, caught: false, given_up: false });
    }

    /// The sums so far.
    pub const fn sums(&self) -> Sums {
        self.sums
    }

    /// Faults that were injected and not seen yet, with the time of their injection.
    pub fn waiting(&self) -> impl Iterator<Item = (Fault, Instant)> {
        self.expected.iter().filter(|e| e.waits()).map(|e| (e.fault, e.at))
    }

    /// A fault is not waited for any longer; it stays not caught unless it is seen after all.
    pub fn give_up(&mut self, id: u32) {
        self.expected.iter_mut().filter(|e| e.fault.id == id).for_each(|e| e.given_up = true);
    }

    /// The first window that the next look needs.
    pub fn from_ms(&self, now_ms: i64) -> i64 {
        let oldest = self.waiting().map(|(fault, _)| fault.window_ms - WIDTH_MS).min();
        oldest.unwrap_or(i64::MAX).min(now_ms - LOOK_BACK_MS)
    }

    /// Whether every hop of every window up to `last_ms` has its last word: nothing open, settling or late.
    pub fn is_quiet_through(&self, last_ms: i64) -> bool {
        let whole = (self.stages.len().saturating_sub(1)) as u64;
        let last = self.seen.iter().filter(|((_, window_ms), _)| *window_ms == last_ms);
        last.count() as u64 == whole
            && self
                .seen
                .range(..)
                .filter(|((_, w), _)| *w <= last_ms)
                .all(|(_, row)| row.is_settled() && !row.is_late())
    }

    /// Compares rows with what is expected.
    pub fn look(&mut self, rows: Vec<Row>, now: Instant) -> Sights {
        let mut sights = Sights::default();
        let rows: BTreeMap<(u8, i64), Row> =
            rows.into_iter().filter_map(|row| Some(((self.hop(&row)?, row.window_ms), row))).collect();
        for ((hop, window_ms), row) in &rows {
            let cell = (*hop, *window_ms);
            if row.verdict == "ok" && self.ok.insert(cell) {
                self.sums.settled_ok += 1;
            }
            let fault = self.expected.iter_mut().find(|e| (e.fault.hop, e.fault.window_ms) == cell);
            if let Some(expected) = fault.filter(|e| !e.caught && catches(&e.fault, row)) {
                expected.caught = true;
                self.sums.caught += 1;
                let (fault, after) = (expected.fault, now.saturating_duration_since(expected.at));
                sights.caught.push(Caught { fault, verdict: row.verdict.clone(), count: row.count(), after });
            }
            let fault = self.expected.iter().map(|e| &e.fault).find(|f| (f.hop, f.window_ms) == cell);
            if !explained(fault, row) && self.invented.insert(cell) {
                self.sums.invented += 1;
                let said = format!("{}: {}", row.verdict, row.why);
                sights.invented.push(Invented { hop: *hop, window_ms: *window_ms, said });
            }
        }
        if let Some(last_ms) = rows.keys().map(|(_, window_ms)| *window_ms).max() {
            self.forget(last_ms - KEEP_MS);
        }
        self.seen = rows;
        sights
    }

    fn hop(&self, row: &Row) -> Option<u8> {
        let pair = [row.from_stage.as_str(), row.to_stage.as_str()];
        let at = self.stages.windows(2).position(|hop| hop == pair)?;
        u8::try_from(at + 1).ok()
    }

    /// What is long over is not looked at any more.
    fn forget(&mut self, before_ms: i64) {
        let oldest_ms = self.from_ms(i64::MAX).min(before_ms);
        self.expected.retain(|e| e.waits() || e.fault.window_ms >= before_ms);
        self.ok.retain(|(_, window_ms)| *window_ms >= oldest_ms);
        self.invented.retain(|(_, window_ms)| *window_ms >= oldest_ms);
    }
}

/// Whether the row shows the fault.
fn catches(fault: &Fault, row: &Row) -> bool {
    let count = u64::from(fault.count);
    match fault.kind {
        Kind::Loss => row.verdict == "missing" && row.missing_min == count,
        Kind::Dup => row.verdict == "surplus" && row.surplus_min == count,
        Kind::Masked => row.verdict == "mixed",
        Kind::Stall => row.is_late() && row.delayed >= count,
        Kind::Kill => row.is_settled() && !row.is_red() && row.caveats.iter().any(|c| c.starts_with("reporter gone")),
    }
}

/// Whether the row says nothing that the fault, or the lack of one, contradicts.
fn explained(fault: Option<&Fault>, row: &Row) -> bool {
    let count = fault.map_or(0, |f| u64::from(f.count));
    match (fault.map(|f| f.kind), row.verdict.as_str()) {
        (Some(Kind::Loss), "missing") => row.missing_min <= count,
        (Some(Kind::Dup), "surplus") => row.surplus_min <= count,
        (Some(Kind::Masked), "mixed") => true,
        (Some(Kind::Loss | Kind::Dup | Kind::Masked), "ok") => false,
        _ => !row.is_red(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: &[&str] = &["a", "b", "c"];
    const W: i64 = 1_790_000_000_000;

    fn fault(kind: Kind, hop: u8) -> Fault {
        Fault { id: 1, kind, hop, count: 7, window_ms: W }
    }
    fn row(hop: u8, window_ms: i64, verdict: &str, n: u64) -> Row {
        let count = |word: &[&str]| if word.contains(&verdict) { n } else { 0 };
        Row {
            from_stage: STAGES[usize::from(hop) - 1].into(),
            to_stage: STAGES[usize::from(hop)].into(),
            window_ms,
            verdict: verdict.into(),
            missing_min: count(&["missing"]),
            surplus_min: count(&["surplus", "re-read"]),
            delayed: count(&["delayed", "overdue"]),
            caveats: Vec::new(),
            why: "because".into(),
        }
    }
    fn all() -> Vec<&'static str> {
        chaperone_collector::Verdict::ALL.map(chaperone_collector::Verdict::as_str).to_vec()
    }

    /// Every kind against every verdict with fewer, as many and more messages.
    #[test]
    fn each_kind_is_caught_by_its_own_words_and_number_only() {
        for kind in Kind::ALL {
            for verdict in all() {
                for n in [6, 7, 8] {
                    for gone in [false, true] {
                        let now = Instant::now();
                        let mut ledger = Ledger::new(STAGES);
                        ledger.expect(fault(kind, 2), now);
                        let mut r = row(2, W, verdict, n);
                        if gone {
                            r.caveats.push("reporter gone downstream".into());
                        }
                        let sights = ledger.look(vec![r.clone()], now + Duration::from_secs(3));
                        let right = match (kind, verdict) {
                            (Kind::Loss, "missing") | (Kind::Dup, "surplus") => n == 7,
                            (Kind::Masked, "mixed") => true,
                            (Kind::Stall, "delayed" | "overdue") => n >= 7,
                            (Kind::Kill, "open" | "settling" | "no_report" | "missing" | "surplus" | "mixed") => false,
                            (Kind::Kill, _) => gone,
                            _ => false,
                        };
                        let wrong = match (kind, verdict) {
                            (Kind::Loss, "missing") | (Kind::Dup, "surplus") => n > 7,
                            (Kind::Masked, "mixed") => false,
                            (Kind::Loss | Kind::Dup | Kind::Masked, "ok") => true,
                            (_, verdict) => matches!(verdict, "missing" | "surplus" | "mixed"),
                        };
                        let said = format!("{kind:?} {verdict} {n} {gone}: {sights:?}");
                        assert_eq!(sights.caught.len(), usize::from(right), "{said}");
                        assert_eq!(sights.invented.len(), usize::from(wrong), "{said}");
                        let again = ledger.look(vec![r], now);
                        assert_eq!(again, Sights::default(), "everything is said once");
                        if let Some(caught) = sights.caught.first() {
                            assert_eq!(caught.after, Duration::from_secs(3));
                            assert_eq!(ledger.waiting().count(), 0);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn red_without_a_fault_is_invented_and_ok_is_counted_once() {
        let now = Instant::now();
        for verdict in all() {
            let mut ledger = Ledger::new(STAGES);
            // A fault on another hop and in another window explains nothing.
            ledger.expect(fault(Kind::Loss, 1), now);
            ledger.expect(Fault { window_ms: W + WIDTH_MS, ..fault(Kind::Loss, 2) }, now);
            for _ in 0..2 {
                ledger.look(vec![row(2, W, verdict, 7)], now);
            }
            let red = matches!(verdict, "missing" | "surplus" | "mixed");
            let sums = ledger.sums();
            assert_eq!((sums.invented, sums.settled_ok), (u64::from(red), u64::from(verdict == "ok")), "{verdict}");
            assert_eq!((sums.injected, sums.caught), (2, 0));
        }
    }

    #[test]
    fn other_stages_are_none_of_its_business() {
        let mut ledger = Ledger::new(STAGES);
        let stranger = Row { to_stage: "x".into(), ..row(1, W, "missing", 3) };
        assert_eq!(ledger.look(vec![stranger], Instant::now()), Sights::default());
    }

    #[test]
    fn it_is_quiet_when_every_hop_has_its_last_word() {
        let now = Instant::now();
        let mut ledger = Ledger::new(STAGES);
        assert!(!ledger.is_quiet_through(W));
        ledger.look(vec![row(1, W, "ok", 0)], now);
        assert!(!ledger.is_quiet_through(W), "one hop is not there");
        for (verdict, quiet) in
            [("ok", true), ("missing", true), ("uncertain", true), ("settling", false), ("delayed", false)]
        {
            ledger.look(vec![row(1, W, "ok", 0), row(2, W, verdict, 7), row(1, W + WIDTH_MS, "open", 0)], now);
            assert_eq!(ledger.is_quiet_through(W), quiet, "{verdict}");
            assert!(!ledger.is_quiet_through(W + WIDTH_MS));
        }
    }

    #[test]
    fn memory_stays_bounded_and_what_is_not_caught_is_not_forgotten() {
        let now = Instant::now();
        let mut ledger = Ledger::new(STAGES);
        ledger.expect(fault(Kind::Stall, 1), now);
        for n in 0..1_000 {
            let window_ms = W + n * WIDTH_MS;
            ledger.expect(Fault { window_ms, ..fault(Kind::Loss, 2) }, now);
            ledger.look(vec![row(1, window_ms, "ok", 0), row(2, window_ms, "missing", 7)], now);
        }
        assert_eq!(ledger.sums(), Sums { injected: 1_001, caught: 1_000, invented: 0, settled_ok: 1_000 });
        assert!(ledger.expected.len() < 100, "{}", ledger.expected.len());
        assert_eq!(ledger.waiting().map(|(f, _)| f.hop).collect::<Vec<_>>(), [1]);
        assert_eq!(ledger.from_ms(W + 1_000 * WIDTH_MS), W - WIDTH_MS);
        ledger.give_up(1);
        assert_eq!((ledger.waiting().count(), ledger.from_ms(W + LOOK_BACK_MS)), (0, W));
    }
}
