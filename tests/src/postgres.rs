//! A PostgreSQL server of this process, on a socket in a directory of its own; gone when the process is.
//!
//! It keeps nothing on disk that power loss would spare (fsync is off): for tests only. Run by root it becomes `postgres`,
//! as it refuses to be root.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How directories of such servers begin; the process's number follows.
const PREFIX: &str = "chaperone-postgres-";
/// Within this it answers.
const STARTED: Duration = Duration::from_secs(60);

/// A server.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
}

/// The server of this process, started at the first call.
///
/// # Panics
/// Where there is none, with what to install.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start().expect("PostgreSQL's server starts"))
}

/// Where `initdb` and `postgres` are: the newest that Debian installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|v| Some((v.file_name().to_str()?.parse().ok()?, v.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// User and group of `postgres`, if we are root.
fn other_user() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users.lines().find(|l| l.starts_with("postgres:"))?.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// Directories that processes left that are gone.
fn sweep() {
    for left in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let pid = left.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)).map(str::to_owned);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(std::fs::remove_dir_all(left.path()));
        }
    }
}

impl Server {
    fn start() -> std::io::Result<Self> {
        let Some(bin) = programs() else {
            return Err(std::io::Error::other(
                "postgresql is missing: apt-get install postgresql, or tests/run --install",
            ));
        };
        // Tens of thousands of files, perhaps.
        std::thread::spawn(sweep);
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir(&dir)?;
        let user = other_user();
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid))?;
        }
        // The signal is for the death of the thread that started it, so that one stays.
        let as_user = move |program: PathBuf| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "QUIT"]);
            if let Some((uid, gid)) = user {
                command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
            }
            command.arg("--").arg(program).stdin(Stdio::null());
            command
        };
        let data = dir.join("data");
        let made = as_user(bin.join("initdb"))
            .current_dir(&dir)
            .args(["--no-sync", "--auth=trust", "--username=chaperone", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&data)
            .output()?;
        if !made.status.success() {
            return Err(std::io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let log = std::fs::File::create(dir.join("log"))?;
        let mut serve = as_user(bin.join("postgres"));
        serve.current_dir(&dir).arg("-D").arg(&data).arg("-k").arg(&dir).stdout(Stdio::null()).stderr(log);
        for set in [
            "listen_addresses=",
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "max_connections=300",
            "shared_buffers=64MB",
            "deadlock_timeout=100ms",
            "log_lock_waits=on",
        ] {
            serve.args(["-c", set]);
        }
        std::thread::spawn(move || {
            let mut server = serve.spawn().expect("postgres starts");
            drop(server.wait());
        });
        let started = Instant::now();
        let server = Self { dir };
        while !server.log().contains("ready to accept connections") {
            if started.elapsed() > STARTED {
                return Err(std::io::Error::other(server.log()));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(".s.PGSQL.5432")
    }

    /// A database of it.
    pub fn url(&self, database: &str) -> String {
        let host = self.dir.to_string_lossy().replace('/', "%2F");
        format!("postgres://chaperone@{host}/{database}")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}
