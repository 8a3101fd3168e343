//! Copies of a store in SQLite that were made while it was written, by the documented commands: each is a store that goes on from
//! there, once it is put in place of the other. Nothing is lost or doubled.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, figures, paths};

use crate::scene::{Folder, Traffic, all_ok, becomes_ready, counted, counts, difference, send, topics};

const STAGE: &str = "kafka:main";
const COPIES: [&str; 2] =
    ["sqlite3 chaperone.sqlite \".backup 'copy.sqlite'\"", "sqlite3 chaperone.sqlite \"VACUUM INTO 'copy.sqlite'\""];

/// Runs a command of docs/OPERATIONS.md, word for word, with `URL` for the database's.
pub(crate) fn documented(command: &str, folder: &Path, url: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(paths::root().join("docs/OPERATIONS.md"))?;
    ensure!(text.contains(command), "docs/OPERATIONS.md does not say: {command}");
    let mut shell = Command::new("sh");
    let output = shell.args(["-ec", &command.replace("URL", url)]).current_dir(folder).output().context("a shell")?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn start(config: &Path) -> anyhow::Result<(Program, String)> {
    let mut run = programs::chaperone(&["run"], config)?;
    let url = programs::listening(&mut run)?;
    becomes_ready(&url, || run.output())?;
    Ok((run, url))
}

/// Stops it, puts the copy in place of the store, as documented, and starts it.
fn put_back(run: &mut Program, data: &Path, config: &Path, copy: &str) -> anyhow::Result<(Program, String)> {
    ensure!(run.process.terminate(Duration::from_secs(30))?.success(), "{}", run.output());
    std::fs::rename(data.join(copy), data.join("copy.sqlite"))?;
    documented("mv copy.sqlite chaperone.sqlite; rm -f chaperone.sqlite-wal chaperone.sqlite-shm", data, "")?;
    start(config)
}

#[test]
fn a_copy_that_was_made_while_it_was_written_goes_on_from_there() -> anyhow::Result<()> {
    let bed = Bed::get()?;
    let (topic, audit) = topics(&bed.regional, "backup", 4)?;
    let folder = Folder::new("backup")?;
    let data = folder.path("data");
    let config = folder.write(&format!(
        "data_dir = {:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.main]\nbootstrap_servers = {:?}\n\
         [kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\ngroup = \"{topic}-taps\"\n\
         [kafka.main.audit]\ntopic = {audit:?}\n[pipeline.backup]\ntopics = [{topic:?}]\n\
         stages = [\"producer\", {STAGE:?}]\ncomplete = [\"producer\"]\ngrace = \"2s\"\n",
        data.to_string_lossy(),
        bed.regional.bootstrap_plain(),
    ))?;
    let (mut run, _) = start(&config)?;
    let recorder = folder.recorder(&bed.regional, &audit)?;
    let producer = AuditedProducer::new(&bed.regional.exact_config(), recorder.clone())?;
    let traffic = Traffic::default();
    let (behind, torn, url) = traffic.during(
        |number, time_ms| send(&producer, &topic, number, time_ms),
        |traffic| {
            counts(&data, &topic, STAGE, traffic.more(1_000)?)?;
            for (no, command) in COPIES.iter().enumerate() {
                documented(command, &data, "")?;
                std::fs::rename(data.join("copy.sqlite"), data.join(no.to_string()))?;
            }
            // The control: a plain copy of the file has not what the log beside it has.
            let plain = folder.path("plain");
            std::fs::create_dir(&plain)?;
            std::fs::copy(data.join("chaperone.sqlite"), plain.join("chaperone.sqlite"))?;
            let torn = counted(&data, &topic, STAGE).saturating_sub(counted(&plain, &topic, STAGE));
            counts(&data, &topic, STAGE, traffic.more(1_000)?)?;
            let mut behind = u64::MAX;
            let mut url = String::new();
            for no in 0..COPIES.len() {
                let of = folder.path("of");
                std::fs::create_dir_all(&of)?;
                std::fs::copy(data.join(no.to_string()), of.join("chaperone.sqlite"))?;
                behind = behind.min(counted(&data, &topic, STAGE).saturating_sub(counted(&of, &topic, STAGE)));
                (run, url) = put_back(&mut run, &data, &config, &no.to_string())?;
                counts(&data, &topic, STAGE, traffic.more(500)?)?;
            }
            Ok((behind, torn, url))
        },
    )?;
    producer.flush(Duration::from_secs(60)).context("flush")?;
    ensure!(recorder.close(Duration::from_secs(20)).unsent == 0, "something was not sent");
    counts(&data, &topic, STAGE, traffic.sent())?;
    counts(&data, &topic, "producer", traffic.sent())?;
    let difference = difference(&data, (&bed.regional, &topic, traffic.sent()), STAGE)?;
    let windows = all_ok(&url, &topic)?;
    println!(
        "{} messages, {windows} windows ok, {behind} not in the copies, {torn} not in a plain one",
        traffic.sent()
    );
    ensure!(run.process.terminate(Duration::from_secs(30))?.success(), "{}", run.output());
    figures::record("processes", "backup_behind", behind)?;
    figures::record("processes", "backup_plain_copy_lacks", torn)?;
    figures::record("processes", "backup_difference", difference)
}
