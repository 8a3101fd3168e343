//! Every schedule of a few threads, by loom: publishing and reading, taking, handing over, closing, using again. Each model
//! holds for the code, and is broken by a known mistake. Run: docs/TESTING.md.
//!
//! Readers are threads that begin last: loom finds what a load depends on by the stores before it, and a store that its
//! own thread's load stands right before (compare-and-swap) may hide the reader's.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use super::chain::{self, Lane};
use super::gate::Barrier;
use super::layout::LINE;
use super::memory::Memory;
use super::mutant::{self, Mutant};
use super::table::Core;
use super::word::Word;
use super::{Geometry, Refused};

const SMALL: Geometry = Geometry { slots: 1, cells: 2, names_bytes: 8 };

/// Runs every schedule of a model (with at most `bound` preemptions, if given) and answers all that it ended with: a model
/// that holds because nothing interesting happens in it holds for nothing.
fn check<T: Ord + Send + 'static>(
    bound: Option<usize>,
    mistake: Option<Mutant>,
    model: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    mutant::set(mistake);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    let ends = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&ends);
    builder.check(move || {
        let end = model();
        seen.lock().expect("not poisoned").insert(end);
    });
    std::mem::take(&mut *ends.lock().expect("not poisoned"))
}

fn core() -> Arc<Core> {
    Arc::new(Core::new(Memory::anonymous(SMALL.words()).expect("memory"), SMALL, None))
}

fn lane() -> Arc<(Lane, [Word; 1])> {
    let lane: [Word; LINE] = std::array::from_fn(|_| Word::new(0));
    Arc::new((lane, [Word::new(0)]))
}

fn count(line: &mut super::Line) -> bool {
    line.count(|words| {
        words[0] += 10;
        1
    })
    .is_ok()
}

/// The owner publishes while another looks, without any barrier of the reader's making.
fn publishing(mistake: Option<Mutant>) -> BTreeSet<Option<u64>> {
    check(None, mistake, || {
        let shared = lane();
        let writers = Arc::clone(&shared);
        let writer = thread::spawn(move || {
            for n in 1..=3 {
                Barrier::Asymmetric.light();
                chain::publish(&writers.0, &writers.1, n, 1, &[n * 10]);
            }
        });
        let seen = chain::look(&shared.0, &shared.1).map(|seen| {
            let n = chain::count_of(seen.control);
            assert_eq!(seen.words, [n * 10], "torn");
            let cells = seen.cells[0] >> 32;
            assert!(cells == n || cells + 1 == n, "torn cells: {cells} of {n}");
            n
        });
        writer.join().expect("writer");
        seen
    })
}

#[test]
fn a_look_is_whole() {
    assert_eq!(publishing(None), [None, Some(0), Some(1), Some(2), Some(3)].into());
}
#[test]
#[should_panic(expected = "torn")]
fn relaxed_publication_is_found() {
    publishing(Some(Mutant::RelaxedPublish));
}
#[test]
#[should_panic(expected = "torn")]
fn counting_before_copying_is_found() {
    publishing(Some(Mutant::CountFirst));
}
#[test]
#[should_panic(expected = "torn")]
fn a_single_copy_is_found() {
    publishing(Some(Mutant::OneCopy));
}
#[test]
#[should_panic(expected = "torn")]
fn a_missing_second_look_is_found() {
    publishing(Some(Mutant::NoSecondLook));
}
#[test]
#[should_panic(expected = "torn")]
fn a_missing_fence_is_found() {
    publishing(Some(Mutant::NoFence));
}

/// Two threads report outcomes while a third looks.
fn outcomes(mistake: Option<Mutant>) -> BTreeSet<(u64, Option<u64>)> {
    check(Some(3), mistake, || {
        let shared = lane();
        let add = |shared: Arc<(Lane, [Word; 1])>| {
            move || chain::take(&shared.0, 0).map(|taken| chain::add(&shared.0, taken, &[10])).is_ok()
        };
        let threads = [thread::spawn(add(Arc::clone(&shared))), thread::spawn(add(Arc::clone(&shared)))];
        let readers = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            chain::look(&readers.0, &[]).map(|seen| {
                assert_eq!(seen.words, [chain::count_of(seen.control) * 10], "torn");
                chain::count_of(seen.control)
            })
        });
        let done: u64 = threads.map(|t| u64::from(t.join().expect("reporter"))).iter().sum();
        let meanwhile = reader.join().expect("reader");
        let seen = chain::look(&shared.0, &[]).expect("nobody writes");
        assert_eq!((chain::count_of(seen.control), seen.words), (done, [done * 10]), "torn: reports were lost");
        (done, meanwhile)
    })
}

#[test]
fn outcomes_from_two_threads_are_both_there() {
    let ends = outcomes(None);
    assert!([None, Some(0), Some(1), Some(2)].iter().all(|seen| ends.contains(&(2, *seen))), "{ends:?}");
}
#[test]
#[should_panic(expected = "torn")]
fn writing_without_taking_is_found() {
    outcomes(Some(Mutant::NoTake));
}
#[test]
#[should_panic(expected = "torn")]
fn relaxed_outcomes_are_found() {
    outcomes(Some(Mutant::RelaxedPublish));
}

/// A thread ends and hands its line over; two others would have it.
fn adoption(mistake: Option<Mutant>) -> BTreeSet<u64> {
    check(Some(3), mistake, || {
        let core = core();
        let mut line = core.open(1, "a", &[0]).expect("a slot");
        let at = line.at();
        let first = thread::spawn(move || u64::from(count(&mut line)));
        let adopt = |core: Arc<Core>| move || core.adopt(at, 2).map_or(0, |mut line| u64::from(count(&mut line)));
        let second = thread::spawn(adopt(Arc::clone(&core)));
        let third = adopt(Arc::clone(&core))();
        let counted = first.join().expect("first") + second.join().expect("second") + third;
        let slot = core.read(at).expect("live");
        assert_eq!((slot.n, slot.words_in), (counted, [counted * 10]), "torn: two wrote one line");
        counted
    })
}

#[test]
fn a_line_that_is_handed_over_goes_on() {
    assert_eq!(adoption(None), [1, 2, 3].into());
}
#[test]
#[should_panic(expected = "torn")]
fn a_relaxed_hand_over_is_found() {
    adoption(Some(Mutant::RelaxedHandOver));
}
#[test]
#[should_panic(expected = "torn")]
fn adopting_twice_is_found() {
    adoption(Some(Mutant::AdoptWithoutSwap));
}

/// The owner counts on while its slot is closed.
fn closing(mistake: Option<Mutant>) -> BTreeSet<(u64, bool)> {
    check(Some(4), mistake, || {
        let core = core();
        let mut line = core.open(1, "a", &[0]).expect("a slot");
        let at = line.at();
        let owner = thread::spawn(move || u64::from(count(&mut line)) + u64::from(count(&mut line)));
        let last = core.close_if(at, |_| true);
        let counted = owner.join().expect("owner");
        let slot = core.read(at).expect("not freed");
        assert_eq!((slot.n, slot.words_in), (counted, [counted * 10]), "torn");
        let closed = match last {
            Ok(Some(last)) => {
                assert_eq!(last.n, counted, "torn: a count after the last state");
                true
            }
            other => {
                assert_eq!(other, Err(Refused::Busy));
                false
            }
        };
        (counted, closed)
    })
}

#[test]
fn nothing_is_counted_after_the_last_state() {
    assert_eq!(closing(None), [(0, true), (1, true), (2, true), (2, false)].into());
}
#[test]
#[should_panic(expected = "torn")]
fn looking_before_entering_is_found() {
    closing(Some(Mutant::LookThenEnter));
}
#[test]
#[should_panic(expected = "torn")]
fn not_waiting_for_the_owner_is_found() {
    closing(Some(Mutant::NoWait));
}

/// A slot is closed, freed and opened again while a report and the old owner are late.
fn using_again(mistake: Option<Mutant>, late_owner: bool) -> BTreeSet<(bool, bool)> {
    check(None, mistake, move || {
        let core = core();
        let mut line = core.open(1, "a", &[0]).expect("a slot");
        let at = line.at();
        let reporters = Arc::clone(&core);
        let late = thread::spawn(move || if late_owner { count(&mut line) } else { reporters.add(at, &[10]).is_ok() });
        let again = match core.close_if(at, |_| true) {
            Ok(Some(_)) => core.free(at).and_then(|()| core.open(2, "a", &[0])).ok(),
            _ => None,
        };
        let in_time = late.join().expect("late");
        if let Some(again) = &again {
            let slot = core.read(again.at()).expect("live");
            assert_eq!(
                (slot.n, slot.m, slot.words_in, slot.words_out),
                (0, 0, [0], [0]),
                "torn: added to another's slot"
            );
            assert_eq!(core.read(at), Err(Refused::Closed));
        }
        (in_time, again.is_some())
    })
}

#[test]
fn late_reports_reach_no_later_use() {
    assert!(using_again(None, false).is_superset(&[(true, true), (false, true)].into()));
}
#[test]
fn late_owners_reach_no_later_use() {
    assert!(using_again(None, true).is_superset(&[(true, true), (false, true)].into()));
}
#[test]
#[should_panic(expected = "torn")]
fn reports_without_a_generation_are_found() {
    using_again(Some(Mutant::NoGeneration), false);
}
#[test]
#[should_panic(expected = "torn")]
fn late_owners_that_nobody_waited_for_are_found() {
    using_again(Some(Mutant::NoWait), true);
}

/// One thread counts and reports; another reads.
fn reading(mistake: Option<Mutant>) -> BTreeSet<Option<(u64, u64)>> {
    check(None, mistake, || {
        let core = core();
        let mut line = core.open(1, "a", &[0]).expect("a slot");
        let at = line.at();
        let hosts = Arc::clone(&core);
        let host = thread::spawn(move || {
            count(&mut line);
            hosts.add(at, &[10]).expect("live");
        });
        let reader = thread::spawn(move || {
            core.read(at).ok().map(|slot| {
                assert!(slot.m <= slot.n, "torn: {} out of {}", slot.m, slot.n);
                assert_eq!(slot.troubles, [], "torn");
                (slot.n, slot.m)
            })
        });
        host.join().expect("host");
        reader.join().expect("reader")
    })
}

#[test]
fn no_reading_has_more_out_than_in() {
    let ends = reading(None);
    assert!(ends.is_superset(&[(0, 0), (1, 0), (1, 1)].map(Some).into()), "{ends:?}");
}
#[test]
#[should_panic(expected = "torn")]
fn reading_in_before_out_is_found() {
    reading(Some(Mutant::InBeforeOut));
}

/// What a count reads is not older than the last quiesce, or the count was published before it.
#[test]
fn a_quiesce_divides_counts() {
    let ends = check(None, None, || {
        let core = core();
        let floor = Arc::new(Word::new(0));
        let mut line = core.open(1, "a", &[0]).expect("a slot");
        let at = line.at();
        let owners = Arc::clone(&floor);
        let owner = thread::spawn(move || {
            let mut read = 0;
            let counted = line.count(|_| {
                read = owners.load(super::word::Ordering::Relaxed);
                0
            });
            (counted.is_ok(), read)
        });
        floor.store(1, super::word::Ordering::Relaxed);
        let before = core.quiesce().ok().and_then(|()| core.read(at).ok()).map(|slot| slot.n);
        let (counted, read) = owner.join().expect("owner");
        if before == Some(0) && counted {
            assert_eq!(read, 1, "a count that was not published has an old floor");
        }
        (before, read)
    });
    assert!(ends.is_superset(&[(Some(0), 1), (Some(1), 0)].into()), "{ends:?}");
}
