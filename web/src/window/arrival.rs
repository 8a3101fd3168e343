//! When it arrived: messages of the window that were still absent at the downstream stage, by time since the window closed. Pure.
//!
//! From the stage's delay histogram, so nothing is stored for it: a message of delay d arrived between d − width and d after
//! the close, so that at time t at most those with d ≥ t were absent, and at least those with d ≥ t + width. What never came
//! is absent throughout: a delay falls to 0, a loss stays flat. The band is where other windows that are proven lay.
//!
//! Invariant: nothing is drawn beyond now, and what is absent is never drawn as arrived.

use std::fmt::Write as _;

use chaperone_audit::Histogram;
use chaperone_audit::histogram::{CELLS, lower_bound_ms};

use crate::format::{self, count, short};
use crate::look::{Look, Span};
use crate::topic::charts::{Level, float};
use crate::topic::grid::Row;
use crate::window::facts::Facts;
use crate::zone::Zone;

/// Height of the plot and of its lowest line, px.
const PX: f64 = 168.0;
const FLOOR: f64 = 158.0;
/// How far the axis may reach after the close.
const REACH_MS: [i64; 9] =
    [60_000, 120_000, 300_000, 900_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000];
/// Places where the curve is computed; the x axis of the plot.
const STEPS: i64 = 120;

/// The plot.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) stage: String,
    pub(crate) view: String,
    pub(crate) band: String,
    pub(crate) curve: String,
    /// Between the most and the least that may have been absent.
    pub(crate) range: String,
    pub(crate) class: &'static str,
    pub(crate) levels: Vec<Level>,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) says: Span,
    pub(crate) says_y: String,
    pub(crate) band_says: bool,
    pub(crate) lines: Vec<Line>,
    pub(crate) label: String,
}

/// A label of the x axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) x: String,
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) x: String,
    pub(crate) text: String,
    /// The text stands left of its line.
    pub(crate) left: bool,
}

/// The same as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) after: String,
    pub(crate) most: String,
    pub(crate) least: String,
}

/// What of a histogram was absent some time after the close.
struct Absent {
    /// Delays and counts.
    cells: Vec<(i64, i64, u64)>,
    width_ms: i64,
    never: u64,
}

impl Absent {
    fn new(hist: &Histogram, width_ms: i64, never: u64) -> Self {
        let upper = |cell: usize| if cell + 1 < CELLS { lower_bound_ms(cell + 1) } else { i64::MAX };
        Self { cells: hist.iter().map(|(cell, n)| (lower_bound_ms(cell), upper(cell), n)).collect(), width_ms, never }
    }
    fn sum(&self, is_absent: impl Fn(i64, i64) -> bool) -> u64 {
        let late = self.cells.iter().filter(|(low, high, _)| is_absent(*low, *high));
        late.fold(self.never, |sum, (.., n)| sum.saturating_add(*n))
    }
    fn most(&self, after_ms: i64) -> u64 {
        self.sum(|_, high| high > after_ms)
    }
    fn least(&self, after_ms: i64) -> u64 {
        self.sum(|low, _| low > after_ms.saturating_add(self.width_ms))
    }
    /// When the last of what came had come for certain.
    fn end_ms(&self) -> i64 {
        self.cells.iter().map(|(_, high, _)| *high).max().unwrap_or(0)
    }
}

/// Of a row's downstream stage.
fn of_row(row: &Row, hop: usize) -> Option<Absent> {
    let down = row.count(hop + 1);
    let expected = row.count(hop).map_or(0, |c| c.n);
    let seen = down.map_or(0, |c| c.n);
    let window = row.hop(hop)?;
    // A hop that does not pass everything on says itself what is absent.
    let absent = window.missing_min.saturating_add(window.delayed);
    let never = if Look::of(window).is_pending() { expected.saturating_sub(seen) } else { absent };
    if down.is_none() && never == 0 {
        return None;
    }
    let none = Histogram::new();
    Some(Absent::new(down.map_or(&none, |c| &c.hist), row.to_ms - row.from_ms, never))
}

pub(super) fn arrival(facts: &Facts, hop: usize, zone: Zone) -> Option<Arrival> {
    let row = facts.row.as_ref()?;
    let age_ms = facts.now_ms.saturating_sub(row.to_ms);
    if age_ms <= 0 || !facts.is_known(hop + 1) {
        return None;
    }
    let own = of_row(row, hop)?;
    let look = facts.look(hop);
    let settled_ms = facts.hop(hop).and_then(|w| w.settled_ms).map(|ms| ms.saturating_sub(row.to_ms));
    let wanted = own.end_ms().min(age_ms).max(settled_ms.unwrap_or(0) * 5 / 4);
    let reach = REACH_MS.into_iter().find(|r| *r >= wanted).unwrap_or(604_800_000);
    let others: Vec<Absent> = facts
        .grid
        .rows
        .iter()
        .filter(|r| r.from_ms != row.from_ms && r.hop(hop).map(Look::of) == Some(Look::Proven))
        .filter_map(|r| of_row(r, hop))
        .collect();
    let top = others.iter().map(|o| o.most(0)).chain([own.most(0)]).max().unwrap_or(1).max(10);
    let y = |n: u64| FLOOR - decades(n) / decades(top) * (FLOOR - 20.0);
    let at = |step: i64| step * reach / STEPS;
    let until = (0..=STEPS).filter(|s| at(*s) <= age_ms).max().unwrap_or(0);
    let stage = facts.grid.stages.get(hop + 1).map(|s| s.name.clone()).unwrap_or_default();
    let remain = own.most(age_ms.max(at(until)));
    Some(Arrival {
        view: format!("0 0 {STEPS} {PX}"),
        band: band(&others, at, y),
        curve: line((0..=until).map(|s| (s, y(own.most(at(s)))))),
        range: area((0..=until).map(|s| (s, y(own.most(at(s))), y(own.least(at(s)))))),
        class: curve_class(look),
        levels: levels(top, y),
        ticks: ticks(reach),
        marks: marks((settled_ms, age_ms), reach, zone, row.to_ms),
        says: says(look, remain, own.never),
        says_y: format!("{:.1}", (y(remain) - 6.0).max(14.0)),
        band_says: others.len() >= 3,
        lines: table(&own, reach, age_ms),
        label: format!(
            "Messages still absent at {stage} after the window closed, logarithmic; {} are absent now",
            count(own.never)
        ),
        stage,
    })
}

/// Why there is no plot.
pub(super) fn why_none(facts: &Facts, hop: usize) -> &'static str {
    match &facts.row {
        None => "",
        Some(row) if row.to_ms >= facts.now_ms => "The window is still open: what is absent is counted from its end.",
        Some(_) if !facts.is_known(hop + 1) => {
            "Nothing is known of the downstream stage, so nothing can be called absent."
        }
        Some(_) => "Nothing was counted downstream, and nothing is missed.",
    }
}

const fn curve_class(look: Look) -> &'static str {
    match look {
        Look::Missing => "cv-missing",
        Look::Delayed | Look::Overdue => "cv-late",
        _ => "cv-calm",
    }
}

/// Decades of a scale that begins at 0.
fn decades(n: u64) -> f64 {
    float(n.saturating_add(1)).log10()
}

fn put(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail; a plot that ends early is the worst that could come of it.
    if out.write_fmt(args).is_err() {
        out.push(' ');
    }
}

/// A line through points; what lies level is one stroke.
fn line(points: impl Iterator<Item = (i64, f64)>) -> String {
    let mut out = String::new();
    let mut last: Option<(i64, f64)> = None;
    for (x, y) in points {
        match last {
            None => put(&mut out, format_args!("M{x} {y:.1}")),
            Some((_, before)) if (before - y).abs() < 0.05 => {}
            // Down when the next cell has come in: a step, not a slope.
            Some(_) => put(&mut out, format_args!("H{x}V{y:.1}")),
        }
        last = Some((x, y));
    }
    if let Some((x, _)) = last {
        put(&mut out, format_args!("H{x}"));
    }
    out
}

fn area(points: impl Iterator<Item = (i64, f64, f64)>) -> String {
    let points: Vec<(i64, f64, f64)> = points.collect();
    let mut out = String::new();
    for (i, (x, upper, _)) in points.iter().enumerate() {
        put(&mut out, format_args!("{}{x} {upper:.1}", if i == 0 { "M" } else { "L" }));
    }
    for (x, _, lower) in points.iter().rev() {
        put(&mut out, format_args!("L{x} {lower:.1}"));
    }
    if !out.is_empty() {
        out.push('Z');
    }
    out
}

/// Where other windows lay.
fn band(others: &[Absent], at: impl Fn(i64) -> i64, y: impl Fn(u64) -> f64) -> String {
    if others.len() < 3 {
        return String::new();
    }
    area((0..=STEPS).step_by(2).map(|s| {
        let all = || others.iter().map(|o| o.most(at(s)));
        (s, y(all().max().unwrap_or(0)), y(all().min().unwrap_or(0)))
    }))
}

fn levels(top: u64, y: impl Fn(u64) -> f64) -> Vec<Level> {
    let powers = std::iter::successors(Some(10u64), |p| p.checked_mul(10)).take_while(|p| *p <= top);
    let skip = if top >= 10_000_000 { 2 } else { 1 };
    let level = |n: u64| Level { y: format!("{:.1}", y(n)), text_y: format!("{:.1}", y(n) + 3.5), text: short(n) };
    [0].into_iter().chain(powers.step_by(skip)).map(level).collect()
}

fn ticks(reach: i64) -> Vec<Tick> {
    let parts = 6;
    let tick = |i: i64| {
        let class = match i {
            0 => "",
            _ if i == parts => "end",
            _ if i % 2 == 1 => "mid odd",
            _ => "mid",
        };
        let ms = reach * i / parts;
        let text = match i {
            0 => "closed".to_owned(),
            _ if reach <= 120_000 => format!("+{} s", ms / 1000),
            _ => format!("+{}", after(ms)),
        };
        Tick { x: percent(i, parts), class, text }
    };
    (0..=parts).map(tick).collect()
}

/// `10 s`, `2 m 30 s`, `4 h`.
fn after(ms: i64) -> String {
    let text = format::age(ms);
    text.strip_suffix(" 0 s").or_else(|| text.strip_suffix(" 0 m")).unwrap_or(&text).to_owned()
}

fn percent(part: i64, of: i64) -> String {
    let hundredths = i128::from(part) * 10_000 / i128::from(of.max(1));
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn marks((settled_ms, age_ms): (Option<i64>, i64), reach: i64, zone: Zone, closed_ms: i64) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut mark = |ms: i64, text: String| {
        if (0..=reach).contains(&ms) {
            marks.push(Mark { x: percent(ms, reach), text, left: ms > reach * 3 / 4 });
        }
    };
    if let Some(ms) = settled_ms {
        mark(ms, format!("settled {}", zone.clock(closed_ms.saturating_add(ms))));
    }
    mark(age_ms, "now".to_owned());
    marks
}

fn says(look: Look, remain: u64, never: u64) -> Span {
    match look {
        Look::Missing => Span::of(look, format!("{} stay absent: lost, not late", count(never))),
        Look::Delayed | Look::Overdue => Span::of(look, format!("{} still absent", count(remain))),
        _ if never > 0 => Span::of(look, format!("{} absent so far", count(never))),
        _ if remain == 0 => Span { class: "", text: "all arrived".to_owned() },
        _ => Span { class: "", text: String::new() },
    }
}

fn table(own: &Absent, reach: i64, age_ms: i64) -> Vec<Line> {
    let parts = [0, 1, 2, 3, 6, 12].map(|p| reach * p / 12);
    let line = |ms: i64| Line {
        after: if ms == 0 { "when it closed".to_owned() } else { format!("{} later", after(ms)) },
        most: count(own.most(ms)),
        least: count(own.least(ms)),
    };
    parts.into_iter().filter(|ms| *ms <= age_ms).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_lies_between_two_bounds_and_a_loss_stays() {
        let mut hist = Histogram::new();
        hist.add_cell(chaperone_audit::histogram::cell_of(500), 100);
        hist.add_cell(chaperone_audit::histogram::cell_of(25_000), 7);
        let absent = Absent::new(&hist, 10_000, 23);
        assert_eq!((absent.most(0), absent.least(0)), (130, 30), "100 may have come in the last half second");
        assert_eq!((absent.most(20_000), absent.least(20_000)), (30, 23));
        assert_eq!((absent.most(60_000), absent.least(60_000)), (23, 23), "a loss stays flat");
        assert!((0..60_000).step_by(100).all(|t| absent.most(t) >= absent.least(t)));
    }

    #[test]
    fn level_stretches_are_one_stroke_and_words_are_short() {
        assert_eq!(line([(0, 5.0), (1, 5.0), (2, 9.0), (3, 9.0)].into_iter()), "M0 5.0H2V9.0H3");
        assert_eq!(area(std::iter::empty()), "");
        assert_eq!([10_000, 150_000, 14_400_000].map(after), ["10 s", "2 m 30 s", "4 h"]);
        assert_eq!(percent(1, 6), "16.66%");
    }
}
