//! A disk that lies: unsynced writes are lost, torn at sectors and re-ordered, calls fail, and after a failed sync the
//! page cache shows what the disk does not hold.
//!
//! Deterministic from its seed. What it does:
//! - `crash` (the machine dies): each 512-byte sector has the content of some moment since it was last synced; each
//!   unsynced change of a name happened or did not.
//! - `restart` (the process dies): everything that was written is seen, until the page cache forgets: then what a failed
//!   sync dropped is gone.
//! - A failing write writes a part; a failing sync makes some sectors durable, drops the others, and a later sync of the
//!   same file says `Ok` without them, as Linux does.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{File, Storage};

pub mod history;
mod mutant;

const SECTOR: usize = 512;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Content>,
    /// Names as they are seen, as they are durable, and what lies between.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Change>,
    syncs: u64,
    calls: u64,
    fail_calls: Vec<u64>,
    fail_one_in: u64,
    cut_at: Option<u64>,
    random: u64,
    made: u64,
}

enum Change {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Default, Clone)]
struct Content {
    /// As it is seen.
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// A sync failed: `seen` may hold what nobody will ever write.
    lied: bool,
}

impl Content {
    /// Makes each sector what it was at some moment since the last sync.
    fn settle(&mut self, random: &mut u64) {
        let mut moments: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (n, (at, write)) in self.unsynced.iter().enumerate() {
            for sector in at / SECTOR..(at + write.len()).div_ceil(SECTOR) {
                moments.entry(sector).or_default().push(n);
            }
        }
        for (sector, writes) in moments {
            let many = usize::try_from(next(random)).unwrap_or(0) % (writes.len() + 1);
            for (at, write) in writes.iter().take(many).filter_map(|n| self.unsynced.get(*n)) {
                let (from, to) = ((*at).max(sector * SECTOR), (at + write.len()).min((sector + 1) * SECTOR));
                put(&mut self.durable, from, &write[from - at..to - at]);
            }
        }
        self.unsynced.clear();
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// The simulated disk; clones share it.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// A disk whose accidents follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        // Never 0, or every draw would be; mixed, so that neighbours are not alike.
        disk.0.lock().random = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed >> 31)) | 1;
        disk
    }
    /// The machine dies.
    pub fn crash(&self) {
        let mut s = self.0.lock();
        s.cut_at = None;
        let State { files, names, durable_names, unsynced_names, random, .. } = &mut *s;
        for content in files.values_mut() {
            content.settle(random);
            content.seen.clone_from(&content.durable);
            content.lied = false;
        }
        for change in std::mem::take(unsynced_names) {
            if next(random).is_multiple_of(2) {
                apply(durable_names, &change);
            }
        }
        names.clone_from(durable_names);
        s.forget_files();
    }
    /// The process dies, the machine lives.
    pub fn restart(&self) {
        let mut s = self.0.lock();
        s.cut_at = None;
        let State { files, random, .. } = &mut *s;
        for content in files.values_mut().filter(|c| c.lied) {
            if next(random).is_multiple_of(2) {
                content.settle(random);
                content.seen.clone_from(&content.durable);
                content.lied = false;
            }
        }
    }
    /// The `n`-th write, sync or change of a name from now on fails (1 = the next).
    pub fn fail_call(&self, n: u64) {
        let mut s = self.0.lock();
        let at = s.calls + n;
        s.fail_calls.push(at);
    }
    /// One in so many of these calls fails, at random; 0: none.
    pub fn fail_one_in(&self, n: u64) {
        self.0.lock().fail_one_in = n;
    }
    /// After `n` more of these calls nothing has an effect any more: whoever makes them is as good as dead. Until `crash` or
    /// `restart`.
    pub fn cut_after(&self, n: u64) {
        let mut s = self.0.lock();
        s.cut_at = Some(s.calls + n);
    }
    /// Whether a call came after the cut.
    pub fn is_cut(&self) -> bool {
        let s = self.0.lock();
        s.cut_at.is_some_and(|at| s.calls > at)
    }
    /// All files as they are seen.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let s = self.0.lock();
        s.names.iter().filter_map(|(name, file)| Some((name.clone(), s.files.get(file)?.seen.clone()))).collect()
    }
    /// Flips one bit of what is durable and seen.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut s = self.0.lock();
        if let Some(c) = s.content(name) {
            for bytes in [&mut c.durable, &mut c.seen] {
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }
    /// Cuts a file's content to zeros from `at`.
    pub fn zero_from(&self, name: &str, at: usize) {
        if let Some(c) = self.0.lock().content(name) {
            c.durable.iter_mut().skip(at).for_each(|b| *b = 0);
            c.seen.iter_mut().skip(at).for_each(|b| *b = 0);
        }
    }
    /// A draw of the disk's randomness, below `n`.
    pub fn draw(&self, n: u64) -> u64 {
        next(&mut self.0.lock().random) % n.max(1)
    }
    /// Device flushes of files so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }
    /// Calls that may fail so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Create(name, file) => drop(names.insert(name.clone(), *file)),
        Change::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Change::Remove(name) => drop(names.remove(name)),
    }
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random >> 11
}

impl State {
    fn content(&mut self, name: &str) -> Option<&mut Content> {
        let file = *self.names.get(name)?;
        self.files.get_mut(&file)
    }
    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }
    /// Files without a name are gone.
    fn forget_files(&mut self) {
        let Self { files, names, durable_names, unsynced_names, .. } = self;
        let named = |file: &u64| names.values().chain(durable_names.values()).any(|f| f == file);
        if unsynced_names.is_empty() {
            files.retain(|file, _| named(file));
        }
    }
    /// Counts a call; the error that it is to return after doing its worst, or before doing anything.
    fn call(&mut self) -> io::Result<io::Result<()>> {
        self.calls += 1;
        let calls = self.calls;
        if self.cut_at.is_some_and(|at| calls > at) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let unlucky = self.fail_one_in > 0 && next(&mut self.random).is_multiple_of(self.fail_one_in);
        if unlucky || self.fail_calls.contains(&calls) {
            let code = if next(&mut self.random).is_multiple_of(2) { EIO } else { ENOSPC };
            return Ok(Err(io::Error::from_raw_os_error(code)));
        }
        Ok(Ok(()))
    }
}

impl Storage for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let mut s = self.0.lock();
        if s.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let allowed = s.call()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        s.made += 1;
        let file = s.made;
        // A full disk leaves a part of it.
        let len = if allowed.is_ok() { len } else { len / 2 };
        let content = Content { seen: vec![0; len], durable: vec![0; len], ..Content::default() };
        s.files.insert(file, content);
        s.change(Change::Create(name.to_owned(), file));
        allowed?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<Box<dyn File>> {
        let mut s = self.0.lock();
        s.call()??;
        if s.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = *s.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        s.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut s = self.0.lock();
        s.content(name).map(|c| c.seen.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let mut s = self.0.lock();
        s.call()??;
        if !s.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        s.change(Change::Remove(name.to_owned()));
        Ok(())
    }
    fn sync_dir(&self) -> io::Result<()> {
        let mut s = self.0.lock();
        s.call()??;
        let State { durable_names, unsynced_names, .. } = &mut *s;
        for change in unsynced_names.drain(..) {
            apply(durable_names, &change);
        }
        s.forget_files();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
}

impl File for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut s = self.disk.0.lock();
        let allowed = s.call()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        // A failing write may have written some of it.
        let part = usize::try_from(next(&mut s.random)).unwrap_or(0) % (bytes.len() + 1);
        let kept = if allowed.is_ok() { bytes } else { &bytes[..part] };
        if let Some(c) = s.files.get_mut(&self.file) {
            put(&mut c.seen, at, kept);
            c.unsynced.push((at, kept.to_vec()));
        }
        allowed
    }
    fn sync(&self) -> io::Result<()> {
        let mut s = self.disk.0.lock();
        let allowed = s.call()?;
        s.syncs += 1;
        let State { files, random, .. } = &mut *s;
        if let Some(c) = files.get_mut(&self.file) {
            if allowed.is_ok() {
                for (at, write) in std::mem::take(&mut c.unsynced) {
                    put(&mut c.durable, at, &write);
                }
            } else {
                c.settle(random);
                c.lied = true;
            }
        }
        allowed
    }
}
