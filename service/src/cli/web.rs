//! `chaperone web`

use clap::Args;

use super::ConfigFile;
use crate::app::{Parts, Serves};
use crate::exit::Failure;
use crate::presence::Role;
use crate::taps::Which;

/// Serves only the dashboard and the API, over the store of a `chaperone collect` or `run`, until SIGTERM or SIGINT. It
/// writes nothing and may start before there is a store. SIGHUP reads the configuration again.
#[derive(Debug, Args)]
pub struct Web {
    #[command(flatten)]
    file: ConfigFile,
}

impl Web {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.file.serve(Parts { role: Role::Web, taps: Which::None, serves: Serves::Page }, |_| Ok(()))
    }
}
