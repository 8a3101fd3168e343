//! What docs/deploy has fits the binary: the service, the container, the Kubernetes file.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use chaperone::config::{Config, Lookup};

const INSTALLED: &str = "/usr/bin/chaperone";

fn deploy(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "docs", "deploy", name].iter().collect();
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The command line exists: verb and flags are in the binary's own help.
fn assert_exists(arguments: &[&str]) {
    let (verb, rest) = arguments.split_first().expect("a verb");
    let output = Command::new(env!("CARGO_BIN_EXE_chaperone")).args([verb, "--help"]).output().expect("starts");
    assert!(output.status.success(), "there is no verb {verb}");
    let help = String::from_utf8_lossy(&output.stdout);
    for flag in rest.iter().filter(|a| a.starts_with("--")) {
        assert!(
            help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
            "{verb} has no {flag}: {help}"
        );
    }
}

/// `Key=value` lines of a unit.
fn settings<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "systemd-analyze is missing (Debian: systemd)");
        println!("skipped: there is no systemd-analyze on this machine");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("chaperone.service");
    let unit = deploy("chaperone.service").replace(INSTALLED, env!("CARGO_BIN_EXE_chaperone"));
    std::fs::write(&path, unit).expect("written");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Other units of the machine may be complained about; unknown settings of ours are warnings.
    assert!(!said.contains("chaperone.service"), "{said}");
}

#[test]
fn the_unit_uses_commands_that_exist_and_no_rights() {
    let unit = deploy("chaperone.service");
    let mut commands = Vec::new();
    // The one thing done with rights: a copy of the configuration into a directory of the service's own.
    let copy = "+/usr/bin/install -m 0444 /etc/chaperone/chaperone.toml /run/chaperone/chaperone.toml";
    for key in ["ExecStartPre", "ExecStart", "ExecStop"] {
        for line in settings(&unit, key).into_iter().filter(|line| *line != copy) {
            let command = line.strip_prefix(INSTALLED).unwrap_or_else(|| panic!("{key} starts something else: {line}"));
            let arguments: Vec<&str> = command.split_whitespace().collect();
            assert_exists(&arguments);
            commands.push(arguments.first().copied().unwrap_or_default());
        }
    }
    assert_eq!(commands, ["check-config", "run"]);
    assert_eq!(settings(&unit, "Type"), ["notify"]);
    assert_eq!(settings(&unit, "DynamicUser"), ["yes"]);
    assert_eq!(settings(&unit, "CapabilityBoundingSet"), [""]);
    // A reload copies before it asks: a credential would still be the file of the start.
    assert_eq!(settings(&unit, "ExecStartPre").first(), Some(&copy));
    assert_eq!(settings(&unit, "ExecReload"), [copy, "/bin/kill -HUP $MAINPID"]);
    assert!(settings(&unit, "ExecStart").iter().all(|l| l.ends_with(" /run/chaperone/chaperone.toml")));
    assert_eq!(settings(&unit, "RuntimeDirectory"), ["chaperone"]);
    assert_eq!(settings(&unit, "RuntimeDirectoryMode"), ["0700"]);
}

/// One unit a verb is the same unit but for what must differ.
#[test]
fn the_unit_of_one_verb_is_the_unit_of_all_with_its_name_in_it() {
    let (whole, one) = (deploy("chaperone.service"), deploy("chaperone@.service"));
    let body = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|l| !l.starts_with('['));
        lines.filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
    };
    let expected = whole
        .replace("every stage\n", "every stage (%i)\n")
        .replace("/run/chaperone/", "/run/chaperone-%i/")
        .replace("chaperone run ", "chaperone %i ")
        .replace("RuntimeDirectory=chaperone\n", "RuntimeDirectory=chaperone-%i\n")
        .replace("DynamicUser=yes\n", "DynamicUser=yes\nUser=chaperone\n");
    assert_eq!(body(&one), body(&expected));
    for verb in ["collect", "tap", "web", "run"] {
        assert_exists(&[verb, "--config"]);
    }
}

/// Secrets as Kubernetes would have put them there.
struct Secrets;
impl Lookup for Secrets {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, path: &Path) -> std::io::Result<String> {
        let seed = path == Path::new("/run/secrets/kafka/seed");
        Ok(if seed { "00c0ffee00c0ffee\n" } else { "hush\n" }.to_owned())
    }
}

/// The documents of a YAML file.
fn documents(text: &str) -> Vec<&str> {
    text.split("\n---\n").collect()
}

/// The value of the first `key: value` line, wherever it is.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": "))
}

/// The elements of `["a", "b"]`.
fn list(text: &str) -> Vec<&str> {
    text.trim_matches(['[', ']']).split(',').map(|a| a.trim().trim_matches('"')).collect()
}

#[test]
fn kubernetes_gets_a_configuration_that_chaperone_takes() {
    let text = deploy("kubernetes.yaml");
    let (_, rest) = text.split_once("chaperone.toml: |\n").expect("a block");
    let block: Vec<&str> = rest.lines().map_while(|l| l.strip_prefix("    ")).collect();
    let config = Config::parse(&block.join("\n"), &Secrets).expect("good");
    let chaperone =
        documents(&text).into_iter().find(|d| value(d, "kind") == Some("StatefulSet")).expect("a StatefulSet");
    assert!(chaperone.contains(&format!("mountPath: {}", config.data_dir.display())), "the store has a volume");
    assert_exists(&list(value(chaperone, "args").expect("args")));
    assert!(config.rules.seed() != 0 && config.web.listen.ip().is_loopback());
}

/// Simple rules in place of a YAML parser: what a typing mistake would break.
#[test]
fn the_kubernetes_file_is_well_formed() {
    let text = deploy("kubernetes.yaml");
    assert!(!text.contains('\t'));
    for document in documents(&text) {
        assert!(value(document, "apiVersion").is_some() && value(document, "kind").is_some(), "{document}");
        for line in document.lines().filter(|l| !l.trim_start().starts_with('#')) {
            let indent = line.len() - line.trim_start().len();
            assert_eq!(indent % 2, 0, "{line}");
            for (open, close) in [('{', '}'), ('[', ']')] {
                assert_eq!(line.matches(open).count(), line.matches(close).count(), "{line}");
            }
        }
        let names = |marker: &str| -> BTreeSet<String> {
            let lines = document.lines().filter(|l| l.contains(marker));
            lines.filter_map(|l| l.split("name: ").nth(1)?.split([',', '}']).next().map(str::to_owned)).collect()
        };
        let mounted = names("mountPath:");
        let (_, volumes) = document.split_once("      volumes:\n").unwrap_or_default();
        let there: BTreeSet<String> = volumes
            .lines()
            .filter_map(|l| l.split("name: ").nth(1)?.split([',', '}']).next().map(str::to_owned))
            .collect();
        assert!(mounted.is_subset(&there), "mounted {mounted:?}, there {there:?}");
        if value(document, "containers").is_some() || document.contains("containers:") {
            for line in [
                "runAsNonRoot: true",
                "allowPrivilegeEscalation: false",
                "readOnlyRootFilesystem: true",
                "drop: [\"ALL\"]",
            ] {
                assert!(document.contains(line), "{line} in {document}");
            }
        }
    }
}

#[test]
fn the_container_is_built_from_the_lock_file_and_runs_without_root() {
    let text = deploy("Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    let last = |word: &str| lines.iter().rev().find_map(|l| l.strip_prefix(word)).map(str::trim);
    let builds = lines.iter().filter(|l| l.contains("cargo build"));
    assert!(builds.clone().count() == 1 && builds.clone().all(|l| l.contains("--locked") && l.contains("--release")));
    let user = last("USER ").expect("a user");
    let id: u32 = user.split(':').next().and_then(|id| id.parse().ok()).expect("a number, which needs no passwd file");
    assert_ne!(id, 0);
    assert!(!text.contains(":latest"));
    assert_eq!(last("ENTRYPOINT "), Some("[\"/usr/bin/chaperone\"]"));
    let command = last("CMD ").expect("a command");
    assert_exists(&list(command));
    let volume = last("VOLUME ").expect("a volume");
    assert!(text.contains(&format!("--chown={user} /out{volume} {volume}")), "the volume is the user's own");
}

/// `Type=notify`: systemd hears when the page is served and when the end begins, and SIGTERM ends well.
#[test]
fn run_tells_the_service_manager() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, config) = (dir.path().join("notify"), dir.path().join("chaperone.toml"));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let data_dir = dir.path().join("data");
    let text = format!(
        "data_dir = {data_dir:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.k]\nbootstrap_servers = \"127.0.0.1:1\"\n"
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.args(["run", "--config"]).arg(&config).env("NOTIFY_SOCKET", &path).env_remove("CHAPERONE_CONFIG");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let hear = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap_or(0);
        String::from_utf8_lossy(text.get(..length).unwrap_or_default()).trim().to_owned()
    };
    let ready = hear();
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    let stopping = hear();
    let ended = child.wait().expect("ends");
    assert_eq!((ready.as_str(), stopping.as_str(), ended.code()), ("READY=1", "STOPPING=1", Some(0)));
}
