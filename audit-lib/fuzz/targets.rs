//! What is fuzzed, each as a function of any bytes that panics when something is not as it must be. Also the tests' own:
//! the corpus of what was found is replayed by the suite `scan`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use chaperone_audit::message::{Headers, Message};
use chaperone_audit::rule::HEADER;
use chaperone_audit::scan::{Found, Pointer, find as scan_for};
use chaperone_audit::{AuditMessage, Rule};
use chaperone_wal::slots::recovery::SlotFile;
use chaperone_wal::slots::{Geometry, Limits, Start, Table};
use chaperone_wal::{Config, Error, File, Kind, Log, Storage};
use uuid::Uuid;

use crate::oracle::{self, Answer};

/// Panics if it finds something wrong.
pub(crate) type Target = fn(&[u8]);

/// By name.
pub(crate) const ALL: [(&str, Target); 6] =
    [("scan", scan), ("wire", wire), ("log", log), ("slots", slots), ("header", header), ("naive", naively)];

/// The target of that name.
#[allow(dead_code, reason = "the replay knows them all")]
pub(crate) fn find(name: &str) -> Option<Target> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// For people.
#[allow(dead_code, reason = "the replay has nothing to say")]
pub(crate) fn names() -> String {
    ALL.map(|(name, _)| name).join(", ")
}

/// The scanner's answer in the oracle's words.
pub(crate) fn scanned(document: &[u8], pointer: &Pointer) -> Answer {
    match scan_for(document, pointer) {
        Found::Absent => Answer::Absent,
        Found::Malformed => Answer::Malformed,
        Found::Null => Answer::Null,
        Found::Other => Answer::Other,
        Found::Number(number) => Answer::Number(String::from_utf8_lossy(number.as_bytes()).into_owned()),
        Found::Text(text) => text.read().map_or(Answer::Unreadable, |text| Answer::Text(text.into_owned())),
    }
}

/// A byte that chooses the pointer, then the document. Of a valid one the answer is the full parser's; of another it is that of
/// a parser that stops at the field, or none.
fn scan(data: &[u8]) {
    const POINTERS: [&str; 12] =
        ["", "/ts", "/t", "/meta/ts", "/0", "/1/ts", "/a/0", "/a~1b", "/t\"s", "/é", "/", "/a/b/c"];
    let Some((choice, document)) = data.split_first() else { return };
    let path = POINTERS[usize::from(*choice) % POINTERS.len()];
    let (pointer, steps) = (Pointer::parse(path).expect("of the list"), oracle::steps(path));
    let said = scanned(document, &pointer);
    let meant = oracle::whole(document, &steps);
    if meant != Answer::Malformed {
        assert_eq!(said, meant, "{path} in {}", String::from_utf8_lossy(document));
        return;
    }
    let meant = oracle::up_to_the_field(document, &steps);
    let silent = said == Answer::Malformed || meant == Answer::Malformed;
    assert!(silent || said == meant, "{path} is {said:?}, meant {meant:?} in {}", String::from_utf8_lossy(document));
}

/// What most would write: the first place where the name stands in quotes before a colon.
pub(crate) fn naive(document: &str, name: &str) -> Answer {
    let key = format!("\"{name}\"");
    let Some(at) = document.find(&key) else { return Answer::Absent };
    let rest = document[at + key.len()..].trim_start();
    let Some(value) = rest.strip_prefix(':').map(str::trim_start) else { return Answer::Absent };
    oracle::leading_value(value)
}

/// The control: that search is wrong about some document.
fn naively(data: &[u8]) {
    let meant = oracle::whole(data, &oracle::steps("/t"));
    if let (Ok(text), true) = (std::str::from_utf8(data), meant != Answer::Malformed) {
        assert_eq!(naive(text, "t"), meant);
    }
}

/// What is read is what would be written, and is believed again.
fn wire(data: &[u8]) {
    let Ok(message) = AuditMessage::decode(data) else { return };
    let text = message.encode().expect("what was read can be written");
    assert_eq!(AuditMessage::decode(&text).expect("what was written can be read"), message);
    let _ = message.slots.iter().fold(chaperone_audit::SlotState::default(), |mut all, slot| {
        let before = all.clone();
        all.join(&slot.state);
        let once = all.clone();
        all.join(&slot.state);
        all.join(&before);
        assert_eq!(all, once, "joining again changes nothing");
        all
    });
}

/// The header, and the other places of a time and an identity, with any bytes in them.
fn header(data: &[u8]) {
    struct Any<'a>(&'a str, &'a [u8]);
    impl Headers for Any<'_> {
        fn header(&self, name: &str) -> Option<&[u8]> {
            (name == self.0 || (self.0 == "ce_time" && name == "ce_id")).then_some(self.1)
        }
    }
    let rule = Rule::new(7);
    let now_ms = 1_790_000_000_000;
    for name in [HEADER, "ce_time", "ce_id", "content-type"] {
        let headers = Any(name, data);
        let timestamp_ms = data.first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        let message = Message {
            topic: "orders",
            key: None,
            value: Some(data),
            headers: &headers,
            timestamp_ms,
            broker_time: data.len() % 2 == 1,
        };
        let seen = rule.observe(&message, now_ms);
        assert_eq!(seen, rule.observe(&message, now_ms));
        assert_eq!(seen.event_ms.is_some(), seen.class.has_time(), "{seen:?}");
        if let Some(event_ms) = seen.event_ms {
            let range = chaperone_audit::rule::MIN_EVENT_MS..=now_ms + chaperone_audit::rule::MAX_AHEAD_MS;
            assert!(range.contains(&event_ms), "{seen:?}");
        }
    }
}

/// Edits of three bytes each (where, modulo the length, and what is flipped there), after a byte that says whether a
/// piece of the end goes: any bytes mean some damage of an honest file.
fn damaged(honest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    let Some((cut, edits)) = data.split_first() else { return bytes };
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[at] ^= edit[2];
    }
    bytes.truncate(bytes.len() - usize::from(cut % 64) * bytes.len() / 256);
    bytes
}

/// A directory in memory.
#[derive(Default, Clone)]
struct Shelf(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

struct Sheet(Shelf, Mutex<String>);

impl Shelf {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for Shelf {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.with(|files| files.keys().cloned().collect()))
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn File>> {
        self.with(|files| files.insert(name.to_owned(), vec![0; usize::try_from(len).unwrap_or(0)]));
        Ok(Box::new(Sheet(self.clone(), Mutex::new(name.to_owned()))))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<Box<dyn File>> {
        let bytes = self.with(|files| files.remove(from)).ok_or_else(absent)?;
        self.with(|files| files.insert(to.to_owned(), bytes));
        Ok(Box::new(Sheet(self.clone(), Mutex::new(to.to_owned()))))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.with(|files| files.get(name).cloned()).ok_or_else(absent)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|files| files.remove(name)).map(drop).ok_or_else(absent)
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Sheet {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let name = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        self.0.with(|files| {
            let room = files.get_mut(&*name).and_then(|file| file.get_mut(at..at + bytes.len()));
            room.map(|room| room.copy_from_slice(bytes)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
        })
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const SMALL: Config = Config { segment_bytes: 4096, max_bytes: 64 << 10, background: false };

fn payload(id: u128) -> Vec<u8> {
    vec![u8::try_from(id % 251).unwrap_or(0); usize::try_from(id * 37 % 400).unwrap_or(0)]
}

/// The segments of a log with records, marks, a checkpoint and a replacement in them.
static SEGMENTS: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let shelf = Shelf::default();
    let (log, _) = Log::open_with(Arc::new(shelf.clone()), SMALL).expect("an empty log");
    let mut seqs = Vec::new();
    for id in 1..20 {
        seqs.push(log.append(Uuid::from_u128(id), &payload(id)).expect("room"));
        if id % 5 == 0 {
            log.done(seqs[seqs.len() / 2]).expect("a mark");
            log.append_checkpoint(Uuid::from_u128(100 + id), &payload(100 + id)).expect("room");
        }
    }
    log.replace(&seqs[seqs.len() - 2..], Uuid::from_u128(99), &payload(99)).expect("room");
    drop(log);
    shelf.with(|files| files.clone())
});

/// A log opens whatever its segments hold, invents nothing, takes entries, and has them when it is opened again.
fn log(data: &[u8]) {
    let honest: Vec<u8> = SEGMENTS.values().flatten().copied().collect();
    let bytes = if data.len().is_multiple_of(2) { damaged(&honest, data) } else { data.to_vec() };
    let shelf = Shelf::default();
    for (name, part) in SEGMENTS.keys().zip(bytes.chunks(4096)) {
        shelf.with(|files| files.insert(name.clone(), part.to_vec()));
    }
    let (log, found) = match Log::open_with(Arc::new(shelf.clone()), SMALL) {
        Ok(opened) => opened,
        Err(Error::UnknownFormat { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    for entry in &found.entries {
        assert_eq!(*entry.payload, *payload(entry.id.as_u128()), "invented: {entry:?}");
    }
    let taken = log.append(Uuid::from_u128(50), &payload(50)).is_ok();
    let before = log.pending();
    assert!(!taken || before.iter().any(|entry| entry.id.as_u128() == 50));
    drop(log);
    let (log, again) = Log::open_with(Arc::new(shelf), SMALL).expect("its own log");
    let now = log.pending();
    let records = |entries: &[chaperone_wal::Entry]| {
        let all = entries.iter().filter(|entry| entry.kind == Kind::Record);
        all.map(|entry| entry.id).collect::<Vec<_>>()
    };
    assert_eq!(records(&now), records(&before), "{again:?}");
}

/// The file of a dead process that counted.
static SLOTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let geometry = Geometry { slots: 4, cells: 16, names_bytes: 64 };
    let table = Table::create(dir.path(), &Start::default(), geometry).expect("a table");
    for (topic, counts) in [("orders", 5u8), ("payments", 3), ("refunds", 1)] {
        let mut line = table.open(1, topic, &[7; 8]).expect("a line");
        for i in 0..counts {
            let added = line.count(|words| {
                words[0] += 1;
                i
            });
            added.expect("counted");
            table.add(line.at(), &[1, 0, 0, 2, 3, 0, 0]).expect("added");
        }
    }
    std::fs::read(table.path().expect("a file")).expect("read")
});

/// A slot file is read whatever its bytes: an error that says what is wrong, or slots within its limits.
fn slots(data: &[u8]) {
    thread_local! {
        // In memory, where there is one.
        static DIR: tempfile::TempDir =
            tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    }
    let bytes = if data.len().is_multiple_of(2) { damaged(&SLOTS, data) } else { data.to_vec() };
    DIR.with(|dir| {
        let path = dir.path().join("a.slots");
        std::fs::write(&path, &bytes).expect("written");
        let Ok(file) = SlotFile::open(&path) else { return };
        let geometry = file.header().geometry;
        let found = file.read(Limits::default()).expect("a file that does not change");
        assert!(found.slots.len() <= geometry.slots as usize, "{found:?}");
        for slot in &found.slots {
            assert!(slot.at.index < geometry.slots && slot.name.len() <= bytes.len(), "{slot:?}");
        }
    });
}
