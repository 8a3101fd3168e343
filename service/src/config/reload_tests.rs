//! Each kind of change is seen, named and known to be reloadable or not.

use super::*;
use crate::config::schema;

const TEXT: &str = r#"
data_dir = "d"
seed = "00000000000000ff"
[kafka.a]
bootstrap_servers = "h:1"
[kafka.a.properties]
"sasl.password" = "@file:/password"
[kafka.a.tap]
topics = ["orders", "^pay-.*"]
start = "end"
[kafka.a.audit]
stages = ["*"]
[kafka.b]
bootstrap_servers = "h:2"
[pipeline.orders]
topics = ["orders"]
stages = ["producer", "kafka:a"]
[pipeline.rest]
topics = ["^.*"]
stages = ["producer", "kafka:a"]
"#;

/// What the referenced file holds.
struct Password(&'static str);
impl Lookup for Password {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, _: &Path) -> std::io::Result<String> {
        Ok(self.0.to_owned())
    }
}

fn loaded(text: &str) -> Loaded {
    Loaded::parse(text, &Password("hush")).expect("good")
}

/// The paths that differ, those that need a restart with a `!`.
fn changed(what: &str, with: &str) -> Vec<String> {
    assert!(TEXT.contains(what), "{what} is not in the file");
    let changes = loaded(TEXT).changes(&loaded(&TEXT.replacen(what, with, 1)));
    let word = |c: Change| if c.effect == Effect::Reload { c.path } else { format!("{}!", c.path) };
    changes.into_iter().map(word).collect()
}

#[test]
fn every_key_of_the_schema_has_its_effect_and_no_other() {
    let mut known: Vec<&str> = EFFECTS.iter().map(|(path, _)| *path).collect();
    let keys = schema::keys();
    let mut keys: Vec<&str> = keys.iter().map(|key| key.path.as_str()).collect();
    known.sort_unstable();
    keys.sort_unstable();
    assert_eq!(known, keys);
}

#[test]
fn what_is_written_differently_and_means_the_same_is_no_change() {
    assert!(changed("[kafka.b]", "# a comment\n[kafka.b]\ndatacenter = ''").is_empty());
    assert!(changed("\"h:1\"", "' h:1 ,'").is_empty());
    assert!(changed("start = \"end\"", "start = \"end\"\nstage = \"kafka:a\"\ngroup = \"chaperone-tap\"").is_empty());
}

#[test]
fn each_change_is_named_with_its_path_and_effect() {
    let table: &[(&str, &str, &[&str])] = &[
        ("\"d\"", "\"e\"", &["data_dir!"]),
        ("00ff", "0100", &["seed"]),
        ("[kafka.a]", "[web]\nlisten = '127.0.0.1:1'\n[kafka.a]", &["web.listen!"]),
        ("\"h:2\"", "\"h:3\"", &["kafka.b.bootstrap_servers!"]),
        ("\"@file:/password\"", "\"other\"", &["kafka.a.properties.\"sasl.password\"!"]),
        ("[kafka.a.tap]", "\"linger.ms\" = 7\n[kafka.a.tap]", &["kafka.a.properties.\"linger.ms\"!"]),
        ("[kafka.a.properties]", "datacenter = 'sjc'\n[kafka.a.properties]", &["kafka.a.datacenter"]),
        ("\"^pay-.*\"", "\"^pay.*\"", &["kafka.a.tap.topics"]),
        ("start = \"end\"", "start = \"earliest\"", &["kafka.a.tap.start"]),
        ("data_dir", "discover = true\ndata_dir", &["discover"]),
        (
            "[\"orders\"]\n",
            "[\"orders\"]\nexpect = { \"kafka:a\" = \"3/1\" }\n",
            &["pipeline.orders.expect.\"kafka:a\""],
        ),
        ("[\"orders\"]\n", "[\"orders\"]\nowner = \"us\"\n", &["pipeline.orders.owner"]),
        ("start = \"end\"", "start = \"end\"\nisolation = \"read_uncommitted\"", &["kafka.a.tap.isolation"]),
        ("stages = [\"*\"]", "topic = 'audit'", &["kafka.a.audit.topic!"]),
        ("stages = [\"*\"]", "replication = 3", &["kafka.a.audit.replication!"]),
        ("[pipeline.orders]", "[kafka.c]\nbootstrap_servers = 'h:3'\n[pipeline.orders]", &["kafka.c!"]),
        ("\"h:2\"", "\"h:2\"\n[kafka.b.tap]\ntopics = ['t']\nstart = 'end'", &["kafka.b.tap"]),
        ("\"h:2\"", "\"h:2\"\n[kafka.b.audit]", &["kafka.b.audit!"]),
        ("[pipeline.orders]", "[pipeline.new]", &["pipeline.orders", "pipeline.new"]),
        (
            "topics = [\"orders\"]",
            "topics = [\"order\"]\ngrace = '2s'",
            &["pipeline.orders.topics", "pipeline.orders.grace"],
        ),
        ("topics = [\"orders\"]", "topics = [\"orders\"]\nid = 'content'", &["pipeline.orders.id"]),
        (
            "topics = [\"orders\"]",
            "topics = [\"orders\"]\ntime = 'json:/ts'\nunit = 'us'",
            &["pipeline.orders.time", "pipeline.orders.unit"],
        ),
    ];
    for (what, with, expected) in table {
        assert_eq!(changed(what, with), *expected, "{what} → {with}");
    }
}

#[test]
fn the_order_of_pipelines_is_a_change() {
    let (head, pipelines) = TEXT.split_once("[pipeline.orders]").expect("pipelines");
    let (orders, rest) = pipelines.split_once("[pipeline.rest]").expect("two");
    let turned = format!("{head}[pipeline.rest]{rest}\n[pipeline.orders]{orders}");
    let changes = loaded(TEXT).changes(&loaded(&turned));
    assert_eq!(changes.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), ["pipeline (their order)"]);
    assert!(judge(&changes).is_ok());
}

#[test]
fn a_new_content_of_a_referenced_file_is_a_change_and_is_not_shown() {
    let new = Loaded::parse(TEXT, &Password("other")).expect("good");
    let changes = loaded(TEXT).changes(&new);
    let said = judge(&changes).expect_err("a restart").join("\n");
    assert!(said.contains("kafka.a.properties.\"sasl.password\"") && said.contains("restart"), "{said}");
    assert!(!said.contains("hush") && !said.contains("other"), "{said}");
}

#[test]
fn one_key_that_needs_a_restart_refuses_all_and_each_is_named() {
    let text = TEXT.replacen("\"d\"", "\"e\"", 1).replacen("\"h:2\"", "\"h:3\"", 1).replacen("pay", "play", 1);
    let changes = loaded(TEXT).changes(&loaded(&text));
    let said = judge(&changes).expect_err("a restart");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("data_dir takes effect at a restart only (the store is open there)"), "{said:?}");
    assert!(said[1].starts_with("kafka.b.bootstrap_servers takes effect"), "{said:?}");
    let harmless = loaded(TEXT).changes(&loaded(&TEXT.replacen("pay", "play", 1)));
    assert_eq!((harmless.len(), judge(&harmless)), (1, Ok(())));
}
