//! What a verdict looks like: one word, one glyph, one class, one rank. Nothing is green.
//!
//! Invariant: no two looks share a glyph, so that a page can be read in black and white.

use chaperone_collector::query::HopWindow;
use chaperone_collector::{Caveat, CaveatKind, Verdict};

/// The looks, worst first: the order in which they win over one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Look {
    Missing,
    Mixed,
    Surplus,
    Overdue,
    Delayed,
    Uncertain,
    NoReport,
    Unproven,
    Partial,
    ReRead,
    NotYet,
    Settling,
    Open,
    /// Proven, and later than the pipeline's objective.
    Late,
    Proven,
}

impl Look {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 15] = [
        Self::Missing,
        Self::Mixed,
        Self::Surplus,
        Self::Overdue,
        Self::Delayed,
        Self::Uncertain,
        Self::NoReport,
        Self::Unproven,
        Self::Partial,
        Self::ReRead,
        Self::NotYet,
        Self::Settling,
        Self::Open,
        Self::Late,
        Self::Proven,
    ];

    /// The look of a window; *uncertain* only because the audit began later is a look of its own.
    pub(crate) fn of(window: &HopWindow) -> Self {
        Self::told(window.verdict, &window.caveats)
    }
    /// Likewise, of a verdict with its caveats.
    pub(crate) fn told(verdict: Verdict, caveats: &[Caveat]) -> Self {
        let not_yet = verdict == Verdict::Uncertain
            && !caveats.is_empty()
            && caveats.iter().all(|c| c.kind == CaveatKind::NotAuditedYet);
        if not_yet { Self::NotYet } else { Self::of_verdict(verdict) }
    }
    pub(crate) fn of_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Proven,
            Verdict::Missing => Self::Missing,
            Verdict::Surplus => Self::Surplus,
            Verdict::ReRead => Self::ReRead,
            Verdict::Mixed => Self::Mixed,
            Verdict::Unproven => Self::Unproven,
            Verdict::Partial => Self::Partial,
            Verdict::Delayed => Self::Delayed,
            Verdict::Overdue => Self::Overdue,
            Verdict::Open => Self::Open,
            Verdict::Settling => Self::Settling,
            Verdict::NoReport => Self::NoReport,
            Verdict::Uncertain => Self::Uncertain,
        }
    }
    /// The word on the page.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Mixed => "mixed",
            Self::Surplus => "surplus",
            Self::NoReport => "no report",
            Self::Overdue => "overdue",
            Self::Delayed => "delayed",
            Self::Uncertain => "uncertain",
            Self::Unproven => "unproven",
            Self::Partial => "partial",
            Self::ReRead => "re-read",
            Self::NotYet => "not audited yet",
            Self::Settling => "settling",
            Self::Open => "open",
            Self::Late => "proven, late",
            Self::Proven => "proven",
        }
    }
    /// Name of glyph and class: `#g-missing`, `c-missing`.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::NoReport => "noreport",
            Self::ReRead => "reread",
            Self::NotYet => "notyet",
            Self::Late => "late",
            other => other.word(),
        }
    }
    /// A person should look at it.
    pub(crate) const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::Missing
                | Self::Mixed
                | Self::Surplus
                | Self::NoReport
                | Self::Overdue
                | Self::Delayed
                | Self::Uncertain
                | Self::Unproven
        )
    }
    /// Evidence is still on its way.
    pub(crate) const fn is_pending(self) -> bool {
        matches!(self, Self::Open | Self::Settling)
    }
    /// Equal neighbours are always drawn as one, however few there are.
    pub(crate) const fn is_calm(self) -> bool {
        matches!(
            self,
            Self::Proven | Self::Late | Self::Open | Self::Settling | Self::NotYet | Self::NoReport | Self::Partial
        )
    }
}

/// The worst of settled looks, else the worst of all: a page about "now" always has an open window at its end, and
/// that says nothing about the others.
pub(crate) fn worst(looks: impl IntoIterator<Item = Look>) -> Option<Look> {
    let (mut settled, mut any) = (None::<Look>, None::<Look>);
    for look in looks {
        any = Some(any.map_or(look, |a| a.min(look)));
        if !look.is_pending() {
            settled = Some(settled.map_or(look, |a| a.min(look)));
        }
    }
    settled.or(any)
}

/// The number of messages that a window's verdict is about.
pub(crate) fn amount(window: &HopWindow) -> u64 {
    window.missing_min.max(window.surplus_min).max(window.delayed)
}

/// A piece of text with the class that colours it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

impl Span {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { class: "", text: text.into() }
    }
    pub(crate) fn of(look: Look, text: impl Into<String>) -> Self {
        Self { class: class(look), text: text.into() }
    }
}

/// The class that colours text of a look.
pub(crate) const fn class(look: Look) -> &'static str {
    match look {
        Look::Missing => "c-missing",
        Look::Mixed => "c-mixed",
        Look::Surplus => "c-surplus",
        Look::NoReport => "c-noreport",
        Look::Overdue => "c-overdue",
        Look::Delayed => "c-delayed",
        Look::Uncertain => "c-uncertain",
        Look::Unproven => "c-unproven",
        Look::Partial => "c-partial",
        Look::ReRead => "c-reread",
        Look::NotYet => "c-notyet",
        Look::Settling => "c-settling",
        Look::Open => "c-open",
        Look::Late => "c-late",
        Look::Proven => "c-proven",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_collector::{Caveat, Doubt};

    #[test]
    fn every_look_has_its_own_glyph_and_the_sheet_draws_it() {
        let sprite = include_str!("../templates/sprite.html");
        let css = crate::assets::CSS;
        for look in Look::ALL {
            assert!(sprite.contains(&format!("id=\"g-{}\"", look.id())), "{look:?} has no glyph");
            assert!(css.contains(&format!(".{}", class(look))), "{look:?} has no class");
            assert_eq!(class(look), format!("c-{}", look.id()));
        }
    }

    #[test]
    fn nothing_is_green() {
        for (i, _) in crate::assets::CSS.match_indices('#') {
            let Some(hex) = crate::assets::CSS.get(i + 1..i + 7) else { continue };
            let Ok(rgb) = u32::from_str_radix(hex, 16) else { continue };
            let (r, g, b) = (rgb >> 16, rgb >> 8 & 255, rgb & 255);
            assert!(g <= r.max(b) + 8, "#{hex} is green");
        }
    }

    #[test]
    fn the_page_ranks_as_the_store_does() {
        let mut by_store = Verdict::ALL;
        by_store.sort_by_key(|v| std::cmp::Reverse(v.severity()));
        assert!(by_store.map(Look::of_verdict).is_sorted(), "{by_store:?}");
    }

    #[test]
    fn worst_prefers_what_is_settled() {
        assert_eq!(worst([Look::Open, Look::Proven, Look::Settling]), Some(Look::Proven));
        assert_eq!(worst([Look::Open, Look::Settling]), Some(Look::Settling));
        assert_eq!(worst([Look::Proven, Look::Delayed, Look::Missing]), Some(Look::Missing));
        assert_eq!(worst([]), None);
    }

    #[test]
    fn uncertain_before_the_audit_began_is_not_audited_yet() {
        let caveat = |kind| Caveat::new(kind, Doubt::Upstream);
        let window = |caveats| HopWindow {
            topic: String::new(),
            from_stage: String::new(),
            to_stage: String::new(),
            window_ms: 0,
            width_ms: 10_000,
            verdict: Verdict::Uncertain,
            missing_min: 0,
            surplus_min: 0,
            delayed: 0,
            caveats,
            why: String::new(),
            settled_ms: None,
            amendments: 0,
        };
        assert_eq!(Look::of(&window(vec![caveat(CaveatKind::NotAuditedYet)])), Look::NotYet);
        assert_eq!(Look::of(&window(vec![])), Look::Uncertain);
        let both = vec![caveat(CaveatKind::NotAuditedYet), caveat(CaveatKind::Overflow)];
        assert_eq!(Look::of(&window(both)), Look::Uncertain);
    }
}
