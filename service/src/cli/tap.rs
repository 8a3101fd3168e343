//! `chaperone tap`

use std::pin::pin;
use std::sync::Arc;

use chaperone_audit::SystemClock;
use clap::Args;
use tokio::runtime::Handle;

use super::ConfigFile;
use crate::app::{open_store, stop_parts};
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::problems::Problems;
use crate::reload::Reached;
use crate::tap::Shared;
use crate::taps::{Taps, Which};

/// Runs only taps, on the store of a running `chaperone run --no-taps`, until SIGTERM or SIGINT. SIGHUP reads the
/// configuration again.
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
        super::block_on(async move {
            let only = self.cluster.clone();
            let mut reload = self.file.watched(move |config| check_cluster(config, only.as_deref()))?;
            let config = reload.config();
            // The list is only logged: a process without a dashboard has no /readyz.
            let (problems, _) = Problems::new();
            let store = Arc::new(open_store(config)?);
            let clock = Arc::new(SystemClock);
            let shared = Shared { store, runtime: Handle::current(), clock, problems: problems.clone() };
            let which = self.cluster.map_or(Which::All, Which::Of);
            let mut taps = Taps::start(which.settings(config), which, shared)?;
            crate::supervisor::ready();
            let mut stop = pin!(super::stop_signal()?);
            loop {
                tokio::select! {
                    () = &mut stop => break,
                    () = reload.asked() => {
                        let mut reached = Reached { taps: &mut taps, lags: None, pipelines: None, problems: &problems };
                        tokio::task::block_in_place(|| reload.act(&mut reached));
                    }
                }
            }
            crate::supervisor::stopping();
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
