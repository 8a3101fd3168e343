//! Memory and fork guard as loom can model them: words on the heap, and no fork.

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

#[derive(Debug)]
pub(crate) struct ForkGuard;

impl ForkGuard {
    #[allow(clippy::unused_self, reason = "as the real one")]
    pub(crate) fn is_child(&self) -> bool {
        false
    }
}
