//! Known mistakes that tests switch on at the places where they would be made, to show that they would be found.
//! Outside of tests every question is the constant `false` and leaves nothing behind.

use super::word::Ordering;

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The count is published before its copy is written.
    CountFirst,
    /// One copy instead of two.
    OneCopy,
    /// The histogram's cell is not remembered beside the count.
    NoPendingCell,
    /// The histogram's cell is counted before the message is.
    CellFirst,
    /// Counts are published without Release.
    RelaxedPublish,
    /// No fence between two writes.
    NoFence,
    /// A snapshot does not look again.
    NoSecondLook,
    /// Outcomes are read after attempts.
    InBeforeOut,
    /// The *out* line is written without being taken.
    NoTake,
    /// A line is handed over without Release.
    RelaxedHandOver,
    /// A line is taken over by looking and then writing.
    AdoptWithoutSwap,
    /// The owner looks at the door before it says that it is inside.
    LookThenEnter,
    /// A line is shut without waiting for its owner to leave.
    NoWait,
    /// Reports are not asked which use of the slot they are of.
    NoGeneration,
}

#[cfg(any(test, loom))]
thread_local! {
    static ON: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Switches a mistake on for this thread (with loom: for all threads of its models).
#[cfg(any(test, loom))]
pub(crate) fn set(mutant: Option<Mutant>) {
    ON.set(mutant);
}

#[inline]
pub(crate) fn on(mutant: Mutant) -> bool {
    #[cfg(any(test, loom))]
    let on = ON.get() == Some(mutant);
    #[cfg(not(any(test, loom)))]
    let on = matches!((mutant, false), (_, true));
    on
}

/// `right`, or Relaxed under the mistake.
#[inline]
pub(crate) fn order(mutant: Mutant, right: Ordering) -> Ordering {
    if on(mutant) { Ordering::Relaxed } else { right }
}
