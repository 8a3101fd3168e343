//! `[store]`: where the database is, and how it is reached.

use chaperone_collector::postgres::{Settings, Tls};

use super::Mistakes;
use crate::config::file::{Store, StoreTls};
use crate::config::references::{self, Lookup};

/// Connections where nothing is said.
pub(in crate::config) const CONNECTIONS: u32 = 8;

/// Checks the table.
pub(super) fn check(raw: Store, lookup: &dyn Lookup, m: &mut Mistakes) -> Option<Settings> {
    let before = m.0.len();
    let url = m.take("store.url", references::resolve(&raw.url, lookup));
    let password = raw.password.map(|p| m.take("store.password", references::resolve(&p, lookup)));
    let connections = raw.connections.unwrap_or(CONNECTIONS);
    if !(2..=100).contains(&connections) {
        m.add("store.connections", format!("{connections} is not between 2 and 100"));
    }
    let identity = match (raw.certificate_file, raw.key_file) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            m.add("store.certificate_file", "its key is missing: write key_file beside it");
            None
        }
        (None, Some(_)) => {
            m.add("store.key_file", "its certificate is missing: write certificate_file beside it");
            None
        }
    };
    if raw.tls == StoreTls::Off {
        let said = [("ca_file", raw.ca_file.is_some()), ("certificate_file", identity.is_some())];
        for (key, _) in said.into_iter().filter(|(_, is)| *is) {
            m.add(format!("store.{key}"), "means nothing with tls = \"off\"");
        }
    }
    let tls = match raw.tls {
        StoreTls::Off => Tls::Off,
        tls => Tls::On { verify: tls == StoreTls::Verify, ca_file: raw.ca_file, identity },
    };
    let (url, password) = (url?, password.map_or(Some(None), |p| p.map(Some))?);
    let settings =
        m.take("store.url", Settings::new(url.trim(), password.as_deref().map(str::trim_end), tls, connections));
    settings.filter(|_| m.0.len() == before)
}
