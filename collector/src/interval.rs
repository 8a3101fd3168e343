//! When a tap's interval counts: the claim chain of one partition, pure.
//!
//! A claim adds one to the epoch and reads from `next`. An interval of another epoch is fenced; one that ends at or
//! before `next` is a duplicate; one that begins at `next` is added and moves it; anything else is a hole and is not
//! applied. So what was counted is never counted again, whatever is re-sent, killed or woken up late.

/// Where a partition's count stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// The last claim.
    pub epoch: u64,
    /// The next offset to count.
    pub next: i64,
}

/// What becomes of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It counts; `next` has moved.
    Add,
    /// It was counted before.
    Duplicate,
    /// It was read under another claim.
    Fenced,
    /// It does not begin at `next`.
    Hole,
}

impl Chain {
    /// A new claim; returns where it reads from.
    pub fn claim(&mut self) -> i64 {
        self.epoch += 1;
        self.next
    }
    /// Decides about `[from, to)` read under `epoch`.
    pub fn apply(&mut self, epoch: u64, from: i64, to: i64) -> Outcome {
        if epoch != self.epoch {
            return Outcome::Fenced;
        }
        if to <= self.next {
            return Outcome::Duplicate;
        }
        if from != self.next {
            return Outcome::Hole;
        }
        self.next = to;
        Outcome::Add
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_counts_once_whatever_the_order() {
        let mut c = Chain::default();
        assert_eq!(c.claim(), 0);
        assert_eq!(c.apply(1, 4, 8), Outcome::Hole);
        assert_eq!(c.apply(1, 0, 4), Outcome::Add);
        assert_eq!(c.apply(1, 0, 4), Outcome::Duplicate);
        assert_eq!(c.apply(1, 2, 6), Outcome::Hole);
        assert_eq!(c.claim(), 4);
        assert_eq!(c.apply(1, 4, 9), Outcome::Fenced);
        assert_eq!(c.apply(2, 4, 9), Outcome::Add);
        assert_eq!(c, Chain { epoch: 2, next: 9 });
    }
}
