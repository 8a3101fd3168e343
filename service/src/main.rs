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
            telemetry::end(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

fn act() -> Result<(), Failure> {
    match Cli::read()? {
        Some(cli) => {
            telemetry::init(cli.log_format);
            cli.run()
        }
        None => Ok(()),
    }
}
