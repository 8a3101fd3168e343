//! What a page shows: the tables and words that a reader sees, taken from the browser's own layout.

use anyhow::Context;
use serde::Deserialize;

use crate::chromium::Browser;

/// Reads `<main>`. Text that is not displayed is not read, except the heads of columns, which narrow pages fold away.
const READ: &str = r"
const clean = (t) => (t || '').replace(/\s+/g, ' ').trim();
const text = (e) => (e.checkVisibility() ? clean(e.innerText === undefined ? e.textContent : e.innerText) : '');
const main = document.querySelector('main');
return {
  title: document.title,
  text: text(main),
  tables: [...main.querySelectorAll('table')].map((table) => ({
    head: [...table.querySelectorAll('thead th')].map((th) => clean(th.textContent)),
    rows: [...table.querySelectorAll('tbody tr')].map((row) => [...row.cells].map(text)),
  })),
  sum: [...main.querySelectorAll('.sumup > *')].map(text),
  figures: [...main.querySelectorAll('.kpis > div')].map((box) => [...box.querySelectorAll('.k, .v')].map(text)),
  stages: [...main.querySelectorAll('.flow .stage')].map((box) => [...box.querySelectorAll('.n, .c')].map(text)),
  edges: [...main.querySelectorAll('.flow .edge')].map((edge) => [...edge.querySelectorAll('.v, .rest')].map(text)),
};";

/// What is shown.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// All of it, white space made one.
    pub(crate) text: String,
    pub(crate) tables: Vec<Table>,
    /// A window's sum: labels, each with its number behind it.
    sum: Vec<String>,
    /// A report's figures: name and value.
    figures: Vec<Vec<String>>,
    /// The boxes of a flow: name and count.
    stages: Vec<Vec<String>>,
    /// The edges of a flow: the number of each, and what else its boxes differ by.
    edges: Vec<Vec<String>>,
}

/// A table's cells as text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Page {
    /// As the browser shows it now.
    pub(crate) fn read(browser: &Browser) -> anyhow::Result<Self> {
        browser.ask(READ, Vec::new())
    }

    /// The cell under a head, in the first row of which some cell holds all these words.
    pub(crate) fn cell(&self, row: &[&str], column: &str) -> anyhow::Result<&str> {
        let holds = |cells: &&Vec<String>| row.iter().all(|word| cells.iter().any(|cell| cell.contains(word)));
        let found = self.tables.iter().find_map(|table| {
            let at = table.head.iter().position(|head| head == column)?;
            table.rows.iter().find(holds)?.get(at)
        });
        found.map(String::as_str).with_context(|| format!("no cell {column} of {row:?} in {:?}", self.tables))
    }

    /// How many rows the first table has that has a column of this head.
    pub(crate) fn rows(&self, column: &str) -> anyhow::Result<usize> {
        let table = self.tables.iter().find(|table| table.head.iter().any(|head| head == column));
        Ok(table.with_context(|| format!("no column {column}"))?.rows.len())
    }

    /// The number behind a label of the sum.
    pub(crate) fn summand(&self, label: &str) -> anyhow::Result<&str> {
        let at = self.sum.iter().position(|text| text == label);
        let found = at.and_then(|at| self.sum.get(at + 1));
        found.map(String::as_str).with_context(|| format!("no {label} in {:?}", self.sum))
    }

    /// The count in the box of a stage.
    pub(crate) fn stage(&self, name: &str) -> anyhow::Result<&str> {
        named(&self.stages, name)
    }

    /// What the numbers on the edge behind a box come to.
    pub(crate) fn edge(&self, at: usize) -> anyhow::Result<String> {
        let edge = self.edges.get(at).with_context(|| format!("no edge {at} in {:?}", self.edges))?;
        // `1 window mixed` is no difference.
        let number = |text: &String| {
            let word = text.split_whitespace().next().unwrap_or_default().replace(',', "").replace('\u{2212}', "-");
            if word.starts_with(['-', '+']) { word.parse().unwrap_or(0) } else { 0i64 }
        };
        let sum: i64 = edge.iter().map(number).sum();
        Ok(signed(if sum < 0 { '\u{2212}' } else { '+' }, sum.unsigned_abs()))
    }

    /// One of a report's figures.
    pub(crate) fn figure(&self, name: &str) -> anyhow::Result<&str> {
        named(&self.figures, name)
    }
}

/// What stands behind a name.
fn named<'a>(pairs: &'a [Vec<String>], name: &str) -> anyhow::Result<&'a str> {
    let found = pairs.iter().find(|texts| texts.first().is_some_and(|n| n == name)).and_then(|texts| texts.get(1));
    found.map(String::as_str).with_context(|| format!("no {name} in {pairs:?}"))
}

/// A count as pages write it.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// A difference as pages write it: zero has no sign.
pub(crate) fn signed(sign: char, value: u64) -> String {
    if value == 0 { "0".to_owned() } else { format!("{sign}{}", count(value)) }
}

/// The word of a verdict.
pub(crate) fn word(verdict: &str) -> String {
    if verdict == "ok" { "proven".to_owned() } else { verdict.replace('_', " ") }
}
