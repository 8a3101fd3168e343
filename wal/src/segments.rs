//! Segment files: made ahead of need, recycled by rename, removed in order.
//!
//! A new segment is written with zeros from end to end and synced, so that an append changes no extent and no file
//! size and `fdatasync` writes nothing but data. A segment that nothing needs gets the next number by a rename and is
//! written over. Invariants: only the oldest goes, and the next one only when that is durable in the directory, so a
//! mark never goes before the entry that it speaks of; a file is used under a name only when the name is durable; a file
//! that failed is removed, never recycled.

use std::io::{self, ErrorKind};

use crate::error::Error;
use crate::log::Inner;
use crate::state::Segment;
use crate::storage::File;

/// Segments that are kept ready.
const READY: usize = 2;
/// A segment that is being made.
const FRESH: &str = "fresh";

/// What is on its way to being a segment.
#[derive(Default)]
pub(crate) struct Yard {
    /// The directory has changed and was not synced.
    unsynced: bool,
    /// Segments that are ready once it is.
    waiting: Vec<(u64, Box<dyn File>)>,
    /// Files of an earlier life that were ready and not used: number and size.
    spares: Vec<(u64, u64)>,
    /// Files among them that could be neither renamed nor removed: they take space until the next opening.
    litter: u64,
}

impl Yard {
    pub(crate) fn new(spares: Vec<(u64, u64)>) -> Self {
        Self { spares, ..Self::default() }
    }
    pub(crate) fn kept(&self) -> u64 {
        (self.waiting.len() + self.spares.len()) as u64 + self.litter
    }
}

impl Inner {
    /// A segment to write to; made here and now if none is ready.
    pub(crate) fn next_segment(&self) -> Result<(u64, Box<dyn File>), Error> {
        if let Some(ready) = self.take_ready() {
            return Ok(ready);
        }
        let mut yard = self.yard.lock();
        self.make(&mut yard)?;
        self.take_ready().ok_or_else(no_room)
    }

    fn take_ready(&self) -> Option<(u64, Box<dyn File>)> {
        let mut shared = self.shared.lock();
        let (number, file) = shared.prepared.pop_front()?;
        let len = self.config.segment_bytes;
        shared.book.segments.push_back(Segment { number, len, live: 0, sound: true, open: true });
        Some((number, file))
    }

    /// Retires what is spent, makes one ready if none is.
    pub(crate) fn tend(&self) -> Result<(), Error> {
        let mut yard = self.yard.lock();
        while self.retire_one(&mut yard)? {}
        while yard.spares.len() > READY {
            self.use_spare(&mut yard, false)?;
        }
        self.make(&mut yard)
    }

    /// Recycles or removes a spare.
    fn use_spare(&self, yard: &mut Yard, recycle: bool) -> Result<(), Error> {
        let Some((number, len)) = yard.spares.pop() else { return Ok(()) };
        let recycled = if recycle && len == self.config.segment_bytes {
            self.rename(yard, number)
        } else {
            self.remove(yard, number)
        };
        recycled.inspect_err(|_| yard.litter += 1)
    }

    /// Makes the oldest segment go, if it is spent.
    pub(crate) fn retire(&self) -> Result<(), Error> {
        self.retire_one(&mut self.yard.lock()).map(drop)
    }

    /// Sees to it that a segment is ready.
    fn make(&self, yard: &mut Yard) -> Result<(), Error> {
        self.settle(yard)?;
        while self.shared.lock().prepared.is_empty() {
            if !yard.spares.is_empty() {
                self.use_spare(yard, true)?;
            } else if !self.retire_one(yard)? {
                self.create(yard)?;
            }
            self.settle(yard)?;
        }
        Ok(())
    }

    /// Makes the directory durable, and with it the names of segments that wait for it.
    fn settle(&self, yard: &mut Yard) -> Result<(), Error> {
        if yard.unsynced {
            self.storage.sync_dir().map_err(Error::storage("syncing the directory"))?;
            yard.unsynced = false;
        }
        if !yard.waiting.is_empty() {
            self.shared.lock().prepared.extend(yard.waiting.drain(..));
        }
        Ok(())
    }

    /// Recycles or removes the oldest segment if it is spent; says whether there was one.
    fn retire_one(&self, yard: &mut Yard) -> Result<bool, Error> {
        self.settle(yard)?;
        let mut shared = self.shared.lock();
        if !shared.doubt && !shared.void.is_empty() {
            let void = std::mem::take(&mut shared.void);
            drop(shared);
            for number in void {
                self.discard(yard, number);
            }
            self.settle(yard)?;
            shared = self.shared.lock();
        }
        if shared.doubt || !shared.book.is_spent() {
            return Ok(false);
        }
        let recycle = shared.prepared.len() < READY;
        let Some(oldest) = shared.book.segments.pop_front() else { return Ok(false) };
        drop(shared);
        let result = if recycle && oldest.sound && oldest.len == self.config.segment_bytes {
            self.rename(yard, oldest.number)
        } else {
            self.remove(yard, oldest.number)
        };
        match result {
            Ok(()) => self.settle(yard).map(|()| true),
            Err(e) => {
                // It is still there, and the next attempt is to remove it.
                self.shared.lock().book.segments.push_front(Segment { sound: false, ..oldest });
                Err(e)
            }
        }
    }

    /// A write or a sync of this segment failed. If nothing in it was ever durable it goes at once.
    pub(crate) fn distrust(&self, number: u64, holds_something: bool) {
        let mut shared = self.shared.lock();
        if let Some(segment) = shared.book.segment(number) {
            segment.sound = false;
        }
        drop(shared);
        if !holds_something {
            self.discard(&mut self.yard.lock(), number);
        }
    }

    /// Removes a segment that does not count, wherever in the order it stands. If that fails it stays in the order, and
    /// nothing newer goes before it: only as long as a newer header passes over it does it not count.
    fn discard(&self, yard: &mut Yard, number: u64) {
        if self.remove(yard, number).is_ok() {
            self.shared.lock().book.segments.retain(|s| s.number != number);
        }
    }

    fn rename(&self, yard: &mut Yard, number: u64) -> Result<(), Error> {
        let new = self.take_number();
        let file =
            self.storage.rename(&name_of(number), &name_of(new)).map_err(Error::storage("recycling a segment"))?;
        yard.unsynced = true;
        yard.waiting.push((new, file));
        Ok(())
    }

    fn remove(&self, yard: &mut Yard, number: u64) -> Result<(), Error> {
        match self.storage.remove(&name_of(number)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::storage("removing a segment")(e)),
            _ => {
                yard.unsynced = true;
                Ok(())
            }
        }
    }

    fn create(&self, yard: &mut Yard) -> Result<(), Error> {
        let shared = self.shared.lock();
        let doubt = shared.doubt;
        let files = shared.book.segments.len() as u64 + shared.prepared.len() as u64 + yard.kept();
        drop(shared);
        if files >= self.config.max_segments() && !doubt {
            return Err(no_room());
        }
        // Left over from an attempt, or from an earlier life.
        self.storage.remove(FRESH).ok();
        let made = self.storage.create(FRESH, self.config.segment_bytes).and_then(|made| {
            drop(made);
            let number = self.take_number();
            Ok((number, self.storage.rename(FRESH, &name_of(number))?))
        });
        match made {
            Ok(made) => {
                yard.unsynced = true;
                yard.waiting.push(made);
                Ok(())
            }
            Err(e) => {
                // So that a disk that is full is not kept full by it.
                self.storage.remove(FRESH).ok();
                Err(Error::storage("making a segment")(e))
            }
        }
    }

    fn take_number(&self) -> u64 {
        let mut shared = self.shared.lock();
        let number = shared.next_number;
        shared.next_number += 1;
        number
    }
}

/// Not [`Error::Full`], which says that nothing was written.
fn no_room() -> Error {
    Error::storage("making a segment")(io::Error::other(
        "the log has reached its size limit, and entries must be done first",
    ))
}

pub(crate) fn name_of(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// Numbers of the upper half are not ours: nobody counts so far.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|d| d.len() == 16)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (name_of(number) == name && (1..u64::MAX / 2).contains(&number)).then_some(number)
}
