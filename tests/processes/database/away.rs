//! `chaperone run`, everything in one process, on a database: killed amid the traffic, and a backup put back under it while it
//! runs, by the documented commands.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::figures;

use super::{Place, STAGE};
use crate::backup::documented;
use crate::scene::becomes_ready;

#[test]
fn run_goes_on_after_its_death_and_from_a_backup_that_is_put_back_under_it() -> anyhow::Result<()> {
    let place = Place::new("away")?;
    let (mut run, url) = place.start(&["run"])?;
    let database = place.server.url("chaperone");
    let (behind, difference) = place.under_traffic(
        || place.server.log(),
        |traffic, recorder| {
            becomes_ready(&url, || run.output())?;
            place.counts_to(STAGE, traffic.more(1_000)?, || run.output())?;
            run.process.kill()?;
            traffic.more(500)?;
            let (again, url) = place.start(&["run"])?;
            run = again;
            place.counts_to(STAGE, traffic.more(500)?, || run.output())?;
            // The backup, while it writes.
            let in_folder = place.folder.path("");
            documented("pg_dump --format=custom --file=chaperone.dump URL", &in_folder, &database)?;
            place.counts_to(STAGE, traffic.more(1_000)?, || run.output())?;
            let before = place.counted(STAGE);
            // The store is taken away under it, and an older one is there.
            place.server.say("postgres", "DROP DATABASE chaperone WITH (FORCE)")?;
            place.server.say("postgres", "CREATE DATABASE chaperone")?;
            let restore = "pg_restore --single-transaction --no-owner --dbname=URL chaperone.dump";
            documented(restore, &in_folder, &database)?;
            let behind = before.saturating_sub(place.counted(STAGE));
            place.lose(recorder);
            traffic.more(500)?;
            becomes_ready(&url, || run.output())?;
            Ok((behind, url))
        },
    )?;
    println!("{behind} messages were not in the backup");
    let status = run.process.terminate(Duration::from_secs(30))?;
    ensure!(status.success(), "{status}: {}", run.output());
    figures::record("processes", "database_not_in_the_backup", behind)?;
    figures::record("processes", "database_restored_difference", difference)
}
