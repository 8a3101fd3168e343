//! Threads: lines of their own, lines that they share, lines that are left and adopted, and tickets of other threads.

use std::cell::RefCell;

use super::*;
use crate::wire::OVERFLOW_TOPIC;

fn counted_by(threads: usize, each: u32, bench: &Bench) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let recorder = bench.recorder.clone();
            scope.spawn(move || {
                for i in 0..each {
                    let value = [thread.to_le_bytes().as_slice(), &i.to_le_bytes()].concat();
                    let topic = ["a", "b", "c", "d"][i as usize % 4];
                    recorder.attempt(&message(topic, &value, T0 + i64::from(i % 3) * 10_000)).acked();
                }
            });
        }
    });
}

/// Slots, messages and those that were counted without attribution, after a clean close.
fn told(bench: Bench) -> (usize, u64, u64) {
    bench.stepper.close(Duration::from_secs(5));
    let collector = Collector::of(&bench.sink.messages());
    assert!(collector.states().all(|s| s.is_final && s.n == s.acked && s.f_in == s.f_acked));
    assert_eq!(collector.divergent, 0);
    let overflow = collector.slots.values().filter(|s| s.topic == OVERFLOW_TOPIC).map(|s| s.state.n).sum();
    (collector.slots.len(), collector.n(), overflow)
}

#[test]
fn threads_with_lines_of_their_own_are_one_slot_on_the_wire() {
    let bench = Bench::new(config());
    counted_by(4, 3_000, &bench);
    assert_eq!(told(bench), (12, 12_000, 0));
}

#[test]
fn threads_share_lines_when_half_of_the_table_is_used() {
    // 12 slots and 8 threads: 96 lines if each had its own.
    let bench = Bench::new(Config { max_slots: 24, ..config() });
    counted_by(8, 1_500, &bench);
    assert_eq!(told(bench), (12, 12_000, 0), "nothing has lost its topic");
}

#[test]
fn what_has_no_line_at_all_is_counted_without_its_topic() {
    let bench = Bench::new(Config { max_slots: 6, ..config() });
    // By itself: threads that begin together may each take a line for one slot, and leave fewer slots with any.
    counted_by(1, 1_500, &bench);
    counted_by(7, 1_500, &bench);
    let (slots, n, overflow) = told(bench);
    assert_eq!((slots, n), (7, 12_000));
    assert!(overflow > 0);
}

#[test]
fn threads_that_end_leave_their_lines_to_the_next() {
    let bench = Bench::new(Config { max_slots: 256, ..config() });
    for _ in 0..100 {
        let recorder = bench.recorder.clone();
        let count = move || {
            for i in 0..12u32 {
                let topic = ["a", "b", "c", "d"][i as usize % 4];
                recorder.attempt(&message(topic, b"x", T0 + i64::from(i % 3) * 10_000)).acked();
            }
        };
        // Joined by its handle: a scope does not wait until a thread has given up what it owns.
        std::thread::spawn(count).join().expect("counted");
    }
    let used = bench.recorder.handle.table.slots().uses().count();
    assert_eq!(used, 12 + 1, "100 threads, one after the other, need no more lines than one, and the ledger");
    assert_eq!(told(bench), (12, 1_200, 0));
}

#[test]
fn a_ticket_is_handed_in_by_whichever_thread() {
    let bench = Bench::new(config());
    let (send, receive) = std::sync::mpsc::channel::<Ticket>();
    std::thread::scope(|scope| {
        scope.spawn(move || receive.into_iter().for_each(Ticket::acked));
        for _ in 0..3 {
            let (recorder, send) = (bench.recorder.clone(), send.clone());
            scope.spawn(move || {
                for i in 0..2_000u32 {
                    send.send(recorder.attempt(&message("t", &i.to_le_bytes(), T0))).expect("received");
                }
            });
        }
        drop(send);
    });
    assert_eq!(told(bench), (1, 6_000, 0));
}

/// Acknowledged when its thread ends.
struct AtTheEnd(Option<Ticket>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.acked();
        }
    }
}

thread_local! {
    static EARLY: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
    static LATE: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
}

#[test]
fn a_ticket_is_handed_in_by_a_thread_that_ends() {
    let bench = Bench::new(config());
    let recorder = bench.recorder.clone();
    let attempt = move || {
        // One of them goes before what the thread has of the recorder, the other after it.
        EARLY.with_borrow_mut(|held| held.0 = None);
        let tickets = [b"1", b"2"].map(|id| recorder.attempt(&message("t", id, T0)));
        let [early, late] = tickets.map(Some);
        EARLY.with_borrow_mut(|held| held.0 = early);
        LATE.with_borrow_mut(|held| held.0 = late);
    };
    std::thread::spawn(attempt).join().expect("attempted");
    assert_eq!(bench.recorder.stats().acked, 2);
}

#[test]
fn a_ticket_may_outlive_its_recorder() {
    let bench = Bench::new(config());
    let recorder = bench.recorder.clone();
    let ticket = std::thread::spawn(move || recorder.attempt(&message("t", b"x", T0))).join().expect("a ticket");
    let table = Arc::downgrade(&bench.recorder.handle.table);
    assert_eq!(bench.stepper.close(Duration::from_secs(5)).in_doubt, 1);
    drop(bench.recorder);
    ticket.acked();
    assert_eq!(table.strong_count(), 0, "a ticket holds nothing of it");
}

#[test]
fn two_recorders_in_one_thread_do_not_meet() {
    let (one, other) = (Bench::new(config()), Bench::new(config()));
    for i in 0..100u32 {
        one.recorder.attempt(&message("t", &i.to_le_bytes(), T0)).acked();
        other.recorder.attempt(&message("t", &i.to_le_bytes(), T0)).acked();
        other.recorder.attempt(&message("u", &i.to_le_bytes(), T0)).acked();
    }
    assert_eq!((told(one), told(other)), ((1, 100, 0), (2, 200, 0)));
}

#[test]
fn looks_while_threads_count_never_show_more_out_than_in() {
    let mut bench = Bench::new(config());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (recorder, done) = (bench.recorder.clone(), &done);
            scope.spawn(move || {
                for i in 0.. {
                    let value = [thread.to_le_bytes(), u32::to_le_bytes(i)].concat();
                    recorder.attempt(&message("t", &value, T0)).acked();
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for _ in 0..300 {
            bench.stepper.beat();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for m in bench.sink.messages() {
        assert!(
            m.slots
                .iter()
                .all(|s| s.state.out() <= s.state.n && s.state.hist.as_ref().is_some_and(|h| h.total() == s.state.n))
        );
    }
    let sums: Vec<_> = bench.sink.messages().iter().filter_map(|m| m.sum).collect();
    assert!(sums.len() > 100, "looks are seldom in vain: {}", sums.len());
    assert!(sums.is_sorted_by_key(|s| s.n));
    assert_eq!(told(bench).0, 1);
}
