//! CSV (RFC 4180): the columns of the JSON, raw numbers.
//!
//! A text that a spreadsheet would run as a formula gets a leading `'`; numbers never do.

use chaperone_collector::query::HopWindow;

const HEADER: &str =
    "topic,from_stage,to_stage,window_ms,width_ms,verdict,missing_min,surplus_min,delayed,caveats,why\r\n";

pub(crate) fn windows(rows: &[HopWindow]) -> String {
    let mut out = String::with_capacity(HEADER.len() + rows.len() * 160);
    out.push_str(HEADER);
    for row in rows {
        let caveats: Vec<String> = row.caveats.iter().map(ToString::to_string).collect();
        let fields = [
            text(&row.topic),
            text(&row.from_stage),
            text(&row.to_stage),
            row.window_ms.to_string(),
            row.width_ms.to_string(),
            text(row.verdict.as_str()),
            row.missing_min.to_string(),
            row.surplus_min.to_string(),
            row.delayed.to_string(),
            text(&caveats.join("; ")),
            text(&row.why),
        ];
        out.push_str(&fields.join(","));
        out.push_str("\r\n");
    }
    out
}

/// A table of fields that are written as they are: texts have been through [`text`].
pub(crate) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = columns.join(",");
    out.push_str("\r\n");
    for row in rows {
        debug_assert_eq!(row.len(), columns.len(), "a field for each column");
        out.push_str(&row.join(","));
        out.push_str("\r\n");
    }
    out
}

/// What is not known is empty.
pub(crate) fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

pub(crate) fn text(raw: &str) -> String {
    let formula =
        raw.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    let safe = if formula { format!("'{raw}") } else { raw.to_owned() };
    if safe.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_text_and_quotes_are_doubled() {
        let said = ["a", "=1+1", "+1", "-1", "@x", "\t=1", "a,b", "=a\"b", "l\nm", "a=1", "\u{ff1d}1"].map(text);
        let want =
            ["a", "'=1+1", "'+1", "'-1", "'@x", "'\t=1", "\"a,b\"", "\"'=a\"\"b\"", "\"l\nm\"", "a=1", "'\u{ff1d}1"];
        assert_eq!(said, want);
    }
}
