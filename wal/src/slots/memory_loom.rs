//! Memory and fork guard as loom can model them: words on the heap, and no fork.

use std::sync::Arc;

use super::word::Word;

#[derive(Debug)]
pub(crate) struct Memory(Vec<Word>);

impl Memory {
    pub(crate) fn anonymous(words: usize) -> std::io::Result<Self> {
        Ok(Self((0..words).map(|_| Word::new(0)).collect()))
    }
}

impl std::ops::Deref for Memory {
    type Target = [Word];
    fn deref(&self) -> &[Word] {
        &self.0
    }
}

type Part<O, T> = Box<dyn for<'a> Fn(&'a O) -> Option<&'a T> + Send + Sync>;

/// Looks the part up each time.
pub(crate) struct Kept<O, T: ?Sized> {
    part: Part<O, T>,
    owner: Arc<O>,
}

impl<O, T: ?Sized> Kept<O, T> {
    pub(crate) fn new(
        owner: Arc<O>,
        part: impl for<'a> Fn(&'a O) -> Option<&'a T> + Send + Sync + 'static,
    ) -> Option<Self> {
        part(&owner)?;
        Some(Self { part: Box::new(part), owner })
    }
}

impl<O, T: ?Sized> std::ops::Deref for Kept<O, T> {
    type Target = T;
    fn deref(&self) -> &T {
        (self.part)(&self.owner).expect("it was there")
    }
}

impl<O, T: ?Sized> std::fmt::Debug for Kept<O, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// No word: a look at one would be one more step of every schedule.
#[derive(Debug)]
pub(crate) struct Life;

impl Life {
    pub(crate) fn new(_: u64) -> Self {
        Self
    }
}

pub(crate) fn lives(_: &Life) -> bool {
    true
}

#[derive(Debug)]
pub(crate) struct ForkGuard;

impl ForkGuard {
    #[allow(clippy::unused_self, reason = "as the real one")]
    pub(crate) fn life(&self) -> Option<&Life> {
        None
    }
}
