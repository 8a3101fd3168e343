//! What the demo says on standard output: a few friendly lines, or one JSON object a line.
//!
//! The JSON is fixed: docs/FORMATS.md. Limit: when nobody reads any more, the demo ends.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::ledger::{Caught, Invented, Sums};
use super::plan::{Fault, STALL_ENDS_MS, WIDTH_MS};
use super::spec::Kind;
use super::{RATE, STAGES, TOPIC};

/// How far around its window the page of a fault reaches, ms.
const AROUND_MS: i64 = 120_000;

/// An event, as JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Ready { url: &'a str },
    Injected { id: u32, kind: Kind, hop: u8, window_ms: i64, count: u32 },
    Caught { id: u32, verdict: &'a str, count: u64, after_s: f64, url: &'a str },
    End { injected: u64, caught: u64, invented: u64, settled_ok: u64 },
}

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// One JSON object a line.
    Json,
    /// For people.
    Plain,
    /// For people at a terminal.
    Coloured,
}

/// Says things.
pub struct Printer<W> {
    out: W,
    voice: Voice,
    url: String,
}

impl<W: Write> Printer<W> {
    /// Speaks to `out` of the dashboard at `url`.
    pub const fn new(out: W, voice: Voice, url: String) -> Self {
        Self { out, voice, url }
    }

    /// It is up.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn ready(&mut self, seed: u64) -> io::Result<()> {
        if self.voice == Voice::Json {
            let url = self.url.clone();
            return self.json(&Event::Ready { url: &url });
        }
        let (link, rest) = (self.paint("1", &self.url), STAGES.join(" → "));
        self.line(&format!("Dashboard: {link}\n\n{rest}, {RATE} messages a second through librdkafka's mock brokers, seed {seed}. Ctrl-C ends it.\n"))
    }

    /// A fault was injected.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn injected(&mut self, fault: &Fault) -> io::Result<()> {
        let Fault { id, kind, hop, count, window_ms } = *fault;
        if self.voice == Voice::Json {
            return self.json(&Event::Injected { id, kind, hop, window_ms, count });
        }
        let what = match kind {
            Kind::Loss => format!("{count} lost"),
            Kind::Dup => format!("{count} doubled"),
            Kind::Masked => format!("{count} lost and {count} others doubled"),
            Kind::Stall => format!("nothing passes until {}", clock(fault.end_ms() + STALL_ENDS_MS)),
            Kind::Kill => format!("the {}'s process killed with SIGKILL and restarted", stage(hop)),
        };
        let word = self.paint("33", "injected");
        self.line(&format!("{word} #{id:<3} window {}  {}: {what}", clock(window_ms), name(hop)))
    }

    /// A fault was seen.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn caught(&mut self, caught: &Caught) -> io::Result<()> {
        let url = self.cell(caught.fault.window_ms);
        let after_s = (caught.after.as_secs_f64() * 10.0).round() / 10.0;
        let Caught { fault, verdict, count, .. } = caught;
        if self.voice == Voice::Json {
            return self.json(&Event::Caught { id: fault.id, verdict, count: *count, after_s, url: &url });
        }
        let number = if *count > 0 { format!(" {count}") } else { String::new() };
        let (word, note) =
            (self.paint("32", "caught  "), if fault.kind == Kind::Kill { ", reporter gone" } else { "" });
        self.line(&format!(
            "{word} #{:<3} window {}  {}: {verdict}{number}{note}, after {after_s:.1} s  {url}",
            fault.id,
            clock(fault.window_ms),
            name(fault.hop)
        ))
    }

    /// A verdict that nothing explains. It goes to people only; in JSON it is counted at the end.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn invented(&mut self, invented: &Invented) -> io::Result<()> {
        if self.voice == Voice::Json {
            return Ok(());
        }
        let word = self.paint("31", "INVENTED");
        let text =
            format!("{word}      window {}  {}: {}", clock(invented.window_ms), name(invented.hop), invented.said);
        self.line(&format!("{text}  {}", self.cell(invented.window_ms)))
    }

    /// It is over.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn end(&mut self, sums: Sums) -> io::Result<()> {
        let Sums { injected, caught, invented, settled_ok } = sums;
        if self.voice == Voice::Json {
            return self.json(&Event::End { injected, caught, invented, settled_ok });
        }
        self.line(&format!(
            "\n{injected} faults injected, {caught} caught, {invented} invented; {settled_ok} hops and windows proven ok."
        ))
    }

    /// The page of a window.
    fn cell(&self, window_ms: i64) -> String {
        let (from, to) = (window_ms - AROUND_MS, window_ms + WIDTH_MS + AROUND_MS);
        format!("{}/t/regional/{TOPIC}?from={from}&to={to}&w={window_ms}", self.url)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.voice == Voice::Coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn json(&mut self, event: &Event<'_>) -> io::Result<()> {
        let text = serde_json::to_string(event)?;
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }
}

/// A hop by its stages.
pub fn name(hop: u8) -> String {
    let at = usize::from(hop);
    let stage = |i: usize| STAGES.get(i).copied().unwrap_or("?");
    format!("{} → {}", stage(at.saturating_sub(1)), stage(at))
}

/// The stage that a hop leads to.
fn stage(hop: u8) -> &'static str {
    STAGES.get(usize::from(hop)).copied().unwrap_or("?")
}

/// The time of day, as the page shows it.
fn clock(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).map(|t| t.format("%H:%M:%S").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const W: i64 = 1_790_000_000_000;

    fn said(voice: Voice) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, voice, "http://127.0.0.1:8080".to_owned());
        let fault = Fault { id: 2, kind: Kind::Loss, hop: 3, count: 7, window_ms: W };
        printer.ready(5).expect("writes");
        printer.injected(&fault).expect("writes");
        let caught = Caught { fault, verdict: "missing".to_owned(), count: 7, after: Duration::from_millis(12_345) };
        printer.caught(&caught).expect("writes");
        printer.end(Sums { injected: 1, caught: 1, invented: 0, settled_ok: 40 }).expect("writes");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn json_is_what_the_interface_says() {
        let url = "http://127.0.0.1:8080/t/regional/orders?from=1789999880000&to=1790000130000&w=1790000000000";
        let lines = [
            r#"{"event":"ready","url":"http://127.0.0.1:8080"}"#.to_owned(),
            r#"{"event":"injected","id":2,"kind":"loss","hop":3,"window_ms":1790000000000,"count":7}"#.to_owned(),
            format!(r#"{{"event":"caught","id":2,"verdict":"missing","count":7,"after_s":12.3,"url":"{url}"}}"#),
            r#"{"event":"end","injected":1,"caught":1,"invented":0,"settled_ok":40}"#.to_owned(),
        ];
        assert_eq!(said(Voice::Json).lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn people_get_the_address_first_and_colours_only_at_a_terminal() {
        let plain = said(Voice::Plain);
        assert!(plain.starts_with("Dashboard: http://127.0.0.1:8080\n"), "{plain}");
        assert!(plain.contains("injected #2   window 14:13:20  kafka:regional → kafka:aggregate: 7 lost"), "{plain}");
        assert!(plain.contains("missing 7, after 12.3 s  http://127.0.0.1:8080/t/regional/orders?"), "{plain}");
        assert!(!plain.contains('\x1b'));
        let coloured = said(Voice::Coloured);
        assert!(coloured.contains("\x1b[32mcaught"));
        let stripped = ["1", "33", "32", "0"].iter().fold(coloured, |t, c| t.replace(&format!("\x1b[{c}m"), ""));
        assert_eq!(stripped, plain);
    }
}
