//! Compares the store that was made anew with the one that there was: totals and verdicts of the windows that both should have.
//!
//! Limits: windows that the new store has in part are not compared, nor those that the old one may have dropped or that the
//! old one had not read to their end; `SHOWN` differences are kept.

use std::collections::BTreeMap;

use chaperone_collector::rebuild::Rebuild;
use chaperone_collector::upkeep::{Cell, Export, ExportQuery, Exported};
use chaperone_collector::{Store, StoreError};
use serde::Serialize;

/// Event time that is compared at once, ms.
const STEP_MS: i64 = 600_000;
/// Windows that the sweep of either store may be about to drop, ms.
const SWEPT_MS: i64 = 7_200_000;
/// Where one store has read more than the other, windows that were still being told of, ms.
const TOLD_MS: i64 = 60_000;
/// Differences that are kept.
const SHOWN: usize = 20;

/// How many rows came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The same in both.
    pub equal: u64,
    /// In both, and not the same.
    pub differ: u64,
    /// Only in the store that there was.
    pub only_old: u64,
    /// Only in the new one.
    pub only_new: u64,
}

impl Tally {
    /// Rows that are not the same.
    pub fn differences(&self) -> u64 {
        self.differ + self.only_old + self.only_new
    }
}

/// A row that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Topic, stages, window, in words.
    pub row: String,
    /// What the store that there was says; `null`: nothing.
    pub old: Option<String>,
    /// What the new one says.
    pub new: Option<String>,
}

/// What a comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Windows that begin from here on, ms.
    pub from_ms: i64,
    /// And end up to here, ms.
    pub to_ms: i64,
    /// Totals by topic, stage, window and class: messages, bytes, ids.
    pub totals: Tally,
    /// Verdicts by topic, hop and window, with their bounds.
    pub verdicts: Tally,
    /// The first that are not the same.
    pub shown: Vec<Difference>,
}

/// Columns of a view that name a row, and those that it says.
struct Shape {
    what: Export,
    names: &'static [&'static str],
    says: &'static [&'static str],
}

const TOTALS: Shape = Shape {
    what: Export::Stages,
    names: &["topic", "stage", "window_ms", "width_ms", "class"],
    says: &["n", "acked", "failed", "bytes", "f_in", "f_acked", "f_failed"],
};
const VERDICTS: Shape = Shape {
    what: Export::Windows,
    names: &["topic", "from_stage", "to_stage", "window_ms", "width_ms"],
    says: &["verdict", "missing_min", "surplus_min"],
};

/// How far each audit partition was read, and up to which time the least of them is applied.
async fn stands(store: &dyn Store, topics: &[(String, String)]) -> Result<(Vec<(i32, i64)>, i64), StoreError> {
    let (mut next, mut through_ms) = (Vec::new(), i64::MAX);
    for (cluster, topic) in topics {
        for stand in store.audit_stands(cluster, topic).await?.iter().filter(|stand| !stand.closed) {
            next.push((stand.partition, stand.next));
            through_ms = through_ms.min(stand.through_ms.unwrap_or(i64::MAX));
        }
    }
    Ok((next, through_ms))
}

/// Compares. `topics`: the audit topics, with their clusters; `kept_ms`: how long windows are kept.
///
/// # Errors
/// Either store's.
pub async fn compare(
    old: &dyn Store,
    new: &dyn Rebuild,
    topics: &[(String, String)],
    (now_ms, kept_ms): (i64, i64),
) -> Result<Compared, StoreError> {
    let mut from_ms = now_ms.saturating_sub(kept_ms).saturating_add(SWEPT_MS);
    from_ms = from_ms.max(new.whole_since_ms().await?.unwrap_or(i64::MIN));
    let ((of_old, old_through_ms), (of_new, new_through_ms)) = (stands(old, topics).await?, stands(new, topics).await?);
    let same = of_old == of_new;
    let to_ms = if same { now_ms } else { old_through_ms.min(new_through_ms).min(now_ms).saturating_sub(TOLD_MS) };
    // Where nobody has anything there is nothing to walk through.
    let first_ms = new.size().await?.widths.iter().chain(&old.size().await?.widths).map(|w| w.first_ms).min();
    let mut compared = Compared { from_ms: from_ms.max(first_ms.unwrap_or(to_ms)), to_ms, ..Compared::default() };
    let mut at_ms = compared.from_ms;
    while at_ms < to_ms {
        let end_ms = to_ms.min(at_ms.saturating_add(STEP_MS));
        for shape in [&TOTALS, &VERDICTS] {
            let query = ExportQuery { what: shape.what, topic: None, from_ms: at_ms, to_ms: end_ms };
            let (old, new) = (old.export(query.clone()).await?, new.export(query).await?);
            compared.step(shape, &rows(&old, shape), &rows(&new, shape));
        }
        at_ms = end_ms;
    }
    Ok(compared)
}

/// A row's name, and what it says.
type Rows = BTreeMap<String, String>;

fn rows(found: &Exported, shape: &Shape) -> Rows {
    let words = |row: &[Cell], wanted: &[&str]| {
        let cell = |name: &&str| found.columns.iter().position(|c| c == name).and_then(|at| row.get(at)).map(text);
        wanted.iter().filter_map(|name| Some(format!("{name} {}", cell(name)?))).collect::<Vec<_>>().join(", ")
    };
    found.rows.iter().map(|row| (words(row, shape.names), words(row, shape.says))).collect()
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Int(v) => v.to_string(),
        Cell::Real(v) => v.to_string(),
        Cell::Text(v) => v.clone(),
    }
}

impl Compared {
    fn step(&mut self, shape: &Shape, old: &Rows, new: &Rows) {
        let tally = if shape.what == Export::Stages { &mut self.totals } else { &mut self.verdicts };
        for row in old.keys().chain(new.keys().filter(|row| !old.contains_key(*row))) {
            let (was, is) = (old.get(row), new.get(row));
            match (was, is) {
                _ if was == is => tally.equal += 1,
                (Some(_), Some(_)) => tally.differ += 1,
                (Some(_), None) => tally.only_old += 1,
                _ => tally.only_new += 1,
            }
            if was != is && self.shown.len() < SHOWN {
                self.shown.push(Difference { row: row.clone(), old: was.cloned(), new: is.cloned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(rows: &[(&str, i64, i64)]) -> Exported {
        let row = |(stage, window, n): &(&str, i64, i64)| {
            vec![Cell::Text("t".into()), Cell::Text((*stage).into()), Cell::Int(*window), Cell::Int(*n)]
        };
        Exported { columns: &["topic", "stage", "window_ms", "n"], rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn each_row_is_equal_or_differs_or_is_in_one_store_only() {
        let old = exported(&[("a", 0, 5), ("a", 10, 5), ("b", 0, 1)]);
        let new = exported(&[("a", 0, 5), ("a", 10, 6), ("c", 0, 2)]);
        let mut compared = Compared::default();
        compared.step(&TOTALS, &rows(&old, &TOTALS), &rows(&new, &TOTALS));
        assert_eq!(compared.totals, Tally { equal: 1, differ: 1, only_old: 1, only_new: 1 });
        assert_eq!((compared.totals.differences(), compared.verdicts.differences()), (3, 0));
        let shown = &compared.shown[0];
        assert_eq!(shown.row, "topic t, stage a, window_ms 10");
        assert_eq!((shown.old.as_deref(), shown.new.as_deref()), (Some("n 5"), Some("n 6")));
    }
}
