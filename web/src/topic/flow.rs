//! The flow: which hop. Boxes count, edges compare.

use chaperone_collector::query::{PartitionState, ReporterState};
use chaperone_collector::{Stage, StageKind};

use crate::format::{count, plural, signed};
use crate::look::{Look, Span, class};
use crate::topic::grid::{self, Count, Grid, Row};
use crate::topic::parts::{Part, Parts};

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageBox {
    pub(crate) name: String,
    /// `unknown` where nothing ever reported.
    pub(crate) count: String,
    pub(crate) known: bool,
    pub(crate) who: String,
    pub(crate) note: String,
    /// Of a group: each member with its count.
    pub(crate) members: Vec<(String, String)>,
    /// The hop that leaves it.
    pub(crate) edge: Option<Edge>,
}

/// A hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) id: &'static str,
    pub(crate) glyph: bool,
    pub(crate) value: Span,
    pub(crate) note: Span,
    /// What else the boxes differ by, and why.
    pub(crate) rest: Vec<Span>,
    pub(crate) p50: String,
    pub(crate) p99: String,
    pub(crate) label: String,
}

/// Who reports a stage.
pub(crate) struct Sources<'a> {
    pub(crate) reporters: &'a [ReporterState],
    pub(crate) partitions: &'a [Vec<PartitionState>],
    pub(crate) topic: &'a str,
}

pub(crate) fn flow(grid: &Grid, stages: &[Stage], sources: &Sources<'_>, now_ms: i64) -> Vec<StageBox> {
    let counted: Vec<&Row> = grid.rows.iter().filter(|r| r.is_counted()).collect();
    let stage = |(i, seen): (usize, &grid::StageSeen)| {
        let total = sum(&counted, i);
        let mut notes = Vec::new();
        if total.failed > 0 {
            notes.push(format!("{} failed, not sent", count(total.failed)));
        }
        if total.doubt > 0 {
            notes.push(format!("{} in doubt", count(total.doubt)));
        }
        StageBox {
            name: seen.name.clone(),
            count: match (seen.known, counted.is_empty()) {
                (false, _) => "unknown".to_owned(),
                (true, true) => "–".to_owned(),
                (true, false) => count(total.n),
            },
            known: seen.known,
            who: who(seen.kind, stages.get(i).map(Stage::reported).unwrap_or_default(), i, sources),
            note: notes.join(", "),
            members: members(seen, &counted, i),
            edge: (i < grid.hop_count()).then(|| edge(grid, &counted, i, now_ms)),
        }
    };
    grid.stages.iter().enumerate().map(stage).collect()
}

/// How many windows the boxes add up, and from when to when.
pub(crate) fn extent(grid: &Grid) -> Option<(u64, i64, i64)> {
    let mut counted = grid.rows.iter().filter(|r| r.is_counted());
    let first = counted.next()?;
    let (n, last) = counted.fold((first.windows(), first), |(n, _), row| (n + row.windows(), row));
    Some((n, first.from_ms, last.to_ms))
}

/// What each member of a group has of its count.
fn members(seen: &grid::StageSeen, rows: &[&Row], stage: usize) -> Vec<(String, String)> {
    let of = |(member, (name, known)): (usize, &(String, bool))| {
        let parts = rows.iter().filter_map(|r| r.parts.get(&(stage, member)));
        let n = parts.fold(0u64, |sum, part| sum.saturating_add(part.n));
        let text = match (*known, rows.is_empty()) {
            (false, _) => "unknown".to_owned(),
            (true, true) => "–".to_owned(),
            (true, false) => count(n),
        };
        (name.clone(), text)
    };
    seen.members.iter().enumerate().map(of).collect()
}

fn sum(rows: &[&Row], stage: usize) -> Count {
    let mut total = Count::default();
    rows.iter().filter_map(|r| r.count(stage)).for_each(|c| total.merge(c));
    total
}

fn who(kind: StageKind, stages: &[String], index: usize, sources: &Sources<'_>) -> String {
    let of_stage = |state: &str| {
        let n = sources.reporters.iter().filter(|r| stages.contains(&r.stage) && r.state == state).count();
        u64::try_from(n).unwrap_or(u64::MAX)
    };
    let (live, gone, left) = (of_stage("live"), of_stage("gone"), of_stage("goodbye"));
    let noun = if kind == StageKind::Kafka { "tap" } else { "reporter" };
    let reporters = match (live, gone, left) {
        (0, 0, 0) => format!("no {noun} yet"),
        (0, 0, n) => format!("{} left", plural(n, noun)),
        (_, 0, _) => plural(live, noun),
        _ => format!("{} of {}", count(live), plural(live.saturating_add(gone), noun)),
    };
    let partitions =
        sources.partitions.get(index).map_or(0, |all| all.iter().filter(|p| p.topic == sources.topic).count());
    if partitions == 0 {
        return reporters;
    }
    format!("{reporters} · {}", plural(u64::try_from(partitions).unwrap_or(u64::MAX), "partition"))
}

fn edge(grid: &Grid, counted: &[&Row], hop: usize, now_ms: i64) -> Edge {
    let rows = || counted.iter().copied();
    let known = [hop, hop + 1].iter().all(|i| grid.stages.get(*i).is_some_and(|s| s.known));
    let parts = Parts::of(rows(), hop);
    let look = parts.head().or_else(|| grid::worst(&grid.rows, hop)).unwrap_or(Look::Open);
    let value = match (known, counted.is_empty()) {
        (false, _) => "unknown".to_owned(),
        (true, true) => "–".to_owned(),
        (true, false) => signed(parts.told(look).map_or(0, |part| part.value)),
    };
    let hist = sum(counted, hop + 1).hist;
    let absent = grid::absent(rows(), hop, now_ms);
    let delay = |permille| match grid::quantile(&hist, &absent, permille) {
        Some(delay) => delay.text(),
        None => "–".to_owned(),
    };
    let (from, to) = grid.hop_names(hop);
    Edge {
        id: look.id(),
        // The sign of the number says the same as these.
        glyph: !matches!(look, Look::Proven | Look::Missing | Look::Surplus),
        label: format!("{from} to {to}: {}", look.word()),
        value: Span { class: class(look), text: value },
        note: Span { class: class(look), text: note(look, &parts) },
        rest: if known { parts.rest(look).map(Part::text).collect() } else { Vec::new() },
        p50: delay(500),
        p99: delay(990),
    }
}

/// Share or cause.
fn note(look: Look, parts: &Parts) -> String {
    let part = parts.told(look);
    let windows = plural(part.map_or(0, |p| p.windows), "window");
    let share = part.and_then(|p| parts.share(p.value)).unwrap_or_else(|| windows.clone());
    match look {
        Look::Missing | Look::Surplus => share,
        Look::Delayed => format!("{share}, not passed yet"),
        Look::Overdue => format!("{share}, delay or loss"),
        Look::Mixed => format!("ids differ, {windows}"),
        Look::Unproven => format!("{} in doubt, {windows}", count(part.map_or(0, |p| p.doubt))),
        Look::ReRead => format!("re-read, {share}"),
        Look::Partial => "source partly audited".to_owned(),
        Look::Late | Look::Proven => "every id".to_owned(),
        Look::Uncertain | Look::NotYet | Look::NoReport => format!("{}, {windows}", look.word()),
        Look::Settling | Look::Open => look.word().to_owned(),
    }
}
