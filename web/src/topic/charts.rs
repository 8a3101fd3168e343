//! Counts and difference: how big. Line = expected, area = actual, y from 0; the difference is apart on a symmetric
//! logarithmic scale, since 23 and 18,000 share the page. x is in seconds of event time, stretched to the width.

use std::fmt::Write as _;

use crate::format::{short, short_signed};
use crate::look::{Look, Span};
use crate::strip::Axis;
use crate::topic::grid::{Count, Grid, Row};
use crate::topic::parts;

/// Height of the counts plot, px.
const COUNTS_PX: f64 = 104.0;
/// Height of the difference plot, px.
const DIFFERENCE_PX: f64 = 92.0;

/// A horizontal line with its label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Level {
    pub(crate) y: String,
    pub(crate) text_y: String,
    pub(crate) text: String,
}

/// Expected against actual.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) view: String,
    pub(crate) expected_name: String,
    pub(crate) actual_name: String,
    pub(crate) area: String,
    pub(crate) gap: String,
    pub(crate) step: String,
    pub(crate) levels: Vec<Level>,
    pub(crate) total: String,
}

/// A bar of the difference plot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) class: &'static str,
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) y: String,
    pub(crate) height: String,
}

/// Signed differences.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) view: String,
    pub(crate) zero: String,
    pub(crate) levels: Vec<Level>,
    pub(crate) bars: Vec<Bar>,
    pub(crate) totals: Vec<Span>,
}

#[expect(clippy::cast_precision_loss, reason = "a pixel needs no more than 52 bits")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}

/// The axis in seconds, for `viewBox`.
pub(crate) fn view(axis: Axis, height: f64) -> String {
    format!("0 0 {} {height}", (axis.to_ms - axis.from_ms) / 1000)
}

pub(crate) fn seconds(axis: Axis, ms: i64) -> i64 {
    (ms.clamp(axis.from_ms, axis.to_ms) - axis.from_ms) / 1000
}

/// `None` where there are no two stages to compare.
pub(crate) fn counts(grid: &Grid, axis: Axis) -> Option<Counts> {
    let (first, last) = grid.ends()?;
    let width_ms = grid.width_ms();
    // In a slice: as if evenly over its windows.
    let of = |row: &Row, stage| row.count(stage).map(|c: &Count| per_window(c.n, row.to_ms - row.from_ms, width_ms));
    let pairs: Vec<(&Row, Option<u64>, Option<u64>)> =
        grid.rows.iter().map(|r| (r, of(r, first), of(r, last))).collect();
    let max = pairs.iter().flat_map(|(_, a, b)| [*a, *b]).flatten().max().filter(|m| *m > 0)?;
    let y = |v: u64| COUNTS_PX - float(v) / float(max) * (COUNTS_PX - 14.0);
    let mut gap = String::new();
    for (row, expected, actual) in &pairs {
        let (Some(expected), absent) = (expected, row.hops.iter().flatten().map(|h| h.delayed).sum::<u64>()) else {
            continue;
        };
        let actual = actual.unwrap_or(0);
        if absent > 0 && actual < *expected {
            let (x0, x1) = (seconds(axis, row.from_ms), seconds(axis, row.to_ms));
            write(&mut gap, format_args!("M{x0} {:.1}V{:.1}H{x1}V{:.1}Z", y(actual), y(*expected), y(actual)));
        }
    }
    let total = grid.rows.iter().filter_map(|r| r.count(first)).fold(0u64, |sum, c| sum.saturating_add(c.n));
    Some(Counts {
        view: view(axis, COUNTS_PX),
        expected_name: grid.stages.get(first)?.name.clone(),
        actual_name: grid.stages.get(last)?.name.clone(),
        area: path(axis, pairs.iter().map(|(r, _, b)| (*r, b.map(y))), Some(COUNTS_PX)),
        step: path(axis, pairs.iter().map(|(r, a, _)| (*r, a.map(y))), None),
        gap,
        levels: levels(max).into_iter().map(|v| level(y(v), short(v))).collect(),
        total: short(total),
    })
}

/// What a row's number is in a window of the usual width, rounded; what is there never becomes nothing.
fn per_window(n: u64, row_ms: i64, width_ms: i64) -> u64 {
    let (row, width) = (i128::from(row_ms.max(1)), i128::from(width_ms.max(1)));
    let evenly = (i128::from(n) * width + row / 2) / row;
    u64::try_from(evenly).unwrap_or(u64::MAX).max(u64::from(n > 0))
}

fn write(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail; a plot that ends early is the worst that could come of it.
    if out.write_fmt(args).is_err() {
        out.push(' ');
    }
}

fn level(y: f64, text: String) -> Level {
    Level { y: format!("{y:.1}"), text_y: format!("{:.1}", y + 3.5), text }
}

/// A stepped path over the windows that have a value; closed to `floor` where it is an area.
fn path<'a>(axis: Axis, points: impl Iterator<Item = (&'a Row, Option<f64>)>, floor: Option<f64>) -> String {
    let mut out = String::new();
    let mut open_at: Option<i64> = None;
    for (row, y) in points {
        let (x0, x1) = (seconds(axis, row.from_ms), seconds(axis, row.to_ms));
        if open_at.is_some_and(|end| end != x0 || y.is_none()) {
            close(&mut out, floor);
            open_at = None;
        }
        let Some(y) = y else { continue };
        match (open_at, floor) {
            (None, Some(floor)) => write(&mut out, format_args!("M{x0} {floor}V{y:.1}H{x1}")),
            (None, None) => write(&mut out, format_args!("M{x0} {y:.1}H{x1}")),
            (Some(_), _) => write(&mut out, format_args!("V{y:.1}H{x1}")),
        }
        open_at = Some(x1);
    }
    if open_at.is_some() {
        close(&mut out, floor);
    }
    out
}

fn close(out: &mut String, floor: Option<f64>) {
    if let Some(floor) = floor {
        write(out, format_args!("V{floor}Z"));
    }
}

/// One to three round numbers up to `max`.
fn levels(max: u64) -> Vec<u64> {
    let mut power = 1u64;
    loop {
        for unit in [1, 2, 5] {
            let step = power.saturating_mul(unit);
            if max / step <= 3 {
                return (1..=max / step).map(|i| i * step).collect();
            }
        }
        power = power.saturating_mul(10);
    }
}

/// `None` where no verdict names a difference.
pub(crate) fn difference(grid: &Grid, axis: Axis) -> Option<Difference> {
    let mut bars: Vec<(Look, &Row, u64)> = Vec::new();
    for row in &grid.rows {
        for (hop, window) in row.hops.iter().enumerate().filter_map(|(i, h)| h.as_ref().map(|h| (i, h))) {
            let look = Look::of(window);
            let looks = row.looks(hop);
            let named = parts::bounds(window, |of| looks.iter().any(|(look, _)| *look == of));
            bars.extend(named.map(|(look, value)| (look, row, value.unsigned_abs())));
            if look == Look::Mixed {
                bars.push((look, row, 1));
            }
        }
    }
    if bars.is_empty() {
        return None;
    }
    let is_up = |look: Look| matches!(look, Look::Surplus | Look::ReRead);
    let most = |up: bool| bars.iter().filter(|(l, ..)| is_up(*l) == up).map(|(.., n)| decades(*n)).fold(0.0, f64::max);
    let (up, down) = (most(true).max(1.0), most(false).max(1.0));
    let px = (DIFFERENCE_PX - 4.0) / (up + down);
    let zero = 2.0 + up * px;
    let bar = |(look, row, n): &(Look, &Row, u64)| {
        let (x0, x1) = (seconds(axis, row.from_ms), seconds(axis, row.to_ms));
        let size = (decades(*n) * px).max(2.0);
        let (y, height) = match look {
            Look::Mixed => (zero - px * 0.6, px * 1.2),
            look if is_up(*look) => (zero - size, size),
            _ => (zero, size),
        };
        let class = match look {
            Look::Missing => "m6",
            Look::Surplus => "s6",
            Look::ReRead => "k-reread",
            Look::Mixed => "k-mixed",
            _ => "k-late",
        };
        Bar {
            class,
            x: x0.to_string(),
            width: (x1 - x0).to_string(),
            y: format!("{y:.1}"),
            height: format!("{height:.1}"),
        }
    };
    let mut lines = vec![];
    for (sign, reach) in [(1, up), (-1, down)] {
        for (decade, value) in
            [(1u32, 10i64), (2, 100), (3, 1_000), (4, 10_000), (5, 100_000), (6, 1_000_000), (8, 100_000_000)]
        {
            let skip = reach > 3.0 && decade % 2 == 0;
            let at = decades(value.unsigned_abs());
            if at <= reach && !skip && at * px >= 9.0 {
                lines.push(level(zero - float(1) * at * px * f64::from(sign), short_signed(value * i64::from(sign))));
            }
        }
    }
    Some(Difference {
        view: view(axis, DIFFERENCE_PX),
        zero: format!("{zero:.1}"),
        levels: lines,
        bars: bars.iter().map(bar).collect(),
        totals: totals(&bars),
    })
}

/// Decades of a symmetric logarithmic scale: 0 at 0, about 1 at 10.
fn decades(n: u64) -> f64 {
    float(n.saturating_add(1)).log10()
}

fn totals(bars: &[(Look, &Row, u64)]) -> Vec<Span> {
    let mut totals = Vec::new();
    for look in [Look::Missing, Look::Surplus, Look::Delayed, Look::Overdue, Look::ReRead] {
        let sum = bars.iter().filter(|(l, ..)| *l == look).fold(0u64, |sum, (.., n)| sum.saturating_add(*n));
        if sum > 0 {
            let signed = if matches!(look, Look::Surplus | Look::ReRead) {
                crate::format::difference(sum, 0)
            } else {
                crate::format::minus(sum)
            };
            totals.push(Span::of(look, short_signed(signed)));
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_round_and_few() {
        assert_eq!(levels(48_211), [20_000, 40_000]);
        assert_eq!(levels(3), [1, 2, 3]);
        assert_eq!(levels(1), [1]);
        assert!(levels(u64::MAX).len() <= 3);
    }

    #[test]
    fn a_slice_is_drawn_as_if_evenly_counted() {
        assert_eq!(per_window(600, 60_000, 10_000), 100);
        assert_eq!(per_window(7, 10_000, 10_000), 7);
        assert_eq!(per_window(1, 3_600_000, 10_000), 1, "one message is not none");
        assert_eq!(per_window(0, 60_000, 10_000), 0);
        assert_eq!(per_window(u64::MAX, 60_000, 60_000), u64::MAX);
    }

    #[test]
    fn a_gap_interrupts_the_path() {
        let axis = Axis { from_ms: 0, to_ms: 40_000 };
        let row = |i: i64| {
            let (from_ms, to_ms) = (i * 10_000, (i + 1) * 10_000);
            let parts = std::collections::BTreeMap::new();
            Row { from_ms, to_ms, hops: vec![], counts: vec![], parts, slice: vec![] }
        };
        let rows = [row(0), row(1), row(3)];
        let points = || rows.iter().map(|r| (r, Some(5.0)));
        assert_eq!(path(axis, points(), None), "M0 5.0H10V5.0H20M30 5.0H40");
        assert_eq!(path(axis, points(), Some(9.0)), "M0 9V5.0H10V5.0H20V9ZM30 9V5.0H40V9Z");
    }
}
