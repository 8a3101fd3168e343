//! A child that is forked inherits pages, gates and the lock; none of it is its own.
#![allow(unsafe_code, reason = "forks, which has no safe call; each block says why it is sound")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use super::*;
use crate::slots::recovery::{Life, SlotFile};

/// Runs `child` in a forked process and answers its exit code. `child` must not panic.
fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child does what `child` does (loads, stores, malloc, which glibc keeps usable over fork) and `_exit`s:
    // it runs no destructor or handler of the parent.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(child()),
            pid => pid,
        }
    }
}

fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` outlives the call; the pid is a child of ours that nobody else waits for.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    assert!(libc::WIFEXITED(status), "ended by a signal: {status:#x}");
    libc::WEXITSTATUS(status)
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), File::from(OwnedFd::from(writer)))
}

#[test]
fn a_forked_child_is_refused_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    for table in [Table::create(&path, &Start::default(), SMALL).unwrap(), heap(SMALL)] {
        let mut line = table.open(1, "orders", &[0; TAGS]).unwrap();
        line.count(|_| 1).unwrap();
        let at = line.at();
        let before = recovered(&table);
        let pid = fork(|| {
            let refused = [
                line.count(|_| 1).err(),
                table.add(at, &[1; WORDS]).err(),
                table.open(2, "orders", &[0; TAGS]).err(),
                table.adopt(at, 2).err(),
                table.read(at).err(),
                table.close_if(at, |_| true).err(),
                table.free(at).err(),
                table.note(at, 1).err(),
                table.quiesce().err(),
                table.heartbeat(1).err(),
                table.flag(1).err(),
            ];
            let all = refused.iter().all(|r| *r == Some(Refused::Forked));
            i32::from(!(all && table.is_forked() && table.remove().is_ok()))
        });
        assert_eq!(wait(pid), 0);
        assert!(!table.is_forked());
        assert_eq!(recovered(&table), before, "the child wrote nothing");
        assert!(table.path().is_none() || table.is_reachable(), "nor did it remove the file");
        line.count(|_| 1).unwrap();
    }
}

/// A server that forks a worker and dies: the worker keeps the lock, and still the dead one's counts are found.
#[test]
fn a_lock_that_a_child_inherited_hides_no_dead_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut told, mut tell) = pipe();
    let (hold, let_go) = pipe();
    let owner = fork(|| {
        let Ok(table) = Table::create(&path, &Start::default(), SMALL) else { return 1 };
        let counted = table.open(1, "orders", &[0; TAGS]).and_then(|mut line| line.count(|_| 1));
        fork(|| {
            drop(let_go.as_fd().try_clone_to_owned());
            // SAFETY: closes this process's copy of a descriptor that it never uses again, so that the pipe can end.
            unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&let_go)) };
            let mut byte = [0];
            (&hold).read(&mut byte).map_or(2, |_| 0)
        });
        std::mem::forget(table);
        i32::from(counted.is_err() || tell.write_all(&[1]).is_err())
    });
    let mut byte = [0];
    told.read_exact(&mut byte).unwrap();
    let found = recovery::list(&path).unwrap().remove(0);
    let early = SlotFile::open(&found).unwrap().life();
    assert!(matches!(early, Life::Alive | Life::DeadWithHeirs), "locked: {early:?}");
    assert_eq!(wait(owner), 0);
    let file = SlotFile::open(&found).unwrap();
    assert_eq!(file.life(), Life::DeadWithHeirs);
    assert_eq!(file.read(Limits::default()).unwrap().slots[0].n, 1);
    // The worker ends when the last writer of its pipe is gone; then the lock is, too.
    drop((let_go, file));
    let mut life = Life::DeadWithHeirs;
    for _ in 0..1_000_000 {
        life = SlotFile::open(&found).unwrap().life();
        if life == Life::Dead {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(life, Life::Dead);
}
