//! The built binary: answers, exit codes, and a run from start to SIGTERM.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use chaperone_audit::{Clock, SystemClock};
use common::{Source, cluster, eventually};

fn chaperone(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.args(arguments).env("RUST_LOG", "warn");
    command
}

fn fed(arguments: &[&str], input: &str) -> Output {
    let mut child = chaperone(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    child.wait_with_output().expect("wait")
}

fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|l| serde_json::from_str(l).expect("json")).collect()
}

fn answer(what: &str, input: &str) -> serde_json::Value {
    let output = fed(&["inspect", what], &format!("{input}\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&output.stdout).remove(0)
}

#[test]
fn join_takes_whole_chains_and_prints_what_was_there() {
    let f = "000102030405060708090a0b0c0d0e0f";
    let joined = answer(
        "join",
        &format!(
            r#"{{"a":{{"n":10,"bytes":5,"acked":9,"f_in":"{f}","flags":["x"]}},"b":{{"n":12,"acked":3,"failed":1,"flags":["w"],"final":true}}}}"#
        ),
    );
    let expected = serde_json::json!({
        "n": 12, "bytes": 0, "acked": 9, "failed": 0, "sketch_n": null, "flags": ["w", "x"], "final": true
    });
    assert_eq!(joined, expected);
    let empty = answer("join", r#"{"a":{},"b":{}}"#);
    assert_eq!(empty, serde_json::json!({"n":0,"bytes":0,"acked":0,"failed":0,"sketch_n":null,"flags":[]}));
    let kept =
        answer("join", &format!(r#"{{"a":{{"n":1,"f_in":"{f}","min_ms":-5,"final":false}},"b":{{"sketch_n":7}}}}"#));
    assert_eq!(kept["f_in"], f);
    assert_eq!((&kept["min_ms"], &kept["sketch_n"], &kept["final"]), (&(-5).into(), &7.into(), &false.into()));
}

#[test]
fn verdicts_follow_the_numbers_and_silence_is_not_a_zero() {
    let word = |input: &str| answer("verdict", input)["verdict"].as_str().map(str::to_owned).expect("a word");
    assert_eq!(word("{}"), "ok");
    assert_eq!(word(r#"{"downstream":null}"#), "no_report");
    assert_eq!(word(r#"{"settled":false}"#), "settling");
    assert_eq!(word(r#"{"attempted":5,"acked":5,"downstream":3,"passage":"passed"}"#), "missing");
    assert_eq!(word(r#"{"attempted":5,"acked":5,"downstream":3,"passage":"not_passed"}"#), "delayed");
    assert_eq!(word(r#"{"attempted":5,"acked":5,"downstream":3}"#), "overdue");
    assert_eq!(word(r#"{"attempted":5,"acked":5,"downstream":6}"#), "surplus");
    assert_eq!(word(r#"{"attempted":5,"acked":5,"downstream":6,"at_least_once":true}"#), "re-read");
    assert_eq!(word(r#"{"attempted":5,"acked":5,"downstream":6,"complete":false}"#), "partial");
    assert_eq!(
        word(r#"{"attempted":5,"acked":5,"downstream":5,"f_down":"000000000000000000000000000000ff"}"#),
        "mixed"
    );
    let all = answer(
        "verdict",
        r#"{"attempted":5,"acked":5,"downstream":3,"passage":"passed","caveats":["reporter gone downstream: 1"]}"#,
    );
    assert_eq!((&all["missing_min"], &all["surplus_min"]), (&1.into(), &0.into()));
    assert!(all["why"].as_str().is_some_and(|w| w.contains("reporter gone")), "{all}");
}

#[test]
fn intervals_count_once_along_the_chain() {
    let history = r#"{"events":[{"claim":true},{"epoch":1,"from":4,"to":8,"n":4},{"epoch":1,"from":0,"to":4,"n":3},{"epoch":1,"from":0,"to":4,"n":3},{"claim":true},{"epoch":1,"from":4,"to":9,"n":5},{"epoch":2,"from":4,"to":9,"n":5}]}"#;
    assert_eq!(answer("intervals", history), serde_json::json!({"next":9,"n":8}));
    assert_eq!(answer("intervals", r#"{"events":[]}"#), serde_json::json!({"next":0,"n":0}));
}

#[test]
fn rule_finds_time_and_identity() {
    // {"meta":{"ts":1790000000}}, then without the field, then the id.
    let messages = "{\"value\":\"eyJtZXRhIjp7InRzIjoxNzkwMDAwMDAwfX0=\"}\n{\"value\":\"e30=\",\"timestamp_ms\":1}\n";
    let output = fed(&["inspect", "rule", "--time", "json:/meta/ts", "--unit", "s"], messages);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = lines(&output.stdout);
    let found: Vec<_> = said.iter().map(|a| (a["event_ms"].as_i64(), a["class"].as_str())).collect();
    assert_eq!(found, [(Some(1_790_000_000_000), Some("ok")), (None, Some("no_time"))]);
    assert!(said[0]["id"] != said[1]["id"] && said[0]["id"].as_str().is_some_and(|id| id.len() == 32), "{said:?}");
    for (arguments, words) in [
        (["--time", "jsn:/ts"], "'jsn:/ts' is no time rule; allowed: default, timestamp, cloudevents"),
        (["--time", "json:ts"], "does not begin with '/'"),
        (["--time=json:/ts", "--unit=min"], "'min' is no unit; allowed: ms, s, us, ns, rfc3339"),
        (["--time=default", "--id=uuid"], "'uuid' is no identity rule; allowed: default, content"),
    ] {
        let output = fed(&["inspect", "rule", arguments[0], arguments[1]], "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(64) && output.stdout.is_empty() && said.contains(words), "{said}");
    }
}

#[test]
fn a_bad_line_is_named_with_what_is_allowed_and_the_others_are_answered() {
    let output = fed(&["inspect", "verdict"], "{}\n{\"atempted\":1}\n{\"caveats\":[\"weather\"]}\n[\n{}\n");
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(lines(&output.stdout).len(), 2);
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("line 2: unknown field `atempted`, expected one of `attempted`"), "{said:?}");
    assert!(said[1].starts_with("line 3: 'weather' is not a caveat"), "{said:?}");
    for (what, bad, words) in [
        ("join", r#"{"a":{"nn":1},"b":{}}"#, "unknown field `nn`"),
        ("join", r#"{"a":{}}"#, "missing field `b`"),
        ("join", r#"{"a":{"f_in":"xyz"},"b":{}}"#, "32 lower-case hex digits"),
        ("intervals", r#"{"events":[{"claim":false}]}"#, "events[0]"),
        ("intervals", r#"{"events":[{"epoch":1,"from":0,"to":8}]}"#, "events[0]"),
        ("intervals", r#"{"events":[{"epoc":1}]}"#, "unknown field `epoc`"),
    ] {
        let output = fed(&["inspect", what], bad);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(64) && output.stdout.is_empty() && said.contains(words), "{bad}: {said}");
    }
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let dir = tempfile::tempdir().expect("dir");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        path.to_string_lossy().into_owned()
    };
    let data = dir.path().join("data");
    let good = |listen: &str, data: &Path| {
        format!(
            "data_dir = '{}'\n[web]\nlisten = '{listen}'\n[kafka.k]\nbootstrap_servers = '127.0.0.1:1'\n",
            data.display()
        )
    };
    let code = |arguments: &[&str]| {
        let output = fed(arguments, "");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(code(&["--version"]).0, Some(0));
    assert_eq!(code(&["rnu"]).0, Some(64));
    assert_eq!(code(&["run"]).0, Some(64));
    assert_eq!(code(&["run", "--config", "/nonexistent.toml"]).0, Some(78));
    let (status, said) = code(&["run", "--config", &write("unknown.toml", "data_dri = 'x'")]);
    assert!(status == Some(78) && said.contains("did you mean data_dir"), "{said}");
    let nowhere = dir.path().join("missing/parent");
    let (status, said) = code(&["run", "--config", &write("dir.toml", &good("127.0.0.1:0", &nowhere))]);
    assert!(status == Some(73) && said.contains("data_dir"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let (status, said) = code(&["run", "--config", &write("port.toml", &good(&address, &data))]);
    assert!(status == Some(69) && said.contains(&address), "{said}");
    let property = format!("{}[kafka.k.properties]\n\"socket.timeout\" = 5\n", good("127.0.0.1:0", &data));
    let (status, said) = code(&["run", "--config", &write("property.toml", &property)]);
    assert!(status == Some(78) && said.contains("kafka.k.properties.\"socket.timeout\""), "{said}");
    let (status, said) = code(&["tap", "--config", &write("tap.toml", &good("127.0.0.1:0", &data))]);
    assert!(status == Some(78) && said.contains("nothing to tap"), "{said}");
}

/// A running `chaperone run`; killed when dropped.
struct Running {
    child: Child,
    address: String,
    _stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(config: &str) -> Self {
        let mut child = chaperone(&["run", "--config", config]).stdout(Stdio::piped()).spawn().expect("spawn");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim().split_once(" listening on http://").map(|(_, a)| a.to_owned());
        assert!(line.starts_with(concat!("chaperone ", env!("CARGO_PKG_VERSION"))), "{line}");
        Self { child, address: address.expect("an address"), _stdout: stdout }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("connect");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answer");
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("status");
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        self.child.wait().expect("wait").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone after `terminate`.
        if let Err(e) = self.child.kill() {
            eprintln!("kill: {e}");
        }
    }
}

#[test]
fn a_run_counts_two_clusters_proves_the_hop_and_stops_cleanly() {
    let (regional, agg) = (cluster(2), cluster(2));
    let dir = tempfile::tempdir().expect("dir");
    let data = dir.path().join("data");
    let config = dir.path().join("chaperone.toml");
    let text = format!(
        "data_dir = '{}'
[web]
listen = '127.0.0.1:0'
[kafka.regional]
bootstrap_servers = '{}'
[kafka.regional.tap]
topics = ['orders']
start = 'earliest'
[kafka.regional.audit]
[kafka.agg]
bootstrap_servers = '{}'
[kafka.agg.tap]
topics = ['^ord.*']
start = 'earliest'
[pipeline.orders]
topics = ['orders']
stages = ['kafka:regional', 'kafka:agg']
grace = '2s'
",
        data.display(),
        regional.bootstrap_servers(),
        agg.bootstrap_servers()
    );
    std::fs::write(&config, text).expect("write");
    let mut up = Source::new(&regional.bootstrap_servers(), 2);
    let mut down = Source::new(&agg.bootstrap_servers(), 2);
    let now_ms = SystemClock.now_ms();
    up.send_at(200, now_ms);
    down.send_at(200, now_ms);
    let running = Running::start(&config.to_string_lossy());
    eventually("ready", || match running.get("/readyz") {
        (200, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    });
    eventually("the hop is proven", || {
        let (_, body) = running.get("/api/v1/windows?topic=orders&from=now-15m&to=now");
        let answer: serde_json::Value = serde_json::from_str(&body).map_err(|e| format!("{e}: {body}"))?;
        let windows = answer["windows"].as_array().cloned().unwrap_or_default();
        let ok = !windows.is_empty() && windows.iter().all(|w| w["verdict"] == "ok");
        if ok { Ok(()) } else { Err(body) }
    });
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&data).expect("dir").permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert!(data.join("chaperone.sqlite").exists());
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn an_unreachable_broker_does_not_end_the_run_and_is_said() {
    let dir = tempfile::tempdir().expect("dir");
    let config = dir.path().join("chaperone.toml");
    let text = format!(
        "data_dir = '{}'\n[web]\nlisten = '127.0.0.1:0'\n[kafka.k]\nbootstrap_servers = '127.0.0.1:1'\n[kafka.k.tap]\ntopics = ['orders']\nstart = 'end'\n",
        dir.path().join("data").display()
    );
    std::fs::write(&config, text).expect("write");
    let running = Running::start(&config.to_string_lossy());
    eventually("the sentence", || {
        let (status, body) = running.get("/readyz");
        let said = body.contains("no broker answers") && body.contains("kafka.k.bootstrap_servers");
        if status == 503 && said { Ok(()) } else { Err(format!("{status} {body}")) }
    });
    assert_eq!(running.get("/healthz").0, 200);
    assert_eq!(running.terminate(), Some(0));
}
