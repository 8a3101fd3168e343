//! Caveats: what limits a verdict, at which stage, and by how many messages at most.
//!
//! As text: `kind[ upstream| downstream][: messages]`, for example `reporter gone downstream: 5`. Without a side it
//! touches both; without a number the doubt has no bound.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What kind of limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaveatKind {
    /// A reporter fell silent without a goodbye; what it had counted and not reported is unknown.
    ReporterGone,
    /// A reporter keeps its counts where the death of its process loses them.
    NoCrashRecovery,
    /// Counts were lost with a machine.
    MachineLost,
    /// Offsets were gone before the tap could read them, or a log was truncated or re-created.
    Unaudited,
    /// Records of the audit topic were gone before they were applied; what a reporter said in them is unknown.
    AuditLost,
    /// The stage began to be audited within this window or after it.
    NotAuditedYet,
    /// The two stages find identity or time by different rules.
    RulesDiffer,
    /// The broker overwrites the time that the window is found by.
    TimeRewritten,
    /// Messages behind an open transaction cannot be read yet.
    OpenTransaction,
    /// A slot table was full: totals are kept, topics are not.
    Overflow,
    /// Two different states of one slot were reported.
    Divergent,
    /// No id is common to the two stages for many windows: counts only.
    IdentityNotPreserved,
}

impl CaveatKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::ReporterGone,
        Self::NoCrashRecovery,
        Self::MachineLost,
        Self::Unaudited,
        Self::AuditLost,
        Self::NotAuditedYet,
        Self::RulesDiffer,
        Self::TimeRewritten,
        Self::OpenTransaction,
        Self::Overflow,
        Self::Divergent,
        Self::IdentityNotPreserved,
    ];
    /// The words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReporterGone => "reporter gone",
            Self::NoCrashRecovery => "no crash recovery",
            Self::MachineLost => "machine lost",
            Self::Unaudited => "unaudited range",
            Self::AuditLost => "audit log lost",
            Self::NotAuditedYet => "not audited yet",
            Self::RulesDiffer => "rules differ",
            Self::TimeRewritten => "time rewritten",
            Self::OpenTransaction => "held by an open transaction",
            Self::Overflow => "overflow",
            Self::Divergent => "divergent",
            Self::IdentityNotPreserved => "identity not preserved",
        }
    }
    /// Whether the two stages' numbers speak of different things, so that no difference means anything.
    pub const fn voids_comparison(self) -> bool {
        matches!(self, Self::RulesDiffer | Self::TimeRewritten | Self::NotAuditedYet)
    }
    /// Whether it casts doubt on a count; the others only inform.
    const fn casts_doubt(self) -> bool {
        matches!(
            self,
            Self::ReporterGone
                | Self::MachineLost
                | Self::Unaudited
                | Self::AuditLost
                | Self::NotAuditedYet
                | Self::OpenTransaction
                | Self::Overflow
                | Self::Divergent
        )
    }
}

/// Whose count is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doubt {
    /// The upstream stage may have more than it reported.
    Upstream,
    /// The downstream stage may have more than it reported.
    Downstream,
    /// Both.
    Both,
}

/// One caveat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caveat {
    /// Its kind.
    pub kind: CaveatKind,
    /// Whose count it touches.
    pub side: Doubt,
    /// By how many messages at most; `None` has no bound.
    pub messages: Option<u64>,
}

impl Caveat {
    /// A caveat without a bound.
    pub const fn new(kind: CaveatKind, side: Doubt) -> Self {
        Self { kind, side, messages: None }
    }
    /// How many messages `side` may have more than it reported: `Some(0)` none, `None` any number.
    pub fn total(caveats: &[Self], side: Doubt) -> Option<u64> {
        caveats
            .iter()
            .filter(|c| c.kind.casts_doubt() && (c.side == side || c.side == Doubt::Both))
            .try_fold(0u64, |sum, c| c.messages.map(|m| sum.saturating_add(m)))
    }
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match self.side {
            Doubt::Upstream => f.write_str(" upstream")?,
            Doubt::Downstream => f.write_str(" downstream")?,
            Doubt::Both => {}
        }
        match self.messages {
            Some(m) => write!(f, ": {m}"),
            None => Ok(()),
        }
    }
}

/// A text that is no caveat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a caveat; allowed: KIND[ upstream| downstream][: messages] with KIND one of {kinds}", kinds = all_kinds())]
pub struct UnknownCaveat(String);

fn all_kinds() -> String {
    CaveatKind::ALL.map(CaveatKind::as_str).join(", ")
}

impl FromStr for Caveat {
    type Err = UnknownCaveat;
    fn from_str(text: &str) -> Result<Self, UnknownCaveat> {
        let wrong = || UnknownCaveat(text.chars().take(80).collect());
        let (head, messages) = match text.split_once(':') {
            Some((head, m)) => (head, Some(m.trim().parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let head = head.trim().replace(['_', '-'], " ");
        let (kind, side) = if let Some(kind) = head.strip_suffix(" upstream") {
            (kind, Doubt::Upstream)
        } else if let Some(kind) = head.strip_suffix(" downstream") {
            (kind, Doubt::Downstream)
        } else {
            (head.as_str(), Doubt::Both)
        };
        let kind = CaveatKind::ALL.into_iter().find(|k| k.as_str() == kind.trim()).ok_or_else(wrong)?;
        Ok(Self { kind, side, messages })
    }
}

impl Serialize for Caveat {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Caveat {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_unknown_kinds_are_named() {
        for kind in CaveatKind::ALL {
            for side in [Doubt::Upstream, Doubt::Downstream, Doubt::Both] {
                for messages in [None, Some(0), Some(5)] {
                    let c = Caveat { kind, side, messages };
                    assert_eq!(c.to_string().parse(), Ok(c));
                }
            }
        }
        let said = "weather".parse::<Caveat>().expect_err("unknown").to_string();
        assert!(said.contains("weather") && said.contains("reporter gone"), "{said}");
    }
}
