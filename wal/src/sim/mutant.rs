//! Rules of the log, or of its owner, that a simulated life breaks: a history that cannot find out is worth nothing.

use std::io;

use super::SimDisk;
use crate::{File, Storage};

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Sound,
    /// Files are not synced.
    NoSync,
    /// A failed sync is tried again, and believed when it then says `Ok`.
    TrustAfterFailedSync,
    /// The directory is not synced.
    NoDirectorySync,
    /// Entries are marked done before the sink has them.
    DoneBeforeSent,
    /// Instead of replacing, the owner appends the new record and then marks the old ones done.
    AppendThenDone,
    /// The owner replaces what it recovered, too.
    ReplaceRecovered,
}

impl Mutant {
    /// All but `Sound`.
    pub const ALL: [Self; 6] = [
        Self::NoSync,
        Self::TrustAfterFailedSync,
        Self::NoDirectorySync,
        Self::DoneBeforeSent,
        Self::AppendThenDone,
        Self::ReplaceRecovered,
    ];
}

/// A storage with a rule less.
pub(super) struct Broken(pub(super) SimDisk, pub(super) Mutant);
struct BrokenFile(Box<dyn File>, Mutant);

impl Storage for Broken {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        Ok(Box::new(BrokenFile(self.0.create(name, len)?, self.1)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(BrokenFile(self.0.rename(from, to)?, self.1)))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.read(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        if self.1 == Mutant::NoDirectorySync { Ok(()) } else { self.0.sync_dir() }
    }
}

impl File for BrokenFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        match self.1 {
            Mutant::NoSync => Ok(()),
            Mutant::TrustAfterFailedSync => self.0.sync().or_else(|_| self.0.sync()),
            _ => self.0.sync(),
        }
    }
}
