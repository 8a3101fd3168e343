//! What an engine asks of the disk, seen from outside: a child that appends, under `strace`.
//!
//! The child writes a mark to `/dev/null` before each append and after it has returned. An append is *durable* if between
//! the two a flush began and ended well; it may have been another thread's. What the engine says of itself plays no part.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::engines::{Engine, ROWS, unsynced};

/// Its place in the list of engines that `child` knows.
pub(crate) const CONTROL: &str = "unsynced";
const FLUSHES: [&str; 2] = ["fsync", "fdatasync"];
const WRITES: [&str; 4] = ["write", "pwrite64", "writev", "pwritev"];

/// What was seen between the first mark and the last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) appends: usize,
    pub(crate) flushes: usize,
    /// Writes to files.
    pub(crate) writes: usize,
    /// Appends that returned although no flush had begun and ended since they were called.
    pub(crate) unflushed: usize,
}

/// Appends so many by so many threads, with marks.
pub(crate) fn child(name: &str, appenders: usize, appends: usize, dir: &Path) -> Outcome<()> {
    let row = ROWS.iter().find(|row| row.name == name);
    let engine = row.map_or(unsynced as fn(&Path) -> _, |row| row.open)(dir)?;
    let one = |engine: &dyn Engine| -> Outcome<()> {
        let mut marks = OpenOptions::new().write(true).open("/dev/null")?;
        for _ in 0..appends / appenders {
            marks.write_all(b"call")?;
            engine.append()?;
            marks.write_all(b"back")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..appenders).map(|_| scope.spawn(|| one(&*engine))).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "an appender panicked")?)
    })
}

/// Runs such a child under `strace`, in an empty directory.
pub(crate) fn seen(name: &str, appenders: usize, appends: usize, dir: &Path) -> Outcome<Seen> {
    let trace = dir.join("trace");
    let calls = format!("trace={},{}", FLUSHES.join(","), WRITES.join(","));
    let (appenders, appends) = (appenders.to_string(), appends.to_string());
    let status = Command::new("strace")
        .args(["-f", "-y", "-q", "--seccomp-bpf", "-s", "8", "-e", &calls, "-o"])
        .arg(&trace)
        .arg(std::env::current_exe()?)
        .args(["--child", name, &appenders, &appends])
        .arg(dir)
        .status()
        .map_err(|e| format!("strace: {e}"))?;
    if !status.success() {
        return Err(format!("{name} under strace ended with {status}").into());
    }
    Ok(read(&std::fs::read_to_string(trace)?))
}

/// Where an append stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Append {
    Called,
    Flushed,
}

/// Reads a trace line by line: who flushes, who has called and is not back.
fn read(trace: &str) -> Seen {
    let mut seen = Seen::default();
    // By thread: its append; of a flush that has not ended, the appends that it may serve.
    let mut open: HashMap<&str, Append> = HashMap::new();
    let mut flushing: HashMap<&str, Vec<&str>> = HashMap::new();
    // What comes before the first mark and after the last is opening and closing.
    let (mut flushes, mut writes) = (0, 0);
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let resumed = call.strip_prefix("<... ").and_then(|rest| rest.split_once(' '));
        let (name, begins) = match resumed {
            Some((name, _)) => (name, false),
            None => (call.split('(').next().unwrap_or_default(), true),
        };
        let ends = !call.ends_with("<unfinished ...>");
        if FLUSHES.contains(&name) {
            if begins {
                flushing.insert(thread, open.keys().copied().collect());
            }
            if ends {
                let served = flushing.remove(thread).unwrap_or_default();
                if call.ends_with("= 0") {
                    flushes += usize::from(seen.appends > 0 || !open.is_empty());
                    for thread in served {
                        open.entry(thread).and_modify(|append| *append = Append::Flushed);
                    }
                }
            }
        } else if !begins {
        } else if call.contains("</dev/null") && call.contains("\"call\"") {
            open.insert(thread, Append::Called);
        } else if call.contains("</dev/null") && call.contains("\"back\"") {
            seen.appends += 1;
            seen.unflushed += usize::from(open.remove(thread) != Some(Append::Flushed));
            (seen.flushes, seen.writes) = (flushes, writes);
        } else if WRITES.contains(&name) && call.contains("</") && !call.contains("</dev/") {
            writes += usize::from(seen.appends > 0 || !open.is_empty());
        }
    }
    seen
}

/// The reader of traces itself: a flush that began before the call, or ended after the return, or failed, is none.
pub(crate) fn checked() -> Outcome<()> {
    let mark = |thread: u32, what: &str| format!("{thread} write(3</dev/null<char 1:3>>, \"{what}\", 4) = 4\n");
    let (call, back) = (mark(1, "call"), mark(1, "back"));
    let good = "1 fdatasync(5</a>) = 0\n";
    let (begun, ended) = ("2 fdatasync(5</a> <unfinished ...>\n", "2 <... fdatasync resumed>) = 0\n");
    let failed = "1 fdatasync(5</a>) = -1 EIO (Input/output error)\n";
    for (trace, unflushed) in [
        (format!("{call}{good}{back}"), 0),
        (format!("{call}{begun}{ended}{back}"), 0),
        (format!("{good}{call}{back}"), 1),
        (format!("{begun}{call}{ended}{back}"), 1),
        (format!("{call}{begun}{back}{ended}"), 1),
        (format!("{call}{failed}{back}"), 1),
    ] {
        if read(&trace).unflushed != unflushed {
            return Err(format!("{unflushed} expected unflushed in\n{trace}").into());
        }
    }
    Ok(())
}
