//! The lock of a log's directory: an `flock` on the file `lock`, held for life, with the holder's name in the file.
//!
//! A child that the holder forked has the lock too, and keeps it when the holder is gone. So the file says which process
//! took it; where that one is known to be gone, the file is replaced by another, whose lock is free. Whoever takes or
//! replaces it holds the directory's own lock meanwhile: what stands in the file is its last holder's, and no two replace
//! it at a time. A lock is let go by its holder's hand, not by the end of its descriptor, which children have as well.
//!
//! Limits: of a holder in another pid namespace, or where nobody is told when it started, it is not known whether it
//! lives; it is waited for until its last child is gone.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Error;
use crate::here::Process;

/// More than a holder's name takes.
const NAME_BYTES: usize = 256;

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct Lock {
    file: fs::File,
    pid: u32,
}

impl Lock {
    /// Takes the lock of `dir`, which `handle` has open.
    pub(crate) fn take(dir: &Path, handle: &fs::File) -> Result<Self, Error> {
        let locked = || Error::Locked { dir: dir.to_owned() };
        let door = match Door::open(handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(door) => door,
            Err(Errno::WOULDBLOCK) => return Err(locked()),
            Err(e) => return Err(Error::storage("locking the directory")(e.into())),
        };
        let path = dir.join("lock");
        let open = || {
            let mut options = fs::OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600);
            options.open(&path).map_err(Error::storage("opening the lock file"))
        };
        let mut file = open()?;
        if !try_lock(&file)? {
            if !door.is_held() || !holder_is_gone(&file) {
                return Err(locked());
            }
            fs::remove_file(&path).map_err(Error::storage("replacing the lock file of a dead process"))?;
            file = open()?;
            if !try_lock(&file)? {
                return Err(locked());
            }
        }
        // The last one's name must be gone, or it would be taken for ours; without ours nobody replaces the file.
        file.set_len(0).map_err(Error::storage("clearing the lock file"))?;
        file.write_all_at(Process::this().to_string().as_bytes(), 0).ok();
        Ok(Self { file, pid: std::process::id() })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that drops what it inherited would let go of its parent's lock.
        if self.pid == std::process::id() {
            flock(&self.file, FlockOperation::Unlock).ok();
        }
    }
}

/// Whether a living process has the log in a directory open. Changes nothing.
///
/// # Errors
/// [`Error::Storage`].
pub fn is_in_use(dir: &Path) -> Result<bool, Error> {
    if held(dir)?.is_none() {
        return Ok(false);
    }
    let handle = fs::File::open(dir).map_err(Error::storage("opening the directory"))?;
    match Door::open(&handle, FlockOperation::NonBlockingLockShared) {
        // Again: it may have been taken or replaced since.
        Ok(door) => Ok(held(dir)?.is_some_and(|file| !door.is_held() || !holder_is_gone(&file))),
        // Somebody is just taking it.
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(Error::storage("locking the directory")(e.into())),
    }
}

/// The lock file, if it is locked.
fn held(dir: &Path) -> Result<Option<fs::File>, Error> {
    let file = match fs::File::open(dir.join("lock")) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::storage("opening the lock file")(e)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(file)),
        Err(e) => Err(Error::storage("asking for the lock")(e.into())),
    }
}

fn try_lock(file: &fs::File) -> Result<bool, Error> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(Error::storage("locking the directory")(e.into())),
    }
}

fn holder_is_gone(file: &fs::File) -> bool {
    let mut name = [0; NAME_BYTES];
    let length = file.read_at(&mut name, 0).unwrap_or(0);
    let name = name.get(..length).and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(Process::parse).is_some_and(|holder| holder.is_gone())
}

/// The directory's own lock, for the moment in which the file's is taken or looked at.
struct Door<'a>(Option<&'a fs::File>);

impl<'a> Door<'a> {
    fn open(handle: &'a fs::File, how: FlockOperation) -> Result<Self, Errno> {
        match flock(handle, how) {
            Ok(()) => Ok(Self(Some(handle))),
            // A file system that locks no directories (over a network): the file's lock must do, and nobody replaces it.
            Err(Errno::BADF | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Self(None)),
            Err(e) => Err(e),
        }
    }

    fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Door<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.0 {
            flock(handle, FlockOperation::Unlock).ok();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder_and_is_replaced_only_when_that_one_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, path) = (scratch.path(), scratch.path().join("lock"));
        let handle = fs::File::open(dir).unwrap();
        assert!(!is_in_use(dir).unwrap());
        let lock = Lock::take(dir, &handle).unwrap();
        assert!(is_in_use(dir).unwrap());
        assert!(matches!(Lock::take(dir, &handle), Err(Error::Locked { .. })));
        // As if the holder had died and a child of its had the lock.
        let name = fs::read_to_string(&path).unwrap();
        let dead = Process { start: Process::this().start + 1, ..Process::parse(&name).unwrap() };
        for (text, replaced) in [("", false), ("pid 1", false), (&*dead.to_string(), true)] {
            fs::write(&path, text).unwrap();
            assert_eq!(is_in_use(dir).unwrap(), !replaced, "{text}");
            let next = Lock::take(dir, &handle);
            assert_eq!(next.is_ok(), replaced, "{text}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), name);
        assert!(!is_in_use(dir).unwrap(), "the next one let go by itself");
        drop(lock);
        // Over what a longer name left.
        fs::write(&path, "x".repeat(300)).unwrap();
        drop(Lock::take(dir, &handle).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), name);
    }

    #[test]
    fn a_child_that_has_the_descriptor_keeps_no_lock_that_was_let_go() {
        let scratch = tempfile::tempdir().unwrap();
        let handle = fs::File::open(scratch.path()).unwrap();
        let lock = Lock::take(scratch.path(), &handle).unwrap();
        let inherited = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(!is_in_use(scratch.path()).unwrap());
        // Nor does a child, by its own end, let go of a parent's.
        let lock = Lock::take(scratch.path(), &handle).unwrap();
        drop(Lock { file: lock.file.try_clone().unwrap(), pid: lock.pid + 1 });
        assert!(is_in_use(scratch.path()).unwrap());
        drop(inherited);
    }
}
