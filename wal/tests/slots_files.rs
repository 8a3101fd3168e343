//! The file: made whole or not at all, found by a successor, never removed under its owner.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chaperone_wal::slots::recovery::{self, Life, SlotFile};
use chaperone_wal::slots::{Error, Geometry, Limits, Start, Table, default_dir};
use uuid::Uuid;

const SMALL: Geometry = Geometry { slots: 4, cells: 16, names_bytes: 64 };

fn start() -> Start {
    Start { incarnation: Uuid::now_v7(), started_ms: 1, schema: 2, about: b"about".to_vec() }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_successor_finds_what_was_counted_and_an_owner_keeps_its_file() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("slots");
    let start = start();
    let table = Table::create(&dir, &start, SMALL).unwrap();
    assert!(table.survives() && table.is_reachable());
    assert_eq!((mode(&dir), mode(table.path().unwrap())), (0o700, 0o600));
    let mut line = table.open(9, "orders", &[1; 8]).unwrap();
    line.count(|words| {
        words[0] = 77;
        3
    })
    .unwrap();
    let paths = recovery::list(&dir).unwrap();
    assert_eq!(paths, [table.path().unwrap()]);
    let alive = SlotFile::open(&paths[0]).unwrap();
    assert_eq!(alive.life(), Life::Alive);
    assert_eq!((alive.header().incarnation, alive.header().about.as_slice()), (start.incarnation, &b"about"[..]));
    assert_eq!(alive.read(Limits::default()).unwrap().slots, [table.read(line.at()).unwrap()]);
    assert!(alive.remove().is_err());
    drop((line, table));
    let dead = SlotFile::open(&paths[0]).unwrap();
    assert_eq!((dead.life(), dead.machine_died()), (Life::Dead, false));
    let slots = dead.read(Limits::default()).unwrap().slots;
    assert_eq!((slots[0].n, slots[0].words_in[0], slots[0].cells[3]), (1, 77, 1));
    dead.remove().unwrap();
    assert_eq!(recovery::list(&dir).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(recovery::list(&dir.join("nowhere")).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_file_that_is_gone_is_noticed_and_another_is_not_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("slots");
    let table = Table::create(&dir, &start(), SMALL).unwrap();
    let path = table.path().unwrap().to_owned();
    fs::rename(&path, dir.join("elsewhere")).unwrap();
    assert!(!table.is_reachable());
    fs::write(&path, "another's").unwrap();
    assert!(!table.is_reachable());
    table.remove().unwrap();
    assert!(path.exists());
    fs::rename(dir.join("elsewhere"), &path).unwrap();
    table.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let refused = |dir: &Path| match Table::create(dir, &start(), SMALL) {
        Err(Error::Directory { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    let open = scratch.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(refused(&open), "can be written by others");
    let own = scratch.path().join("own");
    fs::create_dir(&own).unwrap();
    symlink(&own, scratch.path().join("link")).unwrap();
    assert_eq!(refused(&scratch.path().join("link")), "is a link, not a directory");
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0);
}

#[test]
fn sizes_that_cannot_be_are_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let wrong = [
        (Geometry { slots: 0, ..SMALL }, "slots"),
        (Geometry { cells: 15, ..SMALL }, "cells"),
        (Geometry { cells: 258, ..SMALL }, "cells"),
        (Geometry { names_bytes: 12, ..SMALL }, "names_bytes"),
    ];
    for (geometry, name) in wrong {
        for made in [Table::create(scratch.path(), &start(), geometry), Table::heap(&start(), geometry)] {
            assert!(matches!(made, Err(Error::Geometry { field, .. }) if field == name), "{name}");
        }
    }
    let long = Start { about: vec![0; 3073], ..start() };
    assert!(matches!(Table::create(scratch.path(), &long, SMALL), Err(Error::About { bytes: 3073 })));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn the_default_is_memory_that_outlives_the_session() {
    let scratch = tempfile::tempdir().unwrap();
    let (shm, runtime) = (scratch.path().join("shm"), scratch.path().join("runtime"));
    assert_eq!(default_dir(&shm, None), None);
    assert_eq!(default_dir(&shm, Some(Path::new("relative"))), None);
    fs::create_dir(&runtime).unwrap();
    assert_eq!(default_dir(&shm, Some(&runtime)), Some(runtime.join("chaperone")));
    fs::create_dir(&shm).unwrap();
    let name = default_dir(&shm, Some(&runtime)).unwrap();
    assert!(name.starts_with(&shm) && name.to_string_lossy().contains("chaperone-"));
}

/// What is no slot file, or is not finished, is told and kept.
#[test]
fn other_files_are_told_apart_and_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.slots");
    let problem = |path: &Path| SlotFile::open(path).map(|_| ()).unwrap_err();
    fs::write(&path, vec![7; 10_000]).unwrap();
    assert!(matches!(problem(&path), Error::Unreadable { .. }));
    assert!(!recovery::remove_unfinished(&path).unwrap());
    fs::write(&path, vec![0; 10_000]).unwrap();
    assert!(matches!(problem(&path), Error::Unfinished { .. }));
    assert!(recovery::remove_unfinished(&path).unwrap() && !path.exists());
    fs::create_dir(&path).unwrap();
    assert!(matches!(problem(&path), Error::Unreadable { .. }));
    fs::remove_dir(&path).unwrap();
    let fifo = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(fifo.success());
    assert!(matches!(problem(&path), Error::Unreadable { .. }), "nobody waits for a pipe's other end");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    assert!(matches!(problem(&path), Error::Io { .. }), "no link is followed");
}

/// The example, under a shell that sets the stage. It says why on standard error and ends with 73, by no signal.
fn under(stage: &str, dir: &Path) -> Output {
    let me = std::env::current_exe().unwrap();
    let victim = me.parent().unwrap().with_file_name("examples").join("slots_victim");
    assert!(victim.exists(), "{} is not built: cargo test -p chaperone-wal builds it", victim.display());
    let script = format!("{stage}; exec \"$0\" \"$1\" mapped");
    Command::new("sh").args(["-c", &script]).arg(victim).arg(dir).output().unwrap()
}

#[test]
fn no_room_is_an_error_at_the_start_and_no_signal_ever() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("slots");
    let refused = |output: &Output, words: &str| {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(73), "{output:?}");
        assert!(said.contains("no room for") && said.contains(words), "{said}");
    };
    // A limit of one block (512 bytes or 1 KiB) for a file's size.
    refused(&under("ulimit -f 1", &dir), "the limit of the process");
    assert_eq!(recovery::list(&dir).unwrap(), Vec::<PathBuf>::new(), "nothing is left behind");
    // A file system in memory with room for one page: a mount namespace, which any user may have. The table takes 8 KiB.
    let stage = "exec unshare --map-root-user --mount sh -ec 'mkdir -p \"$1\"; mount -t tmpfs -o size=4k,mode=700 none \"$1\"; \
                 exec \"$0\" \"$1\" mapped' \"$0\" \"$1\"";
    refused(&under(stage, &dir), "os error 28");
}
