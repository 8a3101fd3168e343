//! Prometheus' text format 0.0.4, written from samples in any order: a family's samples stand together under its help and
//! type, families in the order of the table, families without a sample are left out.
//!
//! Own code because the table of families is needed anyway (docs are held to it) and what is left is this file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::families::{Family, Kind};

/// Samples of one scrape.
pub struct Exposition {
    families: &'static [&'static Family],
    /// Lines of each family, by its place in the table.
    lines: BTreeMap<usize, String>,
}

impl Exposition {
    /// Of these families.
    pub fn new(families: &'static [&'static Family]) -> Self {
        Self { families, lines: BTreeMap::new() }
    }

    /// One number. `labels` are those of the family, in its order.
    pub fn sample(&mut self, family: &'static Family, labels: &[(&str, &str)], value: f64) {
        debug_assert!(family.kind != Kind::Histogram, "{}", family.name);
        self.line(family, "", labels, None, value);
    }

    /// A histogram: `counts[i]` of `bounds[i]` or less (and more than the bound before), then those beyond all bounds.
    pub fn histogram(
        &mut self,
        family: &'static Family,
        labels: &[(&str, &str)],
        (bounds, counts): (&[f64], &[u64]),
        sum: f64,
    ) {
        debug_assert!(family.kind == Kind::Histogram && counts.len() == bounds.len() + 1, "{}", family.name);
        let mut so_far = 0;
        for (i, count) in counts.iter().enumerate() {
            so_far += count;
            let bound = bounds.get(i).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            self.line(family, "_bucket", labels, Some(&bound), super::number(so_far));
        }
        self.line(family, "_sum", labels, None, sum);
        self.line(family, "_count", labels, None, super::number(so_far));
    }

    fn line(&mut self, family: &'static Family, suffix: &str, labels: &[(&str, &str)], le: Option<&str>, value: f64) {
        debug_assert!(labels.iter().map(|(name, _)| *name).eq(family.labels.iter().copied()), "{}", family.name);
        let Some(place) = self.families.iter().position(|f| std::ptr::eq(*f, family)) else {
            debug_assert!(false, "{} is not in the table", family.name);
            return;
        };
        let text = self.lines.entry(place).or_default();
        // Writing to a String cannot fail.
        write!(text, "{}{suffix}", family.name).ok();
        let mut open = '{';
        for (name, value) in labels.iter().copied().chain(le.map(|bound| ("le", bound))) {
            write!(text, "{open}{name}=\"{}\"", escaped(value)).ok();
            open = ',';
        }
        text.push_str(if open == ',' { "} " } else { " " });
        writeln!(text, "{value}").ok();
    }

    /// The text.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for (place, lines) in self.lines {
            let Some(family) = self.families.get(place) else { continue };
            writeln!(text, "# HELP {} {}", family.name, family.help.replace('\\', "\\\\")).ok();
            writeln!(text, "# TYPE {} {}", family.name, family.kind.as_str()).ok();
            text.push_str(&lines);
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
