//! A set of slot ids as ranges: ids are dense, so a set of millions is a handful of numbers.

use serde::{Deserialize, Serialize};

/// Half-open ranges, sorted, neither empty nor touching.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct IdSet(Vec<(u64, u64)>);

impl IdSet {
    /// Adds an id; `false` if it was in already. `u64::MAX` has no end to its range and is never in.
    pub(super) fn insert(&mut self, id: u64) -> bool {
        let Some(end) = id.checked_add(1) else { return false };
        // The first range that ends at `id` or later.
        let at = self.0.partition_point(|r| r.1 < id);
        match self.0.get_mut(at) {
            Some(r) if r.0 <= id && id < r.1 => false,
            Some(r) if r.1 == id => {
                r.1 = end;
                self.merge_at(at);
                true
            }
            Some(r) if r.0 == end => {
                r.0 = id;
                true
            }
            _ => {
                self.0.insert(at, (id, end));
                true
            }
        }
    }

    /// Adds ids `[from, to)`.
    pub(super) fn insert_range(&mut self, (from, to): (u64, u64)) {
        if from >= to {
            return;
        }
        // The ranges that it meets or touches.
        let first = self.0.partition_point(|r| r.1 < from);
        let end = self.0.partition_point(|r| r.0 <= to).max(first);
        let met = self.0.get(first..end).unwrap_or_default();
        let whole = met.iter().fold((from, to), |w, r| (w.0.min(r.0), w.1.max(r.1)));
        self.0.splice(first..end, [whole]);
    }

    /// Runs of `[from, to)` that are not in.
    pub(super) fn missing_in(&self, (mut from, to): (u64, u64)) -> Vec<(u64, u64)> {
        let first = self.0.partition_point(|r| r.1 <= from);
        let mut missing = Vec::new();
        for (start, end) in self.0.iter().skip(first).take_while(|r| r.0 < to) {
            if from < *start {
                missing.push((from, *start));
            }
            from = *end;
        }
        if from < to {
            missing.push((from, to));
        }
        missing
    }

    fn merge_at(&mut self, at: usize) {
        let Some(next) = self.0.get(at + 1).copied() else { return };
        if let Some(r) = self.0.get_mut(at)
            && r.1 == next.0
        {
            r.1 = next.1;
            self.0.remove(at + 1);
        }
    }

    /// Whether an id is in.
    pub(super) fn contains(&self, id: u64) -> bool {
        let at = self.0.partition_point(|r| r.1 <= id);
        self.0.get(at).is_some_and(|r| r.0 <= id)
    }
    /// Ids in it.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().fold(0, |sum, r| sum.saturating_add(r.1 - r.0))
    }
    /// One past the largest.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |r| r.1)
    }
    /// Runs of ids: one, when none is missing.
    pub(super) fn ranges(&self) -> usize {
        self.0.len()
    }
    /// Every id of `other` too.
    pub(super) fn extend(&mut self, other: &Self) {
        for id in other.0.iter().flat_map(|r| r.0..r.1) {
            self.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(ids in proptest::collection::vec((0u64..40, 0u64..9), 0..60)) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for (id, run) in ids {
                if run == 0 {
                    prop_assert_eq!(set.insert(id), model.insert(id));
                } else if run < 3 {
                    let missing: Vec<u64> = set.missing_in((id, id + run)).into_iter().flat_map(|r| r.0..r.1).collect();
                    let model_missing: Vec<u64> = (id..id + run).filter(|i| !model.contains(i)).collect();
                    prop_assert_eq!(missing, model_missing);
                    set.insert_range((id, id + run));
                    model.extend(id..id + run);
                }
                let r = &set.0;
                prop_assert!(r.iter().all(|r| r.0 < r.1) && r.windows(2).all(|w| w[0].1 < w[1].0), "{:?}", r);
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.end(), model.last().map_or(0, |l| l + 1));
            for id in 0..50 {
                prop_assert_eq!(set.contains(id), model.contains(&id));
            }
            let text = serde_json::to_string(&set).expect("json");
            prop_assert_eq!(serde_json::from_str::<IdSet>(&text).expect("json"), set);
        }
    }

    #[test]
    fn the_largest_number_is_refused() {
        let mut set = IdSet::default();
        assert!(!set.insert(u64::MAX) && !set.contains(u64::MAX) && set.len() == 0);
        assert!(set.insert(u64::MAX - 1) && set.contains(u64::MAX - 1));
    }
}
