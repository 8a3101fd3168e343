//! `[web]`: where the page is served, who may come in, and what a door to other machines needs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chaperone_web::{Access, Rate, Role, SESSION, Sso, Token};

use super::Mistakes;
use crate::config::file;
use crate::config::references::{self, Lookup};

/// Requests a second of one client where nothing is said.
const RATE: u32 = 100;
/// The same where only this machine can ask.
const RATE_AT_HOME: u32 = 100_000;
/// So many seconds' requests may come at once.
const BURST: u32 = 5;
/// The header where nothing is said.
pub(in crate::config) const HEADER: &str = "x-forwarded-user";
const SESSION_MIN: Duration = Duration::from_mins(1);
const SESSION_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Hosts that every listener answers for.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The page's listener, complete.
#[derive(Debug, Clone)]
pub struct Web {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Hosts that it answers for.
    pub allowed_hosts: Vec<String>,
    /// Certificate chain and key, if it is encrypted.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Requests of one client.
    pub rate: Rate,
}

impl Web {
    /// On a loopback address, open to whoever reaches it.
    pub fn local(listen: SocketAddr) -> Self {
        Self {
            listen,
            allowed_hosts: HOSTS.map(str::to_owned).to_vec(),
            certificate: None,
            access: Arc::default(),
            rate: Rate { per_second: RATE_AT_HOME, burst: RATE_AT_HOME },
        }
    }
}

/// Checks the table.
pub(super) fn check(raw: file::Web, lookup: &dyn Lookup, m: &mut Mistakes) -> Option<Web> {
    let listen = m.take("web.listen", address(raw.listen.as_deref()));
    let certificate = certificate(raw.certificate_file, raw.key_file, m);
    let session = raw.session.map_or(SESSION, |s| s.0);
    if !(SESSION_MIN..=SESSION_MAX).contains(&session) {
        m.add("web.session", "allowed are 1m to 30d");
    }
    let tokens: Vec<Token> = raw.token.0.into_iter().filter_map(|(name, t)| token(&name, &t, lookup, m)).collect();
    let sso = raw.sso.map(|s| sso(s, m));
    let logs_in = !tokens.is_empty() || sso.is_some();
    let listen = listen?;
    let per_second = raw.requests_per_second.unwrap_or_else(|| rate(listen, raw.behind_proxy));
    if !(1..=100_000).contains(&per_second) {
        m.add("web.requests_per_second", format!("is {per_second}; allowed are 1 to 100000"));
    }
    let loopback = listen.ip().to_canonical().is_loopback();
    if !(loopback || raw.behind_proxy || logs_in && certificate.is_some()) {
        m.add("web.listen", open_door(listen, logs_in, certificate.is_some()));
    }
    let anonymous = match (logs_in, loopback && !raw.behind_proxy) {
        (true, _) => None,
        (false, true) => Some(Role::Admin),
        // The proxy lets in whom it likes, and nobody says who.
        (false, false) => Some(Role::Viewer),
    };
    let allowed_hosts = hosts(raw.allowed_hosts, listen, logs_in, m);
    let behind_proxy = raw.behind_proxy;
    let access = Arc::new(Access { anonymous, tokens, sso: sso.flatten(), session, behind_proxy });
    let rate = Rate { per_second, burst: per_second.saturating_mul(BURST) };
    Some(Web { listen, allowed_hosts, certificate, access, rate })
}

/// What it is without the key: where only this machine can ask, scripts of its own are not in anybody's way.
fn rate(listen: SocketAddr, behind_proxy: bool) -> u32 {
    if listen.ip().is_loopback() && !behind_proxy { RATE_AT_HOME } else { RATE }
}

fn address(text: Option<&str>) -> Result<SocketAddr, String> {
    let Some(text) = text else {
        return Ok((Ipv4Addr::LOCALHOST, 8080).into());
    };
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    numeric.parse().map_err(|_| format!("'{text}' is not ADDRESS:PORT, for example 127.0.0.1:8080"))
}

/// What is missing before other machines may come in.
fn open_door(listen: SocketAddr, logs_in: bool, encrypted: bool) -> String {
    let mut missing = Vec::new();
    if !logs_in {
        missing.push("a log-in: [web.token.NAME] or [web.sso]");
    }
    if !encrypted {
        missing.push("encryption: certificate_file and key_file");
    }
    format!(
        "'{listen}' is open to other machines and lacks {}; write that, or behind_proxy = true where a proxy in front does \
         both, or listen on 127.0.0.1",
        missing.join(" and ")
    )
}

fn certificate(chain: Option<PathBuf>, key: Option<PathBuf>, m: &mut Mistakes) -> Option<(PathBuf, PathBuf)> {
    match (chain, key) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        (Some(_), None) => {
            m.add("web.certificate_file", "its key is missing: write key_file beside it");
            None
        }
        (None, Some(_)) => {
            m.add("web.key_file", "its certificate is missing: write certificate_file beside it");
            None
        }
    }
}

fn token(name: &str, raw: &file::WebToken, lookup: &dyn Lookup, m: &mut Mistakes) -> Option<Token> {
    let path = format!("web.token.{name}");
    person(&path, name, m);
    let hash = m.take(format!("{path}.hash"), references::resolve(&raw.hash, lookup))?;
    m.take(format!("{path}.hash"), Token::new(name, raw.role.role(), hash.trim()))
}

fn sso(raw: file::WebSso, m: &mut Mistakes) -> Option<Sso> {
    if raw.peers.is_empty() {
        m.add("web.sso.peers", "is empty; name the proxy's address: whoever else sent the header could be anybody");
    }
    let mut peers = Vec::new();
    for (i, text) in raw.peers.iter().enumerate() {
        let one = text.parse::<IpAddr>().map(ipnet::IpNet::from);
        let net = text.parse::<ipnet::IpNet>().or(one);
        let wrong = |_| format!("'{text}' is not an address or a network, for example 10.0.0.5 or 10.1.0.0/16");
        peers.extend(m.take(format!("web.sso.peers[{i}]"), net.map_err(wrong)));
    }
    let header = raw.header.as_deref().unwrap_or(HEADER);
    let wrong = |_| format!("'{header}' is not the name of a header, for example X-Forwarded-User");
    let header = m.take("web.sso.header", axum::http::HeaderName::from_bytes(header.as_bytes()).map_err(wrong))?;
    for (key, names) in [("operators", &raw.operators), ("admins", &raw.admins)] {
        for (i, name) in names.iter().enumerate() {
            person(&format!("web.sso.{key}[{i}]"), name, m);
        }
    }
    let role = raw.role.unwrap_or_default().role();
    Some(Sso { header, peers, role, operators: raw.operators, admins: raw.admins })
}

fn person(path: &str, name: &str, m: &mut Mistakes) {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        m.add(path, "a name has 1 to 255 bytes without control characters");
    }
}

fn hosts(named: Vec<String>, listen: SocketAddr, logs_in: bool, m: &mut Mistakes) -> Vec<String> {
    let ip = listen.ip();
    if named.is_empty() && ip.is_unspecified() {
        m.add("web.allowed_hosts", "is empty; name the host that browsers ask for, for example audit.example.com");
    }
    for (i, host) in named.iter().enumerate() {
        let path = format!("web.allowed_hosts[{i}]");
        if host == "*" && !logs_in {
            m.add(
                path,
                "'*' answers for every host, which only a log-in makes safe: any page on the web could read this one",
            );
        } else if host.is_empty() || host.contains("://") || !host.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
            m.add(path, format!("'{host}' is not a host or host:port"));
        }
    }
    let own = match ip {
        _ if ip.is_unspecified() => None,
        IpAddr::V4(ip) => Some(ip.to_string()),
        IpAddr::V6(ip) => Some(format!("[{ip}]")),
    };
    let mut hosts: Vec<String> = HOSTS.map(str::to_owned).into_iter().chain(own).chain(named).collect();
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
