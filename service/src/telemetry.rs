//! Logs: on standard error, as text or one JSON object a line, filtered by `RUST_LOG` (default `info`). Standard output is
//! for answers only.
//!
//! What a line is about is in fields, the same everywhere: `cluster`, `stage`, `topic`, `partition`; those of a whole
//! thread (a tap, an intake) are its span's. No field holds a payload, a key (I9) or the value of a librdkafka property.

use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::exit::Failure;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

struct Started {
    format: Format,
    filter: reload::Handle<EnvFilter, Registry>,
}
static STARTED: OnceLock<Started> = OnceLock::new();

/// Starts logging; does nothing if it was started before.
pub fn init(format: Format) {
    let (filter, handle) =
        reload::Layer::new(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok();
    if !started || STARTED.set(Started { format, filter: handle }).is_err() {
        tracing::debug!("logging was started before");
    }
}

/// From now on only errors and the warnings of the demo, unless `RUST_LOG` says otherwise: for verbs that speak to people.
pub fn quieter() {
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none()
        && let Some(started) = STARTED.get()
    {
        // The handle fails only after the end of logging.
        started.filter.reload(EnvFilter::new("error,chaperone::demo=warn")).unwrap_or_default();
    }
}

/// Says why the process ends: its last lines.
pub fn end(failure: &Failure) {
    let json = STARTED.get().is_some_and(|started| started.format == Format::Json);
    for line in failure.message.lines() {
        if json {
            tracing::error!(exit_code = failure.code as u8, "{line}");
        } else {
            eprintln!("chaperone: {line}");
        }
    }
}
