//! Ranges of event time, in the syntax of Grafana, so that links interchange.
//!
//! `now`, then any number of `±COUNT UNIT` and `/UNIT` (s m h d w M y); or milliseconds since 1970; or RFC 3339.
//! `/UNIT` rounds down where it is the beginning and up where it is the end. The range is `[from, to)`. Weeks begin on
//! Monday. Limits: 1970 to 9999, [`MAX_RANGE_MS`] long.

use chrono::{DateTime, Datelike, FixedOffset, Months, NaiveTime, TimeDelta};

use crate::zone::Zone;

/// The longest range, 400 days.
pub(crate) const MAX_RANGE_MS: i64 = 400 * 86_400_000;
/// The default beginning.
pub(crate) const DEFAULT_FROM: &str = "now-15m";
/// The default end.
pub(crate) const DEFAULT_TO: &str = "now";
/// The last moment of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;
const ALLOWED: &str = "now, now-15m, now-1h, now/d (units s m h d w M y), milliseconds since 1970, or RFC 3339 such as 2026-11-21T12:41:20Z";

/// A range as it was written and as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// Which parameter could not be understood, and what could have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeError {
    pub(crate) field: &'static str,
    pub(crate) value: String,
    pub(crate) allowed: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    From,
    To,
}

impl Range {
    /// Reads both ends; what is absent has its default.
    pub(crate) fn parse(from: Option<&str>, to: Option<&str>, now_ms: i64, zone: Zone) -> Result<Self, RangeError> {
        let text =
            |t: Option<&str>, default: &str| t.map(str::trim).filter(|t| !t.is_empty()).unwrap_or(default).to_owned();
        let (from, to) = (text(from, DEFAULT_FROM), text(to, DEFAULT_TO));
        let wrong = |field, value: &str, allowed: &str| RangeError {
            field,
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        };
        let from_ms = point(&from, now_ms, zone, Edge::From).ok_or_else(|| wrong("from", &from, ALLOWED))?;
        let to_ms = point(&to, now_ms, zone, Edge::To).ok_or_else(|| wrong("to", &to, ALLOWED))?;
        if from_ms >= to_ms {
            return Err(wrong("from", &from, &format!("a time before 'to', which is {to}")));
        }
        if to_ms - from_ms > MAX_RANGE_MS {
            return Err(wrong("from", &from, &format!("a time at most 400 days before 'to', which is {to}")));
        }
        Ok(Self { from, to, from_ms, to_ms })
    }
}

/// The moment that a text names; `None` if it names none.
fn point(text: &str, now_ms: i64, zone: Zone, edge: Edge) -> Option<i64> {
    let ms = if let Some(rest) = text.strip_prefix("now") {
        relative(rest, zone.at(now_ms)?, edge)?.timestamp_millis()
    } else if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()?
    } else {
        DateTime::parse_from_rfc3339(&mend_plus(text)).ok()?.timestamp_millis()
    };
    (0..=LAST_MS).contains(&ms).then_some(ms)
}

/// A `+` that a URL decoder has turned into a blank, before an offset at the end.
fn mend_plus(text: &str) -> String {
    match text.len().checked_sub(6) {
        Some(at) if text.as_bytes().get(at) == Some(&b' ') => {
            let (head, tail) = text.split_at(at);
            format!("{head}+{}", tail.trim_start())
        }
        _ => text.to_owned(),
    }
}

fn relative(mut rest: &str, mut at: DateTime<FixedOffset>, edge: Edge) -> Option<DateTime<FixedOffset>> {
    while let Some(op) = rest.chars().next() {
        rest = rest.get(op.len_utf8()..)?;
        at = match op {
            '/' => {
                let unit = take_unit(&mut rest)?;
                let start = floor(at, unit)?;
                if edge == Edge::From { start } else { shift(start, unit, 1)? }
            }
            // A `+` arrives as a blank from clients that do not encode it.
            '+' | ' ' | '-' => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let count: i64 = rest.get(..digits)?.parse().ok()?;
                rest = rest.get(digits..)?;
                let unit = take_unit(&mut rest)?;
                shift(at, unit, if op == '-' { -count } else { count })?
            }
            _ => return None,
        };
    }
    Some(at)
}

fn take_unit(rest: &mut &str) -> Option<char> {
    let unit = rest.chars().next().filter(|u| "smhdwMy".contains(*u))?;
    *rest = rest.get(1..)?;
    Some(unit)
}

fn shift(at: DateTime<FixedOffset>, unit: char, count: i64) -> Option<DateTime<FixedOffset>> {
    let months = |per: i64| {
        let months = Months::new(u32::try_from(count.unsigned_abs()).ok()?.checked_mul(u32::try_from(per).ok()?)?);
        if count < 0 { at.checked_sub_months(months) } else { at.checked_add_months(months) }
    };
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        'M' => return months(1),
        _ => return months(12),
    };
    at.checked_add_signed(TimeDelta::try_seconds(count.checked_mul(seconds)?)?)
}

fn floor(at: DateTime<FixedOffset>, unit: char) -> Option<DateTime<FixedOffset>> {
    let step = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        _ => {
            let day = at.date_naive();
            let first = match unit {
                'd' => day,
                'w' => day.checked_sub_days(chrono::Days::new(u64::from(day.weekday().num_days_from_monday())))?,
                'M' => day.with_day(1)?,
                _ => day.with_ordinal(1)?,
            };
            return first.and_time(NaiveTime::MIN).and_local_timezone(*at.offset()).single();
        }
    };
    // Hours begin on the zone's clock, which may stand half an hour off UTC's.
    let local = at.timestamp_millis().checked_add(i64::from(at.offset().local_minus_utc()) * 1000)?;
    at.checked_sub_signed(TimeDelta::try_milliseconds(local.rem_euclid(step))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 2026-11-21T12:49:58.250Z.
    const NOW: i64 = 1_795_265_398_250;

    fn from(text: &str) -> Option<String> {
        at(text, Edge::From, Zone::utc())
    }
    fn at(text: &str, edge: Edge, zone: Zone) -> Option<String> {
        point(text, NOW, zone, edge).and_then(|ms| Zone::utc().at(ms)).map(|t| t.format("%FT%T%.3f").to_string())
    }

    #[test]
    fn relative_times() {
        for (text, want) in [
            ("now", "2026-11-21T12:49:58.250"),
            ("now-15m", "2026-11-21T12:34:58.250"),
            ("now-90m", "2026-11-21T11:19:58.250"),
            ("now-1h", "2026-11-21T11:49:58.250"),
            ("now+10s", "2026-11-21T12:50:08.250"),
            ("now 10s", "2026-11-21T12:50:08.250"),
            ("now-1d-1h", "2026-11-20T11:49:58.250"),
            ("now-1M", "2026-10-21T12:49:58.250"),
            ("now-1y", "2025-11-21T12:49:58.250"),
        ] {
            assert_eq!(from(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn rounding_goes_down_at_the_beginning_and_up_at_the_end() {
        let up = |text| at(text, Edge::To, Zone::utc());
        assert_eq!(from("now/d").as_deref(), Some("2026-11-21T00:00:00.000"));
        assert_eq!(up("now/d").as_deref(), Some("2026-11-22T00:00:00.000"));
        assert_eq!(from("now-1d/d").as_deref(), Some("2026-11-20T00:00:00.000"));
        assert_eq!(up("now-1d/d").as_deref(), Some("2026-11-21T00:00:00.000"));
        assert_eq!(from("now/w").as_deref(), Some("2026-11-16T00:00:00.000"));
        assert_eq!(from("now/M").as_deref(), Some("2026-11-01T00:00:00.000"));
        assert_eq!(up("now/M").as_deref(), Some("2026-12-01T00:00:00.000"));
        assert_eq!(from("now/y").as_deref(), Some("2026-01-01T00:00:00.000"));
        assert_eq!(from("now/h").as_deref(), Some("2026-11-21T12:00:00.000"));
        let india = Zone::parse("+05:30").expect("zone");
        assert_eq!(at("now/h", Edge::From, india).as_deref(), Some("2026-11-21T12:30:00.000"));
        assert_eq!(at("now/d", Edge::From, india).as_deref(), Some("2026-11-20T18:30:00.000"));
    }

    #[test]
    fn absolute_times() {
        assert_eq!(from("1795265398250").as_deref(), Some("2026-11-21T12:49:58.250"));
        assert_eq!(from("2026-11-21T12:41:20Z").as_deref(), Some("2026-11-21T12:41:20.000"));
        assert_eq!(from("2026-11-21T14:41:20+02:00").as_deref(), Some("2026-11-21T12:41:20.000"));
        assert_eq!(from("2026-11-21T14:41:20 02:00").as_deref(), Some("2026-11-21T12:41:20.000"));
        assert_eq!(from("0").as_deref(), Some("1970-01-01T00:00:00.000"));
    }

    #[test]
    fn what_names_no_moment_is_refused() {
        for bad in [
            "",
            "nope",
            "now-",
            "now-15",
            "now-15x",
            "now15m",
            "now--15m",
            "now/",
            "now/q",
            "now-99999999999999999999d",
            "now-9223372036854775807s",
            "now-9999999y",
            "99999999999999999999",
            "253402300800000",
            "-1",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "é",
            "now-é",
            "<script>",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(from(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_range_has_defaults_an_order_and_a_longest() {
        let parse = |f, t| Range::parse(f, t, NOW, Zone::utc());
        let r = parse(None, None).expect("default");
        assert_eq!((r.from.as_str(), r.to.as_str(), r.to_ms - r.from_ms), ("now-15m", "now", 900_000));
        assert_eq!(parse(Some(""), Some(" ")), Ok(r));
        let e = parse(Some("now"), Some("now-1h")).expect_err("backwards");
        assert_eq!((e.field, e.value.as_str()), ("from", "now"));
        assert_eq!(parse(Some("now"), Some("now")).map_err(|e| e.field), Err("from"));
        assert_eq!(parse(None, Some("soon")).map_err(|e| (e.field, e.value)), Err(("to", "soon".into())));
        assert!(parse(Some("now-400d"), None).is_ok());
        assert!(parse(Some("now-400d-1s"), None).expect_err("too long").allowed.contains("400 days"));
    }
}
