//! Memory that outlives the process, memory that does not, and a page that a forked child finds empty.
//!
//! The only room of the crate with `unsafe`. Invariants: a mapping is made of whole pages, aligned, at least as long as
//! the words that it is read as, and stays until [`Memory`] is dropped; nothing but [`Word`]s is made of it, so every
//! access is atomic, whoever else writes.
//!
//! Limit: somebody who truncates the file pulls the pages away, and the next access is a SIGBUS. Nobody but the user
//! itself can (directory 0700, file 0600), and no code of this crate does.
#![allow(unsafe_code, reason = "maps files and reads the pages as atomic words; each block says why it is sound")]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::word::{Ordering, Word};

/// Some words of pages of our own.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<Word>,
    words: usize,
}

// SAFETY: the pages belong to no thread, and `Word` is `Sync`: what is handed out is `&[Word]` only.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

const _: () = assert!(size_of::<Word>() == 8 && align_of::<Word>() == 8);

impl Memory {
    /// The first `words` words of a file, shared with it. The file is at least that long and allocated in full.
    pub(crate) fn of_file(file: impl AsFd, words: usize) -> io::Result<Self> {
        let length = words.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe { mmap(std::ptr::null_mut(), length, flags, MapFlags::SHARED, file, 0)? };
        Self::new(base.cast(), words)
    }

    /// Zeros that die with the process.
    pub(crate) fn anonymous(words: usize) -> io::Result<Self> {
        let length = words.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), length, flags, MapFlags::PRIVATE)? };
        Self::new(base.cast(), words)
    }

    fn new(base: *mut Word, words: usize) -> io::Result<Self> {
        Ok(Self { base: NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?, words })
    }
}

impl std::ops::Deref for Memory {
    type Target = [Word];
    #[inline]
    fn deref(&self) -> &[Word] {
        // SAFETY: `base` is page-aligned and begins a mapping of at least `words` × 8 bytes that lives as long as `self`
        // (`new`); every bit pattern is a `Word` (`repr(transparent)` over `AtomicU64`), and all access is atomic.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, unmapped here only; no reference outlives `self`. A failure would
        // leave the pages mapped, which harms nobody.
        unsafe { munmap(self.base.as_ptr().cast(), self.words * 8) }.ok();
    }
}

/// A part of something shared, at hand without a look-up, and what it is a part of.
#[derive(Debug)]
pub(crate) struct Kept<O, T: ?Sized> {
    part: NonNull<T>,
    /// Held, so that the part stays.
    _owner: Arc<O>,
}

// SAFETY: it is an `Arc<O>` and a `&T` that nobody can tell from one.
unsafe impl<O: Send + Sync, T: Sync + ?Sized> Send for Kept<O, T> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync, T: Sync + ?Sized> Sync for Kept<O, T> {}

impl<O, T: ?Sized> Kept<O, T> {
    /// `None` if there is no such part.
    pub(crate) fn new(owner: Arc<O>, part: impl for<'a> Fn(&'a O) -> Option<&'a T>) -> Option<Self> {
        let part = NonNull::from(part(&owner)?);
        Some(Self { part, _owner: owner })
    }
}

impl<O, T: ?Sized> std::ops::Deref for Kept<O, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `part` was a reference that is good for as long as the owner is borrowed (`new` takes it for every
        // lifetime `'a`). The owner does not move and nobody gets it for himself while our `Arc` holds it.
        unsafe { self.part.as_ref() }
    }
}

/// Zero in a child that was forked later.
pub(crate) type Life = Word;

#[inline]
pub(crate) fn lives(life: &Life) -> bool {
    life.load(Ordering::Relaxed) != 0
}

/// Knows, for the price of a load, whether this process is the one that made it or a child that was forked later.
#[derive(Debug)]
pub(crate) struct ForkGuard(Memory);

impl ForkGuard {
    /// # Errors
    /// A kernel before 4.14 cannot wipe a page on fork.
    pub(crate) fn new() -> io::Result<Self> {
        // Miri knows neither the advice nor a fork.
        if cfg!(miri) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let page = Memory::anonymous(rustix::param::page_size() / 8)?;
        // SAFETY: the whole of a private anonymous mapping of ours; the advice changes only what a child will find.
        unsafe { madvise(page.base.as_ptr().cast(), page.words * 8, Advice::LinuxWipeOnFork)? };
        if let Some(word) = page.first() {
            word.store(1, Ordering::Relaxed);
        }
        Ok(Self(page))
    }

    #[inline]
    pub(crate) fn life(&self) -> Option<&Life> {
        self.0.first()
    }
}
