//! What the API must say, window by window, and the comparison with what it says.

use std::collections::BTreeMap;

use anyhow::ensure;

use crate::plan::{FAULTS, MASKED, Plan, WINDOWS};
use crate::scene::STAGES;
use chaperone_tests::api::Window;

/// The hop that the replicator is.
const REPLICATED: (&str, &str) = ("kafka:regional", "kafka:agg");

/// The truth about one hop in one window: verdict, at least missing, at least surplus.
pub(crate) fn expected(plan: &Plan, from: &str, to: &str, window_ms: i64) -> (&'static str, u64, u64) {
    let fault = FAULTS.iter().find(|(window, _, _)| plan.window_ms(*window) == window_ms);
    match fault {
        Some((MASKED, _, _)) if (from, to) == REPLICATED => ("mixed", 0, 0),
        Some((_, dropped, doubled)) if (from, to) == REPLICATED => {
            let (dropped, doubled) = (*dropped as u64, *doubled as u64);
            if dropped > doubled { ("missing", dropped - doubled, 0) } else { ("surplus", 0, doubled - dropped) }
        }
        _ => ("ok", 0, 0),
    }
}

/// A verdict that is settled and not about lateness must be the truth, whenever it is seen.
pub(crate) fn check_seen(plan: &Plan, seen: &[Window]) -> anyhow::Result<()> {
    for w in seen.iter().filter(|w| !w.is_pending() && !w.is_late()) {
        let truth = expected(plan, &w.from_stage, &w.to_stage, w.window_ms);
        let said = (w.verdict.as_str(), w.missing_min, w.surplus_min);
        ensure!(
            said == truth,
            "{} → {} at {}: said {said:?}, is {truth:?}; {}",
            w.from_stage,
            w.to_stage,
            w.window_ms,
            w.why
        );
    }
    Ok(())
}

/// Sums over all hops and windows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) missing: u64,
    pub(crate) surplus: u64,
    pub(crate) mixed: u64,
    pub(crate) ok: u64,
}

/// The final answer: every hop and window is there, settled, and the truth.
pub(crate) fn check_final(plan: &Plan, seen: &[Window]) -> anyhow::Result<Totals> {
    ensure!(seen.len() == WINDOWS * (STAGES.len() - 1), "{} rows", seen.len());
    let pending = seen.iter().filter(|w| w.is_pending() || w.is_late()).collect::<Vec<_>>();
    ensure!(
        pending.is_empty(),
        "{} rows are not judged for good; first: {:?}; hops: {:?}",
        pending.len(),
        pending.first(),
        pending.iter().fold(BTreeMap::<String, u32>::new(), |mut hops, w| {
            *hops.entry(format!("{} → {} {}", w.from_stage, w.to_stage, w.verdict)).or_default() += 1;
            hops
        })
    );
    check_seen(plan, seen)?;
    let mut totals = Totals::default();
    for w in seen {
        match w.verdict.as_str() {
            // The window in which five are lost and three doubled is told apart: it proves two, and is counted there.
            "missing" => {
                let proof = format!("at least {} missing", w.missing_min);
                ensure!(w.why.contains(&proof), "'{}' does not say '{proof}'", w.why);
                totals.missing += w.missing_min;
            }
            "surplus" => totals.surplus += w.surplus_min,
            "mixed" => totals.mixed += 1,
            "ok" => {
                ensure!(w.why.contains("ids are the same"), "ok without proof: {}", w.why);
                totals.ok += 1;
            }
            other => anyhow::bail!("verdict {other} at {}", w.window_ms),
        }
    }
    Ok(totals)
}
