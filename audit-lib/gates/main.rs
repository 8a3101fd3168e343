//! Loops whose instructions are counted (suite `instructions`): `gates NAME TIMES` does one thing so many times.
//!
//! What a loop costs is the difference of two runs over the difference of their times, so what comes before it does not
//! count. Each has a *floor*: the least that such work takes, written down beside it. Built for release, and with no
//! dependency but the library's own. A new gate is a row of `GATES`, and of the table in `tests/instructions`.

#![expect(clippy::unnecessary_wraps, reason = "all loops have one type")]

use std::collections::HashMap;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use chaperone_audit::MessageId;
use chaperone_audit::histogram::cell_of;
use chaperone_audit::scan::{Found, Pointer, Scaled, find};
use chaperone_wal::slots::{Geometry, Start, Table, Words};
use chaperone_wal::{Config, File, Log, Storage};
use uuid::Uuid;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Name, and what it does so many times.
type Gate = (&'static str, fn(u64) -> Outcome);

const GATES: [Gate; 7] = [
    ("slot-floor", slot_floor),
    ("slot", slot),
    ("slot-control", slot_control),
    ("scan-floor", scan_floor),
    ("scan", scan),
    ("append-floor", append_floor),
    ("append", append),
];

/// What counting a message comes down to: the sum of its id's hash, bytes, times, and the cell of its delay.
#[inline]
fn message(words: &mut Words, i: u64) -> u8 {
    let hash = MessageId(u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).hash(black_box(7));
    words[0] += 200 + (i & 63);
    words[1] = words[1].wrapping_add(hash.lo);
    words[2] = words[2].wrapping_add(hash.hi);
    words[3] = words[3].min(i);
    words[4] = words[4].max(i);
    words[5] = i;
    let delay = i64::try_from(i & 0xffff).unwrap_or_default();
    u8::try_from(cell_of(delay)).unwrap_or(u8::MAX)
}

/// The same in memory of the thread's own, which dies with it.
fn slot_floor(times: u64) -> Outcome {
    let (mut words, mut cells) = (Words::default(), [0_u32; 256]);
    for i in 0..times {
        let cell = message(black_box(&mut words), i);
        cells[usize::from(cell)] += 1;
        black_box(&mut cells);
    }
    Ok(())
}

fn slot(times: u64) -> Outcome {
    let table = Table::heap(&Start::default(), Geometry { slots: 64, cells: 256, names_bytes: 4096 })?;
    let mut line = table.open(1, "orders", &[0; 8])?;
    for i in 0..times {
        black_box(line.count(|words| message(words, i)).is_ok());
    }
    Ok(())
}

/// The way that the gate of the slot must not let through: a map behind a lock.
fn slot_control(times: u64) -> Outcome {
    let slots = Mutex::new(HashMap::from([("orders", (Words::default(), [0_u32; 256]))]));
    for i in 0..times {
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (words, cells) = slots.get_mut(black_box("orders")).ok_or("no slot")?;
        let cell = message(words, i);
        cells[usize::from(cell)] += 1;
    }
    Ok(())
}

/// 1 KB of short members, the wanted one last.
fn document() -> Vec<u8> {
    let member = |i: usize| match i % 6 {
        0 => format!("\"f{i}\":{}", 12_345 + i * 37),
        1 => format!("\"name{i}\":\"user-{i}\""),
        2 => format!("\"price{i}\":{}.{:02}", i * 13, i % 100),
        3 => format!("\"tags{i}\":[\"a\",\"b\",{i}]"),
        4 => format!("\"ok{i}\":true"),
        _ => format!("\"at{i}\":{{\"zip\":\"{:05}\",\"no\":{i}}}", i * 91),
    };
    let members: Vec<String> = (0..50).map(member).collect();
    format!("{{{},\"ts\":1790000000000}}", members.join(",")).into_bytes()
}

/// The search for the quoted name, which any decoy leads astray.
fn scan_floor(times: u64) -> Outcome {
    let (document, name) = (document(), memchr::memmem::Finder::new("\"ts\":"));
    for _ in 0..times {
        black_box(name.find(black_box(&document)).ok_or("no time")?);
    }
    Ok(())
}

fn scan(times: u64) -> Outcome {
    let (document, pointer) = (document(), Pointer::member("ts"));
    for _ in 0..times {
        let found = find(black_box(&document), &pointer);
        let Found::Number(number) = found else { return Err("no time".into()) };
        if black_box(number.scaled(0)) != Scaled::Whole(1_790_000_000_000) {
            return Err("another time".into());
        }
    }
    Ok(())
}

const PAYLOAD: [u8; 1024] = [0x5a; 1024];

/// Two copies of the bytes, to keep and to write: less the log cannot do.
fn append_floor(times: u64) -> Outcome {
    let mut out = Vec::with_capacity(2048);
    for _ in 0..times {
        let kept: Arc<[u8]> = black_box(&PAYLOAD[..]).into();
        out.clear();
        out.extend_from_slice(&kept);
        black_box(&mut out);
    }
    Ok(())
}

/// A disk that takes everything and keeps nothing.
struct Nowhere;

impl Storage for Nowhere {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn create(&self, _: &str, _: u64) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Nowhere))
    }
    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Nowhere))
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for Nowhere {
    fn write_at(&self, _: u64, bytes: &[u8]) -> io::Result<()> {
        black_box(bytes);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An entry and its mark, by the one caller.
fn append(times: u64) -> Outcome {
    let config = Config { background: false, ..Config::default() };
    let (log, _) = Log::open_with(Arc::new(Nowhere), config)?;
    for _ in 0..times {
        let seq = log.append(Uuid::nil(), black_box(&PAYLOAD))?;
        log.done(seq)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let gate = GATES.iter().find(|(known, _)| *known == name);
    let (Some((_, run)), Some(times)) = (gate, times) else {
        eprintln!("gates NAME TIMES, with one of {}", GATES.map(|(name, _)| name).join(", "));
        return ExitCode::from(64);
    };
    match run(times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
