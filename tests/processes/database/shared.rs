//! Two collectors, two taps and a page, each a process of its own, on one database: the collectors divide the audit topic's
//! partitions. One is killed, connections are cut, the server dies and comes back, under traffic: nothing is lost or doubled,
//! what was lost on the way is told to the letter.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::postgres::Server;
use chaperone_tests::programs::Program;
use chaperone_tests::{eventually, figures};

use super::{ANY, AUDITED, Place, STAGE};
use crate::scene::{PATIENCE, Traffic, becomes_ready, metric, ready, says};

/// How many partitions a collector reads.
fn partitions(url: &str) -> anyhow::Result<f64> {
    metric(url, "chaperone_intake_partitions", "")
}

/// Waits until these collectors read all partitions between them, each at least one.
fn divided(urls: &[&str]) -> anyhow::Result<()> {
    eventually(PATIENCE, "the collectors have divided the work", || {
        let each = urls.iter().map(|url| partitions(url)).collect::<anyhow::Result<Vec<f64>>>()?;
        ensure!(each.iter().sum::<f64>() == AUDITED && each.iter().all(|n| *n >= 1.0), "{each:?}");
        Ok(())
    })
}

/// Ends every connection to the database, so many times; returns how many that were.
fn cut(server: &Server, times: usize, traffic: &Traffic) -> anyhow::Result<u64> {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = 'chaperone' AND pid <> pg_backend_pid()";
    let mut ended = 0;
    for _ in 0..times {
        let found = server.say("postgres", sql)?.concat();
        ended += found.first().map_or("0", String::as_str).parse::<u64>()?;
        traffic.more(300)?;
    }
    Ok(ended)
}

struct Found {
    cut: u64,
    behind: u64,
    programs: Vec<Program>,
}

fn disturb(place: &Place, page: &str, traffic: &Traffic) -> anyhow::Result<Found> {
    let (mut first, first_url) = place.start(&["collect", "--listen", ANY])?;
    let (second, second_url) = place.start(&["collect", "--listen", ANY])?;
    let taps = [place.start(&["tap", "--listen", ANY])?.0, place.start(&["tap", "--listen", ANY])?.0];
    let log = || format!("{}{}", first.output(), second.output());
    divided(&[&first_url, &second_url])?;
    place.counts_to(STAGE, traffic.more(1_000)?, log)?;
    for url in [page, &first_url, &second_url] {
        let said = ready(url)?;
        ensure!(said.0 == 200, "two collectors are nothing wrong: {said:?}");
    }
    for url in [&first_url, &second_url] {
        ensure!(metric(url, "chaperone_intake_records_total", "outcome=\"applied\"")? > 0.0, "{url} applied nothing");
    }
    let cut = cut(&place.server, 10, traffic)?;
    place.counts_to(STAGE, traffic.more(500)?, || second.output())?;

    // One dies: the other takes its partitions over, and verdicts go on.
    first.process.kill()?;
    divided(&[&second_url])?;
    place.counts_to(STAGE, traffic.more(500)?, || second.output())?;
    let (third, third_url) = place.start(&["collect", "--listen", ANY])?;
    divided(&[&second_url, &third_url])?;

    // The server dies. Everybody says so, and everything goes on when it is back.
    place.server.stop()?;
    let said = says(page, &["the store cannot be read", "store.url"], Duration::from_secs(60))?;
    println!("{said}");
    for url in [&second_url, &third_url] {
        eventually(PATIENCE, "a collector says that it waits", || {
            let (status, said) = ready(url)?;
            ensure!(status == 503 && said.contains("it goes on by itself"), "{status}: {said}");
            Ok(())
        })?;
    }
    let sent = traffic.more(2_000)?;
    place.server.start()?;
    let behind = sent.saturating_sub(place.counted(STAGE));
    ensure!(behind > 0, "the control found nothing that waited");
    becomes_ready(page, || format!("{}{}", second.output(), third.output()))?;
    place.counts_to(STAGE, traffic.more(500)?, || second.output())?;
    divided(&[&second_url, &third_url])?;
    let [tap, other] = taps;
    Ok(Found { cut, behind, programs: vec![tap, other, second, third] })
}

#[test]
fn collectors_share_a_database_that_dies_and_comes_back_and_nothing_is_lost_or_doubled() -> anyhow::Result<()> {
    let place = Place::new("shared")?;
    let (mut web, page) = place.start(&["web"])?;
    says(&page, &["there is no store yet", "chaperone collect"], PATIENCE)?;
    let log = || format!("{}\n{}", web.output(), place.server.log());
    let (found, difference) = place.under_traffic(log, |traffic, recorder| {
        let found = disturb(&place, &page, traffic)?;
        place.lose(recorder);
        traffic.more(200)?;
        Ok((found, page.clone()))
    })?;
    ensure!(found.cut > 20, "only {} connections were cut", found.cut);
    for mut program in found.programs {
        let status = program.process.terminate(Duration::from_secs(30))?;
        ensure!(status.success(), "{status}: {}", program.output());
    }
    ensure!(web.process.terminate(Duration::from_secs(30))?.success(), "{}", web.output());
    figures::record("processes", "database_connections_cut", found.cut)?;
    figures::record("processes", "database_behind_meanwhile", found.behind)?;
    figures::record("processes", "database_difference", difference)
}
