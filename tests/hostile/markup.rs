//! How a browser would read an answer: which elements with which attributes, where they lead; and how a spreadsheet would.

use std::collections::BTreeSet;

/// Elements with their attributes, and where attributes lead.
#[derive(Debug, Default)]
pub(crate) struct Markup {
    /// `a`, `a href`.
    pub(crate) parts: BTreeSet<String>,
    pub(crate) addresses: Vec<String>,
}

impl Markup {
    /// Reads HTML as a browser's tokeniser does, as far as it matters here.
    pub(crate) fn of(html: &str) -> Self {
        let mut found = Self::default();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').unwrap_or(rest.len());
            let tag = rest[..end].to_ascii_lowercase();
            rest = found.attributes(&tag, &rest[end..]);
            found.parts.insert(tag.clone());
            // What these hold is text until they end.
            if ["script", "style", "title", "textarea"].contains(&tag.as_str()) {
                let close = format!("</{tag}");
                let lower = rest.to_ascii_lowercase();
                rest = lower.find(&close).map_or("", |at| &rest[at..]);
            }
        }
        found
    }

    fn attributes<'a>(&mut self, tag: &str, mut rest: &'a str) -> &'a str {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if rest.is_empty() {
                return rest;
            }
            if let Some(after) = rest.strip_prefix('>') {
                return after;
            }
            let end = rest.find(|c: char| c.is_ascii_whitespace() || "/>=".contains(c)).unwrap_or(rest.len()).max(1);
            let end = (end..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
            let name = rest[..end].to_ascii_lowercase();
            rest = rest[end..].trim_start();
            let mut value = "";
            if let Some(after) = rest.strip_prefix('=') {
                let after = after.trim_start();
                (value, rest) = match after.chars().next() {
                    Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                    _ => {
                        after.split_at(after.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(after.len()))
                    }
                };
            }
            if ["href", "src", "action", "formaction", "data", "xlink:href"].contains(&name.as_str()) {
                self.addresses.push(decoded(value));
            }
            self.parts.insert(format!("{tag} {name}"));
        }
    }

    /// What here runs, or leads away.
    pub(crate) fn faults(&self) -> Vec<String> {
        let runs =
            self.parts.iter().filter(|p| p.split_once(' ').is_some_and(|(_, attribute)| attribute.starts_with("on")));
        let mut faults: Vec<String> = runs.cloned().collect();
        for tag in ["iframe", "object", "embed", "base", "img", "foreignobject", "math", "style"] {
            faults.extend(self.parts.get(tag).cloned());
        }
        if self.parts.contains("script") && !self.parts.contains("script src") {
            faults.push("script without src".to_owned());
        }
        let leads = |address: &&String| {
            let bare: String = address.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
            let bare = bare.to_ascii_lowercase();
            // Ours are paths, queries and fragments.
            bare.starts_with("//")
                || bare.starts_with("/\\")
                || bare.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':'))
        };
        faults.extend(self.addresses.iter().filter(leads).map(|a| format!("leads to {a}")));
        faults
    }
}

/// With its character references resolved.
fn decoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, tail) = after.split_once(';').unwrap_or(("", after));
        let number = name.strip_prefix('#').and_then(|n| match n.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        let named = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''), ("colon", ':')];
        let named = named.iter().find(|(n, _)| *n == name).map(|(_, c)| *c);
        if let Some(c) = number.and_then(char::from_u32).or(named) {
            out.push(c);
            rest = tail;
        } else {
            out.push('&');
            rest = after;
        }
    }
    out + rest
}

/// What a spreadsheet would make of a CSV: cells that it would run, rows of another width.
pub(crate) fn sheet_faults(csv: &str) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = vec![vec![String::new()]];
    let (mut quoted, mut chars) = (false, csv.chars().peekable());
    while let Some(c) = chars.next() {
        let Some(row) = rows.last_mut() else { break };
        let Some(cell) = row.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' | '\r' if !quoted => rows.push(vec![String::new()]),
            c => cell.push(c),
        }
    }
    rows.retain(|row| row.len() > 1 || row.first().is_some_and(|cell| !cell.is_empty()));
    let width = rows.first().map_or(0, Vec::len);
    let odd = rows
        .iter()
        .filter(|row| row.len() != width)
        .map(|row| format!("a row of {} cells, not {width}: {row:?}", row.len()));
    let cells = rows
        .iter()
        .flatten()
        .filter(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err());
    odd.chain(cells.map(|cell| format!("a spreadsheet runs {cell:?}"))).collect()
}

#[test]
fn the_eyes_see() {
    for bad in [
        "<p><script>alert(1)</script>",
        "<a href='&#106;avascript:alert(1)'>",
        "<a href=\"java\nscript:alert(1)\">",
        "<a href=//evil.example>",
        "<b title=\"\" onmouseover=\"x\">",
        "<svg/onload=alert(1)>",
        "<title>a</title><img src=x>",
        "<a href=\"https://evil.example\">",
    ] {
        assert!(!Markup::of(bad).faults().is_empty(), "{bad}");
    }
    let good = "<!doctype html><title><script></title><a href=\"/t/a%3Cb?x=javascript:1\" title=\"onload=1\">&lt;script&gt;</a><script src=\"/assets/x.js\"></script>";
    assert!(Markup::of(good).faults().is_empty(), "{:?}", Markup::of(good));
    assert!(sheet_faults("a,b\r\n1,\"=1\"\r\n").len() == 1 && sheet_faults("a,b\r\n1,2,3\r\n").len() == 1);
    assert!(sheet_faults("a,b\r\n-1,\"'=1\nx\"\r\n").is_empty());
}
