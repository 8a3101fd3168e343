//! A collector's store in SQLite, by itself: batches applied one after the other, each again if the disk refused it.

use std::path::Path;

use anyhow::Context;
use chaperone_collector::{SqliteStore, Store};
use chaperone_tests::batches::{BATCHES, batch, source};

use crate::Witness;

/// How often a disk may refuse in a row.
const PATIENCE: u32 = 5;

/// Tells `a N` when batch N was applied. It begins where the store stands.
pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    let witness = Witness::new()?;
    let store = SqliteStore::open(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async {
            let mut refused = 0;
            let mut no = 0;
            while no < BATCHES {
                let batch = batch(no);
                let stands = store.audit_stands(&source().cluster, &source().topic).await;
                let next = stands.map(|all| all.first().map_or(0, |stand| stand.next));
                let done = match next {
                    Ok(next) if next >= batch.next => Ok(()),
                    Ok(_) => store.apply(batch).await.map(drop),
                    Err(e) => Err(e),
                };
                match done {
                    Ok(()) => {
                        witness.tell(&format!("a {no}\n"))?;
                        no += 1;
                    }
                    Err(e) => {
                        refused += 1;
                        anyhow::ensure!(refused < PATIENCE, "{e}");
                    }
                }
            }
            anyhow::Ok(())
        })
        .context("applying")
}
