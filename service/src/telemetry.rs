//! Logs: text on standard error, filtered by `RUST_LOG` (default `info`). Standard output is for answers only.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// Replaces the filter of what was started.
type Replace = Box<dyn Fn(EnvFilter) + Send + Sync>;
static REPLACE: OnceLock<Replace> = OnceLock::new();

/// Starts logging; does nothing if it was started before.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_filter_reloading();
    let handle = builder.reload_handle();
    if builder.try_init().is_err() {
        tracing::debug!("logging was started before");
        return;
    }
    // The handle fails only after the end of logging.
    let replace: Replace = Box::new(move |filter| handle.reload(filter).unwrap_or_default());
    if REPLACE.set(replace).is_err() {
        tracing::debug!("logging was started before");
    }
}

/// From now on only errors and the warnings of the demo, unless `RUST_LOG` says otherwise: for verbs that speak to people.
pub fn quieter() {
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none()
        && let Some(replace) = REPLACE.get()
    {
        replace(EnvFilter::new("error,chaperone::demo=warn"));
    }
}
