//! docs/EVIDENCE.md: every promise beside the figure that was measured last.

use std::fmt::Write as _;
use std::fs;

use crate::figures::{self, Figures};
use crate::paths;
use crate::promises::{self, Promises, State};

/// Writes docs/EVIDENCE.md from the promises and the figures of this checkout.
pub fn write() -> anyhow::Result<()> {
    let text = render(&promises::load()?, &figures::load()?);
    fs::write(paths::root().join("docs/EVIDENCE.md"), text)?;
    Ok(())
}

fn render(promises: &Promises, figures: &Figures) -> String {
    let mut text = String::from(
        "# Evidence\n\nMade by `tests/run --evidence` from `tests/promises.toml` and the figures of the last runs; \
         do not edit.\nA `+` after the commit: measured with changes on top of it.\n\n\
         | promise | promised | measured | holds | run | commit | date | issue |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for finding in promises::check(promises, figures, |_, _| true) {
        let figure = finding.name.split_once('.').and_then(|(section, name)| figures.get(section)?.get(name));
        let (holds, measured) = match finding.state {
            State::Kept(value) => ("yes", value.to_string()),
            State::Broken(value) => ("**no**", value.to_string()),
            State::Missing => ("not measured", String::new()),
        };
        let (commit, date) = figure.map_or(("", ""), |figure| (&figure.commit, &figure.date));
        let promise = &finding.promise;
        // Writing to a String cannot fail.
        writeln!(
            text,
            "| {} | {promise} | {measured} | {holds} | {} | {commit} | {date} | #{} |",
            finding.name, promise.mode, promise.issue
        )
        .ok();
    }
    let others: Vec<_> = figures
        .iter()
        .flat_map(|(section, names)| names.iter().map(move |(name, figure)| (section, name, figure)))
        .filter(|(section, name, _)| promises.get(*section).is_none_or(|names| !names.contains_key(*name)))
        .collect();
    if !others.is_empty() {
        text.push_str(
            "\nMeasured, not promised:\n\n| figure | measured | commit | date |\n| --- | --- | --- | --- |\n",
        );
    }
    for (section, name, figure) in others {
        writeln!(text, "| {section}.{name} | {} | {} | {} |", figure.value, figure.commit, figure.date).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_has_a_row_and_so_has_every_other_figure() -> anyhow::Result<()> {
        let promises = promises::parse(
            "[s]\nkept = { eq = 1, mode = \"ci\", issue = 2 }\nlost = { max = 3, mode = \"full\", issue = 4 }",
        )?;
        let figures: Figures = serde_json::from_str(
            r#"{"s":{"kept":{"value":1,"commit":"abc","date":"D"},"extra":{"value":0.5,"commit":"abc","date":"D"}}}"#,
        )?;
        let text = render(&promises, &figures);
        assert!(text.contains("| s.kept | = 1 | 1 | yes | ci | abc | D | #2 |"), "{text}");
        assert!(text.contains("| s.lost | ≤ 3 |  | not measured | full |  |  | #4 |"), "{text}");
        assert!(text.contains("| s.extra | 0.5 | abc | D |"), "{text}");
        Ok(())
    }
}
