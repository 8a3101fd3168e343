//! By partition: on which partitions and offsets the messages of the window lie, at the tapped stages of a hop. Pure.
//!
//! Two tapped stages are compared partition by partition; that is a loss only where the hop keeps partitions, and the page says so.
//! Where one stage is tapped its counts are shown, and no difference is invented. Limit: [`MOST`] partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{count, difference, name, plural, signed, tint};
use crate::look::{Look, Span, class};
use crate::window::facts::{Facts, Spot};

/// Most partitions on the page; the CSV has all.
const MOST: usize = 512;
/// Band, and how far a difference reaches from it, px.
const BAND: (i64, i64) = (22, 10);
const HANG: i64 = 20;
/// Labels nearer to each other than this part of the width would touch; on a narrow page, than that.
const LABEL_ROOM: f64 = 0.045;
const NARROW_ROOM: f64 = 0.16;

/// The panel.
#[derive(Debug, Clone)]
pub(crate) struct Partitions {
    pub(crate) sub: String,
    pub(crate) view: String,
    pub(crate) bars: Vec<Bar>,
    pub(crate) labels: Vec<Label>,
    pub(crate) numbers: Vec<Label>,
    pub(crate) stages: Vec<String>,
    pub(crate) compared: bool,
    pub(crate) lines: Vec<Line>,
    /// The table is short enough to stand open.
    pub(crate) short: bool,
    pub(crate) more: String,
    pub(crate) label: String,
}

/// One partition's rectangle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) class: &'static str,
    pub(crate) x: String,
    pub(crate) y: i64,
    pub(crate) height: i64,
}

/// A text over or under the band.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) class: &'static str,
    pub(crate) x: String,
    pub(crate) text: String,
    /// Only where the page is wide.
    pub(crate) wide: bool,
}

/// One partition's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) partition: i32,
    /// Count and offsets, for each tapped stage.
    pub(crate) cells: Vec<(String, String)>,
    pub(crate) difference: Option<Span>,
}

/// `None` where no stage of the hop is tapped, or its offsets are not kept any more.
pub(super) fn partitions(facts: &Facts, hop: usize) -> Option<Partitions> {
    let known = facts.parts_of_hop(hop).filter(|part| !part.offsets.is_empty());
    let tapped: Vec<(&str, &BTreeMap<i32, Spot>)> = known.map(|part| (part.stage.as_str(), &part.offsets)).collect();
    // Partitions of a group's members have nothing in common but their numbers.
    let is_group = facts.parts(hop).len() > 1 || facts.parts(hop + 1).len() > 1;
    let numbers: BTreeSet<i32> = tapped.iter().flat_map(|(_, spots)| spots.keys().copied()).collect();
    let shown: Vec<i32> = numbers.iter().copied().take(MOST).collect();
    let pair = match tapped.as_slice() {
        [] => return None,
        [(_, up), (_, down)] if !is_group => Some((*up, *down)),
        _ => None,
    };
    let names: Vec<String> = tapped.iter().map(|(stage, _)| name(stage)).collect();
    let n = |spots: &BTreeMap<i32, Spot>, p: i32| spots.get(&p).map_or(0, |s| s.n);
    let differs = |p: i32| pair.map_or(0, |(up, down)| difference(n(down, p), n(up, p)));
    let most = tapped.iter().flat_map(|(_, spots)| spots.values()).map(|s| s.n).max().unwrap_or(1).max(1);
    let expected = |p: i32| pair.map_or(0, |(up, _)| n(up, p));
    let counted = |p: i32| tapped.iter().map(|(_, spots)| n(spots, p)).max().unwrap_or(0);
    // What is absent here is as lost, or as late, as the window's verdict says.
    let absent = match facts.look(hop) {
        look @ (Look::Delayed | Look::Overdue | Look::Open | Look::Settling) => look,
        _ => Look::Missing,
    };
    let bars = shown
        .iter()
        .zip(0u32..)
        .map(|(p, at)| bar(at, differs(*p), expected(*p), (counted(*p), most), pair.map(|_| absent)));
    let lines = shown.iter().map(|p| line(*p, &tapped, absent, pair.map(|_| differs(*p))));
    let unequal = numbers.iter().filter(|p| differs(**p) != 0).count();
    let all = numbers.len();
    Some(Partitions {
        sub: match pair {
            Some(_) => format!(
                "{} against {} · {unequal} of {} differ, a loss where the hop keeps partitions",
                names[1],
                names[0],
                plural(all as u64, "partition")
            ),
            None => format!("{} · {}; taller: more messages", names.join(", "), plural(all as u64, "partition")),
        },
        view: format!("0 0 {} 64", columns(shown.len())),
        bars: bars.collect(),
        labels: labels(&shown, absent, differs),
        numbers: axis(&shown, differs),
        compared: pair.is_some(),
        label: format!("Messages by partition at {}; the table below has the same numbers", names.join(" and ")),
        stages: names,
        short: shown.len() <= 12,
        lines: lines.collect(),
        more: if all > MOST {
            format!("{} more; the CSV has all", plural((all - MOST) as u64, "partition"))
        } else {
            String::new()
        },
    })
}

fn bar(at: u32, difference: i64, expected: u64, (n, most): (u64, u64), absent: Option<Look>) -> Bar {
    let x = format!("{at}.06");
    let (y, height) = BAND;
    let Some(absent) = absent else {
        let tall = i64::try_from(u128::from(n) * 30 / u128::from(most)).unwrap_or(30).max(i64::from(n > 0) * 2);
        return Bar { class: "k-ok", x, y: y + height - tall, height: tall };
    };
    let step = tint(difference.unsigned_abs(), expected).clamp(1, 6) - 1;
    let missing = match absent {
        Look::Missing => ["m1", "m2", "m3", "m4", "m5", "m6"],
        _ => ["d1", "d2", "d3", "d4", "d5", "d6"],
    };
    let surplus = ["s1", "s2", "s3", "s4", "s5", "s6"];
    match difference.signum() {
        -1 => Bar { class: missing.get(step).copied().unwrap_or("m6"), x, y, height: height + HANG },
        1 => Bar { class: surplus.get(step).copied().unwrap_or("s6"), x, y: y - 8, height: height + 8 },
        _ => Bar { class: "k-ok", x, y, height },
    }
}

/// A few partitions leave room, so that no bar is a slab.
fn columns(partitions: usize) -> usize {
    partitions.max(16)
}

/// The middle of a column, in percent.
#[expect(clippy::cast_precision_loss, reason = "a place on a page")]
fn middle(at: usize, all: usize) -> f64 {
    (at as f64 + 0.5) / columns(all) as f64
}

fn percent(part: f64) -> String {
    format!("{:.2}%", part * 100.0)
}

/// Where labels stand already.
struct Room {
    apart: f64,
    narrow: f64,
    placed: Vec<(f64, bool)>,
}

impl Room {
    const fn new(apart: f64, narrow: f64) -> Self {
        Self { apart, narrow, placed: Vec::new() }
    }
    /// A place for another label, and whether a narrow page has none for it.
    fn take(&mut self, x: f64) -> Option<bool> {
        let is_free = |room: f64, narrow: bool| {
            self.placed.iter().filter(|(_, wide)| !narrow || !wide).all(|(other, _)| (other - x).abs() >= room)
        };
        let wide = !is_free(self.narrow, true);
        is_free(self.apart, false).then_some(wide).inspect(|wide| self.placed.push((x, *wide)))
    }
}

/// Differences above the band, the largest first, as many as have room.
fn labels(shown: &[i32], absent: Look, differs: impl Fn(i32) -> i64) -> Vec<Label> {
    let mut found: Vec<(usize, i64)> =
        shown.iter().enumerate().map(|(at, p)| (at, differs(*p))).filter(|(_, d)| *d != 0).collect();
    found.sort_by_key(|(at, d)| (std::cmp::Reverse(d.unsigned_abs()), *at));
    let mut room = Room::new(LABEL_ROOM, NARROW_ROOM);
    let mut labels = Vec::new();
    for (at, d) in found {
        let x = middle(at, shown.len());
        if let Some(wide) = room.take(x) {
            let class = class(if d < 0 { absent } else { Look::Surplus });
            labels.push(Label { class, x: percent(x), text: signed(d), wide });
        }
    }
    labels
}

/// Numbers under the band: first, last, those that differ, and some between, where there is room.
fn axis(shown: &[i32], differs: impl Fn(i32) -> i64) -> Vec<Label> {
    let every = shown.len().div_ceil(8).max(1);
    let mut wanted: Vec<(u8, usize)> = shown
        .iter()
        .enumerate()
        .map(|(at, p)| match (differs(*p) != 0, at == 0 || at + 1 == shown.len(), at % every == 0) {
            (true, ..) => (0, at),
            (_, true, _) => (1, at),
            (.., true) => (2, at),
            _ => (3, at),
        })
        .filter(|(rank, _)| *rank < 3)
        .collect();
    wanted.sort_unstable();
    let mut room = Room::new(LABEL_ROOM / 1.8, NARROW_ROOM / 1.8);
    let mut labels = Vec::new();
    for (rank, at) in wanted {
        let x = middle(at, shown.len());
        if let Some(wide) = room.take(x) {
            let text = shown.get(at).map(ToString::to_string).unwrap_or_default();
            labels.push(Label { class: if rank == 0 { "lbl" } else { "" }, x: percent(x), text, wide });
        }
    }
    labels
}

fn line(partition: i32, tapped: &[(&str, &BTreeMap<i32, Spot>)], absent: Look, differs: Option<i64>) -> Line {
    let cell = |spots: &BTreeMap<i32, Spot>| match spots.get(&partition) {
        Some(s) => (count(s.n), offsets(s)),
        None => ("0".to_owned(), "–".to_owned()),
    };
    let look = |d: i64| if d < 0 { absent } else { Look::Surplus };
    let difference = differs.map(|d| match d {
        0 => Span { class: "zero", text: "0".to_owned() },
        d => Span::of(look(d), signed(d)),
    });
    Line { partition, cells: tapped.iter().map(|(_, spots)| cell(spots)).collect(), difference }
}

/// `8,114,020 – 8,115,511`; other windows' messages may lie between.
pub(super) fn offsets(s: &Spot) -> String {
    let (first, last) = (signless(s.first), signless(s.last));
    let log = if s.log > 0 { format!(", log {}", s.log) } else { String::new() };
    if first == last { first + &log } else { format!("{first} – {last}{log}") }
}

fn signless(offset: i64) -> String {
    u64::try_from(offset).map_or_else(|_| offset.to_string(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_touch_and_the_largest_stays() {
        let shown: Vec<i32> = (0..64).collect();
        let said = labels(&shown, Look::Missing, |p| match p {
            17 => -19,
            18 => -4,
            40 => 3,
            _ => 0,
        });
        let texts: Vec<&str> = said.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts, ["−19", "+3"], "18 is too near to 17");
        let many = labels(&shown, Look::Delayed, |p| i64::from(p < 12) * -5);
        let narrow = many.iter().filter(|l| !l.wide).count();
        assert!(many.len() == 4 && narrow == 1, "{many:?}");
        assert!(axis(&shown, |_| 0).len() <= 10);
        assert_eq!(axis(&[5], |_| 0).first().map(|l| l.x.as_str()), Some("3.12%"));
    }

    #[test]
    fn a_difference_hangs_or_stands_and_a_count_is_only_tall() {
        assert_eq!(
            bar(3, -1, 10, (9, 10), Some(Look::Missing)),
            Bar { class: "m6", x: "3.06".into(), y: 22, height: 30 }
        );
        assert_eq!(bar(3, 1, 1_000_000, (9, 10), Some(Look::Missing)).class, "s2");
        assert_eq!(bar(3, -1, 10, (9, 10), Some(Look::Delayed)).class, "d6", "late, not lost");
        assert_eq!(
            bar(0, 0, 10, (10, 10), Some(Look::Missing)),
            Bar { class: "k-ok", x: "0.06".into(), y: 22, height: 10 }
        );
        assert_eq!(bar(0, 0, 0, (5, 10), None).height, 15);
        assert_eq!(bar(0, 0, 0, (1, 1_000_000), None).height, 2, "one message is seen");
    }
}
