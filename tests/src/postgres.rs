//! PostgreSQL servers of this process, each on a socket in a directory of its own; gone when the process is.
//!
//! [`server`] is one for all, on its socket only. One of a test's [own](Server::own) also listens on a port, by TLS and with a
//! password, and may be stopped and started. They keep nothing on disk that power loss would spare (fsync is off): for tests
//! only. Run by root they become `postgres`, as they refuse to be root.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::eventually;
use crate::kafka::{node, tls};
use crate::process::{self, Guarded};

/// How directories of such servers begin; the process's number follows.
const PREFIX: &str = "chaperone-postgres-";
/// Within this it answers.
const STARTED: Duration = Duration::from_secs(60);

/// The password of `chaperone` on servers that listen on a port.
pub const PASSWORD: &str = "known to the test";

/// Who may come how to one that listens on a port.
const HBA: &str = "local all all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n";

/// A server.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    user: Option<(u32, u32)>,
    /// Where it listens, by TLS.
    port: Option<u16>,
    running: Mutex<Option<Guarded>>,
}

/// The server of this process, started at the first call.
///
/// # Panics
/// Where there is none, with what to install.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::new("", None).expect("PostgreSQL's server starts"))
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
        let name = left.file_name();
        let whose = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if whose.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(std::fs::remove_dir_all(left.path()));
        }
    }
}

impl Server {
    /// One of a test's own, which listens on a port too.
    pub fn own(name: &str) -> anyhow::Result<Self> {
        let server = Self::new(&format!("-{name}"), Some(node::free_port()?))?;
        server.say("postgres", &format!("ALTER USER chaperone PASSWORD '{PASSWORD}'"))?;
        Ok(server)
    }

    fn new(suffix: &str, port: Option<u16>) -> anyhow::Result<Self> {
        // Tens of thousands of files, perhaps.
        std::thread::spawn(sweep);
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}{suffix}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir(&dir)?;
        let server = Self { dir, user: other_user(), port, running: Mutex::default() };
        server.own_it(&server.dir)?;
        let data = server.dir.join("data");
        let auth = ["--auth=trust", "--username=chaperone", "--encoding=UTF8", "--locale=C.UTF-8", "-D"];
        let made = server.program("initdb")?.arg("--no-sync").args(auth).arg(&data).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        if port.is_some() {
            let made = tls::make(&server.dir)?;
            for file in ["server.key", "server.crt"] {
                server.own_it(&server.dir.join(file))?;
            }
            std::fs::set_permissions(server.dir.join("server.key"), std::fs::Permissions::from_mode(0o600))?;
            ensure!(made.ca == server.ca(), "the authority's certificate is elsewhere");
            std::fs::write(data.join("pg_hba.conf"), HBA)?;
        }
        server.start()?;
        Ok(server)
    }

    /// Gives a file to the user that the server is.
    fn own_it(&self, path: &Path) -> anyhow::Result<()> {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// One of its programs, as its user; it dies with this process.
    fn program(&self, name: &str) -> anyhow::Result<Command> {
        let bin = programs().context("postgresql is missing: apt-get install postgresql, or tests/run --install")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some((uid, gid)) = self.user {
            command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
        }
        command.arg("--").arg(bin.join(name)).current_dir(&self.dir).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it, and waits until it answers.
    pub fn start(&self) -> anyhow::Result<()> {
        let mut serve = self.program("postgres")?;
        let log = std::fs::File::create(self.dir.join("log"))?;
        serve.arg("-D").arg(self.dir.join("data")).arg("-k").arg(&self.dir).stdout(Stdio::null()).stderr(log);
        let mut set = [
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "max_connections=300",
            "shared_buffers=64MB",
            "deadlock_timeout=100ms",
            "log_lock_waits=on",
        ]
        .map(str::to_owned)
        .to_vec();
        match self.port {
            None => set.push("listen_addresses=".to_owned()),
            Some(port) => {
                set.extend(
                    ["listen_addresses=127.0.0.1,127.0.0.2", "ssl=on", "password_encryption=scram-sha-256"]
                        .map(Into::into),
                );
                set.push(format!("ssl_cert_file={}", self.dir.join("server.crt").display()));
                set.push(format!("ssl_key_file={}", self.dir.join("server.key").display()));
                serve.args(["-p", &port.to_string()]);
            }
        }
        for one in set {
            serve.args(["-c", &one]);
        }
        *self.running.lock() = Some(process::spawn(serve)?);
        eventually(STARTED, "PostgreSQL answers", || {
            let log = self.log();
            ensure!(log.contains("ready to accept connections"), "{log}");
            Ok(())
        })
    }

    /// Ends it at once, as a crash would: what was under way is rolled back at the next start.
    pub fn stop(&self) -> anyhow::Result<()> {
        let running = self.running.lock().take();
        let mut running = running.context("it does not run")?;
        running.signal(Signal::QUIT)?;
        running.wait(STARTED).map(drop)
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{}", self.port.unwrap_or(5432)))
    }

    /// Where it listens by TLS, with [`PASSWORD`].
    ///
    /// # Panics
    /// If it is not a test's own.
    pub fn port(&self) -> u16 {
        self.port.expect("a server of a test's own")
    }

    /// Who signed its certificate, which is for `localhost` and `127.0.0.1`.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A database of it, by its socket.
    pub fn url(&self, database: &str) -> String {
        let host = self.dir.to_string_lossy().replace('/', "%2F");
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("postgres://chaperone@{host}{port}/{database}")
    }

    /// What it has logged since its start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Says something to a database; rows as text, NULL as `null`.
    pub fn say(&self, database: &str, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
        say(&self.url(database), sql)
    }
}

/// Says something to a database, by its URL without TLS; rows as text, NULL as `null`. Blocks, wherever it is called.
pub fn say(url: &str, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let asked = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driven = tokio::spawn(connection);
        let said = client.simple_query(sql).await?;
        drop(client);
        driven.await.context("the connection")??;
        let row = |m| match m {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("null").to_owned()).collect())
            }
            _ => None,
        };
        anyhow::Ok(said.into_iter().filter_map(row).collect())
    };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(asked).with_context(|| sql.to_owned())
    };
    // A thread of its own: the caller may be one that must not wait for another runtime.
    std::thread::scope(|scope| scope.spawn(run).join()).map_err(|_| anyhow::anyhow!("panicked"))?
}
