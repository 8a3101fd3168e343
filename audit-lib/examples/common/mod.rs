//! Settings of the examples, from the environment: `BOOTSTRAP`, `TOPIC`, `AUDIT_TOPIC`, `DATA_DIR`, `SLOTS_DIR`, `STAGE`,
//! `CLUSTER`, `SEED`, and any librdkafka property as `KAFKA_<NAME>` with `_` for `.` (`KAFKA_SECURITY_PROTOCOL=SASL_SSL`).
#![allow(dead_code, reason = "no example needs all of it")]

use std::env;
use std::sync::Arc;

use anyhow::Context as _;
use chaperone_audit::SystemClock;
use chaperone_audit::kafka::KafkaSink;
use chaperone_audit::recorder::{Config, Recorder, Slots};
use rdkafka::ClientConfig;

/// A setting, or its default.
pub(crate) fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The topic of the messages.
pub(crate) fn topic() -> String {
    setting("TOPIC", "orders")
}

/// The settings of the clients of the messages' cluster.
pub(crate) fn kafka() -> ClientConfig {
    client("")
}

/// The settings of the client of the audit topic: `AUDIT_BOOTSTRAP` and `AUDIT_KAFKA_…` where it is on another cluster.
fn audit_kafka() -> ClientConfig {
    client(if env::var_os("AUDIT_BOOTSTRAP").is_some() { "AUDIT_" } else { "" })
}

fn client(prefix: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", setting(&format!("{prefix}BOOTSTRAP"), "localhost:9092"));
    for (name, value) in env::vars() {
        if let Some(property) = name.strip_prefix(&format!("{prefix}KAFKA_")) {
            config.set(property.to_lowercase().replace('_', "."), value);
        }
    }
    config
}

/// A recorder for `stage` that reports to the audit topic.
pub(crate) fn recorder(stage: &str, application: &str) -> anyhow::Result<Recorder> {
    // What the library has to say goes to standard error.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let config = Config {
        cluster: setting("CLUSTER", ""),
        data_dir: env::var_os("DATA_DIR").map(Into::into),
        slots: env::var_os("SLOTS_DIR").map_or(Slots::Shared, |dir| Slots::Dir(dir.into())),
        seed: setting("SEED", "0").parse().context("SEED is not a number")?,
        ..Config::new(setting("STAGE", stage), application)
    };
    let sink = KafkaSink::new(&audit_kafka(), &setting("AUDIT_TOPIC", "chaperone-audit"))?;
    Ok(Recorder::start(config, Box::new(sink), Arc::new(SystemClock))?)
}

/// Completes on Ctrl-C or SIGTERM.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
