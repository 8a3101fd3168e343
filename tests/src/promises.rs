//! `tests/promises.toml`: what the project promises in numbers, checked against what the suites measured.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::Context;
use serde::Deserialize;

use crate::figures::Figures;
use crate::paths;
use crate::suites::Mode;

/// One promised number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// The figure is at least this.
    pub min: Option<f64>,
    /// The figure is at most this.
    pub max: Option<f64>,
    /// The figure is exactly this.
    pub eq: Option<f64>,
    /// The run that must show it.
    pub mode: Mode,
    /// The issue that asked for it.
    pub issue: i64,
}

impl Promise {
    /// Whether `value` keeps the promise.
    pub fn kept_by(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min)
            && self.max.is_none_or(|max| value <= max)
            && self.eq.is_none_or(|eq| value.total_cmp(&eq).is_eq())
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = [("≥", self.min), ("≤", self.max), ("=", self.eq)];
        let parts: Vec<String> =
            bounds.iter().filter_map(|(sign, bound)| bound.map(|bound| format!("{sign} {bound}"))).collect();
        f.write_str(&parts.join(" and "))
    }
}

/// section → name → promise.
pub type Promises = BTreeMap<String, BTreeMap<String, Promise>>;

/// What the check says of one promise.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// The figure is there and keeps it.
    Kept(f64),
    /// The figure is there and breaks it.
    Broken(f64),
    /// No suite gave the figure.
    Missing,
}

/// One promise with its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// `section.name`.
    pub name: String,
    /// What was promised.
    pub promise: Promise,
    /// Whether it is kept.
    pub state: State,
}

impl Finding {
    /// Only a kept promise is good: no figure is as bad as a wrong one.
    pub fn kept(&self) -> bool {
        matches!(self.state, State::Kept(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { name, promise, state } = self;
        match state {
            State::Kept(value) => write!(f, "promise kept: {name} {promise} (is {value})"),
            State::Broken(value) => write!(f, "PROMISE BROKEN: {name} {promise}, but is {value}"),
            State::Missing => write!(f, "PROMISE WITHOUT A FIGURE: {name} {promise}"),
        }
    }
}

/// Reads `tests/promises.toml`.
pub fn load() -> anyhow::Result<Promises> {
    let file = paths::root().join("tests/promises.toml");
    parse(&fs::read_to_string(&file)?).with_context(|| format!("in {}", file.display()))
}

/// Parses promises; each has a bound and an issue.
pub fn parse(text: &str) -> anyhow::Result<Promises> {
    let promises: Promises = toml::from_str(text)?;
    for (section, names) in &promises {
        for (name, promise) in names {
            let bounds = [promise.min, promise.max, promise.eq];
            anyhow::ensure!(bounds.iter().any(Option::is_some), "{section}.{name} promises nothing: min, max or eq");
            anyhow::ensure!(promise.issue > 0, "{section}.{name} names no issue");
        }
    }
    Ok(promises)
}

/// Checks the promises for which `due(section, promise)` holds.
pub fn check(promises: &Promises, figures: &Figures, due: impl Fn(&str, &Promise) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (section, names) in promises {
        for (name, promise) in names.iter().filter(|(_, promise)| due(section, promise)) {
            let figure = figures.get(section).and_then(|figures| figures.get(name));
            let state = match figure.and_then(|figure| figure.value.as_f64()) {
                None => State::Missing,
                Some(value) if promise.kept_by(value) => State::Kept(value),
                Some(value) => State::Broken(value),
            };
            findings.push(Finding { name: format!("{section}.{name}"), promise: promise.clone(), state });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figure;

    const PROMISES: &str = r#"
        [spine]
        missing = { eq = 37, mode = "ci", issue = 2 }
        seconds = { min = 1, max = 2.5, mode = "full", issue = 3 }
    "#;

    fn figures(rows: &[(&str, &str, f64)]) -> Figures {
        let mut figures = Figures::new();
        for (section, name, value) in rows {
            let value = serde_json::Number::from_f64(*value).expect("finite");
            let figure = Figure { value, commit: "c".into(), date: "d".into() };
            figures.entry((*section).into()).or_default().insert((*name).into(), figure);
        }
        figures
    }

    fn states(rows: &[(&str, &str, f64)]) -> Vec<State> {
        let promises = parse(PROMISES).expect("parses");
        check(&promises, &figures(rows), |_, _| true).into_iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn a_figure_within_bounds_keeps_its_promise() {
        let rows = [("spine", "missing", 37.0), ("spine", "seconds", 2.5)];
        assert_eq!(states(&rows), [State::Kept(37.0), State::Kept(2.5)]);
    }

    #[test]
    fn a_figure_outside_breaks_its_promise_on_either_side() {
        let rows = [("spine", "missing", 36.0), ("spine", "seconds", 0.5)];
        assert_eq!(states(&rows), [State::Broken(36.0), State::Broken(0.5)]);
        let rows = [("spine", "missing", 38.0), ("spine", "seconds", 2.6)];
        assert_eq!(states(&rows), [State::Broken(38.0), State::Broken(2.6)]);
    }

    #[test]
    fn a_missing_figure_fails_like_a_broken_one() {
        let promises = parse(PROMISES).expect("parses");
        let findings = check(&promises, &figures(&[("spine", "other", 37.0)]), |_, _| true);
        assert!(findings.iter().all(|finding| finding.state == State::Missing && !finding.kept()));
        assert!(findings[0].to_string().contains("spine.missing"), "{}", findings[0]);
    }

    #[test]
    fn a_figure_that_nobody_promised_is_fine() {
        let rows = [("spine", "missing", 37.0), ("spine", "seconds", 2.0), ("new", "thing", 9.0)];
        assert_eq!(states(&rows).len(), 2);
    }

    #[test]
    fn only_what_is_due_is_checked() {
        let promises = parse(PROMISES).expect("parses");
        let findings = check(&promises, &Figures::new(), |_, promise| promise.mode == Mode::Ci);
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn a_promise_needs_a_bound_an_issue_a_known_mode_and_no_other_key() {
        for promise in [
            r#"{ mode = "ci", issue = 2 }"#,
            r#"{ eq = 1, mode = "ci", issue = 0 }"#,
            r#"{ eq = 1, mode = "ci" }"#,
            r#"{ eq = 1, mode = "weekly", issue = 2 }"#,
            r#"{ equal = 1, mode = "ci", issue = 2 }"#,
        ] {
            assert!(parse(&format!("[s]\nn = {promise}")).is_err(), "{promise}");
        }
    }
}
