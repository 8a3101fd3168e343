//! One random life of a log on the simulated disk, from a seed, and what must hold at every death.
//!
//! The owner appends records, hands pending ones to a sink and marks them done, puts one record in the place of several,
//! writes checkpoints; meanwhile calls fail, processes and machines die between any two calls. A record carries *units*
//! (numbers made once), so that sums can be followed through replacements. At every opening:
//!
//! - no unit is there twice, and each that an `Ok` was given for and that the sink does not have is there, under the id and
//!   with the bytes of its record;
//! - what the sink has may come back, but only under the id under which the sink got it;
//! - of checkpoints one at most, and none older than the last that an `Ok` was given for;
//! - no damage is reported. At the end of some lives bits are flipped: then damage is, at the place, and what the flipped
//!   frames do not hold is there as before.
//!
//! A mutant breaks one rule, of the log or of its owner; a history that cannot find it is worth nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::SimDisk;
use super::mutant::Broken;
pub use super::mutant::Mutant;
use crate::{Config, Error, Kind, Log, Recovered, Seq, Standing, inspect};

const CONFIG: Config = Config { segment_bytes: 4096, max_bytes: 12 * 4096, background: false };

/// What happened in a history.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Machines that died.
    pub crashes: u64,
    /// Processes that died.
    pub restarts: u64,
    /// Calls of the log that failed.
    pub refused: u64,
    /// Entries that an `Ok` was given for.
    pub appended: u64,
    /// Records put in the place of others.
    pub replaced: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Calls of the storage.
    pub calls: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.refused += other.refused;
        self.appended += other.appended;
        self.replaced += other.replaced;
        self.flips += other.flips;
        self.calls += other.calls;
    }
}

/// A record that an `Ok` was given for and that is not done.
#[derive(Debug, Clone)]
struct Held {
    id: Uuid,
    units: Vec<u64>,
    payload: Vec<u8>,
    /// Of this life, so it is known that the sink never got it: only such may be replaced.
    fresh: bool,
}

struct Life {
    disk: SimDisk,
    mutant: Mutant,
    log: Option<Log>,
    tally: Tally,
    held: BTreeMap<Seq, Held>,
    /// Bytes of every record ever tried.
    tried: BTreeMap<Uuid, Vec<u8>>,
    /// Units that the sink has, and under which id.
    sink: BTreeMap<u64, Uuid>,
    /// Units that an `Ok` was given for.
    promised: BTreeSet<u64>,
    /// A replacement was refused: which of the two would come back is not known until the log says `Ok` again.
    unsure: bool,
    checkpoint: Option<u64>,
    /// What was recovered while the disk refused to write it again: not promised until the log says `Ok`.
    doubt: Option<(Vec<u64>, Option<u64>)>,
    made: u64,
}

/// Lives a seed's history; the error says which rule was broken.
///
/// # Errors
/// What must hold and did not.
pub fn run(seed: u64, mutant: Mutant) -> Result<Tally, String> {
    let disk = SimDisk::new(seed);
    let mut life = Life {
        disk: disk.clone(),
        mutant,
        log: None,
        tally: Tally::default(),
        held: BTreeMap::new(),
        tried: BTreeMap::new(),
        sink: BTreeMap::new(),
        promised: BTreeSet::new(),
        unsure: false,
        checkpoint: None,
        doubt: None,
        made: 0,
    };
    life.open()?;
    for _ in 0..disk.draw(50) {
        life.step()?;
    }
    disk.fail_one_in(0);
    life.die(true)?;
    // What is in doubt is not promised, so there is nothing that its damage would have to be told by.
    if disk.draw(2) == 0 && life.doubt.is_none() {
        life.flip()?;
    }
    life.tally.calls = disk.calls();
    Ok(life.tally)
}

impl Life {
    fn draw(&self, n: u64) -> usize {
        usize::try_from(self.disk.draw(n)).unwrap_or(0)
    }

    fn step(&mut self) -> Result<(), String> {
        match self.draw(20) {
            0..=5 => self.append(),
            6 => self.checkpoint(),
            7..=10 => self.send(),
            11 | 12 => self.replace(),
            13 => self.told(Log::sync),
            14 => self.told(Log::tend),
            15 => self.disk.fail_call(1 + self.disk.draw(8)),
            16 => self.disk.fail_one_in(if self.disk.draw(2) == 0 { 0 } else { 4 + self.disk.draw(16) }),
            17 => self.disk.cut_after(self.disk.draw(12)),
            18 => return self.die(true),
            _ => return self.die(false),
        }
        // Whoever is cut off is dead; only who looks finds out whether the machine is, too.
        if self.disk.is_cut() {
            let machine = self.disk.draw(2) == 0;
            return self.die(machine);
        }
        Ok(())
    }

    fn told(&mut self, of: impl Fn(&Log) -> Result<(), Error>) {
        if !matches!(self.log.as_ref().map(of), Some(Ok(()))) {
            self.tally.refused += 1;
        }
    }

    /// The log said `Ok` after writing.
    fn sure(&mut self) {
        self.unsure = false;
        if let Some((units, checkpoint)) = self.doubt.take() {
            self.promised.extend(units);
            self.checkpoint = self.checkpoint.max(checkpoint);
        }
    }

    fn new_record(&mut self, units: Vec<u64>, padding: usize) -> Held {
        self.made += 1;
        let id = Uuid::from_u64_pair(7, self.made);
        let mut payload: Vec<u8> = (units.len() as u64).to_le_bytes().to_vec();
        payload.extend(units.iter().flat_map(|u| u.to_le_bytes()));
        payload.resize(payload.len() + padding, u8::try_from(self.made % 251).unwrap_or(0) + 1);
        self.tried.insert(id, payload.clone());
        Held { id, units, payload, fresh: true }
    }

    fn append(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..=self.draw(4) {
            let units = (0..=self.disk.draw(2)).map(|n| self.made * 10 + n).collect();
            let padding = self.draw(if self.disk.draw(10) == 0 { 3000 } else { 300 });
            batch.push(self.new_record(units, padding));
        }
        let borrowed: Vec<(Uuid, &[u8])> = batch.iter().map(|r| (r.id, r.payload.as_slice())).collect();
        match self.log.as_ref().map(|log| log.append_batch(&borrowed)) {
            Some(Ok(seqs)) => {
                self.sure();
                self.tally.appended += seqs.len() as u64;
                self.promised.extend(batch.iter().flat_map(|r| r.units.iter().copied()));
                self.held.extend(seqs.into_iter().zip(batch));
            }
            _ => self.tally.refused += 1,
        }
    }

    fn checkpoint(&mut self) {
        self.made += 1;
        let payload = self.made.to_le_bytes();
        match self.log.as_ref().map(|log| log.append_checkpoint(Uuid::from_u64_pair(8, self.made), &payload)) {
            Some(Ok(_)) => {
                self.sure();
                self.checkpoint = Some(self.made);
            }
            _ => self.tally.refused += 1,
        }
    }

    /// Hands a record to the sink, then marks it done.
    fn send(&mut self) {
        if self.unsure || self.held.is_empty() {
            return;
        }
        let nth = self.draw(self.held.len() as u64);
        let Some((seq, held)) = self.held.iter().nth(nth).map(|(s, h)| (*s, h.clone())) else { return };
        if self.mutant == Mutant::DoneBeforeSent {
            self.told(|log| log.done(seq).and_then(|()| log.sync()));
            if self.disk.draw(4) == 0 {
                // Dies before it is sent; the entry is done, so nobody will.
                self.held.remove(&seq);
                return;
            }
        }
        self.sink.extend(held.units.iter().map(|u| (*u, held.id)));
        self.told(|log| log.done(seq));
        self.held.remove(&seq);
    }

    fn replace(&mut self) {
        let many = 2 + self.draw(4);
        // What was recovered may have been sent by an earlier life whose mark was lost; the mutant does not care.
        let replaceable = |h: &Held| h.fresh || self.mutant == Mutant::ReplaceRecovered;
        let olds: Vec<Seq> = self.held.iter().filter(|(_, h)| replaceable(h)).map(|(seq, _)| *seq).take(many).collect();
        if self.unsure || olds.len() < 2 {
            return;
        }
        let units = olds.iter().filter_map(|s| self.held.get(s)).flat_map(|h| h.units.clone()).collect();
        let padding = self.draw(100);
        let new = self.new_record(units, padding);
        let Some(log) = &self.log else { return };
        let result = if self.mutant == Mutant::AppendThenDone {
            log.append(new.id, &new.payload).and_then(|seq| {
                olds.iter().try_for_each(|old| log.done(*old))?;
                Ok(seq)
            })
        } else {
            log.replace(&olds, new.id, &new.payload)
        };
        match result {
            Ok(seq) => {
                self.tally.replaced += 1;
                for old in olds {
                    self.held.remove(&old);
                }
                self.held.insert(seq, new);
            }
            Err(Error::Full { .. } | Error::TooLarge { .. }) => {}
            Err(_) => {
                self.tally.refused += 1;
                self.unsure = true;
            }
        }
    }

    fn die(&mut self, machine: bool) -> Result<(), String> {
        self.log = None;
        if machine {
            self.tally.crashes += 1;
            self.disk.crash();
        } else {
            self.tally.restarts += 1;
            self.disk.restart();
        }
        self.open()
    }

    fn open(&mut self) -> Result<(), String> {
        let storage = Arc::new(Broken(self.disk.clone(), self.mutant));
        let (log, recovered) = Log::open_with(storage, CONFIG).map_err(|e| format!("cannot open: {e}"))?;
        if !recovered.corrupt.is_empty() {
            return Err(format!("damage invented: {:?}", recovered.corrupt));
        }
        let most = CONFIG.max_bytes + 3 * CONFIG.segment_bytes;
        if log.bytes() > most {
            return Err(format!("{} bytes are more than {most}", log.bytes()));
        }
        self.check(&recovered)?;
        self.held.clear();
        let mut all = Vec::new();
        for e in recovered.entries.iter().filter(|e| e.kind == Kind::Record) {
            let units = units(&e.payload);
            all.extend(units.iter().copied());
            self.held.insert(e.seq, Held { id: e.id, units, payload: e.payload.to_vec(), fresh: false });
        }
        let newest = recovered.entries.iter().find(|e| e.kind == Kind::Checkpoint);
        self.doubt = Some((all, newest.map(|e| number(&e.payload))));
        self.unsure = recovered.in_doubt;
        if !recovered.in_doubt {
            self.sure();
        }
        self.log = Some(log);
        if self.disk.is_cut() { self.die(true) } else { Ok(()) }
    }

    fn check(&self, recovered: &Recovered) -> Result<(), String> {
        let mut there = BTreeSet::new();
        for e in recovered.entries.iter().filter(|e| e.kind == Kind::Record) {
            if self.tried.get(&e.id).map(Vec::as_slice) != Some(&*e.payload) {
                return Err(format!("{:?} {} was never written so", e.seq, e.id));
            }
            for unit in units(&e.payload) {
                if !there.insert(unit) {
                    return Err(format!("unit {unit} is there twice"));
                }
                if self.sink.get(&unit).is_some_and(|id| *id != e.id) {
                    return Err(format!("unit {unit} is at the sink and comes again under another id"));
                }
            }
        }
        if let Some(lost) = self.promised.iter().find(|u| !there.contains(u) && !self.sink.contains_key(u)) {
            return Err(format!("unit {lost} is lost"));
        }
        let mut checkpoints = recovered.entries.iter().filter(|e| e.kind == Kind::Checkpoint);
        let newest = checkpoints.next().map(|e| number(&e.payload));
        if checkpoints.next().is_some() {
            return Err("two checkpoints".to_owned());
        }
        if newest < self.checkpoint {
            return Err(format!("checkpoint {newest:?} instead of {:?}", self.checkpoint));
        }
        Ok(())
    }

    /// Bits of one file flip while nobody looks.
    fn flip(&mut self) -> Result<(), String> {
        self.log = None;
        let files = self.disk.files();
        let before = inspect(&files);
        let frames: Vec<_> = before.entries.iter().filter(|e| e.standing == Standing::Pending).collect();
        if frames.is_empty() {
            return Ok(());
        }
        let Some(hit) = frames.get(self.draw(frames.len() as u64)) else { return Ok(()) };
        let name = crate::segments::name_of(hit.segment);
        let bytes = hit.end - hit.offset;
        // The last bytes may be padding, which says nothing.
        let at = hit.offset + self.disk.draw(bytes.saturating_sub(8).max(44));
        self.disk.flip(&name, usize::try_from(at * 8 + self.disk.draw(8)).unwrap_or(0));
        self.tally.flips += 1;
        let after = inspect(&self.disk.files());
        let spans = after.corrupt.iter().chain(&after.torn);
        if !spans.clone().any(|s| s.segment == hit.segment && (s.from..s.to).contains(&at)) {
            return Err(format!("a bit at {at} of segment {} is not reported: {after:?}", hit.segment));
        }
        // A header that is not believed any more gives back what was refused, which may have taken an entry's place.
        let stands = [Standing::Pending, Standing::Replaced, Standing::Superseded];
        let pending: BTreeSet<Uuid> =
            after.entries.iter().filter(|e| stands.contains(&e.standing)).map(|e| e.id).collect();
        let hidden = frames.iter().find(|e| e.id != hit.id && !pending.contains(&e.id));
        hidden.map_or(Ok(()), |e| Err(format!("damage at {at} of segment {} hides {e:?}", hit.segment)))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn units(payload: &[u8]) -> Vec<u64> {
    let many = usize::try_from(number(payload)).unwrap_or(0);
    payload.get(8..).unwrap_or_default().chunks_exact(8).take(many).map(number).collect()
}
