//! `chaperone wal inspect DIR`: what is in a write-ahead log. Takes no lock and writes nothing, so it may look at the log
//! of a live process.

use std::fmt::Write as _;
use std::path::PathBuf;

use chaperone_wal::{Inspection, Kind, Listed, Span, Standing, inspect_dir};
use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::print;
use crate::columns::columns;
use crate::exit::{Code, Failure};

/// The write-ahead log of a linked process.
#[derive(Debug, Args)]
pub struct Wal {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists the entries of a log, pending or not, and what cannot be read. Ends with 1 if there is damage.
    Inspect(Inspect),
}

#[derive(Debug, Args)]
struct Inspect {
    /// The log's directory, with files such as 0000000000000001.wal.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Prints a line of JSON an entry.
    #[arg(long)]
    json: bool,
}

impl Wal {
    pub(super) fn run(self) -> Result<(), Failure> {
        let What::Inspect(Inspect { dir, json }) = self.what;
        let found = inspect_dir(&dir).map_err(|e| Failure::new(Code::Usage, format!("{}: {e}", dir.display())))?;
        print(if json { lines(&found) } else { table(&found) }.trim_end())?;
        if !found.corrupt.is_empty() || found.segments.iter().any(|s| s.foreign.is_some()) {
            return Err(Failure::new(Code::Differs, "some of the log cannot be read"));
        }
        Ok(())
    }
}

const fn standing(of: Standing) -> &'static str {
    match of {
        Standing::Pending => "pending",
        Standing::Done => "done",
        Standing::Replaced => "replaced",
        Standing::Superseded => "superseded",
        Standing::Copied => "copied",
        Standing::Refused => "refused",
    }
}

const fn kind(of: Kind) -> &'static str {
    match of {
        Kind::Record => "record",
        Kind::Checkpoint => "checkpoint",
    }
}

/// When a `UUIDv7` was made.
fn time_ms(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000))
}

fn count(found: &Inspection, of: Standing) -> usize {
    found.entries.iter().filter(|e| e.standing == of).count()
}

/// Damage and torn ends, by name.
fn spans(found: &Inspection) -> impl Iterator<Item = (&'static str, &Span)> {
    found.corrupt.iter().map(|s| ("corrupt", s)).chain(found.torn.iter().map(|s| ("torn", s)))
}

fn lines(found: &Inspection) -> String {
    let mut out: Vec<Value> = found.entries.iter().map(entry).collect();
    out.extend(spans(found).map(
        |(class, s)| json!({"event": "damage", "class": class, "segment": s.segment, "from": s.from, "to": s.to}),
    ));
    let foreign = found.segments.iter().filter_map(|s| Some((s.number, s.foreign?)));
    out.extend(foreign.map(|(n, format)| json!({"event": "foreign", "segment": n, "format": format})));
    out.push(json!({
        "event": "end",
        "pending": count(found, Standing::Pending),
        "done": count(found, Standing::Done),
        "corrupt": found.corrupt.len(),
        "torn": found.torn.len(),
        "segments": found.segments.iter().filter(|s| !s.unused).count(),
        "ready": found.segments.iter().filter(|s| s.unused).count(),
    }));
    out.iter().fold(String::new(), |text, line| format!("{text}{line}\n"))
}

fn entry(e: &Listed) -> Value {
    json!({
        "event": "entry",
        "seq": e.seq.0,
        "uuid": e.id.to_string(),
        "time_ms": time_ms(e.id),
        "kind": kind(e.kind),
        "standing": standing(e.standing),
        "bytes": e.bytes,
        "segment": e.segment,
        "offset": e.offset,
        "replaces": e.replaces.iter().map(|seq| seq.0).collect::<Vec<_>>(),
    })
}

fn table(found: &Inspection) -> String {
    let head = ["entry", "standing", "kind", "time", "uuid", "segment", "offset", "bytes"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.entries.iter().map(|e| {
        let time = time_ms(e.id).and_then(DateTime::from_timestamp_millis);
        vec![
            e.seq.0.to_string(),
            standing(e.standing).to_owned(),
            kind(e.kind).to_owned(),
            time.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            e.id.to_string(),
            format!("{:x}", e.segment),
            e.offset.to_string(),
            e.bytes.to_string(),
        ]
    }));
    let mut out = columns(&rows, 5);
    out.push('\n');
    for (class, s) in spans(found) {
        let Span { segment, from, to } = s;
        writeln!(out, "{class}: segment {segment:x}, bytes {from} to {to}").unwrap_or_default();
    }
    for (number, format) in found.segments.iter().filter_map(|s| Some((s.number, s.foreign?))) {
        writeln!(out, "segment {number:x}: format {format} is not known here").unwrap_or_default();
    }
    let (pending, done) = (count(found, Standing::Pending), count(found, Standing::Done));
    let ready = found.segments.iter().filter(|s| s.unused).count();
    let used = found.segments.len() - ready;
    let (corrupt, torn) = (found.corrupt.len(), found.torn.len());
    let text =
        format!("{pending} pending, {done} done; {corrupt} corrupt, {torn} torn; {used} segments, {ready} more ready");
    out + &text
}

#[cfg(test)]
mod tests {
    use chaperone_wal::{Config, Log};

    use super::*;

    #[test]
    fn a_live_log_is_listed_with_what_is_damaged() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (log, _) = Log::open(dir.path(), Config { background: false, ..Config::default() })?;
        let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        let done = log.append(id, b"one")?;
        log.append(id, b"two")?;
        log.append(id, b"three")?;
        log.done(done)?;
        log.sync()?;
        let found = inspect_dir(dir.path())?;
        let text = lines(&found);
        let first: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
        let expected = json!({"event": "entry", "seq": 0, "uuid": id.to_string(), "time_ms": 1_726_576_852_992_i64, "kind": "record",
            "standing": "done", "bytes": 3, "segment": 1, "offset": 48, "replaces": []});
        assert_eq!(first, expected);
        // The second record's frame.
        let file = dir.path().join("0000000000000001.wal");
        let mut bytes = std::fs::read(&file)?;
        bytes[96 + 44] ^= 1;
        std::fs::write(&file, bytes)?;
        let found = inspect_dir(dir.path())?;
        let text = lines(&found);
        let damage = r#"{"class":"corrupt","event":"damage","from":96,"segment":1,"to":144}"#;
        assert!(text.lines().any(|l| l == damage), "{text}");
        let table = table(&found);
        assert!(table.contains("corrupt: segment 1, bytes 96 to 144"), "{table}");
        assert!(table.ends_with("1 pending, 1 done; 1 corrupt, 0 torn; 1 segments, 0 more ready"), "{table}");
        Ok(())
    }

    #[test]
    fn an_id_that_is_no_uuid_of_version_7_has_no_time() {
        assert_eq!(time_ms(Uuid::nil()), None);
        assert_eq!(time_ms(Uuid::from_u128(u128::MAX)), None);
    }
}
