//! Windows → merged runs → geometry: the strip that shows when, and on which hop.
//!
//! The band is the line of reference. Direction carries the sign (missing hangs below, surplus stands above), colour
//! the class, tint the size. x is in percent, so that a plot is sharp at any width without a script.
//!
//! Invariants: runs are in order of time and do not overlap; only equal neighbours merge; a window without a row is a
//! gap, never a proven one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chaperone_collector::query::{Glance, HopWindow};

use crate::look::{self, Look};
use crate::zone::Zone;

/// 100 % in the units that x is computed in.
const FULL: i64 = 100_000;
/// Labels nearer to each other than this would touch: 6 % of the width.
const LABEL_ROOM: i64 = 6_000;
/// Glyphs nearer to each other than this would touch.
const GLYPH_ROOM: i64 = 1_700;

/// The shared x axis: event time, on the grid of the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// A line and a label on the axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) x: String,
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

impl Axis {
    /// The range, widened to whole windows.
    pub(crate) fn new(from_ms: i64, to_ms: i64, width_ms: i64) -> Self {
        let width = width_ms.max(1);
        let from = from_ms.div_euclid(width).saturating_mul(width);
        let to = to_ms.saturating_add(width - 1).div_euclid(width).saturating_mul(width);
        Self { from_ms: from, to_ms: to.max(from.saturating_add(width)) }
    }
    fn at(self, ms: i64) -> i64 {
        let (part, all) =
            (i128::from(ms) - i128::from(self.from_ms), i128::from(self.to_ms) - i128::from(self.from_ms));
        i64::try_from((part * i128::from(FULL) / all.max(1)).clamp(0, i128::from(FULL))).unwrap_or(FULL)
    }
    /// Where a moment is: `71.111%`.
    pub(crate) fn x(self, ms: i64) -> String {
        percent(self.at(ms))
    }
    /// How wide a span is.
    pub(crate) fn width(self, from_ms: i64, to_ms: i64) -> String {
        percent(self.at(to_ms) - self.at(from_ms))
    }
    /// At most seven labelled lines, on the clock of the zone.
    pub(crate) fn ticks(self, zone: Zone) -> Vec<Tick> {
        let all = self.to_ms - self.from_ms;
        let Some(step) = STEPS_S.iter().map(|s| s * 1000).find(|s| all / s <= 7) else { return Vec::new() };
        let offset = zone.offset_ms();
        let first = (self.from_ms + offset + step - 1).div_euclid(step) * step - offset;
        let mut ticks = Vec::new();
        let mut at = first;
        while at <= self.to_ms && ticks.len() < 9 {
            let x = self.at(at);
            let class = match x {
                ..3_000 => "",
                97_001.. => "end",
                _ if ticks.len() % 2 == 1 => "mid odd",
                _ => "mid",
            };
            let text = if step < 60_000 { zone.clock(at) } else { zone.minute(at) };
            let text = if step >= 86_400_000 { zone.date(at) } else { text };
            ticks.push(Tick { x: percent(x), class, text });
            at += step;
        }
        ticks
    }
}

/// Distances between ticks, in seconds.
const STEPS_S: [i64; 17] =
    [10, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800, 8_640_000];

fn percent(thousandths: i64) -> String {
    format!("{}.{:03}%", thousandths / 1000, thousandths % 1000)
}

/// What is drawn: a window, or a slice of several, with the look of the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) look: Look,
    /// Tint, 1 to 6.
    pub(crate) step: usize,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) windows: u64,
    /// Σ of the messages that its verdicts are about.
    pub(crate) amount: u64,
}

impl Piece {
    /// A window; its tint is the lightest.
    pub(crate) fn of(window: &HopWindow) -> Self {
        Self {
            look: Look::of(window),
            step: 1,
            from_ms: window.window_ms,
            to_ms: window.window_ms.saturating_add(window.width_ms),
            windows: 1,
            amount: look::amount(window),
        }
    }

    /// A window, or a slice: then with the worst of its looks.
    pub(crate) fn seen(glance: &Glance) -> Self {
        let looks = glance.verdicts.keys().map(|verdict| Look::told(*verdict, &glance.caveats));
        Self {
            look: look::worst(looks).unwrap_or(Look::Open),
            step: 1,
            from_ms: glance.window_ms,
            to_ms: glance.window_ms.saturating_add(glance.width_ms),
            windows: glance.windows,
            amount: glance.missing_min.max(glance.surplus_min).max(glance.delayed),
        }
    }
}

/// Neighbouring windows that look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) look: Look,
    /// Tint, 1 to 6.
    pub(crate) step: usize,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// What it stands for: the worst, the newest of equals.
    pub(crate) worst: Piece,
    pub(crate) windows: u64,
    /// Σ of the messages that its verdicts are about.
    pub(crate) amount: u64,
}

impl Run {
    const fn of(piece: Piece) -> Self {
        let Piece { look, step, from_ms, to_ms, windows, amount } = piece;
        Self { look, step, from_ms, to_ms, worst: piece, windows, amount }
    }
}

/// Merges equal neighbours, but not in trouble, so that each bad window can be pointed at. Pieces must be in order of time.
pub(crate) fn runs(pieces: impl IntoIterator<Item = Piece>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for piece in pieces {
        push(&mut runs, Run::of(piece), piece.look.is_calm());
    }
    runs
}

fn push(runs: &mut Vec<Run>, next: Run, may_merge: bool) {
    if let Some(last) = runs.last_mut() {
        let alike = last.look == next.look && last.step == next.step;
        if may_merge && alike && last.to_ms == next.from_ms {
            last.to_ms = next.to_ms;
            last.worst = next.worst;
            last.windows += next.windows;
            last.amount = last.amount.saturating_add(next.amount);
            return;
        }
        // A store that has a window twice, or at two widths, shows the first; nothing may be drawn over.
        if next.from_ms < last.to_ms {
            return;
        }
    }
    runs.push(next);
}

/// The worst of each `cells`-th part of the axis: where windows are narrower than what can be seen. Sums and worst-of,
/// never a mean; a cell stands for its worst piece, the newest of equals.
pub(crate) fn condense(pieces: impl IntoIterator<Item = Piece>, axis: Axis, cells: i64) -> Vec<Run> {
    let pieces: Vec<Piece> = pieces.into_iter().collect();
    // Whole pieces, so that no cell is empty only because none begins in it.
    let widest = pieces.iter().map(|p| p.to_ms - p.from_ms).max().unwrap_or(10_000).max(1);
    let width = (axis.to_ms - axis.from_ms).div_euclid(cells.max(1)).saturating_add(widest - 1).div_euclid(widest);
    let width = width.max(1).saturating_mul(widest);
    let rank = |p: &Piece| (p.look, Reverse(p.step), Reverse(p.from_ms));
    let mut worst: BTreeMap<i64, Run> = BTreeMap::new();
    for piece in pieces {
        // On the clock, where wider pieces lie as well.
        let from_ms = piece.from_ms.div_euclid(width).saturating_mul(width);
        let whole = Piece { from_ms, to_ms: from_ms.saturating_add(width), ..piece };
        let empty = Run { worst: piece, windows: 0, amount: 0, ..Run::of(whole) };
        let cell = worst.entry(from_ms).or_insert(empty);
        if rank(&piece) < rank(&cell.worst) {
            (cell.look, cell.step, cell.worst) = (piece.look, piece.step, piece);
        }
        cell.windows += piece.windows;
        cell.amount = cell.amount.saturating_add(piece.amount);
    }
    let mut runs = Vec::new();
    for cell in worst.into_values() {
        push(&mut runs, cell, true);
    }
    runs
}

/// Where the band is and how far things reach from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    band: i64,
    height: i64,
    hang: i64,
    half: i64,
    top: i64,
    line: i64,
}

/// The rows of a topic page: 44 px, the glyph lane above 15.
pub(crate) const MATRIX: Geometry = Geometry { band: 20, height: 10, hang: 20, half: 16, top: 13, line: 4 };
/// The strip in a list: 24 px, no lane.
pub(crate) const MINI: Geometry = Geometry { band: 9, height: 6, hang: 13, half: 10, top: 2, line: 3 };

/// One rectangle of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) class: &'static str,
    pub(crate) y: i64,
    pub(crate) height: i64,
}

const MISSING: [&str; 6] = ["m1", "m2", "m3", "m4", "m5", "m6"];
const SURPLUS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
const DELAYED: [&str; 6] = ["d1", "d2", "d3", "d4", "d5", "d6"];

/// The rectangles that draw a look. No two looks have the same.
pub(crate) fn shapes(look: Look, step: usize, g: Geometry) -> Vec<Shape> {
    let tint = |classes: [&'static str; 6]| classes.get(step.saturating_sub(1)).copied().unwrap_or(classes[5]);
    let shape = |class, y, height| Shape { class, y, height };
    let band = |class| shape(class, g.band, g.height);
    match look {
        Look::Proven => vec![band("k-ok")],
        Look::Late => vec![band("k-ok"), shape("k-late", g.band + g.height, g.line)],
        Look::Missing => vec![shape(tint(MISSING), g.band, g.hang)],
        Look::Surplus => vec![shape(tint(SURPLUS), g.top, g.band + g.height - g.top)],
        Look::ReRead => vec![band("k-ok"), shape("k-reread", g.band - g.line, g.line)],
        Look::Mixed => vec![shape("k-mixed", g.top, g.band + g.hang - g.top)],
        Look::Delayed => vec![shape(tint(DELAYED), g.band, g.half)],
        Look::Overdue => vec![shape("k-overdue", g.band, g.half)],
        Look::Unproven => vec![band("k-unproven")],
        Look::Uncertain => vec![band("k-uncertain")],
        Look::Partial => vec![shape("k-ok", g.band + g.height / 2, g.height - g.height / 2)],
        Look::Settling => vec![band("k-settling")],
        Look::Open => vec![band("k-open")],
        Look::NoReport => vec![band("k-noreport")],
        Look::NotYet => vec![shape("k-notyet", g.band + g.height / 2, 1)],
    }
}

/// A glyph in the lane above the band, with a number where there is room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) look: Look,
    pub(crate) x: String,
    pub(crate) text: String,
}

/// One mark per group of neighbours with one look; the worst win the room.
pub(crate) fn marks(runs: &[Run], axis: Axis, text: impl Fn(Look, u64) -> String) -> Vec<Mark> {
    struct Group {
        look: Look,
        from_ms: i64,
        to_ms: i64,
        amount: u64,
    }
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        match groups.last_mut() {
            Some(g) if g.look == run.look && g.to_ms == run.from_ms => {
                g.to_ms = run.to_ms;
                g.amount = g.amount.saturating_add(run.amount);
            }
            _ => groups.push(Group { look: run.look, from_ms: run.from_ms, to_ms: run.to_ms, amount: run.amount }),
        }
    }
    groups.retain(|g| {
        let wide = axis.at(g.to_ms) - axis.at(g.from_ms) >= LABEL_ROOM;
        !matches!(g.look, Look::Proven | Look::Late | Look::Open)
            && (wide || !matches!(g.look, Look::Settling | Look::NotYet))
    });
    let centre = |g: &Group| i64::midpoint(axis.at(g.from_ms), axis.at(g.to_ms));
    groups.sort_by_key(|g| (g.look, Reverse(g.amount), g.from_ms));
    let mut placed: Vec<(i64, &Group)> = Vec::new();
    for group in &groups {
        let x = centre(group);
        if placed.iter().all(|(other, _)| (other - x).abs() >= GLYPH_ROOM) {
            placed.push((x, group));
        }
    }
    placed.sort_by_key(|(x, _)| *x);
    let xs: Vec<i64> = placed.iter().map(|(x, _)| *x).collect();
    let mark = |(x, g): &(i64, &Group)| {
        let room = xs.iter().all(|other| other == x || (other - x).abs() >= LABEL_ROOM);
        Mark { look: g.look, x: percent(*x), text: if room { text(g.look, g.amount) } else { String::new() } }
    };
    placed.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_collector::Verdict;
    use std::collections::HashSet;

    const AXIS: Axis = Axis { from_ms: 0, to_ms: 1_800_000 };

    fn row(window: i64, verdict: Verdict, amount: u64) -> Piece {
        let from_ms = window * 10_000;
        Piece { look: Look::of_verdict(verdict), step: 4, from_ms, to_ms: from_ms + 10_000, windows: 1, amount }
    }

    #[test]
    fn the_axis_covers_whole_windows() {
        let axis = Axis::new(1_234, 99_999, 10_000);
        assert_eq!(axis, Axis { from_ms: 0, to_ms: 100_000 });
        assert_eq!(
            (axis.x(0), axis.x(50_000), axis.x(100_000)),
            ("0.000%".into(), "50.000%".into(), "100.000%".into())
        );
        assert_eq!((axis.x(-5), axis.x(i64::MAX)), ("0.000%".into(), "100.000%".into()));
        assert_eq!(Axis::new(5, 5, 10_000), Axis { from_ms: 0, to_ms: 10_000 });
    }

    #[test]
    fn ticks_are_on_the_clock_of_the_zone() {
        let texts = |axis: Axis, zone| axis.ticks(zone).into_iter().map(|t| t.text).collect::<Vec<_>>();
        let half_hour = texts(AXIS, Zone::utc());
        assert_eq!(half_hour, ["00:00", "00:05", "00:10", "00:15", "00:20", "00:25", "00:30"]);
        let day = Axis { from_ms: 0, to_ms: 86_400_000 };
        assert_eq!(texts(day, Zone::parse("+05:30").expect("zone")).first().map(String::as_str), Some("06:00"));
        let minute = Axis { from_ms: 0, to_ms: 60_000 };
        assert_eq!(texts(minute, Zone::utc()).last().map(String::as_str), Some("00:01:00"));
        let year = Axis { from_ms: 0, to_ms: 400 * 86_400_000 };
        assert!(!year.ticks(Zone::utc()).is_empty() && year.ticks(Zone::utc()).len() <= 9);
    }

    #[test]
    fn equal_neighbours_merge_and_gaps_stay() {
        use Look::{Missing, Proven};
        let rows = [
            row(0, Verdict::Ok, 0),
            row(1, Verdict::Ok, 0),
            row(2, Verdict::Missing, 23),
            row(3, Verdict::Missing, 14),
            row(5, Verdict::Ok, 0),
        ];
        let spans: Vec<_> = runs(rows).iter().map(|r| (r.look, r.from_ms / 10_000, r.windows, r.amount)).collect();
        assert_eq!(spans, [(Proven, 0, 2, 0), (Missing, 2, 1, 23), (Missing, 3, 1, 14), (Proven, 5, 1, 0)]);
    }

    #[test]
    fn a_window_told_twice_is_drawn_once() {
        let rows = [row(0, Verdict::Ok, 0), row(0, Verdict::Missing, 1), row(1, Verdict::Ok, 0)];
        let runs = runs(rows);
        assert!(runs.windows(2).all(|w| w[0].to_ms <= w[1].from_ms), "{runs:?}");
    }

    #[test]
    fn a_list_strip_shows_the_worst_of_each_cell() {
        let rows =
            [row(0, Verdict::Ok, 0), row(1, Verdict::Missing, 1), row(2, Verdict::Open, 0), row(12, Verdict::Ok, 0)];
        let cells = condense(rows, AXIS, 30);
        let seen: Vec<_> = cells.iter().map(|r| (r.look, r.from_ms / 60_000, r.to_ms / 60_000)).collect();
        assert_eq!(seen, [(Look::Missing, 0, 1), (Look::Proven, 2, 3)]);
        let first = cells.first().expect("cell");
        assert_eq!((first.windows, first.amount, first.worst), (3, 1, rows[1]), "it opens the worst window");
    }

    #[test]
    fn slices_count_for_their_windows_and_lie_on_the_clock() {
        let slice = |from_ms, windows| Piece { from_ms, to_ms: from_ms + 60_000, windows, ..row(0, Verdict::Ok, 0) };
        let axis = Axis { from_ms: 50_000, to_ms: 650_000 };
        let cells = condense([slice(0, 2), slice(60_000, 6), row(12, Verdict::Missing, 3)], axis, 10);
        let seen: Vec<_> = cells.iter().map(|r| (r.look, r.from_ms, r.to_ms, r.windows)).collect();
        assert_eq!(seen, [(Look::Proven, 0, 120_000, 8), (Look::Missing, 120_000, 180_000, 1)]);
    }

    #[test]
    fn no_two_looks_are_drawn_alike_and_direction_is_the_sign() {
        for g in [MATRIX, MINI] {
            let drawn: HashSet<String> = Look::ALL.iter().map(|l| format!("{:?}", shapes(*l, 4, g))).collect();
            assert_eq!(drawn.len(), Look::ALL.len());
            let (down, up) = (&shapes(Look::Missing, 4, g)[0], &shapes(Look::Surplus, 4, g)[0]);
            assert!(down.y == g.band && down.y + down.height > g.band + g.height, "missing hangs below");
            assert!(up.y < g.band && up.y + up.height == g.band + g.height, "surplus stands above");
        }
        assert_eq!(shapes(Look::Missing, 2, MATRIX)[0].class, "m2");
        assert_eq!(shapes(Look::Missing, 99, MATRIX)[0].class, "m6");
    }

    #[test]
    fn labels_never_touch_and_the_worst_keep_their_glyph() {
        let rows = [
            row(10, Verdict::Missing, 37),
            row(12, Verdict::Unproven, 0),
            row(60, Verdict::Mixed, 0),
            row(66, Verdict::Delayed, 0),
            row(150, Verdict::Missing, 1),
        ];
        let runs = runs(rows);
        let marks = marks(&runs, AXIS, |look, n| format!("{} {n}", look.word()));
        let said: Vec<_> = marks.iter().map(|m| (m.look, m.text.as_str())).collect();
        // Unproven is too near to missing for a glyph; mixed and delayed too near for numbers.
        assert_eq!(
            said,
            [(Look::Missing, "missing 37"), (Look::Mixed, ""), (Look::Delayed, ""), (Look::Missing, "missing 1")]
        );
    }
}
