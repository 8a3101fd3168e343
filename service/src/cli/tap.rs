//! `chaperone tap`

use clap::Args;

use super::{ConfigFile, Health};
use crate::app::Parts;
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::presence::Role;
use crate::taps::Which;

/// Runs only taps, on the store of a running `chaperone collect` or `chaperone run --no-taps`, until SIGTERM or SIGINT.
/// SIGHUP reads the configuration again.
#[derive(Debug, Args)]
pub struct Tap {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    health: Health,
    /// Only the tap of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

impl Tap {
    pub(super) fn run(self) -> Result<(), Failure> {
        let only = self.cluster.clone();
        let taps = self.cluster.map_or(Which::All, Which::Of);
        let parts = Parts { role: Role::Tap, taps, serves: self.health.serves() };
        self.file.serve(parts, move |config| check_cluster(config, only.as_deref()))
    }
}

fn check_cluster(config: &Config, only: Option<&str>) -> Result<(), Failure> {
    let tapped: Vec<&str> = config.clusters.iter().filter(|c| c.tap.is_some()).map(|c| c.name.as_str()).collect();
    match only {
        _ if tapped.is_empty() => {
            Err(Failure::new(Code::Configuration, "no cluster has a [kafka.NAME.tap] table; there is nothing to tap"))
        }
        Some(name) if !tapped.contains(&name) => {
            Err(Failure::new(Code::Usage, format!("--cluster {name}: no such tap; allowed: {}", tapped.join(", "))))
        }
        _ => Ok(()),
    }
}
