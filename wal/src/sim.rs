//! A disk that lies: unsynced writes are lost, torn at sectors and re-ordered, calls fail on demand.
//!
//! Deterministic from its seed. `crash` keeps what was synced and, of each unsynced write, a random set of its 512-byte
//! sectors. `create` and `remove` are durable, as the trait demands.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{File, Storage};

const SECTOR: usize = 512;

#[derive(Default)]
struct State {
    files: BTreeMap<String, Content>,
    syncs: u64,
    calls: u64,
    fail_calls: Vec<u64>,
    random: u64,
}

#[derive(Default, Clone)]
struct Content {
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Content {
    fn seen(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (at, w) in &self.unsynced {
            put(&mut bytes, *at, w);
        }
        bytes
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
        disk.0.lock().random = seed.wrapping_mul(2).wrapping_add(1);
        disk
    }
    /// The machine dies: unsynced writes are lost, or kept in part.
    pub fn crash(&self) {
        let mut s = self.0.lock();
        let mut random = s.random;
        for content in s.files.values_mut() {
            for (at, write) in std::mem::take(&mut content.unsynced) {
                let mut from = 0;
                while from < write.len() {
                    let to = (from + SECTOR - (at + from) % SECTOR).min(write.len());
                    if next(&mut random).is_multiple_of(2) {
                        put(&mut content.durable, at + from, &write[from..to]);
                    }
                    from = to;
                }
            }
        }
        s.random = random;
    }
    /// The `n`-th write, sync, create or remove from now on fails (1 = the next).
    pub fn fail_call(&self, n: u64) {
        let mut s = self.0.lock();
        let at = s.calls + n;
        s.fail_calls.push(at);
    }
    /// Flips one bit of what is durable.
    pub fn flip(&self, name: &str, bit: usize) {
        if let Some(byte) = self.0.lock().files.get_mut(name).and_then(|c| c.durable.get_mut(bit / 8)) {
            *byte ^= 1 << (bit % 8);
        }
    }
    /// Cuts a file's durable content to zeros from `at`.
    pub fn zero_from(&self, name: &str, at: usize) {
        if let Some(c) = self.0.lock().files.get_mut(name) {
            c.durable.iter_mut().skip(at).for_each(|b| *b = 0);
        }
    }
    /// Device flushes so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random >> 11
}

fn call(s: &mut State) -> io::Result<()> {
    s.calls += 1;
    let calls = s.calls;
    if s.fail_calls.contains(&calls) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
}

impl Storage for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let mut s = self.0.lock();
        call(&mut s)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        s.files.insert(name.to_owned(), Content { durable: vec![0; len], unsynced: vec![] });
        Ok(Box::new(SimFile { disk: self.clone(), name: name.to_owned() }))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.lock().files.get(name).map(Content::seen).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let mut s = self.0.lock();
        call(&mut s)?;
        s.files.remove(name);
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
}

impl File for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut s = self.disk.0.lock();
        let allowed = call(&mut s);
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        // A failing write may have written some of it.
        let kept = if allowed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        if let Some(c) = s.files.get_mut(&self.name) {
            c.unsynced.push((at, kept.to_vec()));
        }
        allowed
    }
    fn sync(&self) -> io::Result<()> {
        let mut s = self.disk.0.lock();
        call(&mut s)?;
        s.syncs += 1;
        if let Some(c) = s.files.get_mut(&self.name) {
            c.durable = c.seen();
            c.unsynced.clear();
        }
        Ok(())
    }
}
