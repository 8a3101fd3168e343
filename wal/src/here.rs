//! This machine and its processes, as `/proc` tells; what it does not tell is zero or nothing.

use std::fmt;
use std::fs;

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Here {
    /// The machine's boot.
    pub(crate) boot: [u8; 16],
    /// In which pids count.
    pub(crate) pid_namespace: u64,
}

impl Here {
    pub(crate) fn now() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let boot = boot.and_then(|text| uuid::Uuid::try_parse(text.trim()).ok());
        let namespace = fs::read_link("/proc/self/ns/pid").ok();
        let namespace = namespace.and_then(|link| number_in(&link.to_string_lossy()));
        Self { boot: boot.map_or([0; 16], uuid::Uuid::into_bytes), pid_namespace: namespace.unwrap_or(0) }
    }
}

/// A process, told from all that had its number before or will have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// The machine's boot.
    pub(crate) boot: [u8; 16],
    /// In which its number counts.
    pub(crate) pid_namespace: u64,
    pub(crate) pid: u32,
    /// In the kernel's ticks since boot.
    pub(crate) start: u64,
}

impl Process {
    pub(crate) fn this() -> Self {
        let (Here { boot, pid_namespace }, pid) = (Here::now(), std::process::id());
        Self { boot, pid_namespace, pid, start: start_of(pid).unwrap_or(0) }
    }

    /// Whether it is known that it is no more.
    pub(crate) fn is_gone(&self) -> bool {
        let known = self.start != 0 && self.pid_namespace != 0 && self.boot != [0; 16];
        let here = Here { boot: self.boot, pid_namespace: self.pid_namespace } == Here::now();
        known && here && start_of(self.pid) != Some(self.start)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.strip_suffix('\n')?.split(' ');
        let mut next = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        let boot = uuid::Uuid::try_parse(next("boot")?).ok()?.into_bytes();
        Some(Self {
            boot,
            pid_namespace: next("pid_namespace")?.parse().ok()?,
            pid: next("pid")?.parse().ok()?,
            start: next("start")?.parse().ok()?,
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boot = uuid::Uuid::from_bytes(self.boot);
        writeln!(f, "boot={boot} pid_namespace={} pid={} start={}", self.pid_namespace, self.pid, self.start)
    }
}

/// `pid:[4026531836]`
fn number_in(link: &str) -> Option<u64> {
    link.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// When a process started, in the kernel's ticks since boot; `None` if there is none, or only its remains (a zombie).
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let (gone, start) = start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    // Of a process whose first thread has ended only that one looks like a zombie: the others count on.
    (!gone || has_live_thread(pid)).then_some(start)
}

fn has_live_thread(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.any(|stat| start_in(&stat).is_some_and(|(gone, _)| !gone))
}

/// Whether a process is about to be gone, or is gone: it is being killed, or is already leaving.
pub(crate) fn is_ending(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    is_leaving(&stat) || is_killed(&status)
}

/// The 9th field has the kernel's flags; a zombie is one whose last threads may still be leaving.
fn is_leaving(stat: &str) -> bool {
    const PF_EXITING: u64 = 4;
    let fields = stat.rfind(')').and_then(|at| stat.get(at + 1..));
    if fields.is_some_and(|fields| fields.trim_start().starts_with('Z')) {
        return true;
    }
    let flags = fields.and_then(|fields| fields.split_ascii_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

/// SIGKILL, signal 9, is pending for it.
fn is_killed(status: &str) -> bool {
    const SIGKILL: u64 = 1 << 8;
    let pending = |line: &str| line.strip_prefix("ShdPnd:").or_else(|| line.strip_prefix("SigPnd:")).map(str::to_owned);
    let masks = status.lines().filter_map(|line| u64::from_str_radix(pending(line)?.trim(), 16).ok());
    masks.into_iter().any(|mask| mask & SIGKILL != 0)
}

/// Whether it is over, and the 22nd field; the second is in brackets and may hold anything, brackets too.
fn start_in(stat: &str) -> Option<(bool, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let gone = matches!(fields.next()?, "Z" | "X" | "x");
    Some((gone, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_whatever_its_name() {
        assert!(start_of(std::process::id()).is_some());
        assert_eq!(start_of(u32::MAX), None);
        let stat = |state: &str| format!("7 (a) b) (c) {state} 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        assert_eq!(start_in(&stat("S")), Some((false, 4711)));
        assert_eq!(start_in(&stat("Z")), Some((true, 4711)), "the remains of a process, or of its first thread");
        assert!(has_live_thread(std::process::id()) && !has_live_thread(u32::MAX));
        assert_eq!(start_in("7 (a"), None);
    }

    #[test]
    fn a_process_is_told_from_others_that_have_its_number() {
        let this = Process::this();
        assert_eq!(Process::parse(&this.to_string()), Some(this));
        assert!(!this.is_gone());
        assert!(Process { start: this.start + 1, ..this }.is_gone());
        assert!(
            !Process { start: this.start + 1, pid_namespace: 1, ..this }.is_gone(),
            "of another place nothing is known"
        );
        assert!(!Process { start: 0, ..this }.is_gone());
        for text in ["", "\n", "boot= pid=1\n", &this.to_string()[..60]] {
            assert_eq!(Process::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_that_is_going_is_known() {
        assert!(!is_ending(std::process::id()) && is_ending(u32::MAX));
        let stat = |flags: u64| format!("7 (a) b) S 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        assert!(is_leaving(&stat(4_194_564)) && !is_leaving(&stat(4_194_560)) && !is_leaving(""));
        let status = |mask: &str| format!("Name:\ta\nSigPnd:\t0000000000000000\nShdPnd:\t{mask}\n");
        assert!(is_killed(&status("0000000000000100")) && !is_killed(&status("0000000000000200")));
    }

    #[test]
    fn this_machine_has_a_boot_and_a_namespace() {
        let here = Here::now();
        assert_ne!(here.boot, [0; 16]);
        assert_ne!(here.pid_namespace, 0);
        assert_eq!(number_in("pid:[4026531836]"), Some(4_026_531_836));
        assert_eq!(number_in("net:[1]"), None);
    }
}
