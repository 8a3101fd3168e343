//! The configuration that is in effect, as TOML: what the file says with the defaults filled in.
//!
//! Hidden, which is the rule, the seed and properties whose names look secret are `…`, and references are shown as they
//! are written, never what they refer to. Shown, the text is a configuration file that means the same.

use std::time::Duration;

use chaperone_collector::{Expect, Pipeline, Retention};
use toml::{Table, Value};

use super::file::{self, Scalar, Start};
use super::references::Lookup;
use super::{Cluster, Config, ConfigError, Web, check, shape};

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As `…`.
    Hidden,
    /// As they are, references resolved.
    Shown,
}

const HIDDEN: &str = "…";
/// A property is secret if its name has one of these in it. Rather too many than too few.
const SECRET: [&str; 9] =
    ["password", "secret", "key", "token", "jaas", "pem", "assertion", "oauthbearer.config", "kinit.cmd"];

/// Whether a property's value is a secret, by its name.
fn is_secret(property: &str) -> bool {
    let property = property.to_ascii_lowercase();
    SECRET.iter().any(|part| property.contains(part))
}

/// The configuration in effect.
///
/// # Errors
/// See [`Config::parse`].
pub fn effective(text: &str, lookup: &dyn Lookup, secrets: Secrets) -> Result<String, ConfigError> {
    let (_, root) = read(text, lookup, secrets)?;
    toml::to_string(&root).map_err(|e| ConfigError::one(format!("cannot write the configuration as TOML: {e}")))
}

/// The configuration, and what it says with the defaults filled in.
pub(super) fn read(text: &str, lookup: &dyn Lookup, secrets: Secrets) -> Result<(Config, Table), ConfigError> {
    let file = shape(text)?;
    let config = check::check(shape(text)?, lookup)?;
    let mut root = Table::new();
    root.insert("data_dir".to_owned(), config.data_dir.to_string_lossy().into_owned().into());
    let seed = if secrets == Secrets::Shown { format!("{:016x}", config.rules.seed()) } else { HIDDEN.to_owned() };
    root.insert("seed".to_owned(), seed.into());
    root.insert("discover".to_owned(), file.discover.into());
    if let Some(raw) = &file.store {
        let written = |text: &str| match secrets {
            Secrets::Hidden => Ok(text.to_owned()),
            Secrets::Shown => super::references::resolve(text, lookup).map_err(ConfigError::one),
        };
        root.insert("store".to_owned(), store(raw, &written, secrets)?.into());
    }
    root.insert("retention".to_owned(), retention(&config.retention).into());
    root.insert("web".to_owned(), web(&file.web, &config.web, lookup, secrets)?.into());
    let mut clusters = Table::new();
    for ((name, raw), cluster) in file.kafka.0.iter().zip(&config.clusters) {
        clusters.insert(name.clone(), kafka(raw, cluster, secrets).into());
    }
    root.insert("kafka".to_owned(), clusters.into());
    root.insert("pipeline".to_owned(), pipelines(&file, &config).into());
    Ok((config, root))
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn texts(texts: &[String]) -> Value {
    texts.iter().map(|t| Value::from(t.as_str())).collect::<Vec<_>>().into()
}

fn renames(renames: &[file::Rename]) -> Value {
    let each = renames.iter().map(|r| table([("from", r.from.as_str().into()), ("to", r.to.as_str().into())]));
    each.map(Value::from).collect::<Vec<_>>().into()
}

fn store(
    raw: &file::Store,
    written: &dyn Fn(&str) -> Result<String, ConfigError>,
    secrets: Secrets,
) -> Result<Table, ConfigError> {
    let connections = raw.connections.unwrap_or(check::store::CONNECTIONS);
    let mut out = table([
        ("url", url(&written(&raw.url)?, secrets).into()),
        ("tls", raw.tls.as_str().into()),
        ("connections", i64::from(connections).into()),
    ]);
    if let Some(password) = &raw.password {
        let shown = if secrets == Secrets::Hidden { HIDDEN.to_owned() } else { written(password)? };
        out.insert("password".to_owned(), shown.into());
    }
    let files = [("ca_file", &raw.ca_file), ("certificate_file", &raw.certificate_file), ("key_file", &raw.key_file)];
    for (key, path) in files {
        out.extend(path.as_ref().map(|p| (key.to_owned(), p.to_string_lossy().into_owned().into())));
    }
    Ok(out)
}

fn web(raw: &file::Web, web: &Web, lookup: &dyn Lookup, secrets: Secrets) -> Result<Table, ConfigError> {
    let mut out = table([
        ("listen", web.listen.to_string().into()),
        ("allowed_hosts", texts(&raw.allowed_hosts)),
        ("behind_proxy", raw.behind_proxy.into()),
        ("session", span(web.access.session).into()),
        ("requests_per_second", i64::from(web.rate.per_second).into()),
    ]);
    for (key, path) in [("certificate_file", &raw.certificate_file), ("key_file", &raw.key_file)] {
        out.extend(path.as_ref().map(|p| (key.to_owned(), p.to_string_lossy().into_owned().into())));
    }
    let mut tokens = Table::new();
    for (name, token) in &raw.token.0 {
        let hash = match secrets {
            Secrets::Hidden => HIDDEN.to_owned(),
            Secrets::Shown => super::references::resolve(&token.hash, lookup).map_err(ConfigError::one)?,
        };
        let role = token.role.role().as_str();
        tokens.insert(name.clone(), table([("role", role.into()), ("hash", hash.trim().into())]).into());
    }
    if !tokens.is_empty() {
        out.insert("token".to_owned(), tokens.into());
    }
    if let Some(sso) = &raw.sso {
        let header = sso.header.as_deref().unwrap_or(check::web::HEADER);
        let role = sso.role.unwrap_or_default().role().as_str();
        let sso = table([
            ("peers", texts(&sso.peers)),
            ("header", header.into()),
            ("role", role.into()),
            ("operators", texts(&sso.operators)),
            ("admins", texts(&sso.admins)),
        ]);
        out.insert("sso".to_owned(), sso.into());
    }
    Ok(out)
}

/// A URL that has a password in it after all is not shown.
fn url(text: &str, secrets: Secrets) -> String {
    let has_password =
        text.split_once("://").and_then(|(_, rest)| rest.split_once('@')).is_some_and(|(user, _)| user.contains(':'))
            || text.contains("password=");
    if secrets == Secrets::Hidden && has_password { HIDDEN.to_owned() } else { text.to_owned() }
}

fn retention(r: &Retention) -> Table {
    table([
        ("windows", span(r.windows).into()),
        ("minutes", span(r.minutes).into()),
        ("ten_minutes", span(r.ten_minutes).into()),
        ("hours", span(r.hours).into()),
        ("incidents", span(r.incidents).into()),
    ])
}

fn kafka(raw: &file::Kafka, cluster: &Cluster, secrets: Secrets) -> Table {
    let mut out = table([
        ("bootstrap_servers", cluster.bootstrap_servers.as_str().into()),
        ("datacenter", cluster.datacenter.as_str().into()),
    ]);
    let properties = raw.properties.iter().map(|(key, value)| (key.clone(), property(key, value, cluster, secrets)));
    out.insert("properties".to_owned(), properties.collect::<Table>().into());
    if let (Some(raw), Some(tap)) = (&raw.tap, &cluster.tap) {
        let start = match tap.start {
            Start::End => "end",
            Start::Earliest => "earliest",
        };
        let mut tap_table = table([
            ("stage", tap.stage.as_str().into()),
            ("topics", texts(&raw.topics)),
            ("exclude", texts(&raw.exclude)),
            ("rename", renames(&raw.rename)),
            ("start", start.into()),
            ("group", tap.group.as_str().into()),
            ("audit", tap.audit.as_str().into()),
            ("isolation", tap.isolation.as_str().into()),
        ]);
        // Absent is no cap.
        let cap = tap.max_bytes_per_second.and_then(|cap| i64::try_from(cap).ok());
        tap_table.extend(cap.map(|cap| ("max_bytes_per_second".to_owned(), cap.into())));
        let rack = tap.client_rack.as_deref();
        tap_table.extend(rack.map(|rack| ("client_rack".to_owned(), rack.into())));
        out.insert("tap".to_owned(), tap_table.into());
    }
    if let (Some(raw), Some(lag)) = (&raw.lag, &cluster.lag) {
        let all = || vec!["^.*".to_owned()];
        let lag = table([
            ("groups", texts(&raw.groups.clone().unwrap_or_else(all))),
            ("exclude", texts(&raw.exclude)),
            ("every", span(lag.every).into()),
        ]);
        out.insert("lag".to_owned(), lag.into());
    }
    if let Some(audit) = &cluster.audit {
        let any = || vec!["*".to_owned()];
        let stages = raw.audit.as_ref().and_then(|a| a.stages.clone()).unwrap_or_else(any);
        let mut table = table([
            ("topic", audit.topic.as_str().into()),
            ("partitions", i64::from(audit.partitions).into()),
            ("retention", span(audit.retention).into()),
            ("create", audit.create.into()),
            ("stages", texts(&stages)),
        ]);
        // Absent is the broker's own default, which nobody knows here.
        table.extend(audit.replication.map(|r| ("replication".to_owned(), i64::from(r).into())));
        out.insert("audit".to_owned(), table.into());
    }
    out
}

fn property(key: &str, raw: &Scalar, cluster: &Cluster, secrets: Secrets) -> Value {
    if secrets == Secrets::Hidden && is_secret(key) {
        return HIDDEN.into();
    }
    match raw {
        Scalar::Bool(v) => (*v).into(),
        Scalar::Int(v) => (*v).into(),
        Scalar::Float(v) => (*v).into(),
        Scalar::Text(written) if secrets == Secrets::Hidden => written.as_str().into(),
        Scalar::Text(_) => cluster.properties.0.get(key).map(String::as_str).unwrap_or_default().into(),
    }
}

fn pipelines(file: &file::File, config: &Config) -> Table {
    let mut out = Table::new();
    let mut widths = config.widths.0.iter();
    for ((name, raw), pipeline) in file.pipeline.0.iter().zip(&config.pipelines.list) {
        // One width a topic pattern, all equal within a pipeline.
        let width = widths.by_ref().take(pipeline.topics.len()).last().map(|(_, width)| *width).unwrap_or_default();
        let mut table = table([
            ("topics", texts(&raw.topics)),
            ("stages", texts(&raw.stages)),
            ("groups", groups(raw).into()),
            ("complete", texts(&raw.complete)),
            ("at_least_once", texts(&raw.at_least_once)),
            ("stamped_only", texts(&raw.stamped_only)),
            ("expect", expects(pipeline).into()),
            ("expected", expected(pipeline)),
            ("grace", span(pipeline.grace).into()),
            ("silent_after", span(pipeline.silent_after).into()),
            ("width", span(Duration::from_millis(width.ms().unsigned_abs())).into()),
        ]);
        table.extend(check::rules::written(raw).map(|(key, value)| (key.to_owned(), value.into())));
        // Absent is nobody, nowhere.
        let duties = [("owner", &pipeline.owner), ("runbook", &pipeline.runbook)];
        table.extend(duties.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.as_deref()?.into()))));
        table.extend(pipeline.objective.map(|of| ("objective".to_owned(), span(of).into())));
        out.insert(name.clone(), table.into());
    }
    out
}

fn groups(raw: &file::Pipeline) -> Table {
    raw.groups.iter().map(|(group, members)| (group.clone(), texts(members))).collect()
}

fn expects(pipeline: &Pipeline) -> Table {
    let other = pipeline.stages.iter().filter(|stage| stage.expect != Expect::ALL);
    other.map(|stage| (stage.name.clone(), stage.expect.to_string().into())).collect()
}

fn expected(pipeline: &Pipeline) -> Value {
    let each = pipeline.expected.iter().map(|e| {
        let (stage, application) = (e.stage.as_str().into(), e.application.as_str().into());
        table([("stage", stage), ("application", application), ("at_least", i64::from(e.at_least).into())])
    });
    each.map(Value::from).collect::<Vec<_>>().into()
}

/// A duration in its largest whole unit.
pub(in crate::config) fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)) {
        Some((unit, word)) => format!("{}{word}", ms / unit),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::references::Lookup;
    use crate::config::text::Span;

    struct Hush;
    impl Lookup for Hush {
        fn env(&self, _: &str) -> Option<String> {
            Some("hush".to_owned())
        }
        fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
            Ok("hush\"\n".to_owned())
        }
    }

    const TEXT: &str = r#"
data_dir = "d"
seed = "00000000000000ff"
[kafka.k]
bootstrap_servers = "h:1"
[kafka.k.properties]
"sasl.username" = "${USER}"
"sasl.password" = "${PASSWORD}"
"ssl.key.pem" = "@file:/key"
"ssl.ca.location" = "@file:/ca"
"sasl.oauthbearer.client.secret" = "literal-hush"
"socket.timeout.ms" = 5000
[kafka.k.tap]
topics = ["^a.*", "b"]
start = "end"
exclude = ["^a-test.*"]
rename = [{ from = '^regional\\.(.*)$', to = "$1" }, { from = "b", to = "c" }]
[kafka.k.lag]
groups = ["billing", "^eu-.*"]
[pipeline.z]
topics = ["b", "c"]
stages = ["producer", "kafka:k"]
width = "600s"
time = "header:t"
id = "json:/a~1b/0"
[pipeline.a]
topics = ["^a.*"]
stages = ["producer", "kafka:k"]
"#;

    #[test]
    fn hidden_is_hidden_and_references_are_as_written() {
        let said = effective(TEXT, &Hush, Secrets::Hidden).expect("good");
        assert!(!said.contains("hush") && !said.contains("00ff"), "{said}");
        for line in [
            "seed = \"…\"",
            "\"sasl.password\" = \"…\"",
            "\"sasl.username\" = \"${USER}\"",
            "\"ssl.ca.location\" = \"@file:/ca\"",
        ] {
            assert!(said.contains(line), "{line} in {said}");
        }
    }

    #[test]
    fn shown_is_a_file_that_means_the_same_with_defaults_filled_in() {
        let once = effective(TEXT, &Hush, Secrets::Shown).expect("good");
        let twice = effective(&once, &Hush, Secrets::Shown).expect("its own text is good");
        assert_eq!(once, twice);
        for line in [
            "width = \"10m\"",
            "width = \"10s\"",
            "time = \"header:t\"",
            "unit = \"ms\"",
            "id = \"json:/a~1b/0\"",
            "id = \"default\"",
            "grace = \"10s\"",
            "retention = \"14d\"",
            "stage = \"kafka:k\"",
            "listen = \"127.0.0.1:8080\"",
        ] {
            assert!(once.contains(line), "{line} in {once}");
        }
        let (z, a) = (once.find("[pipeline.z]"), once.find("[pipeline.a]"));
        assert!(z.is_some() && z < a, "the order of the file decides: {once}");
        let debug = |text: &str| format!("{:?}", Config::parse(text, &Hush).expect("good"));
        assert_eq!(debug(TEXT), debug(&once));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for ms in [0, 1, 250, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000, 1_209_600_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(Span::parse(&span(duration)), Ok(Span(duration)));
        }
    }
}
