//! What is refused, with which exit code and which words.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::demo::{Demo, binary};
use chaperone_tests::paths;
use tempfile::TempDir;

/// `chaperone demo` with these arguments, to its end: exit code, standard output, standard error.
fn refused(arguments: &[&str]) -> anyhow::Result<(Option<i32>, String, String)> {
    let output = Command::new(binary()?).arg("demo").args(arguments).env_remove("RUST_LOG").output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn what_cannot_be_is_named_with_what_is_allowed() -> anyhow::Result<()> {
    for (arguments, named, allowed) in [
        (vec!["--faults", "fire:hop=1"], "'fire'", "loss, dup, masked, stall, kill"),
        (vec!["--faults", "loss:size=1"], "'size'", "hop, count"),
        (vec!["--faults", "loss:hop=5"], "hop=5", "1, 2, 3, 4"),
        (vec!["--faults", "stall:hop=1"], "hop=1", "3, 4"),
        (vec!["--faults", "kill:hop=2"], "hop=2", "1, 4"),
        (vec!["--faults", "loss:count=0"], "count=0", "1 to 500"),
        (vec!["--faults", ""], "no fault", "none"),
        (vec!["--faults", "loss", "--duration", "5"], "--duration 5", "take up to"),
        (vec!["--seed", "x"], "--seed", "x"),
        (vec!["--port", "70000"], "--port", "65535"),
        (vec!["--loud"], "--loud", "--help"),
    ] {
        let (code, said, warned) = refused(&arguments)?;
        ensure!(code == Some(64), "{arguments:?}: {code:?}");
        ensure!(warned.contains(named) && warned.contains(allowed), "{arguments:?}: {warned}");
        ensure!(said.is_empty(), "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_port_that_is_taken_and_a_store_that_is_there_are_left_alone() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let dir = TempDir::new_in(paths::scratch("demo")?)?;
    let folder = dir.path().to_string_lossy().into_owned();
    let (code, said, warned) = refused(&["--port", &port])?;
    ensure!(code == Some(69) && warned.contains(&port) && warned.contains("--port 0"), "{code:?} {warned}");
    ensure!(said.is_empty(), "{said}");
    std::fs::write(dir.path().join("chaperone.sqlite"), "of an earlier run")?;
    let (code, _, warned) = refused(&["--port", "0", "--data-dir", &folder])?;
    ensure!(code == Some(73) && warned.contains("chaperone.sqlite is there already"), "{code:?} {warned}");
    ensure!(std::fs::read(dir.path().join("chaperone.sqlite"))? == b"of an earlier run");
    Ok(())
}

/// Without `--json`: words, the address first, no colours off a terminal. When its reader leaves, it ends at the next
/// line and cleans up.
#[test]
fn people_get_words_and_a_reader_that_leaves_ends_it() -> anyhow::Result<()> {
    let (mut process, dir) = Demo::silent(&["--faults", "loss:hop=1;loss:hop=1;loss:hop=1;loss:hop=1;loss:hop=1"])?;
    let mut said = String::new();
    let mut out = BufReader::new(process.child().stdout.take().context("no stdout")?);
    while !said.contains("injected") {
        ensure!(out.read_line(&mut said)? > 0, "it ended: {said}");
    }
    ensure!(said.starts_with("Dashboard: http://127.0.0.1:"), "{said}");
    ensure!(said.contains("producer → proxy: 7 lost") && !said.contains('\x1b'), "{said}");
    drop(out);
    let status = process.wait(Duration::from_secs(90))?;
    // The next line is the second fault or the sight of the first, whichever comes first: then all faults are seen.
    ensure!(matches!(status.code(), Some(0 | 70)), "{status}: it did not end by itself");
    let left = std::fs::read_dir(dir.path())?.count();
    ensure!(left == 0, "{left} entries left in its temporary directory");
    Ok(())
}
