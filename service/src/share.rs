//! How collectors of one store divide the work: each audit partition is read by one of those that live and read its topic,
//! and the oldest of all judges and asks for lag. Pure.
//!
//! Who lives is known by the beats in the store ([`presence`](crate::presence)), so there is no group and no coordinator.
//! Invariant: nothing is counted twice or left out for long, whatever each of them believes: the store compares and sets
//! `next` in the transaction that counts, so a partition that two read is counted by whoever comes first, and one that nobody
//! reads for a moment is read from where the store stands. Limits: who falls silent is replaced after
//! [`SILENT_AFTER`](crate::presence::SILENT_AFTER); processes with different audit topics in their configurations divide each
//! topic among those that read it; more processes than partitions leave some idle.

use std::collections::BTreeMap;

use chaperone_collector::query::ProcessState;
use tokio::sync::watch;
use uuid::Uuid;

/// What of an audit topic is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    place: u64,
    of: u64,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { place: 0, of: 1 };

    /// Whether a partition of the topic (`CLUSTER/TOPIC`) is ours.
    pub fn holds(self, source: &str, partition: i32) -> bool {
        // Small topics do not all begin with the same process.
        let first = source.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let number = u64::try_from(partition).unwrap_or(0);
        (first % self.of).wrapping_add(number) % self.of == self.place
    }

    /// Whether others have parts of it too.
    pub fn is_shared(self) -> bool {
        self.of > 1
    }
}

/// What is ours of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Topics that others read too, `CLUSTER/TOPIC`.
    parts: BTreeMap<String, Part>,
    /// We judge, and ask for lag.
    pub leads: bool,
}

impl Default for Share {
    /// Everything.
    fn default() -> Self {
        Self { parts: BTreeMap::new(), leads: true }
    }
}

impl Share {
    /// Of what lives of the processes of the store, ourselves among them.
    pub fn of(me: &ProcessState, live: &[&ProcessState]) -> Self {
        let mut members: Vec<&ProcessState> = live.iter().copied().filter(|p| collects(p) && p.id != me.id).collect();
        members.push(me);
        // By age: a newcomer changes the least.
        members.sort_unstable_by_key(|p| p.id);
        let place = |of: &[Uuid]| of.iter().position(|id| *id == me.id).unwrap_or(0) as u64;
        let mut parts = BTreeMap::new();
        for source in sources(me) {
            let readers: Vec<Uuid> =
                members.iter().filter(|p| sources(p).any(|other| other == source)).map(|p| p.id).collect();
            if readers.len() > 1 {
                parts.insert(source.to_owned(), Part { place: place(&readers), of: readers.len() as u64 });
            }
        }
        Self { parts, leads: members.first().is_none_or(|first| first.id == me.id) }
    }

    /// What is ours of an audit topic.
    pub fn part(&self, source: &str) -> Part {
        self.parts.get(source).copied().unwrap_or(Part::WHOLE)
    }
}

/// For whoever works alone on its store.
pub fn everything() -> watch::Receiver<Share> {
    // What was said last stays readable without the one who said it.
    watch::channel(Share::default()).1
}

/// Whether it has intakes and a judge.
pub fn collects(process: &ProcessState) -> bool {
    process.role == "run" || process.role == "collect"
}

fn sources(process: &ProcessState) -> impl Iterator<Item = &str> {
    process.reads.split(',').filter(|source| !source.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(n: u128, role: &str, reads: &str) -> ProcessState {
        ProcessState {
            id: Uuid::from_u128(n),
            role: role.into(),
            clusters: String::new(),
            reads: reads.into(),
            host: String::new(),
            pid: 1,
            version: String::new(),
            started_ms: 0,
            beat_ms: 0,
            problems: Vec::new(),
        }
    }

    /// Who reads each of ten partitions of a topic, as each believes.
    fn readers(all: &[ProcessState], source: &str) -> Vec<Vec<u128>> {
        let live: Vec<&ProcessState> = all.iter().collect();
        let of = |partition| {
            let mine = |p: &&ProcessState| Share::of(p, &live).part(source).holds(source, partition);
            let reads = all.iter().filter(|p| collects(p) && sources(p).any(|s| s == source));
            reads.filter(mine).map(|p| p.id.as_u128()).collect()
        };
        (0..10).map(of).collect()
    }

    #[test]
    fn each_partition_is_read_by_one_and_the_work_is_even() {
        let all = [process(3, "collect", "k/a,l/b"), process(1, "run", "k/a"), process(2, "collect", "k/a,l/b")];
        for (source, members, least) in [("k/a", 3, 3), ("l/b", 2, 5)] {
            let readers = readers(&all, source);
            assert!(readers.iter().all(|who| who.len() == 1), "{readers:?}");
            let of = |id: u128| readers.iter().filter(|who| who[0] == id).count();
            let counts: Vec<usize> = (1..=3).map(of).filter(|n| *n > 0).collect();
            assert!(counts.len() == members && counts.iter().all(|n| *n >= least), "{source}: {counts:?}");
        }
    }

    #[test]
    fn the_oldest_leads_and_neither_taps_nor_pages_count() {
        let all =
            [process(2, "collect", "k/a"), process(1, "tap", ""), process(0, "web", ""), process(9, "run", "k/a")];
        let live: Vec<&ProcessState> = all.iter().collect();
        let leads = |p: &ProcessState| Share::of(p, &live).leads;
        assert!(leads(&all[0]) && !leads(&all[3]));
        assert_eq!(readers(&all, "k/a").concat().len(), 10);
    }

    #[test]
    fn alone_everything_is_ours_even_before_our_own_beat_is_seen() {
        let me = process(1, "collect", "k/a");
        let other = process(2, "collect", "k/b");
        for live in [vec![], vec![&me], vec![&other, &me]] {
            let share = Share::of(&me, &live);
            assert!(share.leads && share.part("k/a") == Part::WHOLE && !share.part("k/a").is_shared());
        }
    }
}
