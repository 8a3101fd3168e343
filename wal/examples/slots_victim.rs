//! Counts on four threads until it is killed, and tells each count to a pipe: the witness of the tests of slots.
//!
//! `slots_victim DIR mapped|dense|heap [ABORT_AFTER]`: for each message a thread counts it, writes one byte to standard output,
//! then reports its outcome. `dense` writes one byte for many, so that it dies amid counting more often. `heap` is the control: a table in memory, saved to `DIR/saved` and synced every 5 ms.
//! With `ABORT_AFTER` it ends itself by `abort` after so many messages of the first thread.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use chaperone_wal::slots::{Geometry, Start, Table};

#[path = "../tests/slots_story/mod.rs"]
mod story;

const SAVE_EVERY: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, mode, rest @ ..] = &arguments[..] else {
        eprintln!("usage: slots_victim DIR mapped|dense|heap [ABORT_AFTER]");
        return ExitCode::from(64);
    };
    let abort_after = rest.first().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
    match act(Path::new(dir), mode, abort_after) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(73)
        }
    }
}

fn act(dir: &Path, mode: &str, abort_after: u64) -> Result<(), Box<dyn std::error::Error>> {
    let start = Start { incarnation: uuid::Uuid::now_v7(), ..Start::default() };
    let geometry = Geometry { slots: 8, cells: story::CELLS, names_bytes: 64 };
    let table = match mode {
        "heap" => Table::heap(&start, geometry)?,
        _ => Table::create(dir, &start, geometry)?,
    };
    let witness = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (over, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        for owner in 0..story::THREADS {
            let (table, witness, over) = (&table, &witness, over.clone());
            scope.spawn(move || {
                let abort_after = if owner == 0 { abort_after } else { u64::MAX };
                let ended = thread(table, witness, owner, story::per_byte(mode), abort_after);
                drop((ended, over));
            });
        }
        drop(over);
        if mode == "heap" {
            save(&table, dir, &ended).expect("the control saves");
        }
    });
    Ok(())
}

/// Counts until nobody reads the witness any more.
fn thread(table: &Table, mut witness: &File, owner: u64, per_byte: u64, abort_after: u64) -> Option<()> {
    let mut line = table.open(owner, "orders", &[0; 8]).ok()?;
    for k in 1.. {
        line.count(|words| story::count(words, owner, k)).ok()?;
        if k.is_multiple_of(per_byte) {
            witness.write_all(&[1]).ok()?;
        }
        table.add(line.at(), &story::outcome(owner, k)).ok()?;
        if k.is_multiple_of(64) {
            // As if the thread had ended and another had come.
            let at = line.at();
            drop(line);
            line = table.adopt(at, owner).ok()?;
        }
        if k >= abort_after {
            std::process::abort();
        }
    }
    None
}

/// The control: what a table in memory and a file can do.
fn save(table: &Table, dir: &Path, ended: &mpsc::Receiver<()>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let file = File::create(dir.join("saved"))?;
    while ended.recv_timeout(SAVE_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        let sum: u64 = table.uses().filter_map(|(at, _)| table.read(at).ok()).map(|slot| slot.n).sum();
        file.write_all_at(&sum.to_le_bytes(), 0)?;
        file.sync_data()?;
    }
    Ok(())
}
