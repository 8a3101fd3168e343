//! Which fault goes into which window. Pure: wishes, a seed and a first window in; faults out.
//!
//! Invariants: a fault is injected into exactly one window; no two faults share a hop and a window, nor the windows
//! that a stall delays or a dead reporter leaves in doubt, so that each verdict has one cause.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::spec::{HOPS, Kind, Wish};

/// Width of the demo's windows, ms.
pub const WIDTH_MS: i64 = 10_000;
/// From the end of a fault's window until its verdict is on the page, at most, on a machine that is not overloaded.
const VERDICT_MS: i64 = 15_000;
/// So much longer between two clusters, where a loss is told from a delay by how far the event times have come.
const FRONTIER_MS: i64 = 5_000;
/// How long after its window's end a stall ends.
pub const STALL_ENDS_MS: i64 = 10_000;
/// What a fault may still touch longer ago than this is forgotten.
const FORGET_MS: i64 = 600_000;

/// A fault with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its number, from 1.
    pub id: u32,
    /// What.
    pub kind: Kind,
    /// Where.
    pub hop: u8,
    /// How many; see [`Wish::count`].
    pub count: u32,
    /// Start of the window, ms.
    pub window_ms: i64,
}

impl Fault {
    /// End of its window, ms.
    pub const fn end_ms(&self) -> i64 {
        self.window_ms + WIDTH_MS
    }
    /// By then it has surely been seen, ms.
    pub const fn seen_by_ms(&self) -> i64 {
        let frontier_ms = if self.hop == 3 { FRONTIER_MS } else { 0 };
        self.end_ms() + VERDICT_MS + frontier_ms
    }
    /// The wish that it fulfils.
    pub const fn wish(&self) -> Wish {
        Wish { kind: self.kind, hop: self.hop, count: self.count }
    }
}

/// Windows of a hop, in steps from a fault's own window.
type Span = (u8, i64, i64);

/// The hops and windows that a fault may touch.
fn touched(wish: Wish) -> Vec<Span> {
    let Wish { kind, hop, .. } = wish;
    match kind {
        Kind::Loss | Kind::Dup | Kind::Masked => vec![(hop, 0, 0)],
        // What was held back arrives late on every hop below.
        Kind::Stall => (hop..=HOPS).map(|h| (h, 0, 2)).collect(),
        // The dead reporter's stage is downstream of one hop and upstream of the next.
        Kind::Kill => (hop..=(hop + 1).min(HOPS)).map(|h| (h, -1, 2)).collect(),
    }
}

/// A seeded mix with every kind: three of them on hops of their own, chosen at random.
pub fn mix(random: &mut StdRng) -> Vec<Wish> {
    let mut hops: Vec<u8> = (1..=HOPS).collect();
    hops.shuffle(random);
    let mut wishes: Vec<Wish> = Kind::ALL
        .into_iter()
        .zip(hops.into_iter().map(Some).chain(std::iter::repeat(None)))
        .map(|(kind, hop)| {
            let allowed = kind.hops().0;
            let hop = hop.filter(|h| allowed.contains(h)).or_else(|| allowed.choose(random).copied()).unwrap_or(HOPS);
            let most = if kind == Kind::Stall { 1 } else { 20 };
            Wish { kind, hop, count: random.random_range(1..=most) }
        })
        .collect();
    wishes.shuffle(random);
    wishes
}

/// Places faults.
#[derive(Debug)]
pub struct Planner {
    last_id: u32,
    /// Hop, first and last window start.
    taken: Vec<(u8, i64, i64)>,
}

impl Planner {
    /// Nothing is taken.
    pub const fn new() -> Self {
        Self { last_id: 0, taken: Vec::new() }
    }

    /// Places wishes in their order, each into the first free window; with `spread`, each at least one window after
    /// the one before.
    pub fn place(&mut self, wishes: &[Wish], first_window_ms: i64, spread: bool) -> Vec<Fault> {
        self.taken.retain(|(_, _, last)| last + FORGET_MS > first_window_ms);
        let mut earliest_ms = first_window_ms;
        let mut faults = Vec::new();
        for wish in wishes {
            self.last_id += 1;
            let fault = self.put(self.last_id, *wish, earliest_ms);
            if spread {
                earliest_ms = fault.window_ms + WIDTH_MS;
            }
            faults.push(fault);
        }
        faults
    }

    /// Places a fault again that could not be injected where it was.
    pub fn again(&mut self, fault: &Fault, first_window_ms: i64) -> Fault {
        self.put(fault.id, fault.wish(), first_window_ms)
    }

    fn put(&mut self, id: u32, wish: Wish, earliest_ms: i64) -> Fault {
        let spans = touched(wish);
        let mut window_ms = earliest_ms;
        while spans.iter().any(|span| !self.is_free(*span, window_ms)) {
            window_ms += WIDTH_MS;
        }
        for (hop, from, to) in spans {
            self.taken.push((hop, window_ms + from * WIDTH_MS, window_ms + to * WIDTH_MS));
        }
        Fault { id, kind: wish.kind, hop: wish.hop, count: wish.count, window_ms }
    }

    fn is_free(&self, (hop, from, to): Span, window_ms: i64) -> bool {
        let (from, to) = (window_ms + from * WIDTH_MS, window_ms + to * WIDTH_MS);
        !self.taken.iter().any(|(h, first, last)| *h == hop && *first <= to && *last >= from)
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

/// How long it takes, at most, from the beginning of the traffic until the last of these has been seen, ms.
pub fn takes_ms(wishes: &[Wish], spread: bool) -> i64 {
    let placed = Planner::new().place(wishes, 0, spread);
    // The traffic begins somewhere in a window; the next one is the first whole one.
    WIDTH_MS + placed.iter().map(Fault::seen_by_ms).max().unwrap_or(0)
}

/// A generator for one purpose, so that what one part draws does not change what another does.
pub fn generator(seed: u64, purpose: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(purpose))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(kind: Kind, hop: u8) -> Wish {
        Wish { kind, hop, count: 1 }
    }
    fn windows(wishes: &[Wish], spread: bool) -> Vec<i64> {
        Planner::new().place(wishes, 0, spread).iter().map(|f| f.window_ms / WIDTH_MS).collect()
    }

    #[test]
    fn faults_share_no_hop_and_window_whatever_the_wishes() {
        for seed in 0..500 {
            let mut random = StdRng::seed_from_u64(seed);
            let wishes: Vec<Wish> = (0..random.random_range(1..20))
                .map(|_| {
                    let kind = *Kind::ALL.choose(&mut random).expect("kinds");
                    wish(kind, *kind.hops().0.choose(&mut random).expect("hops"))
                })
                .collect();
            let mut planner = Planner::new();
            let mut faults = planner.place(&wishes, 50_000, seed % 2 == 0);
            faults.extend(planner.place(&wishes, 90_000, false));
            let mut cells = std::collections::BTreeSet::new();
            for f in &faults {
                assert!(f.window_ms >= 50_000 && f.window_ms % WIDTH_MS == 0);
                for (hop, from, to) in touched(f.wish()) {
                    for step in from..=to {
                        assert!(cells.insert((hop, f.window_ms + step * WIDTH_MS)), "seed {seed}: {faults:?}");
                    }
                }
            }
            let ids: Vec<u32> = faults.iter().map(|f| f.id).collect();
            assert_eq!(ids, (1..=u32::try_from(faults.len()).expect("few")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn independent_faults_run_at_once_unless_they_are_spread() {
        let wishes = [wish(Kind::Loss, 1), wish(Kind::Dup, 2), wish(Kind::Masked, 3), wish(Kind::Loss, 1)];
        assert_eq!(windows(&wishes, false), [0, 0, 0, 1]);
        assert_eq!(windows(&wishes, true), [0, 1, 2, 3]);
        let late = [wish(Kind::Stall, 3), wish(Kind::Loss, 4), wish(Kind::Loss, 2), wish(Kind::Kill, 4)];
        assert_eq!(windows(&late, false), [0, 3, 0, 5]);
        let dead = [wish(Kind::Loss, 2), wish(Kind::Kill, 1), wish(Kind::Dup, 2), wish(Kind::Loss, 3)];
        assert_eq!(windows(&dead, false), [0, 2, 5, 0]);
    }

    #[test]
    fn a_mix_has_every_kind_is_allowed_and_follows_the_seed() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let drawn = mix(&mut generator(seed, 1));
            assert_eq!(drawn, mix(&mut generator(seed, 1)));
            for kind in Kind::ALL {
                assert_eq!(drawn.iter().filter(|w| w.kind == kind).count(), 1, "{drawn:?}");
            }
            for w in &drawn {
                assert!(w.kind.hops().0.contains(&w.hop) && w.kind.counts().contains(&w.count), "{w:?}");
                seen.insert((w.kind, w.hop));
            }
        }
        let all: usize = Kind::ALL.iter().map(|k| k.hops().0.len()).sum();
        assert_eq!(seen.len(), all, "every kind on every hop: {seen:?}");
    }

    #[test]
    fn what_is_longer_ago_is_forgotten_and_a_failed_one_is_placed_again_under_its_number() {
        let mut planner = Planner::new();
        let first = planner.place(&[wish(Kind::Loss, 1)], 0, false);
        let again = planner.again(&first[0], 0);
        assert_eq!((again.id, again.window_ms), (first[0].id, WIDTH_MS));
        planner.place(&[wish(Kind::Loss, 2)], 2 * FORGET_MS, false);
        assert_eq!(planner.taken.len(), 1);
    }

    #[test]
    fn one_loss_takes_a_window_and_its_verdict_after_the_next_begins() {
        assert_eq!(takes_ms(&[wish(Kind::Loss, 1)], false), 35_000);
        assert_eq!(takes_ms(&[wish(Kind::Loss, 1), wish(Kind::Loss, 1)], false), 45_000);
        assert_eq!(takes_ms(&[wish(Kind::Loss, 3)], false), 40_000);
        assert_eq!(takes_ms(&[], false), WIDTH_MS);
    }
}
