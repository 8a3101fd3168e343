//! What the suites need beside cargo: found, or installed where that is wanted.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::Context;

use crate::axe;
use crate::bed::BOOTSTRAP_VARIABLE;
use crate::kafka::Jars;
use crate::suites::Need;

/// Makes sure that `need` is met. Installs only if `install`; else the error names the command that would.
pub(super) fn ensure(need: Need, install: bool) -> anyhow::Result<()> {
    match need {
        Need::Kafka => kafka(install),
        Need::Acls => {
            let foreign = env::var(BOOTSTRAP_VARIABLE).is_ok();
            anyhow::ensure!(!foreign, "the cluster of {BOOTSTRAP_VARIABLE} has no logins and ACLs of ours");
            Ok(())
        }
        Need::Postgres => package("postgresql", install, || {
            let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
            versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
        }),
        Need::Valgrind => package("valgrind", install, || on_path("valgrind")),
        Need::Chromium => chromium(install),
        Need::Pngquant => package("pngquant", install, || on_path("pngquant")),
        Need::Strace => strace(install),
        Need::Miri => miri(install),
        Need::Cpp => package("g++", install, || on_path("c++")),
        // The runner's own affair.
        Need::Quiet => Ok(()),
        Need::Promtool => package("prometheus", install, || on_path("promtool")),
        Need::Sqlite => package("sqlite3", install, || on_path("sqlite3")),
        Need::Binaries => {
            let mut cargo = super::cargo(&["build", "--profile", "ci", "--workspace", "--bins", "--examples"])?;
            let status = cargo.status()?;
            anyhow::ensure!(status.success(), "cargo build ended with {status}");
            Ok(())
        }
    }
}

fn strace(install: bool) -> anyhow::Result<()> {
    package("strace", install, || on_path("strace"))?;
    let mut command = Command::new("strace");
    let traced = command.args(["-qq", "-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success());
    anyhow::ensure!(traced, "strace may not trace here: a container needs the capability SYS_PTRACE");
    Ok(())
}

fn miri(install: bool) -> anyhow::Result<()> {
    let present = || {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo", "miri", "--version"]).env_remove("RUSTUP_TOOLCHAIN");
        command.output().is_ok_and(|output| output.status.success())
    };
    if present() {
        return Ok(());
    }
    let arguments = ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "miri,rust-src"];
    let how = format!("rustup {}", arguments.join(" "));
    anyhow::ensure!(install, "Miri is missing: {how}, or tests/run --install");
    let status = Command::new("rustup").args(arguments).status().context("cannot start rustup")?;
    anyhow::ensure!(status.success() && present(), "{how} ended with {status}, and Miri is not there");
    Ok(())
}

fn chromium(install: bool) -> anyhow::Result<()> {
    package("chromium", install, || on_path("chromium"))?;
    package("chromium-driver", install, || on_path("chromedriver"))?;
    if axe::is_installed() {
        return Ok(());
    }
    anyhow::ensure!(install, "axe-core is not in target/axe: tests/run --install, which asks npm for it");
    package("npm", install, || on_path("npm"))?;
    axe::install()
}

fn kafka(install: bool) -> anyhow::Result<()> {
    for (program, debian) in [("javac", "openjdk-17-jdk-headless"), ("openssl", "openssl"), ("setpriv", "util-linux")] {
        package(debian, install, || on_path(program))?;
    }
    if env::var(BOOTSTRAP_VARIABLE).is_ok() {
        // The helper needs the client classes all the same.
        return Jars::installed().map(drop);
    }
    if install {
        package("maven", install, || on_path("mvn"))?;
        Jars::install().map(drop)
    } else {
        Jars::installed().map(drop)
    }
}

/// Makes sure of a Debian package by looking for what it brings.
fn package(name: &str, install: bool, present: impl Fn() -> bool) -> anyhow::Result<()> {
    if present() {
        return Ok(());
    }
    anyhow::ensure!(
        install,
        "{name} is missing: apt-get install --no-install-recommends {name}, or tests/run --install"
    );
    println!("installing {name}");
    apt(&["update", "-q"])?;
    apt(&["install", "-q", "-y", "--no-install-recommends", name])?;
    anyhow::ensure!(present(), "apt-get installed {name}, but it is not where it is expected");
    Ok(())
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    let status = command.status().context("cannot start apt-get")?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
}
