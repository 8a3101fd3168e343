//! Apache Kafka's jars and the compiled helper in `target/kafka`, resolved once for each change of the sources.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::paths;

/// The Java side of a test bed, ready to run.
#[derive(Debug)]
pub struct Jars {
    home: PathBuf,
}

impl Jars {
    /// The class path: Kafka, `MirrorMaker` 2 and what they need, and the helper.
    pub fn class_path(&self) -> String {
        format!("{}:{}/*", self.home.join("helper").display(), self.home.join("jars").display())
    }

    /// What is in `target/kafka`, or an error that names the command that puts it there. Nothing is downloaded.
    pub fn installed() -> anyhow::Result<Jars> {
        let current = Jars { home: home() }.stamped("jars", &pom_hash()?);
        anyhow::ensure!(current, "Apache Kafka is not in target/kafka: run `tests/run --install`");
        Jars::install()
    }

    /// Resolves and compiles whatever is missing or out of date. A second call does nothing.
    pub fn install() -> anyhow::Result<Jars> {
        let jars = Jars { home: home() };
        fs::create_dir_all(&jars.home)?;
        // Two processes may come here at once.
        let lock = File::create(jars.home.join("lock"))?;
        lock.lock()?;
        if !jars.stamped("jars", &pom_hash()?) {
            jars.resolve()?;
        }
        if !jars.stamped("helper", &helper_hash()?) {
            jars.compile()?;
        }
        lock.unlock()?;
        Ok(jars)
    }

    fn stamped(&self, part: &str, hash: &str) -> bool {
        fs::read_to_string(self.home.join(part).join("stamp")).is_ok_and(|stamp| stamp == hash)
    }

    fn resolve(&self) -> anyhow::Result<()> {
        println!("resolving Apache Kafka into target/kafka");
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]);
        mvn.arg(source("pom.xml"));
        let fresh = self.fresh("jars")?;
        mvn.arg(format!("-DoutputDirectory={}", fresh.display()));
        run(mvn)?;
        self.publish("jars", &pom_hash()?)
    }

    fn compile(&self) -> anyhow::Result<()> {
        let mut javac = Command::new("javac");
        let fresh = self.fresh("helper")?;
        javac.arg("-d").arg(fresh).arg("-cp").arg(format!("{}/*", self.home.join("jars").display()));
        javac.arg(source("Admin.java"));
        run(javac)?;
        self.publish("helper", &helper_hash()?)
    }

    fn fresh(&self, part: &str) -> anyhow::Result<PathBuf> {
        let fresh = self.home.join(format!("{part}.next"));
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::create_dir_all(&fresh)?;
        Ok(fresh)
    }

    /// The stamp goes in last, the folder into its place whole: what is stamped is complete.
    fn publish(&self, part: &str, hash: &str) -> anyhow::Result<()> {
        let (fresh, place) = (self.home.join(format!("{part}.next")), self.home.join(part));
        fs::write(fresh.join("stamp"), hash)?;
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        Ok(fs::rename(fresh, place)?)
    }
}

fn home() -> PathBuf {
    paths::target().join("kafka")
}

fn source(name: &str) -> PathBuf {
    paths::root().join("tests/kafka").join(name)
}

fn pom_hash() -> anyhow::Result<String> {
    Ok(hex::encode(Sha256::digest(fs::read(source("pom.xml"))?)))
}

fn helper_hash() -> anyhow::Result<String> {
    let both = [fs::read(source("pom.xml"))?, fs::read(source("Admin.java"))?].concat();
    Ok(hex::encode(Sha256::digest(both)))
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
