//! Who counted it: reporters of the two stages of a hop, what each counted, and how far it can be believed. Pure.
//!
//! The parts of a stage are compared with its total, and what is not known any more is a line of its own. Of a tapped stage the
//! taps are named; what they counted is by partition. Limit: [`MOST`] reporters a stage.

use std::collections::BTreeMap;

use chaperone_collector::query::{ReporterShare, ReporterState};
use chaperone_collector::{Pipeline, StageKind};

use crate::format::{self, count, name, plural, share, signed};
use crate::look::{Look, Span};
use crate::window::facts::{Facts, Part, Total};
use crate::zone::Zone;

/// Most reporters of a stage on the page; the CSV has all.
const MOST: usize = 200;

/// The panel.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    pub(crate) stages: Vec<StageHosts>,
    pub(crate) note: String,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageHosts {
    pub(crate) name: String,
    /// `6 reporters on 6 hosts, 48,211 of 48,211 messages`.
    pub(crate) sub: String,
    pub(crate) lines: Vec<Line>,
    /// What is not known, or what to do where nobody is known.
    pub(crate) note: String,
    /// Sums by datacenter, where there are several.
    pub(crate) centers: Vec<(String, String, String)>,
}

/// One reporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) host: String,
    pub(crate) application: String,
    pub(crate) center: String,
    pub(crate) counted: String,
    pub(crate) part: String,
    /// Failed, in doubt.
    pub(crate) rest: Span,
    pub(crate) through: String,
    pub(crate) seq: String,
    /// `no gap`, `3 not told`.
    pub(crate) gap: Span,
    pub(crate) state: Span,
    pub(crate) incarnation: String,
    pub(crate) library: String,
}

pub(super) fn hosts(pipeline: &Pipeline, facts: &Facts, hop: usize, zone: Zone) -> Hosts {
    let stages = [hop, hop + 1].into_iter().filter_map(|stage| Some((stage, pipeline.stages.get(stage)?)));
    let stages = stages.flat_map(|(stage, of)| {
        facts.parts(stage).iter().map(move |part| match of.kind {
            StageKind::Client => client(facts, stage, part, zone),
            StageKind::Kafka => tap(facts, part, zone),
        })
    });
    let mut note = "Sequence numbers and gaps are those of the reporter as of now, over all its windows.".to_owned();
    if facts.detail.cut {
        note += " More reports are at hand than one answer looks through: some shares are not in these sums.";
    }
    Hosts { stages: stages.collect(), note }
}

fn client(facts: &Facts, stage: usize, part: &Part, zone: Zone) -> StageHosts {
    let shares: Vec<&ReporterShare> = facts.detail.shares.iter().filter(|s| s.stage == part.stage).collect();
    let total = part.total.as_ref();
    let told = shares.iter().fold(0u64, |sum, s| sum.saturating_add(s.n));
    let mut by_center: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for s in &shares {
        let of = by_center.entry(s.datacenter.as_str()).or_default();
        *of = (of.0.saturating_add(s.n), of.1 + 1);
    }
    let whole = total.map_or(0, |t| t.n);
    let center = |(center, (n, reporters)): (&str, (u64, u64))| {
        let center = if center.is_empty() { "no datacenter".to_owned() } else { name(center) };
        (center, count(n), plural(reporters, "reporter"))
    };
    let lines = shares.iter().take(MOST).map(|s| line(s, whole, facts, zone)).collect();
    StageHosts {
        name: name(&part.stage),
        sub: match (total, shares.len() as u64) {
            (None, _) => "counted nothing in this window".to_owned(),
            (Some(_), 0) => format!("{} messages", count(whole)),
            (Some(_), n) => format!("{}, {} of {} messages", plural(n, "reporter"), count(told), count(whole)),
        },
        lines,
        note: note(facts, stage, (told, shares.len()), total),
        centers: if by_center.len() > 1 { by_center.into_iter().map(center).collect() } else { Vec::new() },
    }
}

/// What the lines do not say.
fn note(facts: &Facts, stage: usize, (told, reporters): (u64, usize), total: Option<&Total>) -> String {
    let Some(total) = total else {
        let known = facts.is_known(stage);
        return if known {
            String::new()
        } else {
            "No reporter of this stage was ever heard: check that one runs and reaches the audit topic.".to_owned()
        };
    };
    let rest = total.n.saturating_sub(told);
    let mut text = String::new();
    if rest > 0 {
        let who = if reporters == 0 {
            "Who counted them".to_owned()
        } else {
            format!("Who counted the other {}", count(rest))
        };
        text = format!(
            "{who} is not known any more: of a proven window that is kept for 15 minutes after the last report, of a window in \
             trouble for the newest million."
        );
    }
    if reporters > MOST {
        text = format!("{} more; the CSV has all. {text}", plural((reporters - MOST) as u64, "reporter"));
    }
    text
}

fn line(s: &ReporterShare, whole: u64, facts: &Facts, zone: Zone) -> Line {
    let unreported = s.n.saturating_sub(s.acked).saturating_sub(s.failed);
    let silent = facts.now_ms.saturating_sub(s.heard_ms) > facts.silent_after_ms;
    let rest = match (s.failed, unreported) {
        (0, 0) => Span { class: "zero", text: "0".to_owned() },
        (failed, 0) => Span::plain(format!("{} failed", count(failed))),
        (0, doubt) => Span::of(Look::Unproven, format!("{} without a delivery report", count(doubt))),
        (failed, doubt) => {
            Span::of(Look::Unproven, format!("{} failed, {} without a delivery report", count(failed), count(doubt)))
        }
    };
    let state = match (s.ended.as_deref(), s.open) {
        (Some("clean"), _) => Span::plain("ended, all told"),
        (Some(end), _) => Span::of(Look::Unproven, format!("ended by {end}")),
        (None, _) if silent => {
            let ago = format::age(facts.now_ms.saturating_sub(s.heard_ms));
            Span::of(Look::NoReport, format!("silent for {ago}"))
        }
        (None, true) => Span::of(Look::Open, "may still grow"),
        (None, false) => Span { class: "quiet", text: "final".to_owned() },
    };
    Line {
        host: name(&s.host),
        application: name(&s.application),
        center: name(&s.datacenter),
        counted: count(s.n),
        part: share(i64::try_from(s.n).unwrap_or(i64::MAX), whole)
            .map(|p| p.trim_start_matches('+').to_owned())
            .unwrap_or_default(),
        rest,
        through: s.watermark_ms.map_or_else(|| "–".to_owned(), |ms| zone.clock(ms)),
        seq: count(s.last_seq),
        gap: match s.untold {
            0 => Span { class: "quiet", text: "no gap".to_owned() },
            n => Span::of(Look::Uncertain, format!("{} not told", plural(n, "slot"))),
        },
        state,
        incarnation: s.incarnation.to_string(),
        library: name(&s.library),
    }
}

fn tap(facts: &Facts, part: &Part, zone: Zone) -> StageHosts {
    let taps: Vec<&ReporterState> =
        facts.reporters.iter().filter(|r| r.stage == part.stage && r.state == "live").collect();
    let total = part.total.as_ref();
    let told = part.offsets.values().fold(0u64, |sum, s| sum.saturating_add(s.n));
    let line = |r: &&ReporterState| Line {
        host: name(&r.host),
        application: name(&r.application),
        center: String::new(),
        counted: "by partition".to_owned(),
        part: String::new(),
        rest: Span { class: "zero", text: "–".to_owned() },
        through: r.watermark_ms.map_or_else(|| "–".to_owned(), |ms| zone.clock(ms)),
        seq: "–".to_owned(),
        gap: Span { class: "quiet", text: "guarded by offsets".to_owned() },
        state: Span { class: "quiet", text: r.state.clone() },
        incarnation: r.incarnation.to_string(),
        library: name(&r.library),
    };
    let whole = total.map_or(0, |t| t.n);
    StageHosts {
        name: name(&part.stage),
        sub: match total {
            None => "counted nothing in this window".to_owned(),
            Some(t) => format!("{}, {} messages", plural(taps.len() as u64, "tap"), count(t.n)),
        },
        lines: taps.iter().take(MOST).map(line).collect(),
        note: if total.is_some() && told < whole {
            let difference = signed(format::minus(whole - told));
            format!("Partitions and offsets lack {difference}: those of a proven window are kept for a week.")
        } else if taps.is_empty() {
            "No tap of this stage lives.".to_owned()
        } else {
            String::new()
        },
        centers: Vec::new(),
    }
}
