//! What can go wrong, when, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why the log could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// On opening: another process (or another `Log`) holds the directory.
    #[error("write-ahead log {dir}: in use by another process; give each process a directory of its own")]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// On opening: a segment was written by a release that this one does not know. It is left as it is.
    #[error("write-ahead log segment {name}: format {found} is unknown here; open it with the release that wrote it")]
    UnknownFormat {
        /// The segment's file name.
        name: String,
        /// The format number found.
        found: u32,
    },
    /// The log has reached its size limit; nothing was written. Entries must be marked done first.
    #[error("write-ahead log is full: {bytes} of at most {max_bytes} bytes are in use and pending")]
    Full {
        /// Bytes in use.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// An entry does not fit into a segment; nothing was written.
    #[error("entry of {bytes} bytes is too large for a segment; at most {max} bytes fit")]
    TooLarge {
        /// The entry's size.
        bytes: u64,
        /// The largest that fits.
        max: u64,
    },
    /// On replacing: one of the entries is not a pending record; nothing was written.
    #[error("entry {} is not a pending record, so nothing can take its place", seq.0)]
    NotPending {
        /// The entry.
        seq: crate::Seq,
    },
    /// The storage failed, and so did a second attempt on a new segment. The entries of this call are not durable.
    #[error("write-ahead log: {action}: {source}{}", advice(source))]
    Storage {
        /// What was being done.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

/// What to do, where the cause is known.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on its disk (or in the quota), it goes on by itself"
        }
        io::ErrorKind::FileTooLarge => "; make room for larger files in the process's limit (ulimit -f)",
        io::ErrorKind::ReadOnlyFilesystem => "; mount its file system so that it can be written, it goes on by itself",
        _ => "",
    }
}

impl Error {
    pub(crate) fn storage(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { action, source }
    }
}
