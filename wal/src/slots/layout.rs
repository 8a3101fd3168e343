//! Where things are in a slot file: docs/FORMATS.md, "The slot file". Pure.
//!
//! All is made of 8-byte words in the machine's byte order; the magic number tells a file of another order. The header's
//! first part never changes and has a checksum; nothing that changes has one, for a kill would break it.

use uuid::Uuid;

use super::error::Error;

/// Words of one copy of a chain.
pub const WORDS: usize = if cfg!(loom) { 1 } else { 7 };
/// From one copy to the other.
pub(crate) const STRIDE: usize = WORDS + 1;
/// Words of a line: control, copy, one spare, copy. Two cache lines.
pub(crate) const LINE: usize = 2 * STRIDE;
/// Words of the caller's that say what a slot is for.
pub const TAGS: usize = if cfg!(loom) { 1 } else { 8 };
/// Bytes of the caller's in the header.
pub const ABOUT_BYTES: usize = 3072;

/// Words of the header.
pub(crate) const HEADER: usize = if cfg!(loom) { MUTABLE + 4 } else { 512 };
pub(crate) const HEADER_BYTES: usize = 4096;
const ABOUT_AT: usize = 64;
/// Where the header's changing words begin: bytes of names used, heartbeat, flags.
const MUTABLE: usize = if cfg!(loom) { 0 } else { 448 };
pub(crate) const NAMES_USED: usize = MUTABLE;
pub(crate) const HEARTBEAT: usize = MUTABLE + 1;
pub(crate) const FLAGS: usize = MUTABLE + 2;

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"CHAPSLOT");
pub(crate) const VERSION: u32 = 1;

/// The words of a slot's descriptor.
pub(crate) mod descriptor {
    use super::TAGS;
    /// Generation and [`State`](super::State).
    pub(crate) const STATE: usize = 0;
    pub(crate) const OWNER: usize = 1;
    /// Offset and length of the name.
    pub(crate) const NAME: usize = 2;
    pub(crate) const NOTE: usize = 3;
    pub(crate) const TAGS_AT: usize = 4;
    pub(crate) const WORDS: usize = if cfg!(loom) { TAGS_AT + TAGS } else { 16 };
}

/// Offsets within a slot, in words.
pub(crate) const IN: usize = descriptor::WORDS;
pub(crate) const OUT: usize = IN + LINE;
pub(crate) const CELLS: usize = OUT + LINE;

const SLOTS_MAX: u32 = 1 << 20;
const NAMES_MAX: u32 = 16 << 20;
const CELLS_MAX: u16 = 256;

/// How large a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Slots, 1 to 1,048,576.
    pub slots: u32,
    /// Histogram cells of a slot: 0, or an even number up to 256. A slot takes 384 bytes and 4 for each cell.
    pub cells: u16,
    /// Bytes for all names together, a multiple of 8 up to 16 MiB. A name takes its length rounded up to 8, once; names
    /// are never removed.
    pub names_bytes: u32,
}

impl Default for Geometry {
    /// 4,096 slots of 256 cells (1,408 bytes each) and 256 KiB of names: 5.8 MiB.
    fn default() -> Self {
        Self { slots: 4096, cells: 256, names_bytes: 256 << 10 }
    }
}

impl Geometry {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |field, value: u64, allowed| Error::Geometry { field, value, allowed };
        if self.slots == 0 || self.slots > SLOTS_MAX {
            return Err(wrong("slots", self.slots.into(), "1 to 1048576"));
        }
        if self.cells > CELLS_MAX || !self.cells.is_multiple_of(2) {
            return Err(wrong("cells", self.cells.into(), "0, or an even number up to 256"));
        }
        if self.names_bytes == 0 || self.names_bytes > NAMES_MAX || !self.names_bytes.is_multiple_of(8) {
            return Err(wrong("names_bytes", self.names_bytes.into(), "a multiple of 8 from 8 to 16777216"));
        }
        Ok(())
    }

    pub(crate) const fn cell_words(&self) -> usize {
        self.cells as usize / 2
    }
    pub(crate) const fn slot_words(&self) -> usize {
        CELLS + self.cell_words()
    }
    pub(crate) const fn names_words(&self) -> usize {
        self.names_bytes as usize / 8
    }
    pub(crate) const fn slots_at(&self) -> usize {
        HEADER + self.names_words()
    }
    /// Where a slot begins, in words.
    pub(crate) const fn slot_at(&self, index: u32) -> usize {
        self.slots_at() + index as usize * self.slot_words()
    }
    pub(crate) const fn words(&self) -> usize {
        self.slots_at() + self.slots as usize * self.slot_words()
    }
    /// Size of the file.
    pub const fn bytes(&self) -> u64 {
        self.words() as u64 * 8
    }
}

/// What a slot is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    /// Being opened; nothing was counted.
    Init,
    Live,
    /// Counts no more; not yet free.
    Closed,
}

impl State {
    /// The descriptor's first word.
    pub(crate) const fn word(self, generation: u64) -> u64 {
        let code = match self {
            Self::Free => 0,
            Self::Init => 1,
            Self::Live => 2,
            Self::Closed => 3,
        };
        generation << 3 | code
    }
    /// State and generation; `None` for a state that does not exist.
    pub(crate) const fn of(word: u64) -> Option<(Self, u64)> {
        let state = match word & 7 {
            0 => Self::Free,
            1 => Self::Init,
            2 => Self::Live,
            3 => Self::Closed,
            _ => return None,
        };
        Some((state, word >> 3))
    }
}

/// The word that says where a name is.
pub(crate) const fn name_word(offset: usize, length: usize) -> u64 {
    (offset as u64) << 16 | length as u64
}

/// Offset and length of a name, whatever the word.
pub(crate) fn name_place(word: u64) -> (usize, usize) {
    (usize::try_from(word >> 16).unwrap_or(usize::MAX), (word & 0xffff) as usize)
}

/// The part of a file's header that never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// One life of the process that counted.
    pub incarnation: Uuid,
    /// The machine's boot, 16 bytes; zero if unknown.
    pub boot: [u8; 16],
    /// Its process.
    pub pid: u32,
    /// When that process started, in the kernel's ticks since boot; zero if unknown.
    pub pid_start: u64,
    /// The namespace in which the pid counts; zero if unknown.
    pub pid_namespace: u64,
    /// Wall time of the start, ms since 1970, as the caller gave it.
    pub started_ms: u64,
    /// What the caller's words mean: a version of the caller's.
    pub schema: u64,
    /// Sizes.
    pub geometry: Geometry,
    /// The caller's bytes about itself.
    pub about: Vec<u8>,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// All zero: its maker died, or is not yet done, before anything was counted.
    Unfinished,
    NotOurs,
    Version(u32),
    Damaged(&'static str),
}

const CRC_AT: usize = 16 * 8;

impl Header {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |word: usize, value: u64| bytes[word * 8..][..8].copy_from_slice(&value.to_ne_bytes());
        let (high, low) = self.incarnation.as_u64_pair();
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        put(0, MAGIC);
        put(1, pair(0, VERSION));
        put(2, high);
        put(3, low);
        put(6, pair(0, self.pid));
        put(7, self.pid_start);
        put(8, self.pid_namespace);
        put(9, self.started_ms);
        put(10, self.schema);
        put(11, pair(self.cells_and_layout(), self.geometry.slots));
        put(12, pair(0, self.geometry.names_bytes));
        put(13, self.about.len() as u64);
        bytes[4 * 8..][..16].copy_from_slice(&self.boot);
        let about = self.about.len().min(ABOUT_BYTES);
        bytes[ABOUT_AT * 8..][..about].copy_from_slice(&self.about[..about]);
        let crc = crc_of(&bytes);
        bytes[CRC_AT..][..4].copy_from_slice(&crc.to_ne_bytes());
        bytes
    }

    /// Cells, words of a copy and tags: all that decides where things are, so that a file of another build is known.
    fn cells_and_layout(&self) -> u32 {
        const { assert!(WORDS < 256 && TAGS < 256) };
        let small = |number: usize| u32::try_from(number).unwrap_or(0);
        u32::from(self.geometry.cells) | small(WORDS) << 16 | small(TAGS) << 24
    }

    /// Reads a header; any bytes are one or not.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, NoHeader> {
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at * 8 + i]));
        let low = |at: usize| (word(at) & 0xffff_ffff) as u32;
        match word(0) {
            MAGIC => {}
            0 => return Err(NoHeader::Unfinished),
            _ => return Err(NoHeader::NotOurs),
        }
        // Before the checksum: another version may keep it elsewhere.
        if word(1) != u64::from(VERSION) {
            return Err(NoHeader::Version(low(1)));
        }
        if word(CRC_AT / 8) != u64::from(crc_of(bytes)) {
            return Err(NoHeader::Damaged("its checksum does not fit"));
        }
        let about = usize::try_from(word(13)).ok().filter(|length| *length <= ABOUT_BYTES);
        let about = about.ok_or(NoHeader::Damaged("its text is longer than its place"))?;
        let shape = (word(11) >> 32) as u32;
        let geometry = Geometry { slots: low(11), cells: (shape & 0xffff) as u16, names_bytes: low(12) };
        let header = Self {
            incarnation: Uuid::from_u64_pair(word(2), word(3)),
            boot: std::array::from_fn(|i| bytes[4 * 8 + i]),
            pid: low(6),
            pid_start: word(7),
            pid_namespace: word(8),
            started_ms: word(9),
            schema: word(10),
            geometry,
            about: bytes[ABOUT_AT * 8..][..about].to_vec(),
        };
        if header.cells_and_layout() != shape || geometry.check().is_err() {
            return Err(NoHeader::Damaged("its sizes are not possible"));
        }
        Ok(header)
    }
}

/// Over all that never changes but the checksum itself.
fn crc_of(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    crc32c::crc32c_append(crc, &bytes[CRC_AT + 8..(ABOUT_AT * 8 + ABOUT_BYTES)])
}
