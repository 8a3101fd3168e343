//! What a verdict says of the members of a group: who has never reported, and whom its caveats are about. Pure.
//!
//! Invariant: nothing here decides a verdict; a hop without groups has nothing to say.

use super::Evidence;

/// Members of the groups on both sides of a hop, as they are called; upstream first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// They have never reported, while others of their group may have: the stage as a whole has not.
    pub never: Vec<String>,
    /// What limits the numbers is about them.
    pub doubted: Vec<String>,
}

/// Why a hop has no report, where it is known who is missing.
pub(super) fn silent(e: &Evidence) -> Option<String> {
    let never = &e.members.never;
    let verb = if never.len() == 1 { "has" } else { "have" };
    (!never.is_empty())
        .then(|| format!("{} {verb} never reported, and nothing stands in for a member", never.join(", ")))
}

/// What `why` says beside the rule that matched.
pub(super) fn note(e: &Evidence, why: String) -> String {
    if e.members.doubted.is_empty() || e.caveats.is_empty() {
        return why;
    }
    format!("{why}; its caveats are about {}", e.members.doubted.join(", "))
}
