//! What comes too late to be judged, or to be counted at all, is said.

use crate::db::{Db, Done};

/// What came when its windows were not judged any more, or not even kept.
#[derive(Debug, Default)]
pub(super) struct Late {
    windows: u64,
    messages: i128,
    /// Of these, what no row takes.
    lost: i128,
    at_ms: i64,
}

impl Late {
    /// So many messages more or less, the last of which came at that time; `is_counted`: a row takes them.
    pub(super) fn note(&mut self, messages: i128, last_ms: Option<i64>, is_counted: bool) {
        self.windows += 1;
        self.messages += messages;
        self.lost += if is_counted { 0 } else { messages };
        self.at_ms = self.at_ms.max(last_ms.unwrap_or_default());
    }

    /// One event for all of it.
    pub(super) fn tell(&self, db: &Db<'_>) -> Done<()> {
        if self.windows == 0 {
            return Ok(());
        }
        let Self { windows, messages, lost, .. } = self;
        let text = format!(
            "{messages} messages came for {windows} windows that are not judged any more; {lost} of them are older than anything that is kept"
        );
        db.event(self.at_ms, "late", None, &text)
    }
}
