//! `chaperone store stats | export | vacuum | rebuild`: looks after the store. All but `vacuum` only read the store that there is,
//! beside whoever writes.

mod rebuild;

use std::io::{BufWriter, Write};

use chaperone_audit::{Clock, SystemClock};
use chaperone_collector::upkeep::{Cell, Export as What, ExportQuery, Exported, StoreSize};
use chaperone_collector::{SqliteStore, StoreError};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{ConfigFile, print};
use crate::app::{open_view, unavailable};
use crate::columns::columns;
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::presence::SILENT_AFTER;

/// Event time that is read at once, ms: what is in memory is bounded by it.
const STEP_MS: i64 = 600_000;

/// Looks after the store.
#[derive(Debug, Args)]
pub struct Store {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Rows and bytes of each table, and from when to when there are rows of each width. Reads all of it.
    Stats(Stats),
    /// Rows of a view on standard output: raw numbers, the columns of docs/SQL.md.
    Export(Export),
    /// Gives the room of dropped rows back to the file system: SQLite only, and only while nobody has the store open.
    Vacuum(Vacuum),
    /// Makes a store anew from the audit topics, beside the one that there is, and compares the two.
    Rebuild(rebuild::Rebuild),
}

#[derive(Debug, Args)]
struct Stats {
    #[command(flatten)]
    file: ConfigFile,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    file: ConfigFile,
    /// What: verdicts by window, totals by stage and window, or reporters.
    #[arg(value_enum)]
    what: Rows,
    /// Only this topic, as the pipelines call it.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// First window: now-1h, milliseconds since 1970, or RFC 3339.
    #[arg(long, value_name = "TIME", default_value = "now-1h")]
    from: String,
    /// End of the windows, likewise.
    #[arg(long, value_name = "TIME", default_value = "now")]
    to: String,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rows {
    /// `v_hop_window`.
    Windows,
    /// `v_stage_window`.
    Stages,
    /// `v_reporter`.
    Reporters,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A header and a line a row.
    #[default]
    Csv,
    /// One JSON object a line.
    Jsonl,
}

#[derive(Debug, Args)]
struct Vacuum {
    #[command(flatten)]
    file: ConfigFile,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Store {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Stats(stats) => stats.run(),
            Verb::Export(export) => export.run(),
            Verb::Vacuum(vacuum) => vacuum.run(),
            Verb::Rebuild(rebuild) => rebuild.run(),
        }
    }
}

/// Runs questions to a store to their end.
fn ask<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Code::Software, format!("cannot start: {e}")))?;
    runtime.block_on(answer).map_err(|e| unavailable(&e))
}

impl Stats {
    fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let view = open_view(&config)?.store();
        let size = ask(view.size())?;
        if self.json { print(&told(&size).to_string()) } else { print(table(&size).trim_end()) }
    }
}

/// Bytes of a table for each of its rows.
fn per_row(size: &StoreSize, table: &str) -> Option<f64> {
    let found = size.tables.iter().find(|t| t.table == table)?;
    let rows = found.rows.filter(|rows| *rows > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    Some(found.bytes as f64 / rows as f64)
}

fn told(size: &StoreSize) -> Value {
    json!({
        "bytes": size.bytes,
        "bytes_per_window": per_row(size, "stage_window"),
        "bytes_per_verdict": per_row(size, "hop_window"),
        "tables": size.tables,
        "widths": size.widths,
    })
}

fn table(size: &StoreSize) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut rows = vec![["table", "rows", "bytes"].map(str::to_owned).to_vec()];
    rows.extend(size.tables.iter().map(|t| vec![t.table.clone(), number(t.rows), t.bytes.to_string()]));
    let mut text = columns(&rows, 1);
    let mut widths = vec![["width", "in", "rows", "first_ms", "last_ms"].map(str::to_owned).to_vec()];
    widths.extend(size.widths.iter().map(|w| {
        let seconds = format!("{} s", w.width_ms / 1_000);
        vec![seconds, w.table.clone(), w.rows.to_string(), w.first_ms.to_string(), w.last_ms.to_string()]
    }));
    text.push('\n');
    text.push_str(&columns(&widths, 2));
    let sizes = [("stage_window", "(topic, stage, window)"), ("hop_window", "verdict")];
    let sizes = sizes.into_iter().filter_map(|(table, what)| Some((per_row(size, table)?, what)));
    text.extend(sizes.map(|(bytes, what)| format!("{bytes:.0} bytes a {what} at rest\n")));
    text.extend([format!("{} bytes in all\n", size.bytes)]);
    text
}

impl Export {
    fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let (from_ms, to_ms) = chaperone_web::time_range(&self.from, &self.to, SystemClock.now_ms())
            .map_err(|e| Failure::new(Code::Usage, format!("--{e}")))?;
        let view = open_view(&config)?.store();
        let what = match self.what {
            Rows::Windows => What::Windows,
            Rows::Stages => What::Stages,
            Rows::Reporters => What::Reporters,
        };
        let mut out = BufWriter::new(std::io::stdout().lock());
        let gone = |e: std::io::Error| Failure::new(Code::Unavailable, format!("cannot write to standard output: {e}"));
        let mut begin_ms = from_ms;
        loop {
            let end_ms = if what == What::Reporters { to_ms } else { to_ms.min(begin_ms.saturating_add(STEP_MS)) };
            let query = ExportQuery { what, topic: self.topic.clone(), from_ms: begin_ms, to_ms: end_ms };
            let found = ask(view.export(query))?;
            lines(&mut out, &found, self.format, begin_ms == from_ms).map_err(gone)?;
            begin_ms = end_ms;
            if begin_ms >= to_ms {
                return out.flush().map_err(gone);
            }
        }
    }
}

/// A text that a spreadsheet would take for a formula, or that holds what separates fields, is quoted.
fn field(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Int(v) => v.to_string(),
        Cell::Real(v) => v.to_string(),
        Cell::Text(text) => {
            let text =
                if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.clone() };
            if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
        }
    }
}

fn lines(out: &mut impl Write, found: &Exported, format: Format, is_first: bool) -> std::io::Result<()> {
    if format == Format::Csv && is_first {
        write!(out, "{}\r\n", found.columns.join(","))?;
    }
    for row in &found.rows {
        match format {
            Format::Csv => write!(out, "{}\r\n", row.iter().map(field).collect::<Vec<_>>().join(","))?,
            Format::Jsonl => {
                let names = found.columns.iter().map(|name| (*name).to_owned());
                let object: Map<String, Value> = names.zip(row.iter().map(|cell| json!(cell))).collect();
                writeln!(out, "{}", Value::Object(object))?;
            }
        }
    }
    Ok(())
}

impl Vacuum {
    fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        if let Some(settings) = &config.store {
            let place = settings.place();
            return Err(Failure::new(
                Code::Configuration,
                format!(
                    "store.url {place}: PostgreSQL gives room back by itself (autovacuum); allowed: a store in data_dir"
                ),
            ));
        }
        nobody_is_at_work(&config)?;
        let path = config.store_path();
        let wrong = |text: String| Failure::new(Code::CannotWrite, text);
        let size = std::fs::metadata(&path).map_err(|e| wrong(format!("{}: {e}", path.display())))?.len();
        let disk =
            rustix::fs::statvfs(&config.data_dir).map_err(|e| wrong(format!("{}: {e}", config.data_dir.display())))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // A copy beside it, and the journal of writing that back.
        let needed = size.saturating_mul(2);
        if free < needed {
            let text = format!(
                "data_dir {}: {free} bytes are free; needed: {needed}, twice what the store takes",
                config.data_dir.display()
            );
            return Err(wrong(text));
        }
        let done = SqliteStore::vacuum(&path).map_err(|e| {
            let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
            wrong(format!("{e}{advice}"))
        })?;
        let freed = done.before.saturating_sub(done.after);
        if self.json {
            return print(&json!({ "before": done.before, "after": done.after, "freed": freed }).to_string());
        }
        print(&format!("{} bytes before, {} after: {freed} given back", done.before, done.after))
    }
}

/// A process that works on the store has it open.
fn nobody_is_at_work(config: &Config) -> Result<(), Failure> {
    let view = open_view(config)?.store();
    let processes = ask(view.processes())?;
    let since_ms = SystemClock.now_ms().saturating_sub(i64::try_from(SILENT_AFTER.as_millis()).unwrap_or(i64::MAX));
    match processes.iter().find(|p| p.beat_ms >= since_ms) {
        Some(p) => Err(Failure::new(
            Code::CannotWrite,
            format!("chaperone {} works on the store (process {} on {}): stop it first", p.role, p.pid, p.host),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_they_are() {
        let found = Exported {
            columns: &["topic", "n", "why"],
            rows: vec![
                vec![Cell::Text("=a".into()), Cell::Int(-3), Cell::Null],
                vec![Cell::Text("b,\"c\"".into()), Cell::Real(0.5), Cell::Text("d".into())],
            ],
        };
        let text = |format, is_first| {
            let mut out = Vec::new();
            lines(&mut out, &found, format, is_first).expect("written");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(text(Format::Csv, true), "topic,n,why\r\n'=a,-3,\r\n\"b,\"\"c\"\"\",0.5,d\r\n");
        assert!(text(Format::Csv, false).starts_with("'=a,"));
        let json = text(Format::Jsonl, true);
        assert_eq!(json.lines().next(), Some("{\"n\":-3,\"topic\":\"=a\",\"why\":null}"));
    }
}
