//! `chaperone run`

use clap::Args;

use super::ConfigFile;
use crate::app::{Parts, Serves};
use crate::exit::{Code, Failure};
use crate::presence::Role;
use crate::taps::Which;

/// Runs taps, intake, store and dashboard until SIGTERM or SIGINT. SIGHUP reads the configuration again.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Leave the taps to processes of their own (`chaperone tap`).
    #[arg(long)]
    no_taps: bool,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let taps = if self.no_taps { Which::None } else { Which::All };
        self.file.serve(Parts { role: Role::Run, taps, serves: Serves::Page }, |_| Ok(()))
    }
}

/// A failure of the runtime or of signals.
pub(super) fn runtime(e: &std::io::Error) -> Failure {
    Failure::new(Code::Software, format!("cannot start: {e}"))
}
