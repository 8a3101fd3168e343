//! `chaperone demo`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::run::runtime;
use crate::demo::spec::Faults;
use crate::demo::{self, Options, stage};
use crate::exit::{Code, Failure};
use crate::telemetry;

/// Runs everything on this machine without Kafka: five stages over mock brokers, faults that are announced, and the
/// dashboard that shows them.
#[derive(Debug, Args)]
pub struct Demo {
    /// One JSON object a line: ready, injected, caught, end.
    #[arg(long)]
    json: bool,
    /// none, or KIND:hop=N,count=N;… with KIND loss, dup, masked, stall (hops 3, 4) or kill (hops 1, 4). Hop 1 is
    /// producer → proxy. Without it, a new mix of all kinds every few minutes.
    #[arg(long, value_name = "SPEC")]
    faults: Option<String>,
    /// Decides kinds, hops, counts and messages. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends after so many seconds; faults stop early enough to be seen. Default: Ctrl-C ends it; with --json and
    /// --faults it ends when all have been seen.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Port of the dashboard on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Keeps the store there, as chaperone.sqlite; it may be read (mode=ro) while the demo runs.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// A stage of the demo as a process of its own.
#[derive(Debug, Args)]
pub struct DemoStage {
    /// What the demo tells it.
    settings: String,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        telemetry::quieter();
        let faults = self.faults.as_deref().map_or(Ok(Faults::Mix), Faults::parse);
        let options = Options {
            json: self.json,
            faults: faults.map_err(|e| Failure::new(Code::Usage, format!("--faults: {e}")))?,
            seed: self.seed.unwrap_or_else(rand::random),
            duration: self.duration.map(Duration::from_secs),
            port: self.port,
            data_dir: self.data_dir,
        };
        super::block_on(async move {
            let stop = super::stop_signal()?;
            // The terminal is closed.
            let mut hangup = signal(SignalKind::hangup()).map_err(|e| runtime(&e))?;
            let stop = async move {
                tokio::select! {
                    () = stop => {}
                    _ = hangup.recv() => {}
                }
            };
            demo::run(options, stop).await
        })
    }
}

impl DemoStage {
    pub(super) fn run(self) -> Result<(), Failure> {
        telemetry::quieter();
        stage::run(&self.settings)
    }
}
