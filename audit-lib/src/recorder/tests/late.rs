//! What comes after its window was closed is counted in it, and told as late; nothing else is.

use super::*;
use crate::rule::Class;

fn told(sink: &MemorySink) -> u64 {
    sink.messages().pop().map_or(0, |m| m.late)
}

#[test]
fn messages_of_a_closed_window_are_late_and_others_are_not() {
    let mut bench = Bench::new(config());
    bench.recorder.seen(&message("t", b"in time", T0));
    // Within grace, in the slot that is open still.
    bench.pass(19_000);
    bench.recorder.seen(&message("t", b"within grace", T0 + 1));
    bench.pass(11_000);
    assert_eq!((bench.recorder.stats().late, told(&bench.sink)), (0, 0));
    // The window is closed: these open it again.
    for value in [b"a", b"b"] {
        bench.recorder.seen(&message("t", value, T0 + 2));
    }
    let ticket = bench.recorder.attempt(&message("t", b"sent", T0 + 3));
    bench.recorder.seen(&message("t", b"of now", T0 + 29_000));
    bench.recorder.seen(&Message { timestamp_ms: None, ..message("t", b"no time", 0) });
    bench.pass(2_000);
    assert_eq!((bench.recorder.stats().late, told(&bench.sink)), (3, 3));
    // Told once, also when the slot changes, grows and becomes final.
    bench.recorder.seen(&message("t", b"c", T0 + 4));
    ticket.acked();
    bench.pass(2_000);
    bench.pass(30_000);
    bench.pass(2_000);
    assert_eq!((bench.recorder.stats().late, told(&bench.sink)), (4, 4));
    let collector = Collector::of(&bench.sink.messages());
    let timed = |s: &&SlotRecord| s.window_ms.0 == T0 && s.class != Class::NoTime;
    assert_eq!(
        collector.slots.values().filter(timed).map(|s| s.state.n).sum::<u64>(),
        6,
        "in their window all the same"
    );
    assert_eq!(collector.n(), 8);
}

#[test]
fn what_comes_late_between_the_last_look_and_the_close_is_told_by_the_goodbye() {
    let mut bench = Bench::new(config());
    bench.pass(30_000);
    bench.recorder.seen(&message("t", b"late", T0));
    bench.stepper.close(Duration::from_secs(1));
    assert_eq!(told(&bench.sink), 1);
}
