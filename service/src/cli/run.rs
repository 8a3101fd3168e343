//! `chaperone run`

use std::io::Write;
use std::sync::Arc;

use chaperone_audit::SystemClock;
use clap::Args;

use super::ConfigFile;
use crate::app::{App, Parts};
use crate::exit::{Code, Failure};

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
        super::block_on(async move {
            let reload = self.file.watched(|_| Ok(()))?;
            let app = App::build(reload.config().clone(), Arc::new(SystemClock), Parts { taps: !self.no_taps }).await?;
            // Nobody may be reading any more; the process is wanted all the same.
            let said =
                writeln!(std::io::stdout(), "chaperone {} listening on {}", env!("CARGO_PKG_VERSION"), app.url());
            if let Err(e) = said {
                tracing::debug!("standard output: {e}");
            }
            app.run_reloading(super::stop_signal()?, reload).await
        })
    }
}

/// A failure of the runtime or of signals.
pub(super) fn runtime(e: &std::io::Error) -> Failure {
    Failure::new(Code::Software, format!("cannot start: {e}"))
}
