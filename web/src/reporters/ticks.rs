//! Check-ins → geometry: a band where a reporter was heard, and what is not like that apart. Pure.
//!
//! Cells are units of x in a box that is stretched; texts and glyphs have percents of their own, so that they stay sharp.

use chaperone_collector::checkins::{CELL_MS, Heard, cell_of};

use super::lives::{Group, Standing};
use crate::format;
use crate::strip::Axis;

/// Marks of one kind in a strip at most.
const MARKS_MAX: usize = 40;

/// A span of cells, from the left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) x: i64,
    pub(super) width: i64,
}

/// A box of silence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) x: String,
    pub(super) width: String,
    /// Where its words stand, if there is room for them.
    pub(super) text: Option<(String, String)>,
}

/// What a strip is drawn of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) cells: i64,
    pub(super) heard: Vec<Span>,
    /// A line a late cell.
    pub(super) late: String,
    pub(super) gaps: Vec<String>,
    pub(super) began: Vec<String>,
    /// Until here it was not there.
    pub(super) before: Option<String>,
    pub(super) silences: Vec<Silence>,
    pub(super) label: String,
}

pub(super) fn strip(g: &Group<'_>, axis: Axis, now_ms: i64) -> Strip {
    let (first, end) = (cell_of(axis.from_ms), cell_of(axis.to_ms.saturating_sub(1)).saturating_add(1));
    let heard_at = |cell: i64| g.lives.iter().map(|r| r.checkins.at(cell)).max().unwrap_or_default();
    let heard: Vec<Heard> = (first..end).map(heard_at).collect();
    let place = |i: usize| i64::try_from(i).unwrap_or(i64::MAX);
    let middle = |i: usize| axis.x(first.saturating_add(place(i)).saturating_mul(CELL_MS).saturating_add(CELL_MS / 2));
    let lates: Vec<usize> = which(&heard, Heard::Late);
    let gaps = which(&heard, Heard::Gap);
    // One mark for neighbours, in their middle.
    let marks = apart(&gaps).into_iter().map(|(first, last)| middle(usize::midpoint(first, last)));
    let mut spans = runs(&heard);
    // The cell of now is not over: nobody is missed in it yet.
    if g.standing != Standing::Silent
        && let Some(last) = spans.last_mut()
        && last.x + last.width + 2 >= place(heard.len())
    {
        last.width = place(heard.len()) - last.x;
    }
    let began = g.lives.iter().map(|r| r.first_ms).filter(|ms| (axis.from_ms..axis.to_ms).contains(ms));
    let earliest = g.lives.iter().map(|r| r.first_ms).min().unwrap_or(axis.from_ms);
    Strip {
        cells: end - first,
        late: lates.iter().map(|i| format!("M{i}.5 5V19")).collect::<Vec<_>>().concat(),
        gaps: marks.take(MARKS_MAX).collect(),
        began: began.take(MARKS_MAX).map(|ms| axis.x(ms)).collect(),
        before: (earliest > axis.from_ms).then(|| axis.x(earliest)),
        silences: silences(g, &spans, axis, first, now_ms),
        label: label(g, lates.len(), gaps.len()),
        heard: spans,
    }
}

fn which(heard: &[Heard], kind: Heard) -> Vec<usize> {
    heard.iter().enumerate().filter(|(_, h)| **h == kind).map(|(i, _)| i).collect()
}

/// Runs of neighbours: first and last.
fn apart(cells: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for cell in cells {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *cell => *last = *cell,
            _ => runs.push((*cell, *cell)),
        }
    }
    runs
}

fn label(g: &Group<'_>, late: usize, gaps: usize) -> String {
    let cells = |n: usize, what: &str| format!(", {} with {what}", format::plural(n as u64, "cell"));
    let mut label = format!("check-ins, 10 s each: {}", g.standing.look().2);
    if late > 0 {
        label += &cells(late, "a late word");
    }
    if gaps > 0 {
        label += &cells(gaps, "a gap");
    }
    label
}

/// Cells in which anything was heard, equal neighbours as one.
fn runs(heard: &[Heard]) -> Vec<Span> {
    let mut runs: Vec<Span> = Vec::new();
    for (x, _) in (0..).zip(heard).filter(|(_, h)| **h != Heard::Nothing) {
        match runs.last_mut() {
            Some(last) if last.x + last.width == x => last.width += 1,
            _ => runs.push(Span { x, width: 1 }),
        }
    }
    runs
}

/// Boxes between what was heard, two cells wide or more, and behind the last word of who is silent.
fn silences(g: &Group<'_>, heard: &[Span], axis: Axis, first: i64, now_ms: i64) -> Vec<Silence> {
    let at = |x: i64| first.saturating_add(x).saturating_mul(CELL_MS);
    let boxed = |from_ms: i64, to_ms: i64, words: Option<String>| {
        let middle = axis.x(from_ms + (to_ms - from_ms) / 2);
        let roomy = (to_ms - from_ms) * 4 >= axis.to_ms - axis.from_ms;
        let text = words.filter(|_| roomy).map(|words| (middle, words));
        Silence { x: axis.x(from_ms), width: axis.width(from_ms, to_ms), text }
    };
    let pairs = heard.iter().zip(heard.iter().skip(1));
    let between = pairs.filter(|(a, b)| b.x - a.x - a.width >= 2);
    let mut all: Vec<Silence> = between.map(|(a, b)| boxed(at(a.x + a.width), at(b.x), None)).take(MARKS_MAX).collect();
    if g.standing == Standing::Silent {
        let last_ms = g.speaker().last_ms;
        let words = format!("silent {}", format::age(now_ms.saturating_sub(last_ms)));
        let from_ms = heard.last().map_or(axis.from_ms, |last| at(last.x + last.width)).max(axis.from_ms);
        if from_ms < axis.to_ms {
            all.push(boxed(from_ms, axis.to_ms, Some(words)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::lives;
    use super::*;
    use chaperone_collector::query::ReporterState;

    const NOW: i64 = 7_200_000;

    fn drawn(state: &str, last_ms: i64, cells: &[(i64, Heard)]) -> Strip {
        let mut r = ReporterState { state: state.into(), last_ms, first_ms: 6_660_000, ..ReporterState::default() };
        for (ms, heard) in cells {
            r.checkins.note(*ms, *heard);
        }
        let all = [r];
        let (groups, _) = lives::groups(&all, NOW);
        strip(&groups[0], Axis::new(NOW - 600_000, NOW, CELL_MS), NOW)
    }

    #[test]
    fn what_was_heard_is_a_band_and_silence_a_box() {
        let heard: Vec<(i64, Heard)> = (0..20)
            .filter(|i| ![5, 6, 9].contains(i))
            .map(|i| (6_660_000 + i * CELL_MS, if i == 3 { Heard::Late } else { Heard::OnTime }))
            .collect();
        let s = drawn("gone", 6_859_000, &heard);
        let spans: Vec<(i64, i64)> = s.heard.iter().map(|s| (s.x, s.width)).collect();
        assert_eq!((s.cells, spans), (60, vec![(6, 5), (13, 2), (16, 10)]));
        assert_eq!((s.late.as_str(), s.gaps.len(), s.began.len()), ("M9.5 5V19", 0, 1));
        assert_eq!(s.before.as_deref(), Some("10.000%"));
        assert_eq!(s.silences.len(), 2, "one cell is a hole, two are a box: {:?}", s.silences);
        assert_eq!(s.silences[1].text.as_ref().map(|t| t.1.as_str()), Some("silent 5 m 41 s"));
        assert!(s.label.contains("silent") && s.label.contains("1 cell with a late word"));
    }

    #[test]
    fn neighbouring_gaps_have_one_mark() {
        let gap = |i| (6_660_000 + i * CELL_MS, Heard::Gap);
        let s = drawn("live", NOW - 1_000, &[gap(0), gap(1), gap(2), gap(8)]);
        assert_eq!((s.gaps.len(), s.gaps[0].as_str()), (2, "12.500%"));
        assert!(s.label.contains("4 cells with a gap"));
    }

    #[test]
    fn nobody_is_missed_in_the_cell_of_now() {
        let heard: Vec<(i64, Heard)> = (0..53).map(|i| (6_660_000 + i * CELL_MS, Heard::OnTime)).collect();
        let s = drawn("live", NOW - 9_000, &heard);
        assert_eq!(s.heard, [Span { x: 6, width: 54 }]);
        assert!(s.silences.is_empty());
    }
}
