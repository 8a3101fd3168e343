//! Logs as programs read them: every line a JSON object with the fields that say what it is about, and in neither format
//! a secret, however much is logged.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What must not be in any line.
const SECRETS: [&str; 3] = ["hush-password", "hush-environment", "5eed5eed5eed5eed"];

fn config(dir: &Path) -> std::path::PathBuf {
    let text = format!(
        "data_dir = {:?}\nseed = \"5eed5eed5eed5eed\"\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\n\
         bootstrap_servers = \"127.0.0.1:1\"\n[kafka.main.properties]\n\"security.protocol\" = \"sasl_plaintext\"\n\
         \"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"u\"\n\"sasl.password\" = \"hush-password\"\n\
         \"ssl.key.password\" = \"${{HUSH}}\"\n\"debug\" = \"all\"\n[kafka.main.tap]\ntopics = [\"t\"]\nstart = \"end\"\n",
        dir.join("data").to_string_lossy()
    );
    let path = dir.join("chaperone.toml");
    std::fs::write(&path, text).expect("written");
    path
}

struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        // Already gone is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// All lines of a `run` that finds no broker, logging everything, until it has said so, its tap has spoken, and it was told to end.
fn lines(format: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.arg("run").args(format).arg("--config").arg(config(dir.path()));
    command.env("RUST_LOG", "trace").env("HUSH", "hush-environment").envs(environment.iter().copied());
    let mut child = Killed(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts"));
    let stderr = child.0.stderr.take().expect("stderr");
    let (sender, inbox) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut lines = Vec::new();
    let (mut told, mut unreachable, mut tapped) = (false, false, false);
    while let Ok(line) = inbox.recv_timeout(Duration::from_secs(60)) {
        unreachable |= line.contains("no broker answers");
        // The tap speaks in its span, which names its stage.
        tapped |= line.contains("kafka:main");
        if !told && unreachable && tapped {
            told = true;
            kill_process(Pid::from_child(&child.0), Signal::TERM).expect("signalled");
        }
        lines.push(line);
    }
    assert!(told, "{lines:#?}");
    for line in &lines {
        assert!(SECRETS.iter().all(|secret| !line.contains(secret)), "{line}");
    }
    lines
}

#[test]
fn json_is_one_object_a_line_with_fields_and_no_secrets() {
    let lines = lines(&["--log-format", "json"], &[]);
    let objects: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for object in &objects {
        let has = |key: &str| object.get(key).is_some_and(Value::is_string);
        assert!(has("timestamp") && has("level") && has("target"), "{object}");
    }
    let of_span = |name: &str, field: &str, value: &str| {
        objects.iter().any(|o| o["span"]["name"] == name && o["span"][field] == value)
    };
    assert!(of_span("tap", "stage", "kafka:main") && of_span("tap", "cluster", "main"), "{lines:#?}");
    assert!(of_span("intake", "topic", "chaperone-audit"), "{lines:#?}");
    assert!(
        objects.iter().any(|o| o["level"] == "WARN" && o["message"].as_str().is_some_and(|m| m.contains("kafka.main")))
    );
}

#[test]
fn text_has_no_secrets_either_and_the_environment_chooses_too() {
    let text = lines(&["--log-format", "text"], &[("CHAPERONE_LOG_FORMAT", "json")]);
    assert!(text.iter().all(|line| serde_json::from_str::<Value>(line).is_err()), "the command line wins");
    let json = lines(&[], &[("CHAPERONE_LOG_FORMAT", "json")]);
    assert!(json.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn the_last_line_is_json_too_and_an_unknown_format_is_a_usage_error() {
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_chaperone")).args(arguments).output().expect("runs");
    let ended = run(&["collect", "--log-format", "json", "--config", "/nonexistent/c.toml"]);
    assert_eq!(ended.status.code(), Some(78));
    let text = String::from_utf8_lossy(&ended.stderr);
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((last["level"].as_str(), last["exit_code"].as_u64()), (Some("ERROR"), Some(78)), "{text}");
    let ended = run(&["collect", "--log-format", "xml", "--config", "/nonexistent/c.toml"]);
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(64) && text.contains("json") && text.contains("text"), "{text}");
}
