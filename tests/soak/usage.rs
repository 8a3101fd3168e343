//! What a process and all that it started take of the machine, from `/proc`.

use std::fmt;
use std::fs;

use anyhow::Context;

/// CPU time since the beginning, of children that have ended too, and memory now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// Seconds, user and system, all threads.
    pub(crate) cpu_s: f64,
    /// Resident; pages shared by two processes count twice.
    pub(crate) memory_mib: f64,
}

impl Usage {
    /// Of the process `pid` and its descendants.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mut usage = Self::read(&stat, &status).with_context(|| format!("process {pid}: {stat}"))?;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread, and a child, may end while it is looked at: the parent has the child's time then.
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                let child = Self::of(child).unwrap_or_default();
                usage.cpu_s += child.cpu_s;
                usage.memory_mib += child.memory_mib;
            }
        }
        Ok(usage)
    }

    fn read(stat: &str, status: &str) -> Option<Self> {
        // The name, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        // Its own ticks and those of children that have ended: fields 14 to 17 of proc(5).
        let ticks = fields.split_whitespace().skip(11).take(4).map(str::parse::<u32>);
        let ticks: u32 = ticks.collect::<Result<Vec<_>, _>>().ok()?.into_iter().sum();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
        let kib: u32 = kib.parse().ok()?;
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
        Some(Self { cpu_s: f64::from(ticks) / f64::from(per_second), memory_mib: f64::from(kib) / 1024.0 })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s of CPU, {:.1} MiB", self.cpu_s, self.memory_mib)
    }
}

#[test]
fn a_name_with_brackets_does_not_shift_the_fields() {
    let stat = "7 (a) (b c) S 1 7 7 0 -1 4 5 6 7 8 100 20 3 4 20 0 9 0 99 1000 200";
    let usage = Usage::read(stat, "Name:\ta\nVmRSS:\t    2048 kB\n").expect("read");
    let per_second = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).expect("small"));
    assert_eq!(usage, Usage { cpu_s: 127.0 / per_second, memory_mib: 2.0 });
}
