//! How wide the windows are that a reporter tells: where finals alone would exceed its budget, those of 10 s are told as
//! windows of 60 s or 600 s, and narrower again when load has fallen. Pure.
//!
//! Counted is at the recorder's width all the time; what waits in the log is folded before anybody is told of it
//! (`coalesce`). Nothing open is told meanwhile but what stays open for long. So there is a *round* for each wide
//! window: the last look before its end is the round's *mark*, and once all slots that it numbered are closed and told,
//! everything that arrived before it is, and that is the watermark. Slots numbered later have seen nothing before.
//!
//! Limits: a watermark comes as rarely as wide windows end, and is a grace and the time of telling behind. At 600 s
//! nothing becomes fewer. Without a log there is no stretching: finals would have to wait in the slot table.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::window::Width;
use crate::wire::Position;

/// So many percent of the budget may be finals; the rest is for repeats, open slots and what comes suddenly.
pub(super) const WIDEN_ABOVE: u64 = 80;
/// Windows become narrower when their finals would be at most so many percent of it for as long as [`CALM`].
pub(super) const NARROW_BELOW: u64 = 50;
pub(super) const CALM: Duration = Duration::from_mins(2);
/// Over how long closed slots are counted.
const SPAN: Duration = Duration::from_mins(1);
/// How long after grace the slots of a mark are waited for: those that are open then are told as they are.
const PATIENCE_MS: i64 = 4_000;

/// Fewer records in a message say little of what one takes.
const WEIGHED: u64 = 50;

/// The width of windows that a reporter tells that counts so many busy topics in windows of `base`, with a budget of so many
/// slot states a second.
pub fn told_width(base: Width, topics: u64, records_per_second: u32) -> Width {
    let finals = u128::from(topics) * 1_000_000_000 / u128::from(base.ms().unsigned_abs());
    least_width(base, finals, u64::from(records_per_second) * WIDEN_ABOVE / 100)
}

/// The finest width at which finals, in a second of the base width and times a million, are at most as many as allowed; the
/// widest if none is.
fn least_width(base: Width, finals: u128, allowed: u64) -> Width {
    let ms = |width: Width| u128::from(width.ms().unsigned_abs());
    let fits = |width: &Width| finals * ms(base) / ms(*width) <= u128::from(allowed) * 1_000_000;
    let widths = || Width::ALL.into_iter().filter(|width| *width >= base);
    widths().find(fits).or(widths().next_back()).unwrap_or(base)
}

/// What one look found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Topics, by class and kind, with traffic.
    pub(super) places: u64,
    /// Slots that it closed.
    pub(super) closed: u64,
}

/// A look before which all is to be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    /// The number after the last slot that it numbered.
    pub(super) end: u64,
    pub(super) at_ms: i64,
    pub(super) positions: Vec<Position>,
}

#[derive(Debug)]
pub(super) struct Stretch {
    base: Width,
    width: Width,
    grace_ms: i64,
    records_per_second: u64,
    bytes_per_second: u64,
    /// Of a record, lately.
    mean_bytes: u64,
    closed: VecDeque<(Instant, u64)>,
    calm_since: Option<Instant>,
    /// The wall time at which the round's windows end.
    until_ms: i64,
    mark: Option<Mark>,
    telling: Option<Mark>,
}

impl Stretch {
    pub(super) fn new(base: Width, grace_ms: i64, (records_per_second, bytes_per_second): (u32, u32)) -> Self {
        Self {
            base,
            width: base,
            grace_ms,
            records_per_second: records_per_second.into(),
            bytes_per_second: bytes_per_second.into(),
            mean_bytes: 1,
            closed: VecDeque::new(),
            calm_since: None,
            until_ms: i64::MIN,
            mark: None,
            telling: None,
        }
    }

    /// Windows of this width are told.
    pub(super) fn width(&self) -> Width {
        self.width
    }
    pub(super) fn is_on(&self) -> bool {
        self.width > self.base
    }
    /// What is being told.
    pub(super) fn telling(&self) -> Option<&Mark> {
        self.telling.as_ref()
    }
    /// Numbers that tell the slots of one round from those of the next: no entry of the log is to have slots of both.
    pub(super) fn bounds(&self, now_ms: i64) -> [u64; 2] {
        let over = self.mark.as_ref().filter(|_| now_ms > self.until_ms);
        [self.telling.as_ref(), over].map(|mark| mark.map_or(0, |mark| mark.end))
    }
    /// All of it is with the sink.
    pub(super) fn told(&mut self) {
        self.telling = None;
    }
    /// So many bytes were the states of so many finals.
    pub(super) fn weigh(&mut self, records: u64, bytes: u64) {
        if records >= WEIGHED {
            self.mean_bytes = (bytes / records).max(1);
        }
    }

    /// Enters a look, with the positions from before it; `None`: a thread was too slow for it, so it is no mark. `true`: from
    /// now on another width is told.
    pub(super) fn look(&mut self, load: Load, mark: Option<Mark>, now: Instant) -> bool {
        self.closed.push_back((now, load.closed));
        while self.closed.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN) {
            self.closed.pop_front();
        }
        let width = self.wanted(load, now);
        let changed = width != self.width;
        if changed {
            self.width = width;
            (self.mark, self.telling, self.calm_since) = (None, None, None);
            self.until_ms = i64::MIN;
        }
        if let Some(mark) = mark
            && self.is_on()
            && (self.mark.is_none() || mark.at_ms <= self.until_ms)
        {
            self.until_ms = self.until_ms.max(self.end_of(mark.at_ms));
            self.mark = Some(mark);
        }
        changed
    }

    /// The end of the wide window that a time is in, or is the end of.
    fn end_of(&self, ms: i64) -> i64 {
        self.width.window_of(ms.saturating_sub(1)).end_ms(self.width)
    }

    /// Whether the round's mark is to be told: its time has come, and `open` says that some of its slots are open.
    pub(super) fn is_due(&self, now_ms: i64, open: impl Fn(u64) -> bool) -> bool {
        let due_ms = self.until_ms.saturating_add(self.grace_ms);
        let Some(mark) = self.mark.as_ref().filter(|_| self.telling.is_none() && now_ms >= due_ms) else {
            return false;
        };
        now_ms >= due_ms.saturating_add(PATIENCE_MS) || !open(mark.end)
    }

    /// Begins to tell the round, and the next one; slots below the number are its.
    pub(super) fn begin(&mut self, now_ms: i64) -> Option<u64> {
        self.telling = self.mark.take();
        self.until_ms = self.end_of(now_ms);
        self.telling.as_ref().map(|mark| mark.end)
    }

    /// The finest width whose finals the budget allows.
    fn wanted(&mut self, load: Load, now: Instant) -> Width {
        let closed: u64 = self.closed.iter().map(|c| c.1).sum();
        let up = self.least(load.places, closed, WIDEN_ABOVE);
        if up > self.width {
            return up;
        }
        let down = self.least(load.places, closed, NARROW_BELOW);
        if down >= self.width {
            self.calm_since = None;
            return self.width;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM { down } else { self.width }
    }

    /// The finest width at which finals take at most so many percent of the budget; the widest if none does.
    /// `closed`: slots of the base width, in [`SPAN`].
    fn least(&self, places: u64, closed: u64, percent: u64) -> Width {
        let budget = self.records_per_second.min(self.bytes_per_second / self.mean_bytes);
        // Of the base width: what is open if all of it is busy, or what was closed lately.
        let busy = u128::from(places) * 1_000_000_000 / u128::from(self.base.ms().unsigned_abs());
        let finals = busy.max(u128::from(closed) * 1_000_000 / u128::from(SPAN.as_secs()));
        least_width(self.base, finals, budget * percent / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: [Width; 3] = Width::ALL;

    #[test]
    fn the_width_follows_the_number_of_topics() {
        for (topics, width) in [(0, W[0]), (400, W[0]), (401, W[1]), (2_400, W[1]), (2_401, W[2]), (u64::MAX / 2, W[2])]
        {
            assert_eq!(told_width(W[0], topics, 50), width, "{topics}");
        }
        assert_eq!(told_width(W[2], 1_000_000, 50), W[2]);
    }

    #[test]
    fn wider_at_once_and_narrower_after_a_calm() {
        let start = Instant::now();
        let mut stretch = Stretch::new(W[0], 10_000, (50, 32 << 10));
        let mut look = |places, second: u64| {
            let mark = Mark { end: 0, at_ms: 0, positions: Vec::new() };
            stretch.look(Load { places, closed: 0 }, Some(mark), start + Duration::from_secs(second));
            stretch.width()
        };
        assert_eq!((look(400, 0), look(500, 2)), (W[0], W[1]));
        // Neither so many nor so few that it should change; then few, but not for long enough.
        assert_eq!((look(300, 4), look(250, 6), look(300, 100), look(250, 102)), (W[1], W[1], W[1], W[1]));
        assert_eq!((look(250, 221), look(250, 222)), (W[1], W[0]));
        assert_eq!(look(3_000, 224), W[2]);
    }

    #[test]
    fn the_mark_of_a_round_is_the_last_whole_look_before_its_end() {
        let now = Instant::now();
        let mut stretch = Stretch::new(W[0], 10_000, (50, 32 << 10));
        let mark = |end, at_ms| Mark { end, at_ms, positions: Vec::new() };
        for (end, at_ms, whole) in [(5, 10_000, true), (7, 58_000, true), (8, 59_000, false), (9, 62_000, true)] {
            let mark = Some(mark(end, at_ms)).filter(|_| whole);
            stretch.look(Load { places: 1_000, closed: 0 }, mark, now);
        }
        assert_eq!(stretch.bounds(62_000), [0, 7]);
        let open = |_| true;
        assert!(!stretch.is_due(69_999, |_| false) && stretch.is_due(70_000, |_| false));
        assert!(!stretch.is_due(73_999, open) && stretch.is_due(74_000, open), "what stays open is told as it is");
        assert_eq!((stretch.begin(74_000), stretch.telling().map(|m| m.at_ms)), (Some(7), Some(58_000)));
        assert!(!stretch.is_due(500_000, |_| false), "one at a time");
        stretch.told();
        stretch.look(Load { places: 1_000, closed: 0 }, Some(mark(20, 119_000)), now);
        assert_eq!(stretch.bounds(121_000), [0, 20]);
    }
}
