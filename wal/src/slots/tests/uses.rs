//! Opening, handing over, closing, freeing: who may do what, and what comes too late.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as StdOrdering};

use super::*;

const TAGS_OF: [u64; TAGS] = [1; TAGS];
const ONE: Words = [1, 0, 0, 0, 0, 0, 0];

fn count(line: &mut Line) -> Result<(), Refused> {
    line.count(|words| {
        words[0] += 1;
        1
    })
}

#[test]
fn a_full_table_says_so_and_a_freed_slot_is_opened_again() {
    let table = heap(SMALL);
    let lines: Vec<Line> = (0..3).map(|i| table.open(i, "orders", &TAGS_OF).unwrap()).collect();
    assert_eq!(table.open(0, "orders", &TAGS_OF).unwrap_err(), Refused::Full);
    assert_eq!(table.free(lines[1].at()), Err(Refused::Busy), "only a closed slot is freed");
    assert!(table.close_if(lines[1].at(), |_| true).unwrap().is_some());
    table.free(lines[1].at()).unwrap();
    assert_eq!(table.free(lines[1].at()), Err(Refused::Closed));
    let again = table.open(0, "refunds", &TAGS_OF).unwrap();
    assert_eq!((again.at().index, again.at().generation), (lines[1].at().index, 2));
    assert_eq!(table.uses().count(), 3);
}

#[test]
fn names_are_written_once_and_their_room_ends() {
    let table = heap(Geometry { slots: 64, ..SMALL });
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(table.open(0, "a name of 24 bytes, just", &TAGS_OF).unwrap());
    }
    kept.push(table.open(0, "another of 24 bytes, too", &TAGS_OF).unwrap());
    let free = table.free_slots();
    assert_eq!(table.open(0, "a third of about 24 byte", &TAGS_OF).unwrap_err(), Refused::NamesFull);
    assert_eq!(table.free_slots(), free, "nothing was taken");
    assert_eq!(table.read(kept[10].at()).unwrap().name, "another of 24 bytes, too");
}

#[test]
fn a_late_report_and_a_late_owner_touch_nothing() {
    let table = heap(SMALL);
    let mut late = table.open(1, "orders", &TAGS_OF).unwrap();
    count(&mut late).unwrap();
    let at = late.at();
    assert_eq!(table.close_if(at, |s| s.n == s.m), Ok(None), "one is in flight");
    count(&mut late).unwrap();
    table.add(at, &ONE).unwrap();
    table.add(at, &ONE).unwrap();
    let last = table.close_if(at, |s| s.n == s.m).unwrap().unwrap();
    assert_eq!((last.n, last.m, last.closed), (2, 2, true));
    assert_eq!(count(&mut late), Err(Refused::Closed));
    assert_eq!(table.add(at, &ONE), Err(Refused::Closed));
    assert_eq!(table.read(at).unwrap(), last, "a closed slot does not change");
    table.free(at).unwrap();
    let mut next = table.open(2, "refunds", &TAGS_OF).unwrap();
    assert_eq!(next.at().index, at.index);
    count(&mut next).unwrap();
    assert_eq!(count(&mut late), Err(Refused::Closed));
    assert_eq!(table.add(at, &ONE), Err(Refused::Closed));
    assert_eq!(table.note(at, 1), Err(Refused::Closed));
    assert_eq!(table.read(at), Err(Refused::Closed));
    drop(late);
    assert!(!table.is_orphan(next.at()), "whoever left the earlier use left no other");
    let slot = table.read(next.at()).unwrap();
    assert_eq!((slot.n, slot.m, slot.name.as_str()), (1, 0, "refunds"));
}

#[test]
fn a_line_is_adopted_once_and_goes_on_where_it_was() {
    let table = heap(SMALL);
    let mut line = table.open(1, "orders", &TAGS_OF).unwrap();
    count(&mut line).unwrap();
    let at = line.at();
    assert_eq!(table.adopt(at, 2).unwrap_err(), Refused::Busy);
    drop(line);
    assert!(table.is_orphan(at));
    let mut adopted = table.adopt(at, 2).unwrap();
    assert_eq!(table.adopt(at, 3).unwrap_err(), Refused::Busy);
    count(&mut adopted).unwrap();
    let slot = table.read(at).unwrap();
    assert_eq!((slot.n, slot.words_in[0], slot.cells[1], slot.owner), (2, 2, 2, 2));
}

#[test]
fn an_owner_that_panics_counts_nothing_and_blocks_nobody() {
    let table = heap(SMALL);
    let mut line = table.open(1, "orders", &TAGS_OF).unwrap();
    count(&mut line).unwrap();
    let at = line.at();
    let broken = std::panic::AssertUnwindSafe(|| line.count(|_| panic!("the caller's")));
    assert!(std::panic::catch_unwind(broken).is_err());
    table.quiesce().unwrap();
    assert_eq!(table.read(at).unwrap().n, 1);
    assert!(table.close_if(at, |_| true).unwrap().is_some());
}

/// A thread that took a line and is gone: others hear of it, and what was counted is there for everybody.
#[test]
fn a_line_that_nobody_gives_back_holds_nobody_for_ever() {
    let table = heap(SMALL);
    let mut line = table.open(1, "orders", &TAGS_OF).unwrap();
    let at = line.at();
    count(&mut line).unwrap();
    count(&mut line).unwrap();
    table.add(at, &ONE).unwrap();
    chain::take(table.core.lane_out(at.index).unwrap(), at.generation.into()).unwrap();
    assert_eq!(table.add(at, &ONE), Err(Refused::Busy));
    assert_eq!(table.close_if(at, |_| true), Err(Refused::Busy));
    count(&mut line).unwrap();
    let slot = table.read(at).unwrap();
    assert_eq!((slot.n, slot.m, slot.words_out), (3, 1, ONE));
    assert_eq!(recovered(&table), [slot]);
}

/// Who holds a line's door and never lets it go holds up its owner for a moment only, and learns that it was not alone.
#[test]
fn an_owner_takes_a_door_back_that_is_held_for_long() {
    let table = heap(SMALL);
    let mut line = table.open(1, "orders", &TAGS_OF).unwrap();
    let gate = table.core.gate(line.at()).unwrap();
    assert!(gate.hold(table.core.barrier, 99));
    assert!(!gate.hold(table.core.barrier, 100), "one at a time");
    count(&mut line).unwrap();
    assert!(!gate.end(99, true), "nothing was shut behind the owner's back");
    count(&mut line).unwrap();
    assert_eq!(table.read(line.at()).unwrap().n, 2);
}

/// Both sides of a slot under fire from four threads while it is read: no reading is torn, none shows more out than in,
/// and in the end nothing is missing.
#[test]
fn readings_under_fire_are_whole() {
    const EACH: u64 = if cfg!(miri) { 30 } else { 40_000 };
    let table = heap(Geometry { slots: 2, cells: 4, names_bytes: 64 });
    let mut line = table.open(1, "orders", &TAGS_OF).unwrap();
    let at = line.at();
    let (attempted, reported, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let mut readings = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..3 * EACH {
                line.count(|words| {
                    for (k, word) in words.iter_mut().enumerate() {
                        *word += k as u64 + 1;
                    }
                    (i % 4) as u8
                })
                .unwrap();
                attempted.store(i + 1, StdOrdering::Release);
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let mine = reported.fetch_add(1, StdOrdering::Relaxed);
                    while attempted.load(StdOrdering::Acquire) <= mine {
                        std::thread::yield_now();
                    }
                    table.add(at, &[1, 2, 3, 4, 5, 6, 7]).unwrap();
                }
            });
        }
        while !done.load(StdOrdering::Relaxed) {
            match table.read(at) {
                Ok(slot) => {
                    readings += 1;
                    assert_eq!(slot.troubles, []);
                    let times = |n: u64| -> Words { std::array::from_fn(|k| n * (k as u64 + 1)) };
                    assert_eq!(slot.words_in, times(slot.n));
                    assert_eq!(slot.words_out, times(slot.m));
                    let cells: Vec<u32> = (0..4).map(|c| u32::try_from((slot.n + 3 - c) / 4).unwrap()).collect();
                    assert_eq!(slot.cells, cells);
                    done.store(slot.m == 3 * EACH, StdOrdering::Relaxed);
                }
                Err(refused) => assert_eq!(refused, Refused::Busy),
            }
        }
    });
    assert!(readings > 10 || cfg!(miri), "{readings} readings");
    assert_eq!(table.read(at).unwrap().n, 3 * EACH);
}

/// Threads that never stop counting while their slots are closed and freed under them: each count is in exactly one
/// last state.
#[test]
fn closing_under_fire_loses_nothing() {
    const ENOUGH: u64 = if cfg!(miri) { 2 } else { 100 };
    const CLOSINGS: u64 = if cfg!(miri) { 3 } else { 300 };
    let table = heap(Geometry { slots: 16, cells: 0, names_bytes: 64 });
    let (over, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut total, mut closings) = (0, 0);
    std::thread::scope(|scope| {
        let (table, over, counted) = (&table, &over, &counted);
        let fire = move |owner| {
            let mut line = table.open(owner, "orders", &TAGS_OF).unwrap();
            let mut mine = 0;
            while !over.load(StdOrdering::Relaxed) {
                match count(&mut line) {
                    Ok(()) => mine += 1,
                    Err(Refused::Closed) => line = table.open(owner, "orders", &TAGS_OF).unwrap(),
                    Err(refused) => panic!("{refused}"),
                }
            }
            counted.fetch_add(mine, StdOrdering::Relaxed);
        };
        let threads: Vec<_> = (0..3).map(|owner| scope.spawn(move || fire(owner))).collect();
        while closings < CLOSINGS {
            for (at, _) in table.uses().collect::<Vec<_>>() {
                match table.close_if(at, |s| s.n > ENOUGH) {
                    Ok(Some(slot)) => {
                        assert_eq!(slot.n, slot.words_in[0]);
                        (total, closings) = (total + slot.n, closings + 1);
                        table.free(at).unwrap();
                    }
                    Ok(None) | Err(Refused::Busy | Refused::Closed) => {}
                    Err(refused) => panic!("{refused}"),
                }
            }
        }
        over.store(true, StdOrdering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    total += recovered(&table).iter().map(|slot| slot.n).sum::<u64>();
    assert_eq!(total, counted.load(StdOrdering::Relaxed));
}
