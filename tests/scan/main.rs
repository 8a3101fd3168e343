//! The structural scan against `serde_json`, which decides what correct is: documents made at random, with decoys of
//! every kind; whole, cut off and damaged.

mod documents;
mod oracle;
#[path = "../../audit-lib/fuzz/targets.rs"]
mod targets;

use anyhow::Context;
use chaperone_audit::scan::Pointer;
use chaperone_tests::{figures, paths};
use documents::Maker;
use oracle::Answer;
use targets::{naive, scanned};

/// Documents in CI: what a minute of the whole suite can hold several times over.
const DOCUMENTS: u64 = 1_000_000;
const THREADS: u64 = 2;

/// What came of the documents.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    mismatches: u64,
    /// Documents whose field is there.
    found: u64,
    /// Cut-off and damaged ones that were called malformed.
    malformed: u64,
    /// Documents that a search for the quoted name gets wrong.
    naive: u64,
}

fn complain(tally: &mut Tally, what: &str, path: &str, document: &[u8], said: &Answer, meant: &Answer) {
    tally.mismatches += 1;
    if tally.mismatches <= 10 {
        println!("{what}: {path} is {said:?}, meant {meant:?} in {}", String::from_utf8_lossy(document));
    }
}

/// Documents `seed`, `seed + THREADS`, … below the limit.
fn run(seed: u64, documents: u64) -> Tally {
    let mut tally = Tally::default();
    for number in (seed..documents).step_by(usize::try_from(THREADS).unwrap_or(1)) {
        let mut maker = Maker::new(number);
        let (document, path) = maker.document();
        let pointer = Pointer::parse(&path).expect("the maker's own");
        let steps = oracle::steps(&path);
        let meant = oracle::whole(document.as_bytes(), &steps);
        let said = scanned(document.as_bytes(), &pointer);
        if said != meant {
            complain(&mut tally, "whole", &path, document.as_bytes(), &said, &meant);
        }
        tally.found += u64::from(meant != Answer::Absent);
        if let [name] = steps.as_slice() {
            tally.naive += u64::from(naive(&document, name) != meant);
        }
        // One in eight is cut off, one in eight damaged: it is malformed, or what a reader says that stops at the field. To
        // that reader a number beyond a double and half of a surrogate pair are damage, wherever they are passed by.
        let tame = document.replace("1e400", "1e40").replace("\\ud800", "\\u0041");
        let (what, bytes) = match number % 8 {
            0 => ("cut", maker.cut(tame.as_bytes()).to_vec()),
            1 => ("damaged", maker.damage(tame.as_bytes())),
            _ => continue,
        };
        let said = scanned(&bytes, &pointer);
        let meant = oracle::up_to_the_field(&bytes, &steps);
        // What is not looked at: damage outside strings and brackets, and the inside of a container at the field.
        let unseen = meant == Answer::Malformed && (what == "damaged" || said == Answer::Other);
        if said != Answer::Malformed && said != meant && !unseen {
            complain(&mut tally, what, &path, &bytes, &said, &meant);
        }
        tally.malformed += u64::from(said == Answer::Malformed);
    }
    tally
}

#[test]
fn a_million_documents_are_read_as_serde_json_reads_them() -> anyhow::Result<()> {
    let threads: Vec<_> = (0..THREADS).map(|seed| std::thread::spawn(move || run(seed, DOCUMENTS))).collect();
    let mut sum = Tally::default();
    for thread in threads {
        let tally = thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        sum.mismatches += tally.mismatches;
        sum.found += tally.found;
        sum.malformed += tally.malformed;
        sum.naive += tally.naive;
    }
    figures::record("scan", "documents", DOCUMENTS)?;
    figures::record("scan", "mismatches", sum.mismatches)?;
    figures::record("scan", "naive_mismatches", sum.naive)?;
    anyhow::ensure!(sum.mismatches == 0, "{sum:?}");
    // Else the documents would be too easy, or the fields hardly ever there.
    anyhow::ensure!(
        sum.found > DOCUMENTS / 8 && sum.malformed > DOCUMENTS / 20 && sum.naive > DOCUMENTS / 20,
        "{sum:?}"
    );
    Ok(())
}

/// What fuzzing reached that nothing else had (`tests/run --full fuzz`): each input again.
#[test]
fn what_was_fuzzed_is_replayed() -> anyhow::Result<()> {
    let mut inputs = 0u64;
    for (name, target) in targets::ALL.into_iter().filter(|(name, _)| *name != "naive") {
        let path = paths::root().join(format!("audit-lib/fuzz/corpus/{name}.hex"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (line, number) in text.lines().zip(1..) {
            let bytes = hex::decode(line).with_context(|| format!("{name}, line {number}"))?;
            let right = std::panic::catch_unwind(|| target(&bytes));
            anyhow::ensure!(right.is_ok(), "{name}, line {number}: {line}");
            inputs += 1;
        }
    }
    figures::record("scan", "replayed", inputs)
}
