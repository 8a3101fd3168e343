//! A process that counts, for suites that kill it: `victim busy|acts|rest|log|store|calls|stall|memory|forks|full DIR …`.
//!
//! What it tells of itself (a byte for each message counted, on standard output) and what its sink stores (a file of JSON
//! lines) goes through `writev`, which neither log nor slots use: faults of other calls spare the witness.
//! Ends with 0, with 73 and a reason when the directory cannot be used, or as it is told to die.

mod acts;
mod busy;
mod forks;
mod full;
mod host;
mod log;
mod sink;
mod store;

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chaperone_audit::message::{Message, NoHeaders};
use chaperone_audit::recorder::{Config, Slots};

const CANNOT_WRITE: u8 = 73;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(CANNOT_WRITE)
        }
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["busy", dir, sink, end, after] => busy::run(Path::new(dir), Path::new(sink), end, after.parse()?),
        ["acts", dir, sink, end] => acts::run(Path::new(dir), Path::new(sink), end),
        ["rest", dir, sink] => acts::rest(Path::new(dir), Path::new(sink)),
        ["log", dir] => log::run(Path::new(dir)),
        ["store", path] => store::run(Path::new(path)),
        ["calls", dir] => host::calls(Path::new(dir)),
        ["stall", dir, seconds] => host::stall(Path::new(dir), seconds.parse()?),
        ["memory", dir, slots] => host::memory(Path::new(dir), slots.parse()?),
        ["forks", dir, sink, forks, end] => forks::run(Path::new(dir), Path::new(sink), forks.parse()?, end),
        ["full", dir, seed] => full::run(Path::new(dir), seed.parse()?),
        _ => anyhow::bail!("unknown arguments {arguments:?}"),
    }
}

/// Log and slots in one directory.
fn config(dir: &Path) -> Config {
    let slots = Slots::Dir(PathBuf::from(dir));
    Config { data_dir: Some(dir.to_owned()), slots, ..Config::new("victim", "tests") }
}

fn message<'a>(topic: &'a str, value: &'a [u8], timestamp_ms: i64) -> Message<'a> {
    let timestamp_ms = Some(timestamp_ms);
    Message { topic, key: None, value: Some(value), headers: &NoHeaders, timestamp_ms, broker_time: false }
}

/// Standard output without a lock and a buffer: what it was told is told.
struct Witness(File);

impl Witness {
    fn new() -> anyhow::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned().context("standard output")?;
        Ok(Self(File::from(out)))
    }
    fn tell(&self, what: &str) -> io::Result<()> {
        let told = (&self.0).write_vectored(&[IoSlice::new(what.as_bytes())])?;
        if told == what.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}
