//! The few file operations that the log needs, and the real disk behind them.
//!
//! A trait, so that a simulated disk can lose, tear and refuse (`sim`). What happens to names is durable only after
//! `sync_dir`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with};
use rustix::io::Errno;

use crate::error::Error;
use crate::lock::Lock;

/// So many zeros are written at once.
const ZEROS: usize = 1 << 20;

/// A directory of segment files.
pub trait Storage: Send + Sync {
    /// Names of all regular files.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file, written with `len` zero bytes that are durable; its name may not be.
    ///
    /// # Errors
    /// The system's; a full disk says so here and not later.
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, at which there is none, and opens it to be written over.
    ///
    /// # Errors
    /// The system's; it then has its old name.
    fn rename(&self, from: &str, to: &str) -> io::Result<Box<dyn File>>;
    /// A file's whole content.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes durable what was created, renamed and removed.
    ///
    /// # Errors
    /// The system's; it may be tried again.
    fn sync_dir(&self) -> io::Result<()>;
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
    /// Held for life.
    _lock: Lock,
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
        let handle = fs::File::open(dir).map_err(Error::storage("opening the directory"))?;
        let lock = Lock::take(dir, &handle)?;
        Ok(Self { dir: dir.to_owned(), handle, _lock: lock })
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let (Ok(name), true) = (entry.file_name().into_string(), entry.file_type()?.is_file()) {
                names.push(name);
            }
        }
        Ok(names)
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        let path = self.dir.join(name);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        // In one piece where the file system can; the zeros are written all the same, or the first write to each block
        // would have to change an extent, and its sync to write that too.
        match fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
        let zeros = vec![0; ZEROS.min(usize::try_from(len).unwrap_or(ZEROS))];
        let mut left = len;
        while left > 0 {
            let now = zeros.get(..usize::try_from(left).unwrap_or(ZEROS).min(ZEROS)).unwrap_or(&zeros);
            file.write_all(now)?;
            left -= now.len() as u64;
        }
        file.sync_all()?;
        Ok(Box::new(DiskFile(file)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<Box<dyn File>> {
        let from = self.dir.join(from);
        // Opened first: there is nothing to undo if that fails.
        let file = fs::OpenOptions::new().write(true).open(&from)?;
        renameat_with(CWD, &from, CWD, self.dir.join(to), RenameFlags::NOREPLACE)?;
        Ok(Box::new(DiskFile(file)))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(name))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }
    fn sync_dir(&self) -> io::Result<()> {
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
