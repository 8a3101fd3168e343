//! The kernel kills for want of memory: a cgroup that counting alone does not fit into.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use chaperone_tests::witness::{Watched, in_memory, victim};
use rustix::process::Signal;

use super::life::{Tally, judge_sink, text};

/// More than counting takes, less than the process eats in the end.
const LIMIT: &str = "64M";
/// Messages of the first thread before it eats.
const AFTER: [&str; 4] = ["1000", "3000", "7000", "20000"];

struct Group(PathBuf);

impl Group {
    fn make() -> anyhow::Result<Self> {
        let (v1, v2) = (PathBuf::from("/sys/fs/cgroup/memory"), PathBuf::from("/sys/fs/cgroup"));
        let (root, limit) = if v1.exists() { (v1, "memory.limit_in_bytes") } else { (v2, "memory.max") };
        let group = Self(root.join(format!("chaperone-crash-{}", std::process::id())));
        fs::create_dir_all(&group.0)?;
        fs::write(group.0.join(limit), LIMIT)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// So many processes that count until the kernel kills them.
pub(crate) fn killed_for_memory(times: usize) -> anyhow::Result<Tally> {
    let group = Group::make()?;
    let mut all = Tally::default();
    for after in AFTER.iter().cycle().take(times) {
        let scratch = in_memory()?;
        let (dir, sink) = (scratch.path().join("data"), scratch.path().join("sink"));
        let watched = Watched::start(&victim(), &["busy", text(&dir)?, text(&sink)?, "eat", after])?;
        fs::write(group.0.join("cgroup.procs"), watched.pid().to_string())?;
        let ended = watched.ended()?;
        anyhow::ensure!(ended.status.signal() == Some(Signal::KILL.as_raw()), "{:?}", ended.status);
        all.add(&judge_sink(&dir, &sink, &[ended])?);
    }
    Ok(all)
}
