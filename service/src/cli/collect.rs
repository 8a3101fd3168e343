//! `chaperone collect`

use clap::Args;

use super::{ConfigFile, Health};
use crate::app::Parts;
use crate::exit::Failure;
use crate::presence::Role;
use crate::taps::Which;

/// Runs intake and judge only, until SIGTERM or SIGINT: what `chaperone run` does without taps and page. SIGHUP reads the
/// configuration again.
#[derive(Debug, Args)]
pub struct Collect {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    health: Health,
}

impl Collect {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.file.serve(Parts { role: Role::Collect, taps: Which::None, serves: self.health.serves() }, |_| Ok(()))
    }
}
