//! `chaperone --version [--json]`

use chaperone_web::{Build, Promise};
use serde::Serialize;

/// What this binary is made of.
#[derive(Debug, Serialize)]
struct Version {
    chaperone: &'static str,
    commit: &'static str,
    librdkafka: String,
    sqlite: &'static str,
    openssl: &'static str,
}

/// `chaperone 0.1.0`
pub(super) fn plain() -> String {
    format!("chaperone {}", env!("CARGO_PKG_VERSION"))
}

/// One line of JSON; scripts rely on exactly these keys.
pub(super) fn json() -> String {
    // Five texts: nothing that JSON could refuse.
    serde_json::to_string(&version()).unwrap_or_default()
}

fn version() -> Version {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    Version {
        chaperone: env!("CARGO_PKG_VERSION"),
        commit: env!("CHAPERONE_COMMIT"),
        librdkafka,
        sqlite: rusqlite::version(),
        openssl: number(openssl::version::version()),
    }
}

/// The figures of the last runs before this build; what is not in it is not claimed.
const EVIDENCE: &str = include_str!("../../../docs/EVIDENCE.md");

/// The same for the page, with what is promised.
pub(crate) fn build() -> Build {
    let v = version();
    let parts = [
        ("commit", v.commit.to_owned()),
        ("librdkafka", v.librdkafka),
        ("sqlite", v.sqlite.to_owned()),
        ("openssl", v.openssl.to_owned()),
    ];
    Build { parts: parts.into(), promises: Promise::table(EVIDENCE) }
}

/// `OpenSSL 3.6.3 9 Jun 2026` → `3.6.3`.
fn number(version: &str) -> &str {
    version.split(' ').nth(1).unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_evidence_is_read() {
        let rows = EVIDENCE.lines().filter(|line| line.contains(" | ci | ") || line.contains(" | full | ")).count();
        let build = build();
        assert!(rows > 100 && build.promises.len() == rows, "{rows} {}", build.promises.len());
    }

    #[test]
    fn the_json_has_five_texts() {
        let value: serde_json::Value = serde_json::from_str(&json()).expect("JSON");
        let members = value.as_object().expect("an object");
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        assert_eq!(names, ["chaperone", "commit", "librdkafka", "openssl", "sqlite"]);
        assert!(members.values().all(|v| v.as_str().is_some_and(|t| !t.is_empty() && !t.contains(' '))), "{value}");
    }
}
