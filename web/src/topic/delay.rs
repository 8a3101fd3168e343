//! Delay: event time → the last stage that reports. Logarithmic, darker = more messages, p50 solid, p99 dashed; what is
//! absent is a lower bound (now − event time), never no delay.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chaperone_audit::histogram::lower_bound_ms;

use crate::format;
use crate::strip::Axis;
use crate::topic::charts::{self, Level, float, seconds};
use crate::topic::grid::{self, Count, Grid, Row};

/// Height, px.
const PX: f64 = 144.0;
/// Most columns; more windows than that share one.
const COLUMNS: usize = 360;
/// Opacities of the ink.
const SHADES: usize = 6;

/// The plot.
#[derive(Debug, Clone)]
pub(crate) struct Delays {
    pub(crate) view: String,
    pub(crate) stage: String,
    /// Paths of the six shades, lightest first.
    pub(crate) shades: Vec<String>,
    /// Likewise, of what took longer than the objective.
    pub(crate) late_shades: Vec<String>,
    /// Where the objective lies, and how long it is.
    pub(crate) objective: Option<Level>,
    /// 99 of 100 took longer.
    pub(crate) is_late: bool,
    pub(crate) p50: String,
    pub(crate) p99: String,
    pub(crate) at_least: String,
    pub(crate) levels: Vec<Level>,
    pub(crate) total_p50: String,
    pub(crate) total_p99: String,
}

/// Powers of ten of milliseconds that the plot reaches from and to.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn y(self, ms: f64) -> f64 {
        let at = (ms.max(1.0).log10() - self.low) / (self.high - self.low);
        PX - at.clamp(0.0, 1.0) * PX
    }
}

struct Column {
    from_ms: i64,
    to_ms: i64,
    count: Count,
    late_ms: Option<i64>,
}

/// `None` where nothing was counted.
pub(crate) fn delays(grid: &Grid, axis: Axis, now_ms: i64) -> Option<Delays> {
    let stage = grid.stages.iter().rposition(|s| s.known)?;
    let columns: Vec<Column> =
        grid.rows.chunks(grid.rows.len().div_ceil(COLUMNS).max(1)).map(|rows| column(rows, stage, now_ms)).collect();
    let mut total = Count::default();
    for column in &columns {
        total.merge(&column.count);
    }
    let (least, most) = (total.hist.iter().next()?.0, total.hist.iter().last()?.0);
    let worst = columns.iter().filter_map(|c| c.late_ms).max().unwrap_or(0).max(lower_bound_ms(most));
    let worst = worst.max(grid.objective_ms.unwrap_or(0));
    let decade = |ms: i64| float(ms.max(1).unsigned_abs()).log10();
    let scale =
        Scale { low: decade(lower_bound_ms(least)).floor().min(3.0), high: (decade(worst) + 0.25).ceil().max(4.0) };
    let absent: Vec<(u64, i64)> = (0..stage).flat_map(|hop| grid::absent(&grid.rows, hop, now_ms)).collect();
    let all = |permille| grid::quantile(&total.hist, &absent, permille).map_or_else(|| "–".into(), grid::Delay::text);
    let [shades, late_shades] = shades(&columns, axis, scale, grid.objective_ms);
    let p99 = grid::quantile(&total.hist, &absent, 990);
    Some(Delays {
        view: charts::view(axis, PX),
        stage: grid.stages.get(stage)?.name.clone(),
        shades,
        late_shades,
        objective: grid.objective_ms.map(|ms| objective(scale, ms)),
        is_late: grid.objective_ms.is_some_and(|most_ms| p99.is_some_and(|p| p.ms > most_ms)),
        p50: line(&columns, axis, |c| c.count.hist.quantile_ms(500).map(|ms| scale.y(float(ms.unsigned_abs())))),
        p99: line(&columns, axis, |c| c.count.hist.quantile_ms(990).map(|ms| scale.y(float(ms.unsigned_abs())))),
        at_least: line(&columns, axis, |c| c.late_ms.map(|ms| scale.y(float(ms.unsigned_abs())))),
        levels: levels(scale),
        total_p50: all(500),
        total_p99: all(990),
    })
}

fn column(rows: &[Row], stage: usize, now_ms: i64) -> Column {
    let mut count = Count::default();
    rows.iter().filter_map(|r| r.count(stage)).for_each(|c| count.merge(c));
    let late = (0..stage).flat_map(|hop| grid::absent(rows, hop, now_ms)).map(|(_, ms)| ms).max();
    Column {
        from_ms: rows.first().map_or(0, |r| r.from_ms),
        to_ms: rows.last().map_or(0, |r| r.to_ms),
        count,
        late_ms: late,
    }
}

fn objective(scale: Scale, ms: i64) -> Level {
    let y = scale.y(float(ms.max(1).unsigned_abs()));
    // Under the line where there is no room above it.
    let text_y = if y < 14.0 { y + 11.0 } else { y - 4.0 };
    Level { y: format!("{y:.1}"), text_y: format!("{text_y:.1}"), text: format!("objective {}", format::delay(ms)) }
}

/// Cells of an octave each; equal neighbours in a row are one rectangle. Those of up to the objective, and those above it.
fn shades(columns: &[Column], axis: Axis, scale: Scale, objective_ms: Option<i64>) -> [Vec<String>; 2] {
    let octaves: Vec<BTreeMap<u32, u64>> = columns
        .iter()
        .map(|c| {
            let mut cells = BTreeMap::new();
            for (cell, n) in c.count.hist.iter() {
                *cells.entry(lower_bound_ms(cell).max(1).unsigned_abs().ilog2()).or_insert(0) += n;
            }
            cells
        })
        .collect();
    let max = octaves.iter().flat_map(BTreeMap::values).max().copied().unwrap_or(1);
    let shade =
        |n: u64| (1..SHADES).find(|s| float(n) / float(max) <= (float(*s as u64) / 6.0).powi(2)).unwrap_or(SHADES);
    let mut open: BTreeMap<u32, (usize, i64, i64)> = BTreeMap::new();
    let mut paths = [vec![String::new(); SHADES], vec![String::new(); SHADES]];
    let is_late = |octave: u32| {
        objective_ms.is_some_and(|most_ms| 2f64.powi(octave.cast_signed()) >= float(most_ms.unsigned_abs()))
    };
    let mut flush = |octave: u32, (shade, x0, x1): (usize, i64, i64)| {
        let (top, bottom) = (scale.y(2f64.powi(octave.cast_signed() + 1)), scale.y(2f64.powi(octave.cast_signed())));
        if let Some(path) = paths[usize::from(is_late(octave))].get_mut(shade - 1) {
            let width = x1 - x0;
            // Writing to a String cannot fail.
            let _written = write!(path, "M{x0} {top:.1}h{width}V{bottom:.1}h-{width}z");
        }
    };
    for (column, cells) in columns.iter().zip(&octaves) {
        let (x0, x1) = (seconds(axis, column.from_ms), seconds(axis, column.to_ms));
        open.retain(|octave, run| {
            let goes_on = cells.get(octave).is_some_and(|n| shade(*n) == run.0) && run.2 == x0;
            if !goes_on {
                flush(*octave, *run);
            }
            goes_on
        });
        for (octave, n) in cells {
            open.entry(*octave).or_insert((shade(*n), x0, x1)).2 = x1;
        }
    }
    for (octave, run) in open {
        flush(octave, run);
    }
    paths
}

/// A line through the middles of the columns that have a value.
fn line(columns: &[Column], axis: Axis, y: impl Fn(&Column) -> Option<f64>) -> String {
    let mut out = String::new();
    let mut pen = 'M';
    for column in columns {
        match y(column) {
            Some(y) => {
                let x = seconds(axis, i64::midpoint(column.from_ms, column.to_ms));
                // Writing to a String cannot fail.
                let _written = write!(out, "{pen}{x} {y:.1}");
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    out
}

fn levels(scale: Scale) -> Vec<Level> {
    let marks = [1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000];
    let text = |ms: i64| match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", ms / 1_000),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..86_400_000 => format!("{} h", ms / 3_600_000),
        _ => format::delay(ms),
    };
    let inside = marks.into_iter().map(|ms: i64| (ms, scale.y(float(ms.unsigned_abs()))));
    let inside = inside.filter(|(_, y)| (8.0..PX - 2.0).contains(y));
    inside.map(|(ms, y)| Level { y: format!("{y:.1}"), text_y: format!("{:.1}", y + 3.5), text: text(ms) }).collect()
}
