//! Names that are statements, on a real store: each finds what has that name, which is nothing, and harms nothing.

use std::sync::Arc;

use chaperone_collector::{Pipelines, SqliteStore};
use chaperone_web::{Connections, WebState};

use crate::Findings;
use crate::client::{Server, config, encoded};
use crate::fake::{self, NOW_MS};

const STATEMENTS: &[&str] = &[
    "' OR '1'='1",
    "' OR 1=1 --",
    "orders' --",
    "orders'; DROP TABLE hop_window; --",
    "\" OR \"\"=\"",
    "orders' UNION SELECT * FROM operator_action --",
    "%",
    "_rders",
    "order*",
    "orders\u{0}",
    "1); DELETE FROM name; --",
    "$1",
    "?1",
    ":topic",
    "orders/**/",
    "ORDERS",
];

/// A store with a verdict about `orders`, and one about `secret`.
pub(crate) fn store(dir: &std::path::Path) -> anyhow::Result<Arc<SqliteStore>> {
    let path = dir.join("chaperone.sqlite");
    let store = SqliteStore::open(&path)?;
    let side = rusqlite::Connection::open(&path)?;
    side.execute_batch(&format!(
        "INSERT INTO name (id, text) VALUES (1, 'orders'), (2, 'a'), (3, 'b'), (4, 'secret');
         INSERT INTO hop_window (topic, window_ms, from_stage, to_stage, hop, width_ms, verdict, missing_min, surplus_min,
             delayed, caveats, why, settled_missing, settled_surplus, amendments)
         VALUES (1, {at}, 2, 3, 0, 10000, 'ok', 0, 0, 0, '[]', 'because', 0, 0, 0),
                (4, {at}, 2, 3, 0, 10000, 'ok', 0, 0, 0, '[]', 'because', 0, 0, 0);",
        at = NOW_MS - 8_000
    ))?;
    Ok(Arc::new(store))
}

/// The state over a real store.
pub(crate) fn state(store: Arc<SqliteStore>) -> (WebState, fake::Bench) {
    let bench = fake::bench(fake::FakeStore::default(), Pipelines::default());
    (WebState { store, ..bench.state.clone() }, bench)
}

pub(crate) fn strings_that_are_statements(probes: &mut usize) -> anyhow::Result<Findings> {
    let dir = tempfile::tempdir()?;
    let (state, _bench) = state(store(dir.path())?);
    let server = Server::start(state, config(), Connections::default())?;
    let mut findings = Findings::new();
    let rows = |topic: &str, more: &str| -> anyhow::Result<(u16, usize)> {
        let answer = server.get(&format!("/api/v1/windows?topic={}{more}", encoded(topic)))?;
        Ok((answer.status, answer.body.matches("\"window_ms\"").count()))
    };
    // The control: what has the name is found, by both orders; without a name both are.
    anyhow::ensure!(
        (rows("orders", "")?, rows("orders", "&limit=5")?, rows("", "")?) == ((200, 1), (200, 1), (200, 2)),
        "blind: {:?}",
        rows("orders", "")
    );
    for text in STATEMENTS {
        for more in ["", "&limit=5", "&limit=5&after="] {
            // A cursor is a name from outside as well.
            let more = if more.ends_with('=') { format!("{more}{}", cursor(text)) } else { more.to_owned() };
            *probes += 1;
            let (status, found) = rows(text, &more)?;
            if found != 0 || status >= 500 {
                findings.push(format!("{text:?}{more}: status {status}, {found} rows"));
            }
        }
        for target in ["/api/v1/topics?topic=", "/?topic=", "/t/x/", "/api/v1/lag?topic=", "/lag?group="] {
            let answer = server.get(&format!("{target}{}", encoded(text)))?;
            *probes += 1;
            let told = ["secret", "SELECT", "sqlite", "syntax error"].iter().find(|word| answer.body.contains(*word));
            // The overview and lag are asked for nothing by these.
            if answer.status >= 500 || (target != "/?topic=" && told.is_some_and(|word| !text.contains(word))) {
                findings.push(format!("{target}{text:?}: status {}, says {told:?}", answer.status));
            }
        }
    }
    if rows("", "")? != (200, 2) || rows("orders", "")? != (200, 1) {
        findings.push("a statement changed the store".to_owned());
    }
    Ok(findings)
}

/// A cursor of ours with these words in it.
fn cursor(text: &str) -> String {
    use base64::Engine as _;
    let key = serde_json::json!([NOW_MS, text, text, text]).to_string();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key)
}
