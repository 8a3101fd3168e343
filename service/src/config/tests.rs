//! Every kind of mistake names its key; what is right is read as it was meant.

use super::*;
use chaperone_audit::{Recipe, Rule};
use chaperone_collector::StageKind;

struct Fixed;
impl Lookup for Fixed {
    fn env(&self, name: &str) -> Option<String> {
        (name == "PASSWORD").then(|| "hush".to_owned())
    }
    fn file(&self, path: &Path) -> std::io::Result<String> {
        if path == Path::new("/secret") {
            Ok("from-file\n".to_owned())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
}

const FULL: &str = r#"
data_dir = "/var/lib/chaperone"
seed = "00000000000000ff"
[web]
listen = "127.0.0.1:0"
[kafka.regional]
bootstrap_servers = "a:9092, b:9092"
datacenter = "sjc"
[kafka.regional.properties]
"security.protocol" = "SASL_SSL"
"sasl.password" = "x${PASSWORD}y"
"ssl.key.password" = "@file:/secret"
"socket.timeout.ms" = 5000
"socket.keepalive.enable" = true
[kafka.regional.tap]
topics = ["orders", "^pay-.*"]
start = "end"
[kafka.regional.audit]
stages = ["producer", "^kafka:.*"]
[kafka.agg]
bootstrap_servers = "c:9092"
[kafka.agg.tap]
topics = ["^.*"]
start = "earliest"
isolation = "read_uncommitted"
[pipeline.zebra]
topics = ["orders"]
stages = ["producer", "proxy", "kafka:regional", "kafka:agg", "consumer"]
complete = ["producer"]
at_least_once = ["consumer"]
stamped_only = ["producer"]
grace = "2s"
width = "1m"
time = "json:/meta/ts"
unit = "us"
id = "header:x-id"
[pipeline.all]
topics = ["^.*"]
stages = ["kafka:regional", "kafka:agg"]
"#;

fn mistakes(text: &str) -> String {
    Config::parse(text, &Fixed).expect_err("a mistake").to_string()
}

#[test]
fn a_full_file_reads_with_defaults_filled_in() {
    let c = Config::parse(FULL, &Fixed).expect("good");
    assert_eq!(c.web.listen.port(), 0);
    assert_eq!(c.rules.seed(), 255);
    let regional = c.cluster("regional").expect("there");
    assert_eq!(regional.bootstrap_servers, "a:9092,b:9092");
    let value = |k: &str| regional.properties.0.get(k).map(String::as_str);
    assert_eq!(value("sasl.password"), Some("xhushy"));
    assert_eq!(value("ssl.key.password"), Some("from-file"));
    assert_eq!((value("socket.timeout.ms"), value("socket.keepalive.enable")), (Some("5000"), Some("true")));
    let audit = regional.audit.as_ref().expect("there");
    assert_eq!(
        (audit.topic.as_str(), audit.partitions, audit.replication, audit.create),
        ("chaperone-audit", 4, None, true)
    );
    assert!(audit.allows("producer") && audit.allows("kafka:agg") && !audit.allows("proxy"));
    let tap = c.cluster("agg").and_then(|c| c.tap.as_ref()).expect("there");
    assert_eq!(
        (tap.stage.as_str(), tap.audit.as_str(), tap.group.as_str()),
        ("kafka:agg", "regional", "chaperone-tap")
    );
    assert_eq!(tap.isolation, Isolation::ReadUncommitted);
}

#[test]
fn pipelines_keep_the_order_of_the_file_and_know_kafka_stages() {
    use StageKind::{Client, Kafka};
    let c = Config::parse(FULL, &Fixed).expect("good");
    let orders = c.pipelines.of("orders").expect("matches");
    assert_eq!((orders.name.as_str(), orders.cluster.as_str()), ("zebra", "regional"));
    let kinds: Vec<(StageKind, bool)> = orders.stages.iter().map(|s| (s.kind, s.complete)).collect();
    assert_eq!(kinds, [(Client, true), (Client, false), (Kafka, true), (Kafka, true), (Client, false)]);
    assert_eq!(orders.stages.iter().map(|s| s.stamped_only).collect::<Vec<_>>(), [true, false, false, false, false]);
    let recipe = Recipe::parse(Some("json:/meta/ts"), Some("us"), Some("header:x-id")).expect("good");
    assert_eq!((c.rules.of("orders"), c.rules.of("other")), (&Rule::with(255, recipe), &Rule::new(255)));
    assert_eq!((c.widths.of("orders").ms(), c.widths.of("other").ms()), (60_000, 10_000));
}

#[test]
fn the_least_file_has_an_audit_topic_and_a_loopback_page() {
    let c = Config::parse("data_dir = 'd'\n[kafka.k]\nbootstrap_servers = 'h:1'", &Fixed).expect("good");
    assert_eq!(c.web.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(c.clusters[0].audit.as_ref().map(|a| a.topic.as_str()), Some("chaperone-audit"));
}

#[test]
fn secrets_are_never_shown() {
    let c = Config::parse(FULL, &Fixed).expect("good");
    let shown = format!("{c:?}");
    assert!(shown.contains("sasl.password") && !shown.contains("hush") && !shown.contains("from-file"), "{shown}");
    let said = mistakes(&FULL.replace("\"x${PASSWORD}y\"", "[\"opensesame\"]"));
    assert!(!said.contains("opensesame"), "{said}");
    let said = mistakes(&FULL.replace("\"x${PASSWORD}y\"", "\"opensesame"));
    assert!(!said.contains("opensesame"), "{said}");
}

/// Each line of the full file that is replaced, and what must be said about it.
#[test]
fn every_kind_of_mistake_names_its_key() {
    let table: &[(&str, &str, &[&str])] = &[
        ("data_dir = \"/var/lib/chaperone\"", "", &["data_dir is required"]),
        ("data_dir = \"/var/lib/chaperone\"", "data_dir = ''", &["data_dir: is empty"]),
        ("data_dir", "data_dri", &["line 2", "unknown key data_dri", "did you mean data_dir?"]),
        ("00000000000000ff", "ff", &["seed: must be 16 hex digits"]),
        ("00000000000000ff", "00000000000000fg", &["seed: must be 16 hex digits"]),
        ("listen = ", "lisen = ", &["unknown key web.lisen", "did you mean listen?"]),
        ("127.0.0.1:0", "0.0.0.0:80", &["web.listen", "log-in", "encryption"]),
        ("127.0.0.1:0", "[::]:80", &["web.listen", "log-in", "encryption"]),
        ("127.0.0.1:0", "8080", &["web.listen", "ADDRESS:PORT"]),
        ("bootstrap_servers = \"c:9092\"", "", &["kafka.agg.bootstrap_servers is required"]),
        ("\"c:9092\"", "\"c\"", &["kafka.agg.bootstrap_servers: 'c' is not host:port"]),
        ("\"c:9092\"", "9092", &["kafka.agg.bootstrap_servers", "is a integer; expected a string"]),
        ("\"c:9092\"", "\" \"", &["kafka.agg.bootstrap_servers: is empty"]),
        ("[kafka.agg]", "[kafka.\"a b\"]\nbootstrap_servers = 'h:1'\n[kafka.agg]", &["kafka.a b: a cluster's name"]),
        (
            "\"socket.timeout.ms\"",
            "\"enable.auto.commit\"",
            &["kafka.regional.properties.\"enable.auto.commit\": is chaperone's own"],
        ),
        ("\"socket.timeout.ms\"", "\"group.id\"", &["write tap.group"]),
        ("${PASSWORD}", "${NOPE}", &["kafka.regional.properties.\"sasl.password\"", "NOPE is not set"]),
        ("@file:/secret", "@file:/nope", &["\"ssl.key.password\"", "cannot read /nope"]),
        (
            "topics = [\"orders\", \"^pay-.*\"]",
            "topcs = []",
            &["unknown key kafka.regional.tap.topcs", "did you mean topics?"],
        ),
        ("\"^pay-.*\"", "\"^pay-(\"", &["kafka.regional.tap.topics[1]", "regular expression"]),
        ("\"^pay-.*\"", "\"pay *\"", &["kafka.regional.tap.topics[1]", "begins with ^"]),
        ("start = \"end\"", "", &["kafka.regional.tap.start is required"]),
        ("start = \"end\"", "start = \"begin\"", &["kafka.regional.tap.start", "earliest"]),
        (
            "start = \"end\"",
            "start = \"end\"\naudit = \"reginal\"",
            &["kafka.regional.tap.audit", "did you mean regional?"],
        ),
        (
            "start = \"end\"",
            "start = \"end\"\nstage = \"kafka:agg\"",
            &["kafka.agg.tap.stage", "already the stage of kafka.regional.tap"],
        ),
        ("\"^kafka:.*\"", "\"consumer\"", &["kafka.regional.tap.stage", "add it to kafka.regional.audit.stages"]),
        (
            "[kafka.regional.audit]",
            "[kafka.regional.audit]\npartitions = 0",
            &["kafka.regional.audit.partitions: is 0"],
        ),
        ("[kafka.regional.audit]", "[kafka.regional.audit]\nretention = \"5m\"", &["kafka.regional.audit.retention"]),
        (
            "[kafka.regional.audit]",
            "[kafka.regional.audit]\nretention = 14",
            &["kafka.regional.audit.retention", "\"10s\""],
        ),
        ("[kafka.regional.audit]", "[kafka.regional.audit]\ntopic = \"a b\"", &["kafka.regional.audit.topic"]),
        ("[kafka.regional.audit]", "[kafka.regional.audit]\nreplication = 0", &["kafka.regional.audit.replication"]),
        (
            "complete = [\"producer\"]",
            "complete = [\"producr\"]",
            &["pipeline.zebra.complete: 'producr'", "did you mean producer?"],
        ),
        (
            "at_least_once = [\"consumer\"]",
            "at_least_once = [\"kafka\"]",
            &["pipeline.zebra.at_least_once: 'kafka'", "allowed: producer"],
        ),
        ("grace = \"2s\"", "grace = \"2\"", &["pipeline.zebra.grace", "10s"]),
        ("grace = \"2s\"", "grace = \"2h\"", &["pipeline.zebra.grace", "1h"]),
        ("grace = \"2s\"", "silent_after = \"1s\"", &["pipeline.zebra.silent_after"]),
        ("grace = \"2s\"", "objective = \"1ms\"", &["pipeline.zebra.objective", "10ms to 7d"]),
        ("width = \"1m\"", "width = \"15s\"", &["pipeline.zebra.width: allowed are 10s"]),
        ("json:/meta/ts", "json:meta/ts", &["pipeline.zebra.time: 'json:meta/ts'", "does not begin with '/'"]),
        ("json:/meta/ts", "clock", &["pipeline.zebra.time: 'clock' is no time rule; allowed: default, timestamp"]),
        ("json:/meta/ts", "timestamp", &["pipeline.zebra.unit: unit us does not go with 'timestamp'"]),
        (
            "unit = \"us\"",
            "unit = \"min\"",
            &["pipeline.zebra.unit: 'min' is no unit; allowed: ms, s, us, ns, rfc3339"],
        ),
        ("header:x-id", "uuid", &["pipeline.zebra.id: 'uuid' is no identity rule; allowed: default, content"]),
        (
            "stages = [\"kafka:regional\", \"kafka:agg\"]",
            "stages = [\"kafka:regional\"]",
            &["pipeline.all.stages: needs at least two"],
        ),
        (
            "stages = [\"kafka:regional\", \"kafka:agg\"]",
            "stages = [\"a\", \"a\"]",
            &["pipeline.all.stages[1]: 'a' is there twice"],
        ),
        ("[pipeline.all]", "[pipelin.all]", &["unknown key pipelin", "did you mean pipeline?"]),
        ("[web]", "[web", &["line 4"]),
    ];
    each_is_named(table);
}

#[test]
fn stages_that_cannot_be_compared_by_stamps_are_named() {
    each_is_named(&[
        (
            "stamped_only = [\"producer\"]",
            "stamped_only = [\"producr\"]",
            &["pipeline.zebra.stamped_only: 'producr'", "did you mean producer?"],
        ),
        (
            "stamped_only = [\"producer\"]",
            "stamped_only = [\"kafka:agg\"]",
            &["pipeline.zebra.stamped_only: 'kafka:agg' is a Kafka stage", "allowed: producer, proxy"],
        ),
        (
            "stamped_only = [\"producer\"]",
            "stamped_only = [\"consumer\"]",
            &["pipeline.zebra.stamped_only: 'consumer' is the last stage", "allowed: producer, proxy"],
        ),
    ]);
}

#[test]
fn what_is_expected_of_hops_and_people_is_read() {
    let duties = "expect = { \"kafka:agg\" = \"3/1\", consumer = \"20%..40%\" }\nowner = \"orders on call\"\n\
                  runbook = \"https://wiki.example.com/orders\"\n\
                  expected = [{ stage = \"proxy\", application = \"edge\", at_least = 3 }, { stage = \"proxy\", application = \"b\" }]\n";
    let text = FULL.replacen("stamped_only", &format!("{duties}stamped_only"), 1);
    let c = Config::parse(&format!("discover = true\n{text}"), &Fixed).expect("good");
    let orders = &c.pipelines.list[0];
    let said: Vec<String> = orders.stages.iter().map(|s| s.expect.to_string()).collect();
    assert_eq!(said, ["1/1", "1/1", "1/1", "3/1", "20%..40%"]);
    assert_eq!(orders.owner.as_deref(), Some("orders on call"));
    assert_eq!(orders.runbook.as_deref(), Some("https://wiki.example.com/orders"));
    let expected: Vec<_> = orders.expected.iter().map(|e| (e.application.as_str(), e.at_least)).collect();
    assert_eq!(expected, [("edge", 3), ("b", 1)]);
    let tapped = c.pipelines.discover.as_ref().expect("asked for");
    assert!(tapped.contains(&("kafka:agg".to_owned(), "agg".to_owned())), "{tapped:?}");
    assert_eq!(Config::parse(FULL, &Fixed).expect("good").pipelines.discover, None);
}

#[test]
fn what_cannot_be_expected_of_hops_and_people_is_named() {
    let with = |line: &str| format!("{line}\nstamped_only = [\"producer\"]");
    for (line, parts) in [
        ("expect = { consumr = \"3/1\" }", ["pipeline.zebra.expect.\"consumr\": 'consumr'", "did you mean consumer?"]),
        ("expect = { producer = \"3/1\" }", ["pipeline.zebra.expect.\"producer\"", "has one before it"]),
        ("expect = { consumer = \"0/1\" }", ["pipeline.zebra.expect.\"consumer\": '0/1'", "1 to 1000"]),
        ("owner = \"\"", ["pipeline.zebra.owner", "1 to 200 characters"]),
        ("runbook = \"javascript:alert(1)\"", ["pipeline.zebra.runbook", "https://"]),
        (
            "expected = [{ stage = \"kafka:agg\", application = \"a\" }]",
            ["pipeline.zebra.expected[0].stage: 'kafka:agg' is no linked stage", "producer, proxy, consumer"],
        ),
        (
            "expected = [{ stage = \"proxy\", application = \"a\", at_least = 0 }]",
            ["pipeline.zebra.expected[0].at_least: 0 is not allowed", "1 to 100000"],
        ),
        (
            "expected = [{ stage = \"proxy\", application = \"a\" }, { stage = \"proxy\", application = \"a\" }]",
            ["pipeline.zebra.expected[1]", "twice"],
        ),
    ] {
        let said = mistakes(&FULL.replacen("stamped_only = [\"producer\"]", &with(line), 1));
        assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
    }
}

#[test]
fn a_stage_may_be_made_up_of_several_and_mistakes_in_that_are_named() {
    use StageKind::{Client, Kafka};
    let with = |stages: &str, groups: &str| {
        format!("{FULL}\n[pipeline.grouped]\ntopics = [\"g\"]\nstages = {stages}\ngroups = {groups}\n")
    };
    let stages = "[\"proxies\", \"all\", \"consumer\"]";
    let good = "{ proxies = [\"proxy:1\", \"proxy:2\"], all = [\"kafka:regional\", \"kafka:agg\"] }";
    let text = with(stages, good)
        + "complete = [\"proxies\"]\nexpected = [{ stage = \"proxy:2\", application = \"edge\" }]\nexpect = { all = \"2/1\" }\n";
    let c = Config::parse(&text, &Fixed).expect("good");
    let p = c.pipelines.list.last().expect("there");
    let said: Vec<_> = p.stages.iter().map(|s| (s.kind, s.members.len(), s.complete, s.reported().len())).collect();
    assert_eq!(said, [(Client, 2, true, 2), (Kafka, 2, true, 2), (Client, 0, false, 1)]);
    assert_eq!(p.cluster, "regional", "that of the first member with a tap");
    for (groups, parts) in [
        ("{ al = [\"kafka:regional\", \"kafka:agg\"] }", ["groups.\"al\": 'al' is no stage", "did you mean all?"]),
        ("{ all = [] }", ["groups.\"all\": has 0 members", "2 to 64"]),
        ("{ all = [\"kafka:agg\"] }", ["groups.\"all\": has 1 members", "2 to 64"]),
        ("{ all = [\"kafka:agg\", \"kafka:agg\"] }", ["groups.\"all\"[1]: 'kafka:agg' is there twice", "count twice"]),
        (
            "{ all = [\"a\", \"consumer\"] }",
            ["groups.\"all\"[1]: 'consumer' is a stage of this pipeline as well", "not its members"],
        ),
        ("{ all = [\"a\", \"b\"], proxies = [\"c\", \"b\"] }", ["groups.\"proxies\"[1]: 'b' is a member of 'all'", ""]),
        ("{ all = [\"kafka:agg\", \"proxy:1\"] }", ["'kafka:agg' has a tap and 'proxy:1' is linked", "all members"]),
        ("{ all = [\"kafka:agg\", \"kafka:dc9\"] }", ["'kafka:dc9' is the stage of no tap", "write [kafka.dc9.tap]"]),
        ("{ all = [\"a\", \"\"] }", ["groups.\"all\"[1]: a stage's name", "1 to 255 bytes"]),
    ] {
        let said = mistakes(&with(stages, groups));
        assert!(parts.iter().all(|part| said.contains(part)), "{groups}: {said}");
    }
    let said = mistakes(&with("[\"proxy\", \"kafka:agg\"]", "{ \"kafka:agg\" = [\"a\", \"b\"] }"));
    assert!(said.contains("'kafka:agg' is the stage of a tap"), "{said}");
}

#[test]
fn renames_and_exclusions_that_cannot_be_are_named() {
    each_is_named(&[
        (
            "start = \"end\"",
            "start = \"end\"\nexclude = [\"a\", \"^b(\"]",
            &["kafka.regional.tap.exclude[1]", "regular"],
        ),
        (
            "start = \"end\"",
            "start = \"end\"\nrename = [{ from = '^a(', to = 'b' }, { from = 'a', to = '$1' }, { frm = 'a' }]",
            &["unknown key kafka.regional.tap.rename[2].frm", "did you mean from?"],
        ),
        (
            "start = \"end\"",
            "start = \"end\"\nrename = [{ from = '^a(', to = 'b' }, { from = 'a', to = '$1' }, { from = 'c', to = '' }]",
            &[
                "kafka.regional.tap.rename[0].from: cannot read the regular expression",
                "kafka.regional.tap.rename[1].to: '$1' 'from' has no group 1",
                "kafka.regional.tap.rename[2].to: '' gives no topic name",
            ],
        ),
        (
            "topics = [\"orders\", \"^pay-.*\"]",
            "topics = [\"orders\", \"eu.orders\"]\nrename = [{ from = '^eu\\.(.*)', to = '$1' }]",
            &["kafka.regional.tap.rename: topics 'eu.orders', 'orders' are all called 'orders'"],
        ),
    ]);
}

fn each_is_named(table: &[(&str, &str, &[&str])]) {
    for (what, with, expected) in table {
        assert!(FULL.contains(what), "{what} is not in the file");
        let said = mistakes(&FULL.replacen(what, with, 1));
        for words in *expected {
            assert!(said.contains(words), "{what} → {with}: expected {words:?} in: {said}");
        }
    }
}

#[test]
fn all_mistakes_are_listed_together() {
    let said = mistakes(&FULL.replace("127.0.0.1:0", "10.0.0.1:1").replace("\"1m\"", "\"1s\""));
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn a_store_elsewhere_is_reached_as_its_table_says_and_its_password_is_never_shown() {
    let base = "data_dir = 'd'\n[kafka.k]\nbootstrap_servers = 'h:1'\n[store]\n";
    let read = |table: &str| Config::parse(&format!("{base}{table}"), &Fixed);
    assert!(read("").is_err_and(|e| e.to_string().contains("url")), "a table without a URL");
    let good = read("url = 'postgres://me@db:5432/audit'\npassword = '${PASSWORD}'").expect("good");
    let shown = format!("{good:?}");
    assert!(shown.contains("postgres://db:5432/audit") && !shown.contains("hush"), "{shown}");
    for (table, words) in [
        ("url = 'mysql://h/d'", "store.url: must begin with postgres://"),
        ("url = 'postgres://h'", "store.url: names no database"),
        ("url = 'postgres://me:hush@h/d'\npassword = 'x'", "store.url: has a password, and there is another"),
        ("url = 'postgres://h/d?nonsense=1'", "store.url: cannot be read"),
        ("url = 'postgres://h/d'\nconnections = 1", "store.connections: 1 is not between 2 and 100"),
        ("url = 'postgres://h/d'\nkey_file = 'k'", "store.key_file: its certificate is missing"),
        ("url = 'postgres://h/d'\ntls = 'off'\nca_file = 'c'", "store.ca_file: means nothing"),
        ("url = 'postgres://h/d'\npassword = '${NOPE}'", "store.password: environment variable NOPE is not set"),
    ] {
        let said = read(table).expect_err(table).to_string();
        assert!(said.contains(words) && !said.contains("hush"), "{table}: {said}");
    }
}
