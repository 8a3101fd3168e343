//! A throw-away certificate authority and a server certificate for 127.0.0.1, made anew for each cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Where the two PEM files are that matter.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The authority's certificate, for clients.
    pub(crate) ca: PathBuf,
    /// The server's key and certificate in one file, as Kafka wants it.
    pub(crate) server: PathBuf,
}

/// Makes both in `dir`.
pub(crate) fn make(dir: &Path) -> anyhow::Result<Tls> {
    openssl(dir, &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Chaperone test bed"])?;
    openssl(
        dir,
        &[
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
            "-subj",
            "/CN=localhost",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ],
    )?;
    let server = dir.join("server.pem");
    let both = [fs::read(dir.join("server.key"))?, fs::read(dir.join("server.crt"))?].concat();
    fs::write(&server, both)?;
    Ok(Tls { ca: dir.join("ca.pem"), server })
}

fn openssl(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(["req", "-x509", "-nodes", "-days", "2"]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]).args(args);
    let output = command.output().context("cannot start openssl")?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
