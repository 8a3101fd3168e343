//! Which of a consumer's positions can be believed. Pure.
//!
//! `position` passes transaction markers, which no message shows. But for a moment after `assign` the consumer still
//! shows positions of the assignment before: believing one would skip messages. It forgets them before it begins to
//! read, so a position counts once the consumer has said that it knows none, or has delivered a message. And an error that
//! is about an offset moves the position as a message there would: the error may come from an assignment before, and the
//! offset out of a batch that was corrupt. From then on no position counts until the consumer is assigned anew.

/// See the module's head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    fresh: bool,
    spoilt: bool,
}

impl Position {
    /// The consumer was assigned anew.
    pub fn assigned(&mut self) {
        *self = Self::default();
    }
    /// The consumer gave an error that is about an offset.
    pub fn refused(&mut self) {
        self.spoilt = true;
    }
    /// Whether no position will be believed until the next assignment.
    pub fn is_spoilt(self) -> bool {
        self.spoilt
    }
    /// The consumer delivered a message.
    pub fn delivered(&mut self) {
        self.fresh = true;
    }
    /// Whether positions are believed already.
    pub fn is_fresh(self) -> bool {
        self.fresh
    }
    /// What the consumer says, as far as it can be believed.
    pub fn believe(&mut self, says: Option<i64>) -> Option<i64> {
        self.fresh |= says.is_none();
        says.filter(|_| self.fresh && !self.spoilt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_an_earlier_assignment_is_not_believed() {
        let mut p = Position::default();
        assert_eq!(p.believe(Some(50)), None);
        assert_eq!(p.believe(None), None);
        assert_eq!(p.believe(Some(7)), Some(7));
        p.assigned();
        assert_eq!(p.believe(Some(50)), None);
        p.delivered();
        assert_eq!(p.believe(Some(9)), Some(9));
    }

    #[test]
    fn after_an_error_about_an_offset_no_position_is_believed_until_the_next_assignment() {
        let mut p = Position::default();
        p.delivered();
        p.refused();
        assert_eq!(p.believe(Some(i64::MAX)), None);
        p.delivered();
        assert_eq!(p.believe(Some(i64::MAX)), None, "the position only grows: messages do not mend it");
        assert_eq!(p.believe(None), None);
        assert!(p.is_spoilt());
        p.assigned();
        assert_eq!(p.believe(None), None);
        assert_eq!(p.believe(Some(7)), Some(7));
    }
}
