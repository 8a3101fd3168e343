//! What can go wrong with a slot table, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no table, or no reading of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A size that cannot be.
    #[error("slot table: {field} is {value}; allowed is {allowed}")]
    Geometry {
        /// Which.
        field: &'static str,
        /// What it was.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The caller's bytes about itself do not fit into the header.
    #[error("slot table: {bytes} bytes about the process; at most 3072 fit")]
    About {
        /// How many they were.
        bytes: usize,
    },
    /// Others could change the files.
    #[error("slot directory {}: {problem}; give the process a directory that is its own, mode 0700", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no room for the file. Nothing is left behind.
    #[error("slot directory {}: no room for {bytes} bytes ({source}); free that much, or ask for fewer slots", dir.display())]
    Space {
        /// The directory.
        dir: PathBuf,
        /// What the file takes.
        bytes: u64,
        /// The system's words.
        source: io::Error,
    },
    /// Something else failed.
    #[error("slot file {}: {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// A file whose maker died before it could count; nothing is lost by removing it.
    #[error("slot file {}: was never finished; nothing was counted in it", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// A file of a release that this one does not know. It is left as it is.
    #[error("slot file {}: layout {found} is unknown here; read it with the release that wrote it", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its layout version.
        found: u32,
    },
    /// A file that cannot be read as slots. It is left as it is.
    #[error("slot file {}: {problem}; it is kept for you to look at", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }
}
