//! axe-core, the accessibility checks, as `target/axe/VERSION/axe.min.js`: fetched from the npm registry once, never kept in
//! the repository. npm holds what it fetches to the registry's checksum.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::paths;

const VERSION: &str = "4.14.1";

fn home() -> PathBuf {
    paths::target().join("axe").join(VERSION)
}

/// Its source, or the command that fetches it.
pub fn source() -> anyhow::Result<String> {
    let file = home().join("axe.min.js");
    fs::read_to_string(file).with_context(|| format!("axe-core {VERSION} is not in target/axe: tests/run --install"))
}

/// Whether it is there.
pub fn is_installed() -> bool {
    home().join("axe.min.js").is_file()
}

/// Fetches it with npm, if it is not there.
pub fn install() -> anyhow::Result<()> {
    if is_installed() {
        return Ok(());
    }
    println!("fetching axe-core {VERSION} into target/axe");
    let base = paths::target().join("axe");
    fs::create_dir_all(&base)?;
    let fetched = tempfile::TempDir::with_prefix_in("fetch-", &base)?;
    let package = format!("axe-core@{VERSION}");
    run(Command::new("npm").args(["pack", "--silent", &package]).current_dir(fetched.path()))?;
    let archive = format!("axe-core-{VERSION}.tgz");
    run(Command::new("tar").args(["-xzf", &archive, "package/axe.min.js"]).current_dir(fetched.path()))?;
    fs::create_dir_all(home())?;
    // Whole or not at all: another process may look.
    fs::rename(fetched.path().join("package/axe.min.js"), home().join("axe.min.js"))?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
