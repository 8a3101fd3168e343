//! The page against people who mean harm: names that are markup, formulas and SQL in every place where a name is shown,
//! addresses and heads that no browser sends, connections that never end, floods. Plain HTTP on real sockets, no Kafka.
//!
//! A probe returns what it found; none may find anything (`hostile.findings`). Each has a control: the same eyes see the
//! fault where it is put in on purpose. A store is written meanwhile, and goes on.

mod client;
mod corpus;
mod crowd;
#[path = "../../web/tests/fake/mod.rs"]
mod fake;
mod ingest;
mod markup;
mod sql;
mod wire;
mod world;

use chaperone_tests::figures;

/// What a probe found, in a sentence each.
type Findings = Vec<String>;

#[test]
fn no_finding() -> anyhow::Result<()> {
    let mut all = Findings::new();
    let mut probes = 0;
    for probe in [
        corpus::pages_and_answers as fn(&mut usize) -> anyhow::Result<Findings>,
        corpus::addresses,
        sql::strings_that_are_statements,
        wire::hosts_and_origins,
        wire::paths,
        wire::methods,
        wire::heads,
        wire::garbage,
        wire::ranges,
        crowd::streams,
        crowd::heads_that_never_end,
        crowd::floods,
    ] {
        all.extend(probe(&mut probes)?);
    }
    figures::record("hostile", "probes", probes as u64)?;
    figures::record("hostile", "findings", all.len() as u64)?;
    anyhow::ensure!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

#[test]
fn a_store_is_written_on_while_the_page_is_flooded() -> anyhow::Result<()> {
    ingest::goes_on()
}
