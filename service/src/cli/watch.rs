//! `chaperone watch`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::System;
use crate::config::text::Span;
use crate::exit::{Code, Failure};
use crate::tap::budget;
use crate::telemetry;
use crate::watch::side::Side;
use crate::watch::{self, Options};

/// Compares the topics of two Kafka clusters from now on, window by window: a table here, the dashboard in a browser.
/// Creates no topic, joins no group, keeps nothing; needs READ and DESCRIBE on the topics.
#[derive(Debug, Args)]
pub struct Watch {
    /// Brokers upstream, several separated by commas; NAME (default: from) is what the page calls the cluster.
    #[arg(long, value_name = "[NAME=]HOST:PORT")]
    from: String,
    /// Brokers downstream; NAME (default: to).
    #[arg(long, value_name = "[NAME=]HOST:PORT")]
    to: String,
    /// Topics to compare: regular expressions that match whole names.
    #[arg(long, value_name = "REGEX", num_args = 1.., required = true)]
    topics: Vec<String>,
    /// File with librdkafka properties of the upstream cluster, key=value a line (security.protocol, sasl.…, ssl.…);
    /// values may be `@file:/path` and contain ${NAME}.
    #[arg(long, value_name = "FILE")]
    from_config: Option<PathBuf>,
    /// The same for the downstream cluster.
    #[arg(long, value_name = "FILE")]
    to_config: Option<PathBuf>,
    /// One librdkafka property of the upstream cluster; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    from_property: Vec<String>,
    /// The same for the downstream cluster.
    #[arg(long, value_name = "KEY=VALUE")]
    to_property: Vec<String>,
    /// What a topic of the downstream cluster is called upstream, where the copies have other names; may be repeated, the
    /// first that matches decides. For `MirrorMaker` 2 with source alias regional: 'regional\.(.*)=$1'.
    #[arg(long, value_name = "REGEX=NAME")]
    to_rename: Vec<String>,
    /// How long a verdict waits for late messages after a window's end and after its last arrival; 0s to 1h.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    grace: String,
    /// Most bytes of keys and values that are read from each of the two clusters a second; at least 65536. Default: no cap.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(budget::LEAST..))]
    max_bytes_per_second: Option<u64>,
    /// Port of the dashboard on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Ends after so many seconds. Default: Ctrl-C ends it.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// One JSON object a line: ready, verdict, problem, end.
    #[arg(long)]
    json: bool,
}

/// The longest grace; as in a configuration.
const GRACE_MAX: Duration = Duration::from_hours(1);

impl Watch {
    pub(super) fn run(self) -> Result<(), Failure> {
        telemetry::quieter();
        let mut from = Side::parse("--from", "from", &self.from)?;
        let mut to = Side::parse("--to", "to", &self.to)?;
        for (side, flag, file, properties) in [
            (&mut from, "--from", &self.from_config, &self.from_property),
            (&mut to, "--to", &self.to_config, &self.to_property),
        ] {
            if let Some(path) = file {
                side.properties_of(&format!("{flag}-config"), path, &System)?;
            }
            for property in properties {
                side.property_of(&format!("{flag}-property"), property, &System)?;
            }
        }
        for text in &self.to_rename {
            to.rename("--to-rename", text)?;
        }
        if from.name == to.name {
            let words = format!("--from and --to are both called '{}'; write NAME=HOST:PORT for one of them", to.name);
            return Err(Failure::new(Code::Usage, words));
        }
        let options = Options {
            from,
            to,
            topics: self.topics,
            grace: grace(&self.grace)?,
            max_bytes_per_second: self.max_bytes_per_second,
            port: self.port,
            duration: self.duration.map(Duration::from_secs),
            json: self.json,
        };
        super::block_on(async move { watch::run(options, super::stop_signal()?).await })
    }
}

fn grace(text: &str) -> Result<Duration, Failure> {
    let span = Span::parse(text).map_err(|why| Failure::new(Code::Usage, format!("--grace '{text}': {why}")))?;
    if span.0 > GRACE_MAX {
        return Err(Failure::new(Code::Usage, format!("--grace '{text}': is longer than 1h")));
    }
    Ok(span.0)
}
