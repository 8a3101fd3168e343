//! The file that `chaperone init` writes: a skeleton, and above each key's first use the description that the schema has
//! of it. A commented-out key is `#key = value` without a space and shows the default; prose is `# text`.

use super::schema::{self, Key};

const SKELETON: &str = include_str!("example.toml");
const WIDTH: usize = 110;

/// The commented example with this seed.
pub fn example(seed: u64) -> String {
    let keys = schema::keys();
    let mut told: Vec<&str> = Vec::new();
    let mut table = String::new();
    let mut text = String::new();
    for line in SKELETON.lines() {
        if let Some(header) = bare(line).strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            table = generic(header);
        }
        if let Some(key) = path_of(line, &table).and_then(|path| keys.iter().find(|k| k.path == path))
            && !told.contains(&key.path.as_str())
        {
            told.push(&key.path);
            describe(key, &mut text);
        }
        text.push_str(line);
        text.push('\n');
    }
    text.replacen("SEED", &format!("{seed:016x}"), 1)
}

/// `kafka.regional.tap` → `kafka.NAME.tap`.
fn generic(header: &str) -> String {
    let named = ["kafka", "pipeline", "web.token"].into_iter().find(|t| header.starts_with(&format!("{t}.")));
    let at = named.map(|t| t.split('.').count());
    let parts = header.split('.').enumerate().map(|(i, part)| if Some(i) == at { "NAME" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

/// A line without the `#` of what is not written by default.
fn bare(line: &str) -> &str {
    line.strip_prefix('#').unwrap_or(line)
}

/// The path of the key or table that a line has; `kafka.NAME` itself is described as `kafka`.
fn path_of(line: &str, table: &str) -> Option<String> {
    if bare(line).starts_with('[') {
        return Some(table.trim_end_matches(".NAME").to_owned());
    }
    let (key, _) = bare(line).split_once(" = ")?;
    if key.starts_with(' ') {
        return None;
    }
    Some(if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") })
}

/// The description as comment lines of limited width, above the line that comes next.
fn describe(key: &Key, text: &mut String) {
    let mut line = String::from("#");
    for word in key.description.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push_str("\n#");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Lookup};

    struct Secret;
    impl Lookup for Secret {
        fn env(&self, _: &str) -> Option<String> {
            None
        }
        fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
            Ok("hush\n".to_owned())
        }
    }

    /// The text with the `#` of commented-out keys removed.
    fn uncommented(text: &str) -> String {
        let lines = text.lines().map(|line| {
            let bare = line.strip_prefix('#').filter(|l| !l.is_empty() && !l.starts_with(' '));
            bare.unwrap_or(line)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_a_good_configuration_of_two_clusters() {
        let config = Config::parse(&example(0xabc), &Secret).expect("good");
        assert_eq!(config.rules.seed(), 0xabc);
        assert_eq!(config.clusters.iter().filter(|c| c.tap.is_some()).count(), 2);
        assert_eq!(config.pipelines.list.iter().map(|p| p.stages.len()).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn every_key_of_the_schema_is_in_the_example_with_its_description() {
        let text = example(1);
        let whole = uncommented(&text);
        Config::parse(&whole, &Secret).expect("good with every line in use");
        let document: toml::Table = whole.parse().expect("TOML");
        let prose: String = text.lines().filter_map(|l| l.strip_prefix("# ")).collect::<Vec<_>>().join(" ");
        for key in schema::keys() {
            let path = key.path.replace("kafka.NAME", "kafka.regional").replace("pipeline.NAME", "pipeline.orders");
            let path = path.replace("token.NAME", "token.laptop");
            let mut parts = path.split('.');
            let first = parts.next().and_then(|part| document.get(part));
            let found = parts.fold(first, |at, part| at.and_then(toml::Value::as_table).and_then(|t| t.get(part)));
            assert!(found.is_some(), "{path} is not in the example");
            assert_eq!(prose.matches(&key.description).count(), 1, "{path} is not described once: {}", key.description);
        }
    }

    /// Defaults that the example shows are the defaults: with and without its commented-out lines it means the same.
    #[test]
    fn commented_out_keys_show_the_defaults() {
        let text = example(1);
        // These show an example: their defaults are "none" and "the broker's".
        let shown = |line: &&str| {
            ![
                "\"",
                "replication",
                "max_bytes",
                "client_rack",
                "owner",
                "runbook",
                "objective",
                "allowed_hosts",
                "certificate_file",
                "key_file",
            ]
            .iter()
            .any(|start| line.starts_with(start))
        };
        let whole = uncommented(&text);
        // Without the tables the store is a file, and nobody logs in.
        let mut apart = false;
        let mut elsewhere = |line: &&str| {
            let tables = ["[store]", "[web.token.laptop]", "[web.sso]"];
            apart = if line.starts_with('[') { tables.contains(line) } else { apart };
            apart
        };
        let whole = whole.lines().filter(|line| !elsewhere(line)).filter(shown).collect::<Vec<_>>().join("\n");
        let of = |text: &str| crate::config::effective(text, &Secret, crate::config::Secrets::Shown).expect("good");
        assert_eq!(of(&text), of(&whole));
    }
}
