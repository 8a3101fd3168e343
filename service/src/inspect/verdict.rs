//! `inspect verdict`: one hop in one window, judged.

use chaperone_audit::Fingerprint;
use chaperone_collector::{Caveat, Evidence, Expect, Members, Passage, Progress, Verdict, judge};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Hop {
    attempted: u64,
    acked: u64,
    failed: u64,
    in_flight: u64,
    /// `null`: the downstream stage never reported.
    downstream: Option<u64>,
    f_in: Fingerprint,
    f_acked: Fingerprint,
    f_failed: Fingerprint,
    f_down: Fingerprint,
    settled: bool,
    passage: Passage,
    caveats: Vec<Caveat>,
    complete: bool,
    at_least_once: bool,
    /// `A/B` or `LEAST%..MOST%`: what of it is expected downstream.
    expect: Expect,
}

impl Default for Hop {
    fn default() -> Self {
        let zero = Fingerprint::ZERO;
        Self {
            attempted: 0,
            acked: 0,
            failed: 0,
            in_flight: 0,
            downstream: Some(0),
            f_in: zero,
            f_acked: zero,
            f_failed: zero,
            f_down: zero,
            settled: true,
            passage: Passage::None,
            caveats: Vec::new(),
            complete: true,
            at_least_once: false,
            expect: Expect::ALL,
        }
    }
}

#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    missing_min: u64,
    surplus_min: u64,
    why: String,
}

/// A hop's sums → `{"verdict","missing_min","surplus_min","why"}`
///
/// # Errors
/// What is wrong with the line.
pub fn answer(line: &str) -> Result<String, String> {
    let hop: Hop = super::read(line)?;
    let progress = if hop.settled { Progress::Settled } else { Progress::Settling { awaited: "reports".to_owned() } };
    let judged = judge(&Evidence {
        attempted: hop.attempted,
        acked: hop.acked,
        failed: hop.failed,
        in_flight: hop.in_flight,
        downstream: hop.downstream,
        upstream_reports: true,
        f_in: hop.f_in,
        f_acked: hop.f_acked,
        f_failed: hop.f_failed,
        f_down: hop.f_down,
        progress,
        passage: hop.passage,
        caveats: hop.caveats,
        complete: hop.complete,
        at_least_once: hop.at_least_once,
        left_out: None,
        expect: hop.expect,
        members: Members::default(),
    });
    let answer = Answer {
        verdict: judged.verdict,
        missing_min: judged.missing_min,
        surplus_min: judged.surplus_min,
        why: judged.why,
    };
    serde_json::to_string(&answer).map_err(|e| e.to_string())
}
