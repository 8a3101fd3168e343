//! What the suite does to the messages, decided before any is sent: the ground truth.
//!
//! Messages are numbered; the number decides window, partition key and fate at the replicator. Everything follows from
//! one seed, which a failing test prints.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Width of a window, ms.
pub(crate) const WIDTH_MS: i64 = 10_000;

/// Windows of the run.
pub(crate) const WINDOWS: usize = 10;

/// What the replicator does to one window, as (window, messages dropped, messages copied twice).
pub(crate) const FAULTS: [(usize, usize, usize); 7] =
    [(1, 20, 0), (2, 10, 0), (3, 7, 0), (4, 0, 8), (5, 0, 4), (MASKED, 5, 5), (MIXTURE, 5, 3)];

/// The window in which as many are lost as doubled.
pub(crate) const MASKED: usize = 6;

/// The window in which five are lost and three doubled.
pub(crate) const MIXTURE: usize = 7;

/// How often the replicator forwards a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not at all.
    Dropped,
    /// Twice.
    Doubled,
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The plan of one run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Messages in all.
    pub(crate) messages: usize,
    /// Start of the first window, ms.
    pub(crate) base_ms: i64,
    fates: BTreeMap<usize, Fate>,
    seed: u64,
}

impl Plan {
    /// A run of `messages` in windows that begin after `now_ms` and after all reporters have begun to count: windows
    /// before that are not audited.
    pub(crate) fn new(messages: usize, now_ms: i64) -> Self {
        let seed: u64 = rand::rng().random();
        let mut random = StdRng::seed_from_u64(seed);
        let base_ms = (now_ms.div_euclid(WIDTH_MS) + 2) * WIDTH_MS;
        let mut plan = Self { messages, base_ms, fates: BTreeMap::new(), seed };
        for (window, dropped, doubled) in FAULTS {
            let mut numbers: Vec<usize> = plan.numbers(window).collect();
            numbers.shuffle(&mut random);
            let fates = std::iter::repeat_n(Fate::Dropped, dropped).chain(std::iter::repeat_n(Fate::Doubled, doubled));
            plan.fates.extend(numbers.into_iter().zip(fates));
        }
        println!("plan: {messages} messages, first window {base_ms}, seed {seed:#x}");
        plan
    }

    /// The numbers of a window's messages.
    pub(crate) fn numbers(&self, window: usize) -> Range<usize> {
        let each = self.messages / WINDOWS;
        window * each..(window + 1) * each
    }

    /// A message's event time, ms; ascending with its number.
    pub(crate) fn event_ms(&self, number: usize) -> i64 {
        let each = self.messages / WINDOWS;
        let within = signed(number % each) * WIDTH_MS / signed(each);
        self.base_ms + signed(number / each) * WIDTH_MS + within
    }

    /// A message's value: its number first, so that the replicator knows it again.
    pub(crate) fn value(&self, number: usize) -> String {
        format!("{number} {:016x}", self.seed ^ number as u64)
    }

    /// The fate of a message, read from its value.
    pub(crate) fn fate(&self, value: &[u8]) -> Option<Fate> {
        let text = std::str::from_utf8(value).ok()?;
        let number = text.split(' ').next()?.parse().ok()?;
        self.fates.get(&number).copied()
    }

    /// Start of a window, ms.
    pub(crate) fn window_ms(&self, window: usize) -> i64 {
        self.base_ms + signed(window) * WIDTH_MS
    }

    /// Messages before the replicator, per window.
    pub(crate) fn sent(&self) -> BTreeMap<i64, u64> {
        (0..WINDOWS).map(|w| (self.window_ms(w), (self.messages / WINDOWS) as u64)).collect()
    }

    /// Messages after the replicator, per window.
    pub(crate) fn replicated(&self) -> BTreeMap<i64, u64> {
        let mut counts = self.sent();
        for (window, dropped, doubled) in FAULTS {
            if let Some(n) = counts.get_mut(&self.window_ms(window)) {
                *n = *n + doubled as u64 - dropped as u64;
            }
        }
        counts
    }
}
