//! What the suites measured: `target/figures.json`, written by [`record`], read by the promise check.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::paths;

/// One measured number, and which code gave it when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The number.
    pub value: Number,
    /// The commit that was measured, with `+` when files had been changed since; empty before the first commit.
    pub commit: String,
    /// When, UTC, to the second.
    pub date: String,
}

/// section → name → figure.
pub type Figures = BTreeMap<String, BTreeMap<String, Figure>>;

/// Records a figure under a section and a name; `tests/promises.toml` may promise something of it.
/// Any number type does. Safe from several processes at once.
pub fn record(section: &str, name: &str, value: impl Into<Value>) -> anyhow::Result<()> {
    let value: Value = value.into();
    let Value::Number(value) = value else { anyhow::bail!("figure {section}.{name} is no number: {value}") };
    println!("figure {section}.{name} = {value}");
    let (commit, date) = stamp();
    let figure = Figure { value, commit, date };
    update(&file(), |figures| {
        figures.entry(section.to_owned()).or_default().insert(name.to_owned(), figure);
    })
}

/// The commit and the date that a figure recorded now would have.
pub fn stamp() -> (String, String) {
    (commit().to_owned(), now())
}

/// All figures of this checkout.
pub fn load() -> anyhow::Result<Figures> {
    read(&file())
}

/// Forgets the figures for which `stale(section, name)` holds: the suites that are about to run give them anew.
pub fn clear(stale: impl Fn(&str, &str) -> bool) -> anyhow::Result<()> {
    update(&file(), |figures| {
        for (section, names) in figures.iter_mut() {
            names.retain(|name, _| !stale(section, name));
        }
        figures.retain(|_, names| !names.is_empty());
    })
}

fn file() -> PathBuf {
    paths::target().join("figures.json")
}

fn read(file: &Path) -> anyhow::Result<Figures> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Figures::new()),
        Err(error) => Err(error.into()),
    }
}

/// Changes the file under a lock, by replacing it whole.
fn update(file: &Path, change: impl FnOnce(&mut Figures)) -> anyhow::Result<()> {
    let dir = file.parent().context("the figures' file has no folder")?;
    fs::create_dir_all(dir)?;
    let lock = File::create(file.with_extension("lock"))?;
    lock.lock()?;
    let mut figures = read(file)?;
    change(&mut figures);
    let mut bytes = serde_json::to_vec_pretty(&figures)?;
    bytes.push(b'\n');
    let next = file.with_extension("next");
    fs::write(&next, bytes)?;
    fs::rename(&next, file)?;
    lock.unlock()?;
    Ok(())
}

fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn commit() -> &'static str {
    static COMMIT: OnceLock<String> = OnceLock::new();
    COMMIT.get_or_init(|| {
        let changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
        let suffix = if changed { "+" } else { "" };
        git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| commit + suffix).unwrap_or_default()
    })
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(paths::root()).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn writers_at_the_same_time_lose_nothing() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("figures.json");
        thread::scope(|scope| {
            for writer in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..5 {
                        let figure = Figure { value: round.into(), commit: String::new(), date: String::new() };
                        let put = |figures: &mut Figures| {
                            figures.entry(format!("s{writer}")).or_default().insert(format!("n{round}"), figure);
                        };
                        update(file, put).expect("writes");
                    }
                });
            }
        });
        let figures = read(&file)?;
        assert_eq!(figures.values().map(BTreeMap::len).sum::<usize>(), 40);
        Ok(())
    }

    #[test]
    fn a_text_is_no_figure() {
        assert!(record("s", "n", "many").is_err());
    }
}
