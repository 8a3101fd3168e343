//! `chaperone`: reads the command line, does it, ends with the code that says how it went.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use chaperone::cli::Cli;
use chaperone::exit::Failure;
use chaperone::telemetry;

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.message.lines() {
                eprintln!("chaperone: {line}");
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

fn act() -> Result<(), Failure> {
    telemetry::init();
    match Cli::read()? {
        Some(cli) => cli.run(),
        None => Ok(()),
    }
}
