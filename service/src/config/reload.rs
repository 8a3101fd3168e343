//! What changed between two readings of the configuration file, and whether it can take effect while running. Pure.
//!
//! [`EFFECTS`] is the one place that knows it for every key: a test holds it to the schema, another holds
//! docs/OPERATIONS.md to it. Compared is what is in effect (defaults filled in, references resolved), so that comments and
//! spelling change nothing and a new content of a referenced file does. Values are never part of an answer: they may be
//! secrets.

use std::path::Path;

use toml::{Table, Value};

use super::effective::{Secrets, read};
use super::references::Lookup;
use super::{Config, ConfigError};

/// When a change of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At the next SIGHUP.
    Reload,
    /// At the next start, because of this.
    Restart(&'static str),
}

const CONNECTIONS: &str = "clients are connected with it";
const STORE: &str = "the store is open there";
const PAGE: &str = "the page is served there";
const INTAKE: &str = "intake reads that topic";

/// Every key and table of the schema.
pub const EFFECTS: &[(&str, Effect)] = &[
    ("data_dir", Effect::Restart("the store is open there")),
    ("seed", Effect::Reload),
    ("discover", Effect::Reload),
    ("store", Effect::Restart(STORE)),
    ("store.url", Effect::Restart(STORE)),
    ("store.password", Effect::Restart(STORE)),
    ("store.tls", Effect::Restart(STORE)),
    ("store.ca_file", Effect::Restart(STORE)),
    ("store.certificate_file", Effect::Restart(STORE)),
    ("store.key_file", Effect::Restart(STORE)),
    ("store.connections", Effect::Restart(STORE)),
    ("retention", Effect::Reload),
    ("retention.windows", Effect::Reload),
    ("retention.minutes", Effect::Reload),
    ("retention.ten_minutes", Effect::Reload),
    ("retention.hours", Effect::Reload),
    ("retention.incidents", Effect::Reload),
    ("web", Effect::Restart(PAGE)),
    ("web.listen", Effect::Restart(PAGE)),
    ("web.allowed_hosts", Effect::Restart(PAGE)),
    ("web.behind_proxy", Effect::Reload),
    ("web.certificate_file", Effect::Restart(PAGE)),
    ("web.key_file", Effect::Restart(PAGE)),
    ("web.session", Effect::Reload),
    ("web.requests_per_second", Effect::Restart(PAGE)),
    ("web.token", Effect::Reload),
    ("web.token.NAME.role", Effect::Reload),
    ("web.token.NAME.hash", Effect::Reload),
    ("web.sso", Effect::Reload),
    ("web.sso.peers", Effect::Reload),
    ("web.sso.header", Effect::Reload),
    ("web.sso.role", Effect::Reload),
    ("web.sso.operators", Effect::Reload),
    ("web.sso.admins", Effect::Reload),
    ("kafka", Effect::Restart("clusters come and go with their clients")),
    ("kafka.NAME.bootstrap_servers", Effect::Restart(CONNECTIONS)),
    ("kafka.NAME.datacenter", Effect::Reload),
    ("kafka.NAME.properties", Effect::Restart(CONNECTIONS)),
    ("kafka.NAME.tap", Effect::Reload),
    ("kafka.NAME.tap.topics", Effect::Reload),
    ("kafka.NAME.tap.exclude", Effect::Reload),
    ("kafka.NAME.tap.rename", Effect::Reload),
    ("kafka.NAME.tap.start", Effect::Reload),
    ("kafka.NAME.tap.stage", Effect::Reload),
    ("kafka.NAME.tap.group", Effect::Reload),
    ("kafka.NAME.tap.audit", Effect::Reload),
    ("kafka.NAME.tap.isolation", Effect::Reload),
    ("kafka.NAME.tap.max_bytes_per_second", Effect::Reload),
    ("kafka.NAME.tap.client_rack", Effect::Reload),
    ("kafka.NAME.lag", Effect::Reload),
    ("kafka.NAME.lag.groups", Effect::Reload),
    ("kafka.NAME.lag.exclude", Effect::Reload),
    ("kafka.NAME.lag.every", Effect::Reload),
    ("kafka.NAME.audit", Effect::Restart(INTAKE)),
    ("kafka.NAME.audit.topic", Effect::Restart(INTAKE)),
    ("kafka.NAME.audit.partitions", Effect::Restart(INTAKE)),
    ("kafka.NAME.audit.replication", Effect::Restart(INTAKE)),
    ("kafka.NAME.audit.retention", Effect::Restart(INTAKE)),
    ("kafka.NAME.audit.create", Effect::Restart(INTAKE)),
    ("kafka.NAME.audit.stages", Effect::Restart(INTAKE)),
    ("pipeline", Effect::Reload),
    ("pipeline.NAME.topics", Effect::Reload),
    ("pipeline.NAME.stages", Effect::Reload),
    ("pipeline.NAME.groups", Effect::Reload),
    ("pipeline.NAME.complete", Effect::Reload),
    ("pipeline.NAME.at_least_once", Effect::Reload),
    ("pipeline.NAME.stamped_only", Effect::Reload),
    ("pipeline.NAME.expect", Effect::Reload),
    ("pipeline.NAME.owner", Effect::Reload),
    ("pipeline.NAME.runbook", Effect::Reload),
    ("pipeline.NAME.expected", Effect::Reload),
    ("pipeline.NAME.grace", Effect::Reload),
    ("pipeline.NAME.silent_after", Effect::Reload),
    ("pipeline.NAME.objective", Effect::Reload),
    ("pipeline.NAME.width", Effect::Reload),
    ("pipeline.NAME.time", Effect::Reload),
    ("pipeline.NAME.unit", Effect::Reload),
    ("pipeline.NAME.id", Effect::Reload),
];

/// A configuration as it was read, so that the next reading can be compared with it.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    in_effect: Table,
}

impl Loaded {
    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// See [`Config::parse`].
    pub fn parse(text: &str, lookup: &dyn Lookup) -> Result<Self, ConfigError> {
        let (config, in_effect) = read(text, lookup, Secrets::Shown)?;
        Ok(Self { config, in_effect })
    }

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn read(path: &Path, lookup: &dyn Lookup) -> Result<Self, ConfigError> {
        let text = lookup
            .file(path)
            .map_err(|e| ConfigError::one(format!("cannot read the configuration {}: {e}", path.display())))?;
        Self::parse(&text, lookup).map_err(|e| {
            let mistakes = e.mistakes.into_iter().map(|m| format!("{}: {m}", path.display())).collect();
            ConfigError { mistakes }
        })
    }

    /// What is different in `new`.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare(&self.in_effect, &new.in_effect, &Place::default(), &mut changes);
        changes
    }
}

/// A key or table whose value is another, or that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its full path.
    pub path: String,
    /// When it takes effect.
    pub effect: Effect,
}

/// All or nothing: one key that needs a restart leaves everything as it is.
///
/// # Errors
/// A sentence for each key that needs a restart.
pub fn judge(changes: &[Change]) -> Result<(), Vec<String>> {
    let refused = changes.iter().filter_map(|change| match change.effect {
        Effect::Reload => None,
        Effect::Restart(why) => {
            let path = &change.path;
            Some(format!("{path} takes effect at a restart only ({why}): restart chaperone, or change it back"))
        }
    });
    let refused: Vec<String> = refused.collect();
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// Where in the file: as the user wrote it, and with `NAME` for what the user calls it.
#[derive(Default)]
struct Place {
    path: String,
    generic: String,
}

impl Place {
    fn child(&self, key: &str) -> Self {
        let join = |head: &str, key: &str| if head.is_empty() { key.to_owned() } else { format!("{head}.{key}") };
        match self.generic.as_str() {
            "kafka" | "pipeline" | "web.token" => {
                Self { path: join(&self.path, key), generic: join(&self.generic, "NAME") }
            }
            // librdkafka's own names, which have dots, and stages'.
            "kafka.NAME.properties" | "pipeline.NAME.expect" => {
                Self { path: format!("{}.\"{key}\"", self.path), generic: self.generic.clone() }
            }
            _ => Self { path: join(&self.path, key), generic: join(&self.generic, key) },
        }
    }

    fn change(self) -> Change {
        let generic = self.generic.strip_suffix(".NAME").unwrap_or(&self.generic);
        let known = EFFECTS.iter().find(|(path, _)| *path == generic);
        // Tests hold the table complete; a key that is not in it needs a restart, which is always right.
        let effect = known.map_or(Effect::Restart("it is read at the start"), |(_, effect)| *effect);
        Change { path: self.path, effect }
    }
}

fn compare(old: &Table, new: &Table, place: &Place, changes: &mut Vec<Change>) {
    for (key, before) in old {
        let here = place.child(key);
        match (before, new.get(key)) {
            (Value::Table(before), Some(Value::Table(after))) => compare(before, after, &here, changes),
            (before, Some(after)) if before == after => {}
            _ => changes.push(here.change()),
        }
    }
    changes.extend(new.keys().filter(|key| !old.contains_key(*key)).map(|key| place.child(key).change()));
    // A topic belongs to the first pipeline that matches it.
    let common = |table: &Table, other: &Table| -> Vec<String> {
        table.keys().filter(|key| other.contains_key(*key)).cloned().collect()
    };
    if place.generic == "pipeline" && common(old, new) != common(new, old) {
        changes.push(Change { path: "pipeline (their order)".to_owned(), effect: Effect::Reload });
    }
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
