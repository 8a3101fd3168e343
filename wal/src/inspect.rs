//! What is in a log, for people and tools: every entry that can be read, pending or not, and what cannot be read.
//!
//! [`inspect`] is a pure reading of bytes and takes any. [`inspect_dir`] takes no lock and changes nothing, so it may be
//! used on the directory of a live process; it then shows a moment that never quite was: a round being written looks
//! torn, and a segment recycled meanwhile is missing.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use uuid::Uuid;

use crate::error::Error;
use crate::frame::{FrameKind, Kind, replaced, seqs};
use crate::recovery::{self, Recovered, Span};
use crate::scan::{Found, Header, Scan};
use crate::segments::number_of;
use crate::state::Seq;

/// How an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It would be recovered.
    Pending,
    /// It was marked done.
    Done,
    /// Another record took its place.
    Replaced,
    /// A checkpoint with a newer one behind it.
    Superseded,
    /// It stands elsewhere too, and that frame counts.
    Copied,
    /// Its write was refused to the caller.
    Refused,
}

/// One frame of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub seq: Seq,
    /// Its id.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// How it stands.
    pub standing: Standing,
    /// Size of the payload in bytes.
    pub bytes: u64,
    /// Entries in whose place it came.
    pub replaces: Vec<Seq>,
    /// Segment number.
    pub segment: u64,
    /// Where its frame begins.
    pub offset: u64,
    /// One past its frame's last byte.
    pub end: u64,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Made or recycled ahead of need: nothing is written under this number.
    pub unused: bool,
    /// It is of a release that this one does not know: the number of its format. Nothing of it is read.
    pub foreign: Option<u32>,
    /// Its header is sound.
    pub header: bool,
}

/// What is in a log.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Segments in the order of their numbers.
    pub segments: Vec<SegmentInfo>,
    /// Entries in the order of their places.
    pub entries: Vec<Listed>,
    /// As [`Recovered::torn`](crate::Recovered::torn).
    pub torn: Vec<Span>,
    /// As [`Recovered::corrupt`](crate::Recovered::corrupt).
    pub corrupt: Vec<Span>,
}

/// Reads the files of a log's directory, given by name and content; other files are passed over.
pub fn inspect(files: &[(String, Vec<u8>)]) -> Inspection {
    let mut scans: Vec<Scan<'_>> =
        files.iter().filter_map(|(name, bytes)| Some(Scan::of(number_of(name)?, bytes))).collect();
    scans.sort_by_key(|s| s.number);
    let segments = scans.iter().map(info).collect();
    scans.retain(|s| !s.is_unused() && !matches!(s.header, Header::Foreign(_)));
    let reading = recovery::read(&scans);
    let (views, _) = recovery::chain(&scans);
    let (mut done, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let all = || scans.iter().zip(&views).flat_map(|(s, view)| s.frames.iter().map(move |f| (s, view, f)));
    for (_, _, found) in all().filter(|(_, view, f)| view.counts(f)) {
        match found.frame.kind {
            FrameKind::Done => done.extend(seqs(found.frame.payload)),
            FrameKind::Replacement => taken.extend(replaced(found.frame.payload).unwrap_or_default().0),
            FrameKind::Entry(_) | FrameKind::End => {}
        }
    }
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for (scan, view, found) in all() {
        let Some(mut listed) = listed(scan.number, found) else { continue };
        let held = reading.held.get(&listed.seq);
        listed.standing = match held {
            _ if !view.counts(found) => Standing::Refused,
            Some(held) if held.home == scan.number && seen.insert(listed.seq) => Standing::Pending,
            Some(_) => Standing::Copied,
            None if done.contains(&listed.seq.0) => Standing::Done,
            None if taken.contains(&listed.seq.0) => Standing::Replaced,
            None => Standing::Superseded,
        };
        entries.push(listed);
    }
    let recovered = reading.recovered;
    Inspection { segments, entries, torn: recovered.torn, corrupt: recovered.corrupt }
}

fn info(scan: &Scan<'_>) -> SegmentInfo {
    let foreign = if let Header::Foreign(format) = scan.header { Some(format) } else { None };
    SegmentInfo {
        number: scan.number,
        bytes: scan.len,
        unused: scan.is_unused(),
        foreign,
        header: scan.has_own_header(),
    }
}

fn listed(segment: u64, found: &Found<'_>) -> Option<Listed> {
    let frame = &found.frame;
    let (kind, replaces, bytes) = match frame.kind {
        FrameKind::Entry(kind) => (kind, Vec::new(), frame.payload.len()),
        FrameKind::Replacement => {
            let (olds, own) = replaced(frame.payload)?;
            (Kind::Record, olds.into_iter().map(Seq).collect(), own.len())
        }
        FrameKind::Done | FrameKind::End => return None,
    };
    Some(Listed {
        seq: Seq(frame.seq),
        id: frame.id,
        kind,
        standing: Standing::Pending,
        bytes: bytes as u64,
        replaces,
        segment,
        offset: found.offset,
        end: found.offset + found.size,
    })
}

/// Reads the log in a directory.
///
/// # Errors
/// [`Error::Storage`] if the directory or a file in it cannot be read.
pub fn inspect_dir(dir: &Path) -> Result<Inspection, Error> {
    files_of(dir).map(|files| inspect(&files))
}

/// What opening the log in a directory would find, as far as this release knows its segments. Takes no lock and changes
/// nothing, as [`inspect_dir`].
///
/// # Errors
/// [`Error::Storage`] if the directory or a file in it cannot be read. [`Error::UnknownFormat`].
pub fn peek_dir(dir: &Path) -> Result<Recovered, Error> {
    let files = files_of(dir)?;
    let mut scans = Vec::new();
    for (name, bytes) in &files {
        let Some(number) = number_of(name) else { continue };
        let scan = Scan::of(number, bytes);
        if let Header::Foreign(found) = scan.header {
            return Err(Error::UnknownFormat { name: name.clone(), found });
        }
        scans.push(scan);
    }
    scans.sort_by_key(|s| s.number);
    scans.retain(|s| !s.is_unused());
    Ok(recovery::read(&scans).recovered)
}

fn files_of(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::storage("listing segments"))? {
        let entry = entry.map_err(Error::storage("listing segments"))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if number_of(&name).is_none() || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        match std::fs::read(dir.join(&name)) {
            Ok(bytes) => files.push((name, bytes)),
            // Recycled since the directory was listed.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::storage("reading a segment")(e)),
        }
    }
    Ok(files)
}
