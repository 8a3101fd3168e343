//! The few file operations that the log needs, and the real disk behind them.
//!
//! A trait, so that a simulated disk can lose, tear and refuse (`sim`). `create` and `remove` are durable when they
//! return: the directory is synced with them.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::error::Error;

/// A directory of segment files.
pub trait Storage: Send + Sync {
    /// Names of all files.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of `len` zero bytes whose blocks are allocated; durable.
    ///
    /// # Errors
    /// The system's; a full disk says so here and not later.
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>>;
    /// A file's whole content.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Removes a file; durable.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// One segment being written.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system's; how much was written is then unknown.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all writes durable.
    ///
    /// # Errors
    /// The system's; what is durable is then unknown, and the file must not be trusted again.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    handle: fs::File,
    /// Held for life: a lock on the file `lock`.
    _lock: fs::File,
}

impl Disk {
    /// Opens (and makes, mode 0700) the directory and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another holder lives, [`Error::Storage`] otherwise.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(Error::storage("making the directory"))?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(Error::storage("opening the lock file"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { dir: dir.to_owned() }),
            Err(e) => return Err(Error::storage("locking the directory")(e.into())),
        }
        let handle = fs::File::open(dir).map_err(Error::storage("opening the directory"))?;
        Ok(Self { dir: dir.to_owned(), handle, _lock: lock })
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let path = self.dir.join(name);
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        let made = fallocate(&file, FallocateFlags::empty(), 0, len)
            .map_err(io::Error::from)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.handle.sync_all());
        if let Err(e) = made {
            // Best effort: the failure that matters is the one returned.
            drop(fs::remove_file(&path));
            return Err(e);
        }
        Ok(Box::new(DiskFile(file)))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(name))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))?;
        self.handle.sync_all()
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
