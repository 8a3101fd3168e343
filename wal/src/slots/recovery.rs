//! Reading the slot files of a host: of dead processes, to report what they counted, and of living ones, to look.
//!
//! Files are read, never mapped, so one that shrinks or changes is an error at worst. Any bytes have a reading: sizes
//! are held against the file's, places against what is in use, counts against what is possible; what does not fit is
//! told ([`Trouble`](super::Trouble)), not hidden, and not trusted. Nothing here writes; only [`SlotFile::remove`] removes.
//!
//! Two that recover at the same time find the same state and report it twice, which changes nothing: a dead file stays as
//! it is until one of them removes it.
//!
//! Limits: a living process's slot that changes at every look is left out and counted in [`Contents::busy`]. After the
//! machine died (a file on a disk, another boot) pages may be of different times: [`SlotFile::machine_died`].

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::chain::count_of;
use super::error::Error;
use super::file::SUFFIX;
use super::layout::{
    CELLS, FLAGS, HEADER, HEADER_BYTES, HEARTBEAT, Header, IN, LINE, NAMES_USED, NoHeader, OUT, descriptor,
};
use super::reading::{self, Limits, Slot};
use super::word::{Ordering, fence};
use crate::here::{self, Here};

/// Looks at a slot of a living process.
const LOOKS: u32 = 64;

/// Whether the process that made a file still counts in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// The file is locked.
    Alive,
    /// It will not change any more.
    Dead,
    /// It will not change any more, yet somebody has it locked: a child that its maker forked (it cannot write), or another
    /// that recovers.
    DeadWithHeirs,
}

/// A slot file.
#[derive(Debug)]
pub struct SlotFile {
    path: PathBuf,
    file: fs::File,
    header: Header,
    life: Life,
    machine_died: bool,
}

/// All that is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Every slot that is live or closed.
    pub slots: Vec<Slot>,
    /// Slots that the file is too short for. 0 unless it was cut.
    pub cut_off: u32,
    /// Slots of a living process that changed at every look.
    pub busy: u32,
    /// The caller's heartbeat.
    pub heartbeat: u64,
    /// The caller's flags.
    pub flags: u64,
}

/// The machine's boot, 16 bytes; zero if unknown.
pub fn boot_id() -> [u8; 16] {
    Here::now().boot
}

/// Whether a process of this pid namespace was killed and is about to be gone, or has gone but for its last threads.
pub fn is_ending(pid: u32) -> bool {
    here::is_ending(pid)
}

/// The slot files of a directory, oldest first. A directory that is not there has none.
///
/// # Errors
/// [`Error::Io`].
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(dir, "listing")(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(dir, "listing"))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Removes a file that [`Error::Unfinished`] spoke of, unless its maker is at it.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_unfinished(path: &Path) -> Result<bool, Error> {
    let file = open_plain(path)?;
    if !lock(path, &file)? || !matches!(read_header(path, &file), Err(Error::Unfinished { .. })) {
        return Ok(false);
    }
    fs::remove_file(path).map_err(Error::io(path, "removing"))?;
    Ok(true)
}

impl SlotFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Unfinished`], [`Error::UnknownVersion`], [`Error::Unreadable`]: it is left as it is. [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = open_plain(path)?;
        // The lock first: a file whose maker dies after we read it is alive for us, and dead the next time.
        let free = lock(path, &file)?;
        let header = read_header(path, &file)?;
        let here = Here::now();
        let life = life(&header, free, &here, here::start_of);
        let machine_died = header.boot != here.boot && header.boot != [0; 16] && here.boot != [0; 16];
        Ok(Self { path: path.to_owned(), file, header, life, machine_died })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The part of its header that never changes.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether its process still counts.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether its process is about to be gone: worth another look soon.
    pub fn is_ending(&self) -> bool {
        let here = Here::now();
        let same_place = self.header.boot == here.boot && self.header.pid_namespace == here.pid_namespace;
        self.life == Life::Alive && same_place && is_ending(self.header.pid)
    }

    /// The file is of an earlier boot of the machine, so it was on a disk: its pages may be of different times, and only
    /// the log's checkpoint is to be trusted.
    pub fn machine_died(&self) -> bool {
        self.machine_died
    }

    /// Reads all slots.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(&self, limits: Limits) -> Result<Contents, Error> {
        let g = self.header.geometry;
        let length = self.file.metadata().map_err(Error::io(&self.path, "looking at the file"))?.len();
        let mut contents = Contents {
            slots: Vec::new(),
            cut_off: 0,
            busy: 0,
            heartbeat: self.word(HEARTBEAT)?,
            flags: self.word(FLAGS)?,
        };
        let mut raw = Vec::new();
        for index in 0..g.slots {
            let at = g.slot_at(index);
            if length < ((at + g.slot_words()) as u64) * 8 {
                contents.cut_off = g.slots - index;
                break;
            }
            match self.look(at, g.slot_words())? {
                Some(words) => raw.push((index, words)),
                None => contents.busy += 1,
            }
        }
        // After the slots: a slot that is live has its name there.
        let used = self.word(NAMES_USED)?;
        let names_words = g.names_words().min(usize::try_from(length / 8).unwrap_or(usize::MAX).saturating_sub(HEADER));
        let names = self.words(HEADER, names_words)?;
        for (index, words) in raw {
            let Some(parts) = reading::parts(&words, &g) else { continue };
            let place = parts.descriptor[descriptor::NAME];
            let name = reading::name(place, used, names.len(), |at| names.get(at).copied());
            contents.slots.extend(reading::slot(&parts, index, name, limits));
        }
        Ok(contents)
    }

    /// A slot's words, each line at one instant; `None` if one moved at every look. Of a dead file one look is enough.
    fn look(&self, at: usize, length: usize) -> Result<Option<Vec<u64>>, Error> {
        if self.life != Life::Alive {
            return self.words(at, length).map(Some);
        }
        let state = self.word(at + descriptor::STATE)?;
        // *Out* before *in*, as in the process itself: what is out was counted in before.
        let Some(out) = self.look_at_line(at + OUT, LINE)? else { return Ok(None) };
        let Some(within) = self.look_at_line(at + IN, LINE)? else { return Ok(None) };
        let mut words = self.words(at, length)?;
        // The cells are those of the count if that has not moved since.
        let Some(cells) = self.look_at_line(at + IN, length - IN)?.filter(|now| now.first() == within.first()) else {
            return Ok(None);
        };
        words.truncate(IN);
        words.extend(within);
        words.extend(out);
        words.extend(cells.get(CELLS - IN..).unwrap_or_default());
        Ok((self.word(at + descriptor::STATE)? == state).then_some(words))
    }

    /// Words from a line's control word on, at one instant.
    fn look_at_line(&self, at: usize, length: usize) -> Result<Option<Vec<u64>>, Error> {
        for _ in 0..LOOKS {
            let before = self.word(at)?;
            let words = self.words(at, length)?;
            if count_of(self.word(at)?) == count_of(before) {
                return Ok(Some(words));
            }
        }
        Ok(None)
    }

    fn word(&self, at: usize) -> Result<u64, Error> {
        Ok(self.words(at, 1)?.first().copied().unwrap_or(0))
    }

    /// Words of the file, after those that were read before and before those that are read next.
    fn words(&self, at: usize, count: usize) -> Result<Vec<u64>, Error> {
        let mut bytes = vec![0; count * 8];
        fence(Ordering::SeqCst);
        self.file.read_exact_at(&mut bytes, at as u64 * 8).map_err(Error::io(&self.path, "reading"))?;
        fence(Ordering::SeqCst);
        Ok(bytes.chunks_exact(8).map(|b| u64::from_ne_bytes(std::array::from_fn(|i| b[i]))).collect())
    }

    /// Removes the file of a dead process: all that was in it is in a safe place.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if its process lives. [`Error::Io`].
    pub fn remove(self) -> Result<(), Error> {
        if self.life == Life::Alive {
            return Err(Error::Unreadable {
                path: self.path,
                problem: "belongs to a living process and is not removed",
            });
        }
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&self.path, "removing")(e)),
            _ => Ok(()),
        }
    }
}

/// A regular file, opened without following links or waiting for anybody.
fn open_plain(path: &Path) -> Result<fs::File, Error> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Error::io(path, "opening"))?;
    let kind = file.metadata().map_err(Error::io(path, "looking at the file"))?.file_type();
    if kind.is_file() {
        Ok(file)
    } else {
        Err(Error::Unreadable { path: path.to_owned(), problem: "is no plain file" })
    }
}

fn lock(path: &Path, file: &fs::File) -> Result<bool, Error> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(Error::io(path, "locking")(e.into())),
    }
}

fn read_header(path: &Path, file: &fs::File) -> Result<Header, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let length = file.metadata().map_err(Error::io(path, "looking at the file"))?.len();
    let whole = length >= HEADER_BYTES as u64;
    if whole {
        file.read_exact_at(&mut bytes, 0).map_err(Error::io(path, "reading the header"))?;
    }
    let path = || path.to_owned();
    match Header::decode(&bytes) {
        Ok(header) => Ok(header),
        Err(NoHeader::Unfinished) if whole || length == 0 => Err(Error::Unfinished { path: path() }),
        Err(NoHeader::Unfinished) => Err(Error::Unreadable { path: path(), problem: "is too short for a header" }),
        Err(NoHeader::NotOurs) => {
            Err(Error::Unreadable { path: path(), problem: "is no slot file of this machine's kind" })
        }
        Err(NoHeader::Version(found)) => Err(Error::UnknownVersion { path: path(), found }),
        Err(NoHeader::Damaged(problem)) => Err(Error::Unreadable { path: path(), problem }),
    }
}

/// Who made the file lives if it is locked, unless it is known to be gone: then a child that it forked has the lock.
fn life(header: &Header, free: bool, here: &Here, start_of: impl Fn(u32) -> Option<u64>) -> Life {
    if free {
        return Life::Dead;
    }
    let known = header.pid_start != 0 && header.pid_namespace != 0 && header.boot != [0; 16];
    let same_place = header.boot == here.boot && header.pid_namespace == here.pid_namespace;
    if known && same_place && start_of(header.pid) != Some(header.pid_start) {
        Life::DeadWithHeirs
    } else {
        Life::Alive
    }
}
