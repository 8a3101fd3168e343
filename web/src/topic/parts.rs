//! What the difference of two boxes is made of: a number for each cause.
//!
//! Invariant: the parts of a hop add up to what its boxes differ by. A verdict that says how many names so many, whoever
//! else is in its window; what its window differs by beyond that is outside its bounds, and is told as such.

use std::collections::BTreeMap;

use chaperone_collector::query::HopWindow;

use crate::format::{self, plural, short, short_signed, signed};
use crate::look::{self, Look, Span, class};
use crate::topic::grid::Row;

/// Why boxes differ, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The windows that look so.
    Told(Look),
    /// Windows whose verdict says how many, and that differ by more or less than that.
    Outside,
    /// Windows without a verdict.
    Unjudged,
}

impl Cause {
    const fn word(self) -> &'static str {
        match self {
            // Proven and different: the hop passes on another number than it gets.
            Self::Told(Look::Proven) => "as expected",
            Self::Told(look) => look.word(),
            Self::Outside => "outside the bounds",
            Self::Unjudged => "not judged",
        }
    }
    const fn class(self) -> &'static str {
        match self {
            Self::Told(look) => class(look),
            Self::Outside | Self::Unjudged => "c-unproven",
        }
    }
}

/// What has one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) cause: Cause,
    /// Downstream less upstream, of these windows alone.
    pub(crate) value: i64,
    pub(crate) windows: u64,
    /// In doubt upstream.
    pub(crate) doubt: u64,
}

impl Part {
    /// `−374 uncertain, 1 window`; where there is no difference `1 window mixed`.
    pub(crate) fn text(&self) -> Span {
        let (windows, word) = (plural(self.windows, "window"), self.cause.word());
        let text = match self.value {
            0 => format!("{windows} {word}"),
            value => format!("{} {word}, {windows}", signed(value)),
        };
        Span { class: self.cause.class(), text }
    }
    /// `−374 uncertain`, `1 mixed`.
    pub(crate) fn short(&self) -> Span {
        let number = if self.value == 0 { short(self.windows) } else { short_signed(self.value) };
        Span { class: self.cause.class(), text: format!("{number} {}", self.cause.word()) }
    }
}

/// What a hop's boxes differ by over some rows, by cause.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    parts: BTreeMap<Cause, Part>,
    /// Expected by the upstream stage.
    up: u64,
}

impl Parts {
    pub(crate) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>, hop: usize) -> Self {
        let mut parts = Self::default();
        for row in rows {
            parts.add(row, hop);
        }
        parts
    }

    fn add(&mut self, row: &Row, hop: usize) {
        let seen = |stage: usize| row.count(stage).map_or(0, |c| c.n);
        self.up = self.up.saturating_add(seen(hop));
        let mut rest = format::difference(seen(hop + 1), seen(hop));
        let looks = row.looks(hop);
        for (look, windows) in &looks {
            self.put(Cause::Told(*look), 0, *windows);
        }
        let Some(window) = row.hop(hop) else {
            if rest != 0 {
                self.put(Cause::Unjudged, rest, row.windows());
            }
            return;
        };
        let look = Look::of(window);
        let whose = |look: Look| looks.iter().find(|(of, _)| *of == look).map(|(_, n)| *n);
        for (named, value) in bounds(window, |look| whose(look).is_some()) {
            let windows = if whose(named).is_some() { 0 } else { whose(look).unwrap_or(1) };
            self.put(Cause::Told(named), value, windows);
            rest = rest.saturating_sub(value);
        }
        if rest != 0 {
            let cause = carrier(&looks).unwrap_or(Cause::Told(look));
            self.put(cause, rest, if cause == Cause::Outside { whose(look).unwrap_or(1) } else { 0 });
        }
        let doubt = row.count(hop).map_or(0, |c| c.doubt);
        if let Some(part) = self.parts.get_mut(&Cause::Told(look)) {
            part.doubt = part.doubt.saturating_add(doubt);
        }
    }

    fn put(&mut self, cause: Cause, value: i64, windows: u64) {
        let part = self.parts.entry(cause).or_insert(Part { cause, value: 0, windows: 0, doubt: 0 });
        part.value = part.value.saturating_add(value);
        part.windows = part.windows.saturating_add(windows);
    }

    /// The worst of what is settled, else the worst of all.
    pub(crate) fn worst(&self) -> Option<Look> {
        look::worst(
            self.parts.keys().filter_map(|cause| if let Cause::Told(look) = cause { Some(*look) } else { None }),
        )
    }
    /// Whose number is said first: that of the worst, or where it has none, of the worst trouble that has one.
    pub(crate) fn head(&self) -> Option<Look> {
        let worst = self.worst()?;
        let has = |look: &Look| self.told(*look).is_some_and(|part| part.value != 0);
        let numbered = || [Look::Surplus, Look::Overdue, Look::Delayed].into_iter().find(has);
        if has(&worst) || !worst.is_trouble() { Some(worst) } else { numbered().or(Some(worst)) }
    }
    /// What windows of this look come to.
    pub(crate) fn told(&self, look: Look) -> Option<&Part> {
        self.parts.get(&Cause::Told(look))
    }
    /// What else the boxes differ by, worst first; and what is worse without a difference.
    pub(crate) fn rest(&self, named: Look) -> impl Iterator<Item = &Part> {
        let is_worse = move |cause| matches!(cause, Cause::Told(look) if look < named && look.is_trouble());
        let is_else = move |part: &&Part| part.cause != Cause::Told(named) && (part.value != 0 || is_worse(part.cause));
        self.parts.values().filter(is_else)
    }
    /// A number as a share of what was expected.
    pub(crate) fn share(&self, value: i64) -> Option<String> {
        format::share(value, self.up)
    }
    #[cfg(test)]
    pub(crate) fn total(&self) -> i64 {
        self.parts.values().map(|part| part.value).sum()
    }
}

/// The numbers that a verdict names, each with whose it is.
pub(crate) fn bounds(window: &HopWindow, is_among: impl Fn(Look) -> bool) -> impl Iterator<Item = (Look, i64)> {
    let surplus = if is_among(Look::ReRead) && !is_among(Look::Surplus) { Look::ReRead } else { Look::Surplus };
    let late = if is_among(Look::Overdue) && !is_among(Look::Delayed) { Look::Overdue } else { Look::Delayed };
    let named = [
        (Look::Missing, format::minus(window.missing_min)),
        (surplus, format::difference(window.surplus_min, 0)),
        (late, format::minus(window.delayed)),
    ];
    named.into_iter().filter(|(_, value)| *value != 0)
}

/// Whose it is what a verdict's numbers do not tell: of those of its looks that tell none.
fn carrier(looks: &[(Look, u64)]) -> Option<Cause> {
    let names =
        |look: Look| matches!(look, Look::Missing | Look::Surplus | Look::ReRead | Look::Delayed | Look::Overdue);
    let agrees = |look: Look| matches!(look, Look::Mixed | Look::Proven);
    let mut all = looks.iter().map(|(look, _)| *look);
    let silent = all.clone().find(|look| !names(*look) && !agrees(*look)).map(Cause::Told);
    silent.or_else(|| all.any(names).then_some(Cause::Outside))
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
