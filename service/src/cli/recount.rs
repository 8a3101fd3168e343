//! `chaperone recount`

use std::collections::BTreeSet;

use chaperone_audit::{Clock, SystemClock};
use chaperone_collector::StoreError;
use chaperone_collector::query::{OffsetsQuery, WindowQuery};
use clap::Args;

use super::{ConfigFile, print};
use crate::config::{Cluster, Config, Tap};
use crate::exit::{Code, Failure};
use crate::kafka::client::Client;
use crate::kafka::wanted::Wanted;
use crate::problems::Problems;
use crate::recount::read::{Source, read};
use crate::recount::{self, Only, Run, Stored, Summary, compare};

/// Counts messages in Kafka again and compares with the store, window by window and partition by partition. Changes
/// nothing, joins no group; needs READ on the topic. Ends with 1 if anything differs.
#[derive(Debug, Args)]
pub struct Recount {
    #[command(flatten)]
    file: ConfigFile,
    /// The topic, as the pipelines call it.
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// The cluster to read, where several taps count the topic.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// First window: now-1h, milliseconds since 1970, or RFC 3339.
    #[arg(long, value_name = "TIME", default_value = "now-15m")]
    from: String,
    /// End of the windows, likewise.
    #[arg(long, value_name = "TIME", default_value = "now")]
    to: String,
    /// Only this partition.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only these offsets of the partition, the first and the last.
    #[arg(long, value_name = "FIRST..LAST", value_parser = parse_run, requires = "partition")]
    offsets: Option<Run>,
    /// Prints a line of JSON a row.
    #[arg(long)]
    json: bool,
}

fn parse_run(text: &str) -> Result<Run, String> {
    let wrong = || "two offsets, such as 100..199".to_owned();
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let (from, last): (i64, i64) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    let to = last.checked_add(1).ok_or_else(wrong)?;
    if from < 0 || to <= from { Err(wrong()) } else { Ok(Run { from, to }) }
}

impl Recount {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let (cluster, tap) = self.tap(&config)?;
        let clock = SystemClock;
        let (from_ms, to_ms) = chaperone_web::time_range(&self.from, &self.to, clock.now_ms())
            .map_err(|e| Failure::new(Code::Usage, format!("--{e}")))?;
        let stored = self.stored(&config, &tap.stage, from_ms, to_ms)?;
        let only = Only { partition: self.partition, run: self.offsets };
        let topic = self.kafka_name(&config, cluster, tap)?;
        let source = Source { cluster, topic: &topic, isolation: tap.isolation };
        let mut again = stored.again(config.rules.of(&self.topic).clone());
        let reach = read(&source, &stored.runs(only), &mut again, &clock)?;
        let rows = compare(&stored, only, &again, &reach);
        let summary = Summary::of(&rows);
        if rows.is_empty() {
            let (stage, topic) = (&tap.stage, &self.topic);
            let text = format!("the store has no window of '{topic}' at {stage} between {} and {}", self.from, self.to);
            return Err(Failure::new(Code::Usage, text));
        }
        if self.json {
            let text = recount::print::json(&rows, &summary, again.messages);
            print(&text.map_err(|e| Failure::new(Code::Software, format!("cannot write the rows: {e}")))?)?;
        } else {
            print(recount::print::text(&rows, &summary, again.messages).trim_end())?;
        }
        if summary.differ > 0 {
            return Err(Failure::new(Code::Differs, format!("{} counts differ", summary.differ)));
        }
        Ok(())
    }

    /// The one tap that counts the topic.
    fn tap<'a>(&self, config: &'a Config) -> Result<(&'a Cluster, &'a Tap), Failure> {
        let tapped: Vec<(&Cluster, &Tap)> =
            config.clusters.iter().filter_map(|c| c.tap.as_ref().map(|tap| (c, tap))).collect();
        let usage = |text: String| Err(Failure::new(Code::Usage, text));
        let names = |of: &[(&Cluster, &Tap)]| of.iter().map(|(c, _)| c.name.clone()).collect::<Vec<_>>().join(", ");
        if let Some(name) = &self.cluster {
            return match tapped.iter().find(|(c, _)| &c.name == name) {
                Some(found) => Ok(*found),
                None => usage(format!("--cluster {name}: no such tap; allowed: {}", names(&tapped))),
            };
        }
        match tapped.as_slice() {
            [] => {
                Err(Failure::new(Code::Configuration, "no cluster has a [kafka.NAME.tap] table; nothing was counted"))
            }
            [one] => Ok(*one),
            many => usage(format!("--cluster: several clusters have taps; which one? Allowed: {}", names(many))),
        }
    }

    /// What Kafka calls the topic there.
    fn kafka_name(&self, config: &Config, cluster: &Cluster, tap: &Tap) -> Result<String, Failure> {
        let own: BTreeSet<String> =
            config.clusters.iter().filter_map(|c| c.audit.as_ref()).map(|a| a.topic.clone()).collect();
        let (problems, _) = Problems::new();
        let client = Client::new(cluster, &problems)?;
        let survey = client.survey(&Wanted::of_tap(tap, own)).map_err(|(code, text)| Failure::new(code, text))?;
        let found = survey.topics.into_keys().find(|t| tap.names.audited(t).is_ok_and(|name| name == self.topic));
        let (name, topic) = (&cluster.name, &self.topic);
        found.ok_or_else(|| {
            Failure::new(Code::Usage, format!("--topic {topic}: the tap of kafka.{name} finds no such topic there"))
        })
    }

    fn stored(&self, config: &Config, stage: &str, from_ms: i64, to_ms: i64) -> Result<Stored, Failure> {
        let path = config.store_path();
        if config.store.is_none() && !path.exists() {
            let text = format!("store {}: does not exist; nothing was counted here", path.display());
            return Err(Failure::new(Code::Configuration, text));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| super::run::runtime(&e))?;
        let failed = |e: StoreError| Failure::new(Code::Unavailable, e.to_string());
        let store = crate::app::open_view(config)?.store();
        let (topic, stage) = (self.topic.clone(), stage.to_owned());
        let asked = async {
            let partitions = store.partitions(&stage).await?;
            let logs = partitions.into_iter().filter(|p| p.topic == topic).map(|p| (p.partition, p.log)).collect();
            let query = OffsetsQuery { topic: topic.clone(), stage: stage.clone(), from_ms, to_ms };
            let offsets = store.offsets(query).await?;
            let query = WindowQuery { topic: Some(topic.clone()), from_ms, to_ms, limit: None };
            let mut totals = store.stage_windows(query).await?;
            totals.retain(|w| w.stage == stage);
            Ok(Stored { offsets, totals, logs })
        };
        runtime.block_on(asked).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_two_offsets() {
        assert_eq!(parse_run("100..199"), Ok(Run { from: 100, to: 200 }));
        assert_eq!(parse_run("0..0"), Ok(Run { from: 0, to: 1 }));
        for wrong in ["", "1", "1..", "..1", "2..1", "-1..5", "1..9223372036854775807", "a..b"] {
            assert!(parse_run(wrong).is_err(), "{wrong}");
        }
    }
}
