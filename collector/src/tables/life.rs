//! Whether a reporter lives: decided when somebody asks, from what it said last.

use chaperone_audit::wire::End;

/// A reporter's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It is waited for.
    Live,
    /// It said goodbye and nothing of it is missing.
    Goodbye,
    /// It died, and what was left of it was recovered.
    Ended(End),
    /// It fell silent without a goodbye.
    Gone,
}

impl Life {
    /// The state of a reporter that was last heard at `last_ms`.
    pub(super) fn of(ended: Option<End>, last_ms: i64, now_ms: i64, silent_after_ms: i64) -> Self {
        match ended {
            Some(End::Clean) => Self::Goodbye,
            Some(end) => Self::Ended(end),
            None if now_ms.saturating_sub(last_ms) > silent_after_ms => Self::Gone,
            None => Self::Live,
        }
    }

    /// The word in API and page.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Goodbye => "goodbye",
            Self::Ended(_) => "ended",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_only_without_an_end() {
        assert_eq!(Life::of(None, 100, 130, 30), Life::Live);
        assert_eq!(Life::of(None, 100, 131, 30), Life::Gone);
        assert_eq!(Life::of(Some(End::Clean), 100, 900, 30), Life::Goodbye);
        assert_eq!(Life::of(Some(End::Power), 100, 100, 30), Life::Ended(End::Power));
    }
}
