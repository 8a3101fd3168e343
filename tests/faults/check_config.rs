//! `chaperone check-config --connect` on real Kafka with TLS, logins and ACLs: every documented ACL that is missing is
//! named where it can be told, and nothing is changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chaperone_tests::{Acl, Bed, Cluster, clients, paths};
use tempfile::TempDir;

struct Scene {
    cluster: &'static Cluster,
    topic: String,
    audit: String,
    group: String,
    dir: TempDir,
}

impl Scene {
    fn new(configs: &[(&str, &str)]) -> anyhow::Result<Self> {
        let cluster = &Bed::get()?.regional;
        let topic = cluster.fresh_topic("check", 3, configs)?;
        let (audit, group) = (format!("{topic}-audit"), format!("{topic}-tap"));
        let scene = Self { cluster, topic, audit, group, dir: TempDir::new()? };
        cluster.add_acls(&scene.acls())?;
        Ok(scene)
    }
    fn acls(&self) -> Vec<Acl> {
        let allow = |operation: &str, resource: &str, name: &str| Acl::allow("chaperone", operation, resource, name);
        vec![
            allow("read", "topic", &self.topic),
            allow("read", "group", &self.group),
            allow("read", "topic", &self.audit),
            allow("write", "topic", &self.audit),
            allow("create", "topic", &self.audit),
        ]
    }
    fn config(&self, edit: impl Fn(String) -> String) -> anyhow::Result<PathBuf> {
        let mut text =
            format!("data_dir = {:?}\n[web]\nlisten = \"127.0.0.1:0\"\n", self.dir.path().join("d").to_string_lossy());
        write!(
            text,
            "[kafka.main]\nbootstrap_servers = {:?}\n[kafka.main.properties]\n",
            self.cluster.bootstrap_secure()?
        )?;
        for (key, value) in self.cluster.client_settings("chaperone")? {
            if key != "bootstrap.servers" {
                writeln!(text, "{key:?} = {value:?}")?;
            }
        }
        write!(text, "[kafka.main.tap]\ntopics = [{:?}]\nstart = \"end\"\ngroup = {:?}\n", self.topic, self.group)?;
        write!(text, "[kafka.main.audit]\ntopic = {:?}\n", self.audit)?;
        let path = self.dir.path().join("chaperone.toml");
        std::fs::write(&path, edit(text))?;
        Ok(path)
    }
    fn check(&self, edit: impl Fn(String) -> String) -> anyhow::Result<(Option<i32>, String)> {
        run(&self.config(edit)?)
    }
}

fn run(config: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let began = std::time::Instant::now();
    let binary = paths::target().join("ci/chaperone");
    let output: Output = Command::new(binary).args(["check-config", "--connect", "--config"]).arg(config).output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("--- {:?} {:?}\n{text}", output.status.code(), began.elapsed());
    assert!(!text.contains("-secret") && !text.contains("panicked"), "{text}");
    Ok((output.status.code(), text))
}

#[test]
fn each_missing_acl_is_named() -> anyhow::Result<()> {
    let scene = Scene::new(&[])?;
    let (code, text) = scene.check(|t| t)?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("does not exist and may be created"), "{text}");
    let absent = scene.cluster.offsets(&scene.audit).is_err();
    assert!(absent, "it changes nothing");
    // While the audit topic is missing.
    let create = Acl::allow("chaperone", "create", "topic", &scene.audit);
    scene.cluster.remove_acl(&create)?;
    let (code, text) = scene.check(|t| t)?;
    assert!(code == Some(77) && text.contains(&format!("CREATE on topic '{}'", scene.audit)), "{text}");
    scene.cluster.add_acl(&create)?;
    let (code, text) = scene.check(|t| t + "create = false\n")?;
    assert!(code == Some(78) && text.contains("kafka.main.audit.create is false"), "{text}");
    let (code, text) = scene.check(|t| t + "replication = 5\n")?;
    assert!(code == Some(78) && text.contains("kafka.main.audit.replication"), "{text}");
    scene.cluster.create_topic(&scene.audit, 2, &[])?;
    let (code, text) = scene.check(|t| t)?;
    assert_eq!(code, Some(0), "{text}");
    for acl in scene.acls() {
        scene.cluster.remove_acl(&acl)?;
        let (code, text) = scene.check(|t| t)?;
        scene.cluster.add_acl(&acl)?;
        let name = format!("{} on {} '{}'", acl.operation.to_uppercase(), acl.resource, acl.name);
        if ["write", "create"].contains(&acl.operation.as_str()) {
            assert_eq!(code, Some(0), "{text}");
        } else {
            assert!(code == Some(77) && text.contains(&format!("role chaperone needs {name}")), "{name}: {text}");
        }
    }
    Ok(())
}

#[test]
fn a_refused_login_is_77_and_a_wrong_certificate_69() -> anyhow::Result<()> {
    let scene = Scene::new(&[])?;
    let (code, text) = scene.check(|t| t.replace("chaperone-secret", "wrong-secret"))?;
    assert!(code == Some(77) && text.contains("kafka.main") && text.contains("refuses our login"), "{text}");
    let (code, text) =
        scene.check(|t| t.lines().filter(|l| !l.contains("ssl.ca")).flat_map(|l| [l, "\n"]).collect())?;
    assert!(code == Some(69) && text.contains("no TLS connection"), "{text}");
    let (code, text) = scene.check(|t| t.replace("sasl_ssl", "plaintext"))?;
    assert!(code == Some(69) && text.contains("security.protocol"), "{text}");
    Ok(())
}

#[test]
fn log_append_time_is_a_warning() -> anyhow::Result<()> {
    let scene = Scene::new(&[("message.timestamp.type", "LogAppendTime")])?;
    let config = scene.cluster.plain_config();
    let (code, text) = scene.check(|t| t)?;
    assert!(code == Some(0) && !text.contains("LogAppendTime"), "{text}");
    scene.cluster.add_acl(&Acl::allow("chaperone", "describe_configs", "topic", &scene.topic))?;
    let (code, text) = scene.check(|t| t)?;
    assert!(code == Some(0) && text.contains("LogAppendTime"), "{text}");
    scene.cluster.remove_acl(&Acl::allow("chaperone", "describe_configs", "topic", &scene.topic))?;
    clients::produce(&config, &scene.topic, &[b"one"])?;
    let (code, text) = scene.check(|t| t)?;
    assert!(code == Some(0) && text.contains("LogAppendTime"), "{text}");
    Ok(())
}
