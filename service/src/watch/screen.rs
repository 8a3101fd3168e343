//! What `watch` says on standard output: a table that is drawn anew at a terminal, lines elsewhere, or one JSON object a
//! line (docs/FORMATS.md).
//!
//! Limit: when nobody reads any more, it ends.

use std::io::{self, Write};
use std::time::Duration;

use chaperone_collector::Verdict;
use chaperone_collector::query::HopWindow;
use serde::Serialize;

use super::ledger::{Ledger, Sums};
use super::table::{Rates, clock, table};
use crate::kafka::client::Survey;

/// How far around its window the page of a verdict reaches, ms.
const AROUND_MS: i64 = 120_000;
/// Without a terminal, a line with the sums comes so often.
const SUMS_EVERY: Duration = Duration::from_secs(60);
/// Findings below the table.
const FINDINGS: usize = 5;
/// Lines that are not topics: heads, findings, problems.
const OTHER_LINES: usize = 16;
/// Where a terminal does not tell its height.
const LINES: usize = 24;

/// An event, as JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Ready {
        url: &'a str,
        from: SideOf<'a>,
        to: SideOf<'a>,
    },
    Verdict {
        after_s: f64,
        url: &'a str,
        #[serde(flatten)]
        row: &'a HopWindow,
    },
    Problem {
        text: &'a str,
    },
    End {
        windows: u64,
        ok: u64,
        missing: u64,
        surplus: u64,
        delayed: u64,
    },
}

#[derive(Serialize)]
struct SideOf<'a> {
    name: &'a str,
    topics: usize,
    partitions: i64,
}

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// One JSON object a line.
    Json,
    /// Lines.
    Plain,
    /// A table, drawn anew.
    Live,
}

/// See the module's head.
pub struct Screen<W> {
    out: W,
    voice: Voice,
    url: String,
    names: [String; 2],
    head: String,
    findings: Vec<String>,
    problems: Vec<String>,
    sums: Sums,
    first: bool,
    sums_said: Duration,
}

impl<W: Write> Screen<W> {
    /// Speaks to `out` of two clusters and the dashboard at `url`.
    pub fn new(out: W, voice: Voice, url: String, names: [&str; 2]) -> Self {
        Self {
            out,
            voice,
            url,
            names: names.map(str::to_owned),
            head: String::new(),
            findings: Vec::new(),
            problems: Vec::new(),
            sums: Sums::default(),
            first: true,
            sums_said: Duration::ZERO,
        }
    }

    /// It is up, and this is what there is to watch.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn ready(&mut self, surveys: &[Survey; 2], hint: Option<&str>) -> io::Result<()> {
        let [from, to] = surveys;
        if self.voice == Voice::Json {
            let (url, names) = (self.url.clone(), self.names.clone());
            let event = Event::Ready { url: &url, from: side(&names[0], from), to: side(&names[1], to) };
            self.json(&event)?;
            return hint.map_or(Ok(()), |text| self.json(&Event::Problem { text }));
        }
        let mut lines = vec![format!("Dashboard: {}", self.url)];
        lines.extend(self.names.iter().zip(surveys).map(|(name, survey)| described(name, survey)));
        let only = from.topics.keys().filter(|topic| !to.topics.contains_key(*topic)).take(FINDINGS);
        lines.extend(only.map(|topic| format!("{topic}: not on {} yet", self.names[1])));
        lines.extend(hint.map(str::to_owned));
        self.head = lines.join("\n");
        let head = self.head.clone();
        self.line(&format!("{head}\nFirst verdicts in about half a minute. Ctrl-C ends it."))
    }

    /// What there is now.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn show(
        &mut self,
        news: &[HopWindow],
        ledger: &Ledger,
        rates: &Rates,
        problems: &[String],
        after: Duration,
    ) -> io::Result<()> {
        self.sums = ledger.sums();
        self.say_problems(problems)?;
        for row in news {
            self.verdict(row, after)?;
        }
        match self.voice {
            Voice::Live => self.draw(ledger, rates),
            Voice::Plain if self.sums.windows() > 0 && after >= self.sums_said + SUMS_EVERY => {
                self.sums_said = after;
                let text = described_sums(self.sums);
                self.line(&text)
            }
            Voice::Plain | Voice::Json => Ok(()),
        }
    }

    /// It is over.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn end(&mut self) -> io::Result<()> {
        let Sums { ok, missing, surplus, delayed, .. } = self.sums;
        if self.voice == Voice::Json {
            return self.json(&Event::End { windows: self.sums.windows(), ok, missing, surplus, delayed });
        }
        let text = described_sums(self.sums);
        self.line(&text)
    }

    fn say_problems(&mut self, problems: &[String]) -> io::Result<()> {
        let before = std::mem::replace(&mut self.problems, problems.to_vec());
        for text in problems.iter().filter(|text| !before.contains(text)) {
            match self.voice {
                Voice::Json => self.json(&Event::Problem { text })?,
                Voice::Plain => self.line(&format!("problem: {text}"))?,
                Voice::Live => {}
            }
        }
        Ok(())
    }

    /// A verdict. People are told the first one, and then those that are not ok.
    fn verdict(&mut self, row: &HopWindow, after: Duration) -> io::Result<()> {
        let url = self.cell(row);
        let after_s = (after.as_secs_f64() * 10.0).round() / 10.0;
        if self.voice == Voice::Json {
            return self.json(&Event::Verdict { after_s, url: &url, row });
        }
        let first = std::mem::take(&mut self.first);
        if row.verdict == Verdict::Ok && !(first && self.voice == Voice::Plain) {
            return Ok(());
        }
        let text = format!("window {}  {}: {}; {}  {url}", clock(row.window_ms), row.topic, row.verdict, row.why);
        if self.voice == Voice::Live {
            self.findings.push(text);
            let from = self.findings.len().saturating_sub(FINDINGS);
            self.findings.drain(..from);
            return Ok(());
        }
        self.line(&text)
    }

    fn draw(&mut self, ledger: &Ledger, rates: &Rates) -> io::Result<()> {
        let height = rustix::termios::tcgetwinsize(io::stdout()).map_or(LINES, |size| usize::from(size.ws_row));
        let lines = height.saturating_sub(OTHER_LINES).max(3);
        let [from, to] = &self.names;
        let mut parts = vec![self.head.clone(), String::new(), table(ledger, rates, [from, to], lines)];
        parts.push(described_sums(self.sums));
        parts.extend(self.findings.iter().rev().cloned());
        parts.extend(self.problems.iter().take(FINDINGS).map(|problem| format!("problem: {problem}")));
        parts.push("Ctrl-C ends it.\n".to_owned());
        // From the top, over what was there, and clear what is left of it: nothing flickers.
        let text = parts.join("\n").replace('\n', "\x1b[K\n");
        write!(self.out, "\x1b[H{text}\x1b[J")?;
        self.out.flush()
    }

    /// The page of a window.
    fn cell(&self, row: &HopWindow) -> String {
        let (from, to) = (row.window_ms - AROUND_MS, row.window_ms + row.width_ms + AROUND_MS);
        format!("{}/t/{}/{}?from={from}&to={to}&w={}", self.url, self.names[0], row.topic, row.window_ms)
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

fn side<'a>(name: &'a str, survey: &Survey) -> SideOf<'a> {
    SideOf { name, topics: survey.topics.len(), partitions: survey.topics.values().map(|n| i64::from(*n)).sum() }
}

fn described(name: &str, survey: &Survey) -> String {
    let SideOf { topics, partitions, .. } = side(name, survey);
    let text = match topics {
        0 => format!("{name}: no topic matches yet; one that needs DESCRIBE is not seen without it"),
        _ => format!("{name}: topics: {topics}, partitions: {partitions}"),
    };
    if survey.refused.is_empty() { text } else { format!("{text}; not to be seen: {}", survey.refused.join(", ")) }
}

fn described_sums(sums: Sums) -> String {
    let Sums { ok, bad, other, missing, surplus, delayed } = sums;
    format!(
        "windows judged: {} (ok {ok}, bad {bad}, other {other}); messages missing: {missing}, surplus: {surplus}, delayed: {delayed}",
        sums.windows()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const WINDOW_MS: i64 = 1_790_000_000_000;

    fn row(verdict: Verdict, missing_min: u64) -> HopWindow {
        HopWindow {
            topic: "orders".to_owned(),
            from_stage: "kafka:a".to_owned(),
            to_stage: "kafka:b".to_owned(),
            window_ms: WINDOW_MS,
            width_ms: 10_000,
            verdict,
            missing_min,
            surplus_min: 0,
            delayed: 0,
            caveats: Vec::new(),
            why: "because".to_owned(),
            settled_ms: Some(WINDOW_MS + 30_000),
            amendments: 0,
        }
    }

    fn said(voice: Voice, rounds: &[Vec<HopWindow>]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, voice, "http://h:1".to_owned(), ["a", "b"]);
        let topics = |names: &[&str]| Survey {
            topics: names.iter().map(|n| ((*n).to_owned(), 4)).collect::<BTreeMap<_, _>>(),
            refused: Vec::new(),
        };
        let hint = Some("did you mean so?");
        screen.ready(&[topics(&["orders", "pay"]), topics(&["orders"])], hint).expect("writes");
        let mut ledger = Ledger::default();
        for (i, rows) in rounds.iter().enumerate() {
            let news = ledger.look(rows.clone(), 0);
            let after = Duration::from_secs(30 * (i as u64 + 1));
            screen.show(&news, &ledger, &Rates::default(), &["it is late".to_owned()], after).expect("writes");
        }
        screen.end().expect("writes");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_tell_the_first_verdict_trouble_and_problems_once() {
        let text =
            said(Voice::Plain, &[vec![row(Verdict::Ok, 0)], vec![row(Verdict::Missing, 7)], vec![row(Verdict::Ok, 0)]]);
        for (words, times) in [
            ("Dashboard: http://h:1\n", 1),
            ("a: topics: 2, partitions: 8\nb: topics: 1, partitions: 4\npay: not on b yet\ndid you mean so?\n", 1),
            ("problem: it is late\n", 1),
            ("orders: ok; because  http://h:1/t/a/orders?from=1789999880000&to=1790000130000&w=1790000000000\n", 1),
            ("orders: missing; because", 1),
            ("messages missing: 7", 1),
        ] {
            assert_eq!(text.matches(words).count(), times, "{words}: {text}");
        }
        assert!(
            text.ends_with("windows judged: 1 (ok 1, bad 0, other 0); messages missing: 0, surplus: 0, delayed: 0\n"),
            "{text}"
        );
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn json_is_what_the_formats_say() {
        let lines: Vec<serde_json::Value> = said(Voice::Json, &[vec![row(Verdict::Missing, 7)]])
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect();
        let events: Vec<&str> = lines.iter().filter_map(|l| l["event"].as_str()).collect();
        assert_eq!(events, ["ready", "problem", "problem", "verdict", "end"]);
        assert_eq!(lines[0]["from"], serde_json::json!({"name": "a", "topics": 2, "partitions": 8}));
        assert_eq!((&lines[3]["missing_min"], &lines[3]["after_s"]), (&7.into(), &30.0.into()));
        assert_eq!((&lines[4]["windows"], &lines[4]["missing"]), (&1.into(), &7.into()));
    }

    #[test]
    fn the_table_is_drawn_over_the_last_one_with_findings_and_problems_below() {
        let text = said(Voice::Live, &[vec![row(Verdict::Missing, 7)]]);
        let drawn = text.split("\x1b[H").nth(1).expect("drawn");
        let at = |words: &str| drawn.find(words).unwrap_or_else(|| panic!("{words}: {drawn}"));
        assert!(
            at("Dashboard") < at("topic ") && at("topic ") < at("orders") && at("orders") < at("because"),
            "{drawn}"
        );
        assert!(at("because") < at("problem: it is late") && drawn.contains("\x1b[J"), "{drawn}");
    }
}
