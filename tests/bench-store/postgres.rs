//! The same on PostgreSQL, on the server of the suites (which does not wait for its disk).

use std::sync::Arc;

use chaperone_collector::postgres::{Settings, Tls};
use chaperone_collector::sqlite::Options;
use chaperone_collector::{PostgresStore, Store};
use chaperone_tests::postgres::server;
use tokio_postgres::NoTls;

use crate::intake::rates;
use crate::record;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_committed_in_postgresql() -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(&server().url("postgres"), NoTls).await?;
    let driven = tokio::spawn(connection);
    client.batch_execute("CREATE DATABASE bench").await?;
    drop(client);
    driven.await??;
    let settings = Settings::new(&server().url("bench"), None, Tls::Off, 8).map_err(anyhow::Error::msg)?;
    let store: Arc<dyn Store> =
        Arc::new(tokio::task::block_in_place(|| PostgresStore::open(&settings, Options::default()))?);
    let (fresh, again) = rates(&store).await?;
    record("postgres_records_per_s", fresh)?;
    record("postgres_duplicates_of_fresh", again / fresh)
}
