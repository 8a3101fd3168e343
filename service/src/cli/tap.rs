//! `chaperone tap`

use std::sync::Arc;

use chaperone_audit::SystemClock;
use clap::Args;
use tokio::runtime::Handle;

use super::ConfigFile;
use crate::app::{open_store, start_taps, stop_parts};
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::problems::Problems;
use crate::tap::Shared;

/// Runs only taps, on the store of a running `chaperone run --no-taps`, until SIGTERM or SIGINT.
#[derive(Debug, Args)]
pub struct Tap {
    #[command(flatten)]
    file: ConfigFile,
    /// Only the tap of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

impl Tap {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        check_cluster(&config, self.cluster.as_deref())?;
        super::block_on(async move {
            // The list is only logged: a process without a dashboard has no /readyz.
            let (problems, _) = Problems::new();
            let store = Arc::new(open_store(&config)?);
            let shared = Shared { store, runtime: Handle::current(), clock: Arc::new(SystemClock), problems };
            let taps = start_taps(&config, self.cluster.as_deref(), &shared)?;
            super::stop_signal()?.await;
            stop_parts(taps, Vec::new()).await;
            Ok(())
        })
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
