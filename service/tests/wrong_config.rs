//! A wrong configuration gives the built binary's user one clear message that names the key, the right exit code, and
//! never a panic or a secret.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use tempfile::TempDir;

const SECRET: &str = "open-sesame";
/// No call takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the binary to its end; kills it, and fails, at the deadline.
fn chaperone(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    for variable in ["CHAPERONE_CONFIG", "RUST_LOG", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("starts");
    let id = child.id().to_string();
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()).ok());
    match ended.recv_timeout(DEADLINE) {
        Ok(output) => output.expect("ends"),
        Err(e) => {
            Command::new("kill").args(["-9", &id]).status().expect("kill");
            panic!("{arguments:?} did not end: {e}");
        }
    }
}

/// What failed, as main prints it: standard error's lines that begin with the program's name.
fn messages(output: &Output) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    stderr.lines().filter_map(|l| l.strip_prefix("chaperone: ")).map(str::to_owned).collect()
}

fn assert_discreet(output: &Output) {
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!all.contains(SECRET), "a secret is printed: {all}");
    assert!(!all.contains("panicked"), "{all}");
}

/// One message with all of `words`, and the code.
fn assert_one_message(output: &Output, code: i32, words: &[&str]) {
    assert_discreet(output);
    let said = messages(output);
    let all = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.len(), 1, "one message: {all}");
    for word in words {
        assert!(said.iter().all(|line| line.contains(word)), "{word:?} in {said:?}");
    }
    assert_eq!(output.status.code(), Some(code), "{all}");
}

/// A directory with a configuration in it.
struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: TempDir::new().expect("a directory") }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// A good file, in which `what` is replaced.
    fn config(&self, what: &str, with: &str) -> String {
        let data_dir = self.path("data");
        let good = format!(
            r#"data_dir = "{}"
seed = "00000000000000ff"
[web]
listen = "127.0.0.1:0"
[kafka.main]
bootstrap_servers = "127.0.0.1:1"
[kafka.main.properties]
"security.protocol" = "SASL_SSL"
"sasl.mechanisms" = "PLAIN"
"sasl.username" = "chaperone"
"sasl.password" = "{SECRET}"
[kafka.main.tap]
topics = ["orders", "^pay-.*"]
start = "end"
[kafka.main.audit]
topic = "chaperone-audit"
[pipeline.orders]
topics = ["orders"]
stages = ["producer", "kafka:main", "consumer"]
grace = "2s"
"#,
            data_dir.display()
        );
        assert!(good.contains(what), "{what} is not in the file");
        self.write(&good.replacen(what, with, 1))
    }
    fn write(&self, text: &str) -> String {
        let path = self.path("chaperone.toml");
        std::fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    }
}

#[test]
fn a_mistake_in_the_file_is_one_message_with_its_key_and_code_78() {
    let table: &[(&str, &str, &[&str])] = &[
        ("listen = ", "lisen = ", &["web.lisen", "did you mean listen?"]),
        ("data_dir", "data_dri", &["data_dri", "did you mean data_dir?"]),
        ("\"2s\"", "\"2 seconds\"", &["pipeline.orders.grace", "2 seconds", "10s"]),
        ("\"2s\"", "2", &["pipeline.orders.grace", "in quotes"]),
        ("^pay-.*", "^pay-(", &["kafka.main.tap.topics[1]", "regular expression"]),
        ("127.0.0.1:0\"", "0.0.0.0:8080\"\nallowed_hosts = [\"a\"]", &["web.listen", "0.0.0.0:8080", "log-in"]),
        ("\"producer\", \"kafka:main\", \"consumer\"", "\"a\", \"a\"", &["pipeline.orders.stages[1]", "twice"]),
        ("\"producer\", \"kafka:main\", \"consumer\"", "\"a\"", &["pipeline.orders.stages", "at least two"]),
        ("127.0.0.1:1", "127.0.0.1", &["kafka.main.bootstrap_servers", "host:port"]),
        ("start = \"end\"\n", "", &["kafka.main.tap.start", "required"]),
        ("\"sasl.password\" = ", "\"sasl.password\" = [", &["line "]),
        ("\"open-sesame\"", "[\"open-sesame\"]", &["kafka.main.properties"]),
        ("\"open-sesame\"", "\"${CHAPERONE_NOT_SET}\"", &["sasl.password", "CHAPERONE_NOT_SET", "not set"]),
        ("\"open-sesame\"", "\"@file:/nowhere/password\"", &["sasl.password", "/nowhere/password"]),
        ("\"sasl.username\"", "\"group.id\"", &["kafka.main.properties.\"group.id\"", "tap.group"]),
        ("\"00000000000000ff\"", "\"open-sesame\"", &["seed", "16 hex digits"]),
    ];
    let scene = Scene::new();
    for (what, with, words) in table {
        let path = scene.config(what, with);
        let words: Vec<&str> = words.iter().copied().chain([path.as_str()]).collect();
        for verb in ["check-config", "print-config", "run", "tap"] {
            assert_one_message(&chaperone(&[verb, "--config", &path]), 78, &words);
        }
        assert!(!scene.path("data").exists(), "nothing is made of a wrong configuration");
    }
}

#[test]
fn all_mistakes_are_listed() {
    let scene = Scene::new();
    let path = scene.config("127.0.0.1:0\"", "0.0.0.0:1\"\n[kafka.other]\nbootstrap_servers = \"nowhere\"");
    let output = chaperone(&["check-config", "--config", &path]);
    assert_discreet(&output);
    let said = messages(&output);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said.iter().any(|l| l.contains("web.listen"))
            && said.iter().any(|l| l.contains("web.allowed_hosts"))
            && said.iter().any(|l| l.contains("kafka.other.bootstrap_servers"))
    );
}

#[test]
fn a_missing_file_is_named() {
    let scene = Scene::new();
    let path = scene.path("absent.toml").to_string_lossy().into_owned();
    for verb in ["check-config", "print-config", "run", "tap"] {
        assert_one_message(&chaperone(&[verb, "--config", &path]), 78, &[&path, "No such file"]);
    }
}

#[test]
fn what_librdkafka_refuses_is_named_without_its_value() {
    let scene = Scene::new();
    for (key, why) in [("sasl.pasword", "no such property"), ("socket.timeout.ms", "refuses its value")] {
        let path = scene.config("\"sasl.password\"", &format!("\"{key}\""));
        let output = chaperone(&["check-config", "--config", &path]);
        assert_one_message(&output, 78, &[&format!("kafka.main.properties.\"{key}\""), why]);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_code_73() {
    let scene = Scene::new();
    std::fs::write(scene.path("file"), "").expect("written");
    let path = scene.config("/data\"", "/file/data\"");
    assert_one_message(&chaperone(&["run", "--config", &path]), 73, &["data_dir", "file/data"]);
    let output = chaperone(&["check-config", "--connect", "--config", &scene.config("/data\"", "/file/data\"")]);
    assert_discreet(&output);
    assert_eq!(output.status.code(), Some(73));
    assert_eq!(messages(&output).iter().filter(|l| l.starts_with("data_dir")).count(), 1);
}

#[test]
fn a_port_that_is_taken_is_code_69() {
    let scene = Scene::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let path = scene.config("127.0.0.1:0", &address);
    assert_one_message(&chaperone(&["run", "--config", &path]), 69, &["web.listen", &address]);
}

#[test]
fn a_cluster_that_does_not_answer_is_code_69_and_named_with_its_address() {
    let scene = Scene::new();
    let path = scene.config("\"producer\"", "\"producer\"");
    let output = chaperone(&["check-config", "--connect", "--config", &path]);
    assert_one_message(&output, 69, &["kafka.main", "127.0.0.1:1", "bootstrap_servers", "within 10 s"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("ok      data_dir") && stdout.contains("ok      web.listen"), "{stdout}");
    assert!(!scene.path("data").exists(), "it changes nothing");
}

#[test]
fn a_cluster_that_answers_is_checked_line_by_line() {
    let kafka = MockCluster::new(1).expect("mock cluster");
    kafka.create_topic("orders", 2, 1).expect("topic");
    kafka.create_topic("audit", 1, 1).expect("topic");
    let scene = Scene::new();
    let mut text = format!("data_dir = \"{}\"\n[web]\nlisten = \"127.0.0.1:0\"\n", scene.path("data").display());
    write!(text, "[kafka.main]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers()).expect("text");
    text.push_str("[kafka.main.tap]\ntopics = [\"orders\", \"absent\", \"^none-.*\"]\nstart = \"end\"\n");
    text.push_str("[kafka.main.audit]\ntopic = \"audit\"\n");
    let path = scene.write(&text);
    let output = chaperone(&["check-config", "--connect", "--config", &path]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    for line in [
        "ok      kafka.main: 1 brokers at",
        "ok      kafka.main.tap.topics: 1 topics match",
        "warning kafka.main.tap.topics: 'absent' does not exist",
        "ok      kafka.main: READ on topic 'orders'",
        "unknown kafka.main: READ on group 'chaperone-tap': no consumer has ever committed there",
        "ok      kafka.main.audit.topic: 'audit' exists with 1 partitions",
        "ok      kafka.main: READ on topic 'audit'",
        "unknown kafka.main: WRITE on topic 'audit'",
    ] {
        assert!(stdout.contains(line), "{line} in {stdout}{stderr}");
    }
}

#[test]
fn init_writes_a_good_file_once() {
    let scene = Scene::new();
    let path = scene.path("new.toml").to_string_lossy().into_owned();
    let seed = || {
        let text = std::fs::read_to_string(&path).expect("written");
        text.lines().find(|l| l.starts_with("seed = ")).map(str::to_owned).expect("a seed")
    };
    assert!(chaperone(&["init", "--output", &path]).status.success());
    assert!(chaperone(&["check-config", "--config", &path]).status.success());
    let first = seed();
    assert_one_message(&chaperone(&["init", "--output", &path]), 73, &[&path, "--force"]);
    assert_eq!(seed(), first, "a refused init changes nothing");
    assert!(chaperone(&["init", "--output", &path, "--force"]).status.success());
    assert_ne!(seed(), first);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(Path::new(&path)).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let printed = chaperone(&["init", "--output", "-"]);
    assert!(String::from_utf8_lossy(&printed.stdout).contains("[kafka.regional.tap]"));
}

#[test]
fn print_config_hides_secrets_unless_told() {
    let scene = Scene::new();
    let path = scene.config("\"producer\"", "\"producer\"");
    for arguments in
        [&["print-config", "--config", &path] as &[&str], &["print-config", "--config", &path, "--redacted"]]
    {
        let output = chaperone(arguments);
        assert_discreet(&output);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("\"sasl.password\" = \"…\"") && !stdout.contains("00ff"), "{stdout}");
    }
    let shown = chaperone(&["print-config", "--config", &path, "--show-secrets"]);
    let again = scene.write(&String::from_utf8_lossy(&shown.stdout));
    assert!(String::from_utf8_lossy(&shown.stdout).contains(SECRET));
    assert!(chaperone(&["check-config", "--config", &again]).status.success());
}

#[test]
fn the_version_is_one_line_and_the_schema_is_json() {
    let version = chaperone(&["--version", "--json"]);
    let text = String::from_utf8_lossy(&version.stdout);
    assert_eq!(text.lines().count(), 1);
    let members: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).expect("texts");
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(names, ["chaperone", "commit", "librdkafka", "openssl", "sqlite"]);
    let plain = chaperone(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&plain.stdout).trim(), format!("chaperone {}", env!("CARGO_PKG_VERSION")));
    let schema: serde_json::Value = serde_json::from_slice(&chaperone(&["config", "schema"]).stdout).expect("JSON");
    assert!(schema["properties"]["data_dir"]["description"].is_string());
    assert_one_message(&chaperone(&[]), 64, &["check-config"]);
}
