//! Where things are: nothing here depends on the working directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The folder for everything that is made and never committed.
pub fn target() -> PathBuf {
    root().join("target")
}

/// A new folder `target/bed/<name>-<pid>` for a process's brokers and logs. Folders of processes that are gone are
/// removed first: a killed process cannot clean up after itself.
pub fn scratch(name: &str) -> anyhow::Result<PathBuf> {
    let base = target().join("bed");
    fs::create_dir_all(&base)?;
    for entry in fs::read_dir(&base)?.flatten() {
        let path = entry.path();
        let owner = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('-'));
        let gone = owner.is_some_and(|(_, pid)| pid.parse::<u32>().is_ok_and(|pid| !alive(pid)));
        if gone && fs::remove_dir_all(&path).is_err() && path.exists() {
            eprintln!("cannot remove {}", path.display());
        }
    }
    let dir = base.join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

fn alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
