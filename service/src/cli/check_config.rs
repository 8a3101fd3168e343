//! `chaperone check-config`: everything that can be wrong, told before it hurts.
//!
//! Every check prints one line on standard output: `ok`, `warning`, or `unknown` (it cannot be told without doing it).
//! What fails is listed at the end on standard error; the first failure's code is the exit code.

mod connect;
mod report;

use std::net::TcpListener;
use std::path::Path;

use clap::Args;
use rustix::fs::{Access, access};

use super::ConfigFile;
use chaperone_collector::PostgresStore;
use chaperone_collector::postgres::Settings;

use crate::config::{Cluster, Config, Isolation};
use crate::exit::{Code, Failure};
use report::Report;

/// Checks a configuration file and lists all mistakes.
#[derive(Debug, Args)]
pub struct CheckConfig {
    #[command(flatten)]
    config: ConfigFile,
    /// Also tries it, and changes nothing: the directory, the port, and every cluster with its login, topics and ACLs.
    #[arg(long)]
    connect: bool,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let mut report = Report::new(std::io::stdout());
        let (clusters, pipelines) = (config.clusters.len(), config.pipelines.list.len());
        report.ok(format!("{}: clusters: {clusters}, pipelines: {pipelines}", self.config.config.display()));
        for cluster in &config.clusters {
            properties(cluster, &mut report);
        }
        if let Some((chain, key)) = &config.web.certificate {
            let good = format!("web.certificate_file {}: has a certificate with its key", chain.display());
            let read = chaperone_web::certificate(chain, key).map(|_| good);
            report.put(read.map_err(|e| Failure::new(Code::Configuration, format!("web: {e}"))));
        }
        if self.connect {
            report.put(data_dir(&config));
            if let Some(settings) = &config.store {
                report.put(database(settings));
            }
            report.put(port(&config));
            connect::check(&config, &mut report);
        }
        report.end()
    }
}

/// librdkafka's opinion of the properties. Its words may hold the value: only the name is passed on.
fn properties(cluster: &Cluster, report: &mut Report) {
    let path = format!("kafka.{}.properties", cluster.name);
    let mut good = 0;
    for (key, value) in &cluster.properties.0 {
        let mut one = rdkafka::ClientConfig::new();
        match one.set(key, value).create_native_config() {
            Ok(_) => good += 1,
            Err(rdkafka::error::KafkaError::ClientConfig(_, words, _, _)) if words.starts_with("No such") => {
                report.fail(Code::Configuration, format!("{path}.\"{key}\": librdkafka has no such property"));
            }
            Err(_) => report.fail(Code::Configuration, format!("{path}.\"{key}\": librdkafka refuses its value")),
        }
    }
    let ours = crate::kafka::asking(cluster, Isolation::default()).create_native_config();
    if good > 0 && good == cluster.properties.0.len() && ours.is_ok() {
        report.ok(format!("{path}: librdkafka takes all {good}"));
    }
}

/// Whether the store can be there. Nothing is created.
fn data_dir(config: &Config) -> Result<String, Failure> {
    let dir = config.data_dir.as_path();
    let wrong = |why: String| Failure::new(Code::CannotWrite, format!("data_dir: {}: {why}", dir.display()));
    let writable = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK);
    if dir.exists() {
        if !dir.is_dir() {
            return Err(wrong("is not a directory".to_owned()));
        }
        writable(dir).map_err(|e| wrong(format!("cannot be written: {e}")))?;
        let store = config.store_path();
        if config.store.is_none() && store.exists() {
            access(&store, Access::READ_OK | Access::WRITE_OK)
                .map_err(|e| wrong(format!("chaperone.sqlite in it cannot be written: {e}")))?;
        }
        return Ok(format!("data_dir {}: can be written", dir.display()));
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(wrong(format!("cannot be created: {} is not a directory", parent.display())));
    }
    writable(parent).map_err(|e| wrong(format!("cannot be created in {}: {e}", parent.display())))?;
    Ok(format!("data_dir {}: can be created", dir.display()))
}

/// Whether the store's database answers, and has a schema of ours. Nothing is created.
fn database(settings: &Settings) -> Result<String, Failure> {
    let place = settings.place();
    match PostgresStore::look(settings) {
        Ok(true) => Ok(format!("store.url {place}: has a store")),
        Ok(false) => Ok(format!("store.url {place}: answers; the first `collect` or `run` makes the store in it")),
        Err(e) => Err(crate::app::unavailable(&e)),
    }
}

fn port(config: &Config) -> Result<String, Failure> {
    let listen = config.web.listen;
    match TcpListener::bind(listen) {
        Ok(_) => Ok(format!("web.listen {listen}: is free")),
        Err(e) => {
            let hint = "another process has it, perhaps a chaperone that runs; stop it or write another port";
            Err(Failure::new(Code::Unavailable, format!("web.listen {listen}: {e}: {hint}")))
        }
    }
}
