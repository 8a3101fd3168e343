//! SIGHUP as a service manager sees it: what takes effect, what is refused and why, never silently, never an end.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A process with a service manager that listens.
struct Managed {
    dir: TempDir,
    socket: UnixDatagram,
    child: Child,
    /// Where the page is, for `run`.
    url: String,
}

const TAP: &str = "[kafka.k.tap]\ntopics = [\"orders\"]\nstart = \"end\"\n";
const PIPELINE: &str = "[pipeline.p]\ntopics = [\"orders\"]\nstages = [\"producer\", \"kafka:k\"]\n";

impl Managed {
    fn start(verb: &str, tables: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
        command.arg(verb).arg("--config").arg(dir.path().join("chaperone.toml"));
        command.env("NOTIFY_SOCKET", dir.path().join("notify")).stdout(Stdio::piped()).stderr(Stdio::null());
        write(&dir, tables);
        let mut child = command.spawn().expect("starts");
        let mut line = String::new();
        if verb == "run" {
            BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        }
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let managed = Self { dir, socket, child, url };
        assert_eq!(managed.hear(), "READY=1");
        managed
    }

    fn hear(&self) -> String {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).expect("the manager is told");
        String::from_utf8_lossy(text.get(..length).unwrap_or_default()).trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Writes these tables, asks for a reload, and returns what the manager is told of it.
    fn reload(&self, tables: &str) -> String {
        write(&self.dir, tables);
        self.hang_up()
    }

    fn hang_up(&self) -> String {
        self.signal("-HUP");
        let begun = self.hear();
        assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
        let ended = self.hear();
        println!("{ended}");
        ended.strip_prefix("READY=1\nSTATUS=configuration ").expect("a status").to_owned()
    }

    fn problems(&self) -> String {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(format!("{}/readyz", self.url)).call().expect("an answer");
        answer.body_mut().read_to_string().expect("text")
    }

    fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.hear(), "STOPPING=1");
        assert_eq!(self.child.wait().expect("ends").code(), Some(0));
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("killed");
            self.child.wait().expect("gone");
        }
    }
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("chaperone.toml")
}

fn write(dir: &TempDir, tables: &str) {
    let data_dir = dir.path().join("data").to_string_lossy().into_owned();
    let text = format!(
        "data_dir = {data_dir:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.k]\nbootstrap_servers = \"127.0.0.1:1\"\n{tables}"
    );
    std::fs::write(file(dir), text).expect("written");
}

#[test]
fn what_is_refused_names_its_key_and_leaves_everything_as_it_was() {
    let run = Managed::start("run", PIPELINE);
    let said = run.reload(&format!("{PIPELINE}grce = \"2s\"\n"));
    assert!(said.contains("refused at") && said.contains("stays in effect"), "{said}");
    assert!(said.contains("unknown key pipeline.p.grce; did you mean grace?"), "{said}");
    assert!(run.problems().contains("unknown key pipeline.p.grce"), "{}", run.problems());

    let text = std::fs::read_to_string(file(&run.dir)).expect("text").replace("/data\"", "/other\"");
    std::fs::write(file(&run.dir), text.replace("127.0.0.1:0", "127.0.0.1:9").replace("grce", "grace"))
        .expect("written");
    let said = run.hang_up();
    for key in ["data_dir", "web.listen"] {
        assert!(said.contains(&format!("{key} takes effect at a restart only")), "{said}");
    }
    assert!(run.problems().contains("data_dir takes effect") && !run.problems().contains("grce"), "{}", run.problems());
    assert!(!run.dir.path().join("other").exists());

    std::fs::remove_file(file(&run.dir)).expect("removed");
    let said = run.hang_up();
    assert!(said.contains("cannot read the configuration"), "{said}");

    let said = run.reload(PIPELINE);
    assert!(said.ends_with("nothing changed"), "{said}");
    assert!(!run.problems().contains("configuration"), "{}", run.problems());
    run.stop();
}

#[test]
fn what_takes_effect_is_said_and_taps_change_only_where_they_count_differently() {
    let run = Managed::start("run", PIPELINE);
    let said = run.reload(&format!("{PIPELINE}grace = \"2s\"\n"));
    assert!(said.ends_with("changed: pipeline.p.grace; no tap of this process is exchanged"), "{said}");
    let said = run.reload(&format!("{TAP}{PIPELINE}grace = \"2s\"\n"));
    assert!(said.ends_with("changed: kafka.k.tap; taps exchanged: k"), "{said}");
    let said = run.reload(&format!("{}{PIPELINE}", TAP.replace("orders", "pay")));
    assert!(said.ends_with("changed: kafka.k.tap.topics, pipeline.p.grace; taps exchanged: k"), "{said}");
    let said = run.reload(PIPELINE);
    assert!(said.ends_with("changed: kafka.k.tap; taps exchanged: k"), "{said}");
    run.stop();
}

#[test]
fn a_process_of_taps_reloads_and_refuses_to_have_nothing_to_do() {
    let tap = Managed::start("tap", TAP);
    let said = tap.reload(&TAP.replace("orders", "pay"));
    assert!(said.ends_with("taps exchanged: k"), "{said}");
    let said = tap.reload("");
    assert!(said.contains("refused at") && said.contains("no cluster has a [kafka.NAME.tap] table"), "{said}");
    tap.stop();
}
