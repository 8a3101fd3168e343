//! Lives of processes → rows: who is on time, who is silent, and whose place another has taken. Pure.

use std::collections::BTreeMap;

use chaperone_audit::wire::Dropped;
use chaperone_collector::checkins::{self, GAP_MS, Heard};
use chaperone_collector::query::ReporterState;

/// Who was last heard before is not shown, ms.
const SHOWN_MS: i64 = 86_400_000;
/// Who is here for less is new, ms.
const NEW_MS: i64 = 600_000;
/// Not silent yet, and later than anybody should be, ms.
const LATE_MS: i64 = 15_000;
/// Cells in which one late word makes a reporter late: a minute.
const LATE_CELLS: i64 = 6;

/// How a row stands, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// One of its processes said nothing for too long, and none took its place.
    Silent,
    /// Counts that it told have not come.
    Gap,
    /// It is heard later than it should be.
    Late,
    /// It died, what was left was recovered, and none took its place.
    Died,
    /// It is here for minutes only.
    New,
    /// Nothing is the matter.
    OnTime,
    /// It said goodbye.
    Left,
}

impl Standing {
    /// Glyph, class, word.
    pub(crate) const fn look(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Silent => ("noreport", "c-noreport", "silent"),
            Self::Gap => ("unproven", "c-unproven strong", "gap"),
            Self::Late => ("delayed", "c-delayed", "late"),
            Self::Died => ("uncertain", "c-uncertain", "died"),
            Self::New => ("proven", "c-proven", "new"),
            Self::OnTime => ("proven", "c-proven", "on time"),
            Self::Left => ("notyet", "c-notyet", "left"),
        }
    }
    pub(crate) const fn is_calm(self) -> bool {
        matches!(self, Self::OnTime | Self::Left)
    }
    /// What it counts now is told.
    pub(crate) const fn is_heard(self) -> bool {
        matches!(self, Self::Gap | Self::Late | Self::New | Self::OnTime)
    }
}

/// An application on a host at a stage.
pub(crate) struct Group<'a> {
    /// Newest word first; at least one.
    pub(crate) lives: Vec<&'a ReporterState>,
    pub(crate) standing: Standing,
    /// Which of the lives the standing is about.
    about: usize,
}

impl<'a> Group<'a> {
    fn of(mut lives: Vec<&'a ReporterState>, now_ms: i64) -> Option<Self> {
        lives.sort_by_key(|r| (std::cmp::Reverse(r.last_ms), r.incarnation));
        lives.first()?;
        let all = lives.iter().enumerate().map(|(i, r)| (standing(r, &lives, now_ms), i));
        let (standing, about) = all.min()?;
        Some(Self { lives, standing, about })
    }
    pub(crate) fn newest(&self) -> &'a ReporterState {
        self.lives.first().copied().unwrap_or_else(|| self.speaker())
    }
    /// The life that the row speaks of.
    pub(crate) fn speaker(&self) -> &'a ReporterState {
        // `about` is a place in `lives`, which are never none.
        self.lives[self.about]
    }
    /// Processes that live.
    pub(crate) fn live(&self) -> usize {
        self.lives.iter().filter(|r| r.state == "live").count()
    }
    /// Late, without time, unreadable, out of range: over all its lives.
    pub(crate) fn sums(&self) -> [u64; 4] {
        let sum = |of: fn(&ReporterState) -> u64| self.lives.iter().map(|r| of(r)).fold(0, u64::saturating_add);
        [sum(|r| r.late), sum(|r| r.no_time), sum(|r| r.malformed), sum(|r| r.out_of_range)]
    }
    pub(crate) fn dropped(&self) -> Dropped {
        let mut all = Dropped::default();
        for d in self.lives.iter().filter_map(|r| r.dropped.as_ref()) {
            all.overflow = all.overflow.saturating_add(d.overflow);
            all.unlogged = all.unlogged.saturating_add(d.unlogged);
            all.records = all.records.saturating_add(d.records);
            all.coalesced = all.coalesced.saturating_add(d.coalesced);
        }
        all
    }
}

/// One life among those of its row. Who was replaced stands as well as one who left.
fn standing(r: &ReporterState, lives: &[&ReporterState], now_ms: i64) -> Standing {
    if r.state != "live" {
        return match r.state.as_str() {
            "goodbye" => Standing::Left,
            _ if is_replaced(r, lives) => Standing::Left,
            "ended" => Standing::Died,
            _ => Standing::Silent,
        };
    }
    let newest = checkins::cell_of(now_ms);
    let was_late = (newest - LATE_CELLS..=newest).any(|cell| r.checkins.at(cell) == Heard::Late);
    if r.lacking_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= GAP_MS) {
        Standing::Gap
    } else if was_late || now_ms.saturating_sub(r.last_ms) >= LATE_MS {
        Standing::Late
    } else if now_ms.saturating_sub(r.first_ms) < NEW_MS {
        Standing::New
    } else {
        Standing::OnTime
    }
}

/// Whether a life began since that takes no other's place: as many began as fell away. Of who died and was recovered the last
/// word is its successor's, who began before it; so there whoever began after the dead one counts.
fn is_replaced(r: &ReporterState, lives: &[&ReporterState]) -> bool {
    let was_recovered = r.state == "ended";
    let since =
        |other: &ReporterState| if was_recovered { other.first_ms > r.first_ms } else { other.first_ms >= r.last_ms };
    let fell_with = |other: &ReporterState| {
        let has_fallen = other.state != "live" && other.state != "goodbye";
        let order = if was_recovered { other.first_ms >= r.first_ms } else { other.last_ms >= r.last_ms };
        has_fallen && order
    };
    lives.iter().filter(|other| since(other)).count() >= lives.iter().filter(|other| fell_with(other)).count()
}

/// Rows, and how many processes are left out because they were last heard long ago.
pub(crate) fn groups(all: &[ReporterState], now_ms: i64) -> (Vec<Group<'_>>, usize) {
    let mut by_place: BTreeMap<(&str, &str, &str), Vec<&ReporterState>> = BTreeMap::new();
    let mut old = 0;
    for r in all {
        if now_ms.saturating_sub(r.last_ms) > SHOWN_MS {
            old += 1;
        } else {
            by_place.entry((&r.stage, &r.application, &r.host)).or_default().push(r);
        }
    }
    (by_place.into_values().filter_map(|lives| Group::of(lives, now_ms)).collect(), old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: i64 = 100_000_000;

    fn life(id: u128, first_ms: i64, last_ms: i64, state: &str) -> ReporterState {
        ReporterState { incarnation: Uuid::from_u128(id), first_ms, last_ms, state: state.into(), ..Default::default() }
    }

    fn stands(lives: &[ReporterState]) -> Standing {
        let (groups, _) = groups(lives, NOW);
        assert_eq!(groups.len(), 1);
        groups[0].standing
    }

    #[test]
    fn a_silent_process_is_not_hidden_by_others_of_its_host() {
        let long = NOW - 5_000_000;
        let (live, gone) = (life(1, long, NOW - 1_000, "live"), life(2, long, NOW - 60_000, "gone"));
        assert_eq!(stands(std::slice::from_ref(&live)), Standing::OnTime);
        assert_eq!(stands(&[live.clone(), gone.clone()]), Standing::Silent);
        let next = life(3, NOW - 50_000, NOW - 1_000, "live");
        assert_eq!(stands(&[live.clone(), gone.clone(), next.clone()]), Standing::New, "its place was taken");
        let other = life(4, long, NOW - 55_000, "gone");
        assert_eq!(stands(&[live, gone, other, next]), Standing::Silent, "one took the place of one");
    }

    #[test]
    fn the_worst_life_speaks() {
        let long = NOW - 5_000_000;
        assert_eq!(stands(&[life(1, long, NOW - 60_000, "goodbye")]), Standing::Left);
        assert_eq!(stands(&[life(1, long, NOW - 60_000, "ended")]), Standing::Died);
        // Its successor told its last words, a minute after it began itself.
        let (dead, next) = (life(1, long, NOW - 5_000, "ended"), life(2, NOW - 900_000, NOW, "live"));
        assert_eq!(stands(&[dead.clone(), next.clone()]), Standing::OnTime);
        let also = life(3, NOW - 800_000, NOW - 4_000, "ended");
        assert_eq!(stands(&[dead, also, next]), Standing::Died, "one took the place of one");
        assert_eq!(stands(&[life(1, long, NOW - 16_000, "live")]), Standing::Late);
        let mut late = life(1, long, NOW, "live");
        late.checkins.note(NOW - 30_000, Heard::Late);
        assert_eq!(stands(&[late.clone()]), Standing::Late);
        late.lacking_since_ms = Some(NOW - 20_000);
        assert_eq!(stands(&[late.clone()]), Standing::Gap);
        late.lacking_since_ms = Some(NOW - 5_000);
        assert_eq!(stands(&[late]), Standing::Late, "it may be under way");
        assert_eq!(groups(&[life(1, 0, NOW - SHOWN_MS - 1, "gone")], NOW).1, 1);
    }
}
