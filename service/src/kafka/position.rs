//! Which of a consumer's positions can be believed. Pure.
//!
//! `position` passes transaction markers, which no message shows. But for a moment after `assign` the consumer still
//! shows positions of the assignment before: believing one would skip messages. It forgets them before it begins to
//! read, so a position counts once the consumer has said that it knows none, or has delivered a message.

/// See the module's head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    fresh: bool,
}

impl Position {
    /// The consumer was assigned anew.
    pub fn assigned(&mut self) {
        self.fresh = false;
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
        says.filter(|_| self.fresh)
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
}
