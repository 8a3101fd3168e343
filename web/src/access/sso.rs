//! A proxy that logs people in and says who they are by a header. Believed only from the addresses that are configured;
//! from others the header is as if it were not there. Pure.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::{Role, Who, Wrong};

/// Longest name, bytes.
const NAME_MAX: usize = 255;

/// Whom to believe, and what they may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sso {
    /// The header with the name.
    pub header: HeaderName,
    /// Addresses of the proxies.
    pub peers: Vec<IpNet>,
    /// The role of whom `operators` and `admins` do not name.
    pub role: Role,
    /// Names with that role.
    pub operators: Vec<String>,
    /// Names with that role.
    pub admins: Vec<String>,
}

impl Sso {
    pub(crate) fn who(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Option<Who>, Wrong> {
        if !peer.is_some_and(|peer| self.peers.iter().any(|net| net.contains(&peer))) {
            return Ok(None);
        }
        let mut names = headers.get_all(&self.header).iter();
        let (Some(name), None) = (names.next(), names.next()) else {
            // A second one may be the client's own, which the proxy let through.
            return if headers.contains_key(&self.header) { Err(Wrong) } else { Ok(None) };
        };
        let name = name.to_str().map_err(|_| Wrong)?.trim();
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Wrong);
        }
        let is_in = |names: &[String]| names.iter().any(|n| n == name);
        let role = match (is_in(&self.admins), is_in(&self.operators)) {
            (true, _) => Role::Admin,
            (_, true) => Role::Operator,
            _ => self.role,
        };
        Ok(Some(Who { name: name.to_owned(), role }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(peer: &str, names: &[&'static str]) -> Result<Option<(String, Role)>, Wrong> {
        let sso = Sso {
            header: HeaderName::from_static("x-forwarded-user"),
            peers: vec!["10.0.0.5/32".parse().expect("net"), "fd00::/8".parse().expect("net")],
            role: Role::Viewer,
            operators: vec!["olga".into()],
            admins: vec!["adam".into()],
        };
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append("x-forwarded-user", HeaderValue::from_static(name));
        }
        sso.who(&headers, peer.parse().ok()).map(|who| who.map(|w| (w.name, w.role)))
    }

    #[test]
    fn only_the_proxies_are_believed() {
        let is = |name: &str, role| Ok(Some((name.to_owned(), role)));
        assert_eq!(asked("10.0.0.5", &["vera"]), is("vera", Role::Viewer));
        assert_eq!(asked("10.0.0.5", &["olga"]), is("olga", Role::Operator));
        assert_eq!(asked("fd00::7", &["adam"]), is("adam", Role::Admin));
        for stranger in ["10.0.0.6", "127.0.0.1", "::1", "none"] {
            assert_eq!(asked(stranger, &["adam"]), Ok(None), "{stranger}");
        }
        assert_eq!(asked("10.0.0.5", &[]), Ok(None));
        assert_eq!(asked("10.0.0.5", &["vera", "adam"]), Err(Wrong));
        assert_eq!(asked("10.0.0.5", &[" "]), Err(Wrong));
    }
}
