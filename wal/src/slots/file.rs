//! The table's file: made so that a full disk is an error here and never a signal later, locked for life.
//!
//! Order of making: the directory is checked, the file made under its final name and locked, its blocks allocated *and*
//! written with zeros, the header written, the pages mapped. Until the header is there the file is *unfinished*: nothing
//! was counted, and whoever finds it without a lock may remove it; so its maker looks at the end whether somebody did.
//!
//! The lock is an `flock`: it goes when the process and all copies of its descriptor are gone, exec drops it
//! (`O_CLOEXEC`), but a child that was *forked* keeps it after its parent's death. So a lock alone does not mean that the
//! owner lives: `recovery` also asks for the pid and its start time.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock, fstatfs};
use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};

use super::Start;
use super::chain::Words;
use super::error::Error;
use super::layout::{ABOUT_BYTES, Geometry, Header, TAGS};
use super::line::Line;
use super::memory::{ForkGuard, Memory};
use super::reading::{At, Slot};
use super::table::{Core, Refused, Standing};
use crate::here::{self, Here};

/// The files' names end so.
pub(crate) const SUFFIX: &str = ".slots";
const TMPFS_MAGIC: u64 = 0x0102_1994;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Where slot files go unless the caller says otherwise: `chaperone-<uid>` in `/dev/shm`, which is memory and lives until
/// the machine goes down; without it `chaperone` in `runtime` (`$XDG_RUNTIME_DIR`, which a session's end may clear);
/// without that nowhere, and a directory must be given. In a container `/dev/shm` may be small or go with it: give a
/// volume in memory.
pub fn default_dir(shm: &Path, runtime: Option<&Path>) -> Option<PathBuf> {
    if shm.is_dir() {
        return Some(shm.join(format!("chaperone-{}", geteuid().as_raw())));
    }
    runtime.filter(|dir| dir.is_absolute() && dir.is_dir()).map(|dir| dir.join("chaperone"))
}

/// A table of slots. `&Table` may be used from many threads.
#[derive(Debug)]
pub struct Table {
    pub(super) core: Arc<Core>,
    backing: Option<Backing>,
}

#[derive(Debug)]
struct Backing {
    path: PathBuf,
    /// Locked until it is closed.
    file: fs::File,
    in_memory: bool,
    pid: u32,
}

impl Table {
    /// Makes the table's file in `dir` (made with mode 0700 if it is not there) and locks it.
    ///
    /// # Errors
    /// [`Error::Geometry`], [`Error::About`], [`Error::Directory`], [`Error::Space`] if the file does not fit,
    /// [`Error::Io`] otherwise. Nothing is left behind. The caller may go on with [`heap`](Self::heap), and should say so.
    pub fn create(dir: &Path, start: &Start, geometry: Geometry) -> Result<Self, Error> {
        geometry.check()?;
        if start.about.len() > ABOUT_BYTES {
            return Err(Error::About { bytes: start.about.len() });
        }
        make_dir(dir)?;
        let guard = ForkGuard::new().map_err(Error::io(dir, "making a page that is wiped on fork"))?;
        let path = dir.join(format!("{}{SUFFIX}", start.incarnation));
        let file = make_file(dir, &path, geometry.bytes())?;
        let finished = finish(&path, &file, start, geometry);
        let (memory, in_memory) = finished.inspect_err(|_| drop(fs::remove_file(&path)))?;
        let backing = Backing { path, file, in_memory, pid: std::process::id() };
        Ok(Self { core: Arc::new(Core::new(memory, geometry, Some(guard))), backing: Some(backing) })
    }

    /// A table in memory that dies with the process.
    ///
    /// # Errors
    /// [`Error::Geometry`], [`Error::About`], or [`Error::Io`] without memory.
    pub fn heap(start: &Start, geometry: Geometry) -> Result<Self, Error> {
        geometry.check()?;
        if start.about.len() > ABOUT_BYTES {
            return Err(Error::About { bytes: start.about.len() });
        }
        let memory = Memory::anonymous(geometry.words()).map_err(Error::io(Path::new("(memory)"), "mapping"))?;
        // Without the page a child counts in a copy of its own, which nobody reports.
        Ok(Self { core: Arc::new(Core::new(memory, geometry, ForkGuard::new().ok())), backing: None })
    }

    /// Whether the counts survive the death of the process.
    pub fn survives(&self) -> bool {
        self.backing.is_some()
    }

    /// Whether the file is in memory; on a disk, writing back may hold up counts.
    pub fn in_memory(&self) -> bool {
        self.backing.as_ref().is_none_or(|b| b.in_memory)
    }

    /// The file.
    pub fn path(&self) -> Option<&Path> {
        self.backing.as_ref().map(|b| b.path.as_path())
    }

    /// Sizes.
    pub fn geometry(&self) -> Geometry {
        self.core.geometry
    }

    /// Whether this process is a child that was forked after the table was made.
    pub fn is_forked(&self) -> bool {
        self.core.is_child()
    }

    /// Whether a successor would find the file: it has not been removed or replaced. Ask now and then; if not, the counts
    /// go on but would die with the process.
    pub fn is_reachable(&self) -> bool {
        self.backing.as_ref().is_some_and(|b| {
            let (ours, found) = (b.file.metadata(), fs::symlink_metadata(&b.path));
            matches!((ours, found), (Ok(o), Ok(f)) if o.dev() == f.dev() && o.ino() == f.ino())
        })
    }

    /// Opens a slot for counting by the calling thread, whose number is `owner` (for people who look at the file).
    ///
    /// # Errors
    /// [`Refused::Full`], [`Refused::NamesFull`] (of names longer than 65,535 bytes too), [`Refused::Forked`].
    pub fn open(&self, owner: u64, name: &str, tags: &[u64; TAGS]) -> Result<Line, Refused> {
        self.core.open(owner, name, tags)
    }

    /// Takes over a line whose owner dropped it, with all that it counted.
    ///
    /// # Errors
    /// [`Refused::Busy`]: it has an owner. [`Refused::Closed`], [`Refused::Forked`].
    pub fn adopt(&self, at: At, owner: u64) -> Result<Line, Refused> {
        self.core.adopt(at, owner)
    }

    /// Whether a live slot has no owner.
    pub fn is_orphan(&self, at: At) -> bool {
        self.core.gate(at).is_ok_and(|gate| !gate.is_owned())
    }

    /// Adds to the *out* line, word by word, wrapping. Any thread.
    ///
    /// # Errors
    /// [`Refused::Closed`]: the slot is closed or another's; the report came too late. [`Refused::Busy`]: another thread
    /// has held the line for long; nothing was added. [`Refused::Spent`], [`Refused::Forked`].
    #[inline]
    pub fn add(&self, at: At, addends: &Words) -> Result<(), Refused> {
        self.core.add(at, addends)
    }

    /// A slot's state at one instant: what is out was counted in before.
    ///
    /// # Errors
    /// [`Refused::Closed`] if this use is over. [`Refused::Busy`]: it changed at each look; try later.
    pub fn read(&self, at: At) -> Result<Slot, Refused> {
        self.core.read(at)
    }

    /// The uses of slots that are live or closed, and whether they are closed.
    pub fn uses(&self) -> impl Iterator<Item = (At, bool)> + '_ {
        self.core.uses()
    }

    /// Slots that are free.
    pub fn free_slots(&self) -> usize {
        self.core.free_slots()
    }

    /// Sets the caller's word of a slot, at any time.
    ///
    /// # Errors
    /// [`Refused::Closed`] if this use is over. [`Refused::Forked`].
    pub fn note(&self, at: At, value: u64) -> Result<(), Refused> {
        self.core.note(at, value)
    }

    /// Closes a slot if `quiet` says so of its two lines, both held still meanwhile (so it should be short). Then nothing
    /// is counted in it or added to it any more, and what is answered is its last state. `None`: it was not quiet.
    ///
    /// # Errors
    /// [`Refused::Busy`]: a thread was in the midst of it for long; try later. [`Refused::Closed`], [`Refused::Forked`].
    pub fn close_if(&self, at: At, quiet: impl FnOnce(&Standing) -> bool) -> Result<Option<Slot>, Refused> {
        self.core.close_if(at, quiet)
    }

    /// Frees a closed slot: its state is gone from here. Have it in a safe place before.
    ///
    /// # Errors
    /// [`Refused::Busy`]: it is not closed. [`Refused::Closed`]: it is freed already. [`Refused::Forked`].
    pub fn free(&self, at: At) -> Result<(), Refused> {
        self.core.free(at)
    }

    /// Waits until every count that began before this call is published; what begins later sees what was written before
    /// this call.
    ///
    /// # Errors
    /// [`Refused::Busy`]: a thread was in the midst of a count for long; try later. [`Refused::Forked`].
    pub fn quiesce(&self) -> Result<(), Refused> {
        self.core.quiesce()
    }

    /// Writes the caller's heartbeat into the header.
    ///
    /// # Errors
    /// [`Refused::Forked`].
    pub fn heartbeat(&self, value: u64) -> Result<(), Refused> {
        self.core.heartbeat(value)
    }

    /// Sets flags of the caller's in the header; they are never unset.
    ///
    /// # Errors
    /// [`Refused::Forked`].
    pub fn flag(&self, bits: u64) -> Result<(), Refused> {
        self.core.flag(bits)
    }

    /// Lets go of the file: nobody counts in it any more, and whoever recovers it may have it at once, not only when this
    /// process ends.
    pub fn unlock(&self) {
        if let Some(b) = self.backing.as_ref().filter(|b| b.pid == std::process::id()) {
            // What cannot be unlocked now is unlocked by the process's end.
            flock(&b.file, FlockOperation::Unlock).ok();
        }
    }

    /// Removes the file: everything in it is in a safe place. Counting goes on, but nobody would find the counts.
    ///
    /// # Errors
    /// [`Error::Io`]. A child that was forked removes nothing.
    pub fn remove(&self) -> Result<(), Error> {
        let Some(b) = self.backing.as_ref().filter(|b| b.pid == std::process::id() && self.is_reachable()) else {
            return Ok(());
        };
        fs::remove_file(&b.path).map_err(Error::io(&b.path, "removing"))
    }
}

/// Makes the directory, or checks that nobody else can put files into it or take them out.
fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io(dir, "making the directory"))?;
    let found = fs::symlink_metadata(dir).map_err(Error::io(dir, "looking at the directory"))?;
    let wrong = |problem| Err(Error::Directory { dir: dir.to_owned(), problem });
    if !found.is_dir() {
        return wrong("is a link, not a directory");
    }
    if found.uid() != geteuid().as_raw() {
        return wrong("belongs to another user");
    }
    if found.permissions().mode() & 0o022 != 0 {
        return wrong("can be written by others");
    }
    Ok(())
}

/// A locked file with all of its blocks.
fn make_file(dir: &Path, path: &Path, bytes: u64) -> Result<fs::File, Error> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or(0);
    let mut options = fs::OpenOptions::new();
    options.create_new(true).read(true).write(true).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(|source| no_room(dir, bytes, path, "making", source))?;
    let made = flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|e| Error::io(path, "locking")(e.into()))
        .and_then(|()| allocate(&file, bytes).map_err(|source| no_room(dir, bytes, path, "allocating", source)));
    match made {
        Ok(()) => Ok(file),
        Err(e) => {
            // Best effort: the failure that matters is the one returned.
            drop(fs::remove_file(path));
            Err(e)
        }
    }
}

/// Allocates, then writes zeros: file systems that allocate nothing, or promise more than they hold, fail here.
fn allocate(file: &fs::File, bytes: u64) -> io::Result<()> {
    // Beyond the limit the kernel would not only refuse but send SIGXFSZ, which ends the process.
    if getrlimit(Resource::Fsize).current.is_some_and(|limit| limit < bytes) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the limit of the process for a file's size (ulimit -f)",
        ));
    }
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(e) => return Err(e.into()),
    }
    let mut at = 0;
    while at < bytes {
        let left = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&ZEROS[..left], at)?;
        at += left as u64;
    }
    Ok(())
}

fn no_room(dir: &Path, bytes: u64, path: &Path, action: &'static str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::Space { dir: dir.to_owned(), bytes, source }
        }
        _ => Error::io(path, action)(source),
    }
}

fn finish(path: &Path, file: &fs::File, start: &Start, geometry: Geometry) -> Result<(Memory, bool), Error> {
    let here = Here::now();
    let pid = std::process::id();
    let header = Header {
        incarnation: start.incarnation,
        boot: here.boot,
        pid,
        pid_start: here::start_of(pid).unwrap_or(0),
        pid_namespace: here.pid_namespace,
        started_ms: start.started_ms,
        schema: start.schema,
        geometry,
        about: start.about.clone(),
    };
    let memory = Memory::of_file(file, geometry.words()).map_err(Error::io(path, "mapping"))?;
    file.write_all_at(&header.encode(), 0).map_err(Error::io(path, "writing the header"))?;
    let in_memory = fstatfs(file).is_ok_and(|s| u64::try_from(s.f_type).unwrap_or(0) == TMPFS_MAGIC);
    // Somebody who tidies up may have taken the file for one that was never finished, before it was locked.
    let links = file.metadata().map_err(Error::io(path, "looking at the file"))?.nlink();
    if links == 0 {
        return Err(Error::io(path, "making")(io::Error::other("somebody removed it meanwhile; try again")));
    }
    Ok((memory, in_memory))
}
