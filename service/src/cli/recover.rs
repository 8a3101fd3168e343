//! `chaperone recover`: what dead processes counted and could not report. `--dir` tells it, with `--config` it is sent;
//! `--watch` is a host's agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chaperone_audit::recorder::{Account, Carried, Survey, survey};
use chaperone_audit::wire::End;
use clap::Args;
use serde_json::json;

use super::print;
use crate::agent;
use crate::columns::columns;
use crate::config::{Config, System};
use crate::exit::{Code, Failure};

/// Tells what dead processes counted and had not reported yet, and changes nothing. With --config it is sent to the audit
/// topic. With --watch it runs until a signal, and sends that and what living processes hand over at DIR/agent.sock.
#[derive(Debug, Args)]
pub struct Recover {
    /// A recorder's directory: with its log, its slot files, or both.
    #[arg(long, value_name = "DIR", required_unless_present = "watch")]
    dir: Option<PathBuf>,
    /// A host's directory, with the directories of its recorders in it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dir", "json"], requires = "config")]
    watch: Option<PathBuf>,
    /// Configuration file (TOML) with the audit topic.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster whose audit topic it is, where several have one.
    #[arg(long, value_name = "NAME", requires = "config")]
    audit: Option<String>,
    /// With --watch: how often is looked for what dead processes left, in seconds, 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// With --watch: serves /healthz, /readyz and /metrics here, to whoever reaches the address. Default: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "watch")]
    listen: Option<SocketAddr>,
    /// With --dir and --config: how long Kafka is waited for, in seconds, 1 to 86400.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.config.as_ref().map(|path| Config::load(Path::new(path), &System)).transpose()?;
        let topic = config.as_ref().map(|config| agent::Topic::of(config, self.audit.as_deref())).transpose()?;
        match (&self.dir, &self.watch, topic) {
            (_, Some(dir), Some(topic)) => {
                let (dir, every) = (dir.clone(), Duration::from_secs(self.every));
                let watch = agent::Watch { dir, topic, every, listen: self.listen };
                super::block_on(async { agent::run(watch, super::stop_signal()?).await })
            }
            (Some(dir), _, topic) => self.dir(dir, topic.as_ref()),
            // clap asks for one of them, and for the configuration with the second.
            _ => Err(Failure::new(Code::Usage, "give --dir, or --watch and --config")),
        }
    }

    fn dir(&self, dir: &Path, topic: Option<&agent::Topic>) -> Result<(), Failure> {
        let found = survey(dir).map_err(|e| Failure::new(Code::Usage, e.to_string()))?;
        let sent = topic.map(|topic| agent::deliver(dir, topic, Duration::from_secs(self.patience))).transpose()?;
        let carried = sent.as_ref().map(|(carried, _)| carried);
        print(if self.json { line(&found, carried) } else { table(&found, carried) }.trim_end())?;
        if let Some((carried, all)) = sent {
            if !all {
                let words = "Kafka did not confirm all of it in time; nothing is lost: run it again";
                return Err(Failure::new(Code::Unavailable, words));
            }
            if let Some((path, why)) = carried.left.first_key_value() {
                return Err(Failure::new(Code::CannotWrite, format!("{}: left as it is: {why}", path.display())));
            }
        }
        if found.unreadable > 0 {
            let left = found.unreadable;
            return Err(Failure::new(
                Code::Differs,
                format!("{left} slots or entries cannot be read and are not in it"),
            ));
        }
        Ok(())
    }
}

fn line(found: &Survey, carried: Option<&Carried>) -> String {
    let sum = |of: fn(&Account) -> u64| found.dead().map(of).sum::<u64>();
    let (n, acked, failed) = (found.n(), sum(|a| a.sum.acked), sum(|a| a.sum.failed));
    let mut line = json!({
        "n": n,
        "acked": acked,
        "failed": failed,
        "incarnations": found.dead().count(),
        "alive": found.accounts.iter().filter(|a| a.alive).count(),
        "unreadable": found.unreadable,
    });
    if let Some(carried) = carried {
        line["sent"] = carried.sent.into();
    }
    line.to_string()
}

fn end_of(a: &Account) -> &'static str {
    match a.end {
        _ if a.alive => "alive",
        Some(End::Clean) => "goodbye",
        Some(End::Power) => "machine died",
        Some(End::Crash) | None => "died",
    }
}

fn table(found: &Survey, carried: Option<&Carried>) -> String {
    let head = ["incarnation", "stage", "application", "host", "pid", "end", "counted", "acked", "failed"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.accounts.iter().map(|a| {
        let counted = |n: u64| if a.alive { "-".to_owned() } else { n.to_string() };
        vec![
            a.incarnation.to_string(),
            a.stage.clone(),
            a.application.clone(),
            a.host.clone(),
            a.pid.to_string(),
            end_of(a).to_owned(),
            counted(a.sum.n),
            counted(a.sum.acked),
            counted(a.sum.failed),
        ]
    }));
    let (n, dead) = (found.n(), found.dead().count());
    let sent = carried.map(|c| format!("; {} audit messages sent", c.sent)).unwrap_or_default();
    columns(&rows, 6) + &format!("\n{n} messages counted by {dead} that are dead{sent}")
}
