//! The time zone that a page is written in: UTC or a fixed distance from it.
//!
//! The zone is part of the URL, so that a link shows the same times to everyone. A browser's own zone enters as the
//! distance it has now; windows from the other side of a change of the clocks keep it, and the label says which it is.

use chrono::{DateTime, FixedOffset, Offset, TimeZone, Utc};

/// The widest distance from UTC that is in use anywhere.
const MAX_OFFSET_MINUTES: i32 = 14 * 60;

/// A fixed distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone(FixedOffset);

impl Zone {
    /// What a zone may look like, for error messages.
    pub(crate) const ALLOWED: &'static str = "UTC, or a distance from it such as +02:00";

    pub(crate) fn utc() -> Self {
        Self(Utc.fix())
    }
    /// Reads `UTC` or `±HH:MM`; a blank in place of the sign is a plus that a URL decoder has eaten.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("utc") {
            return Some(Self::utc());
        }
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+" | " ", rest) => (1, rest),
            ("-" | "\u{2212}", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let digits = |s: &str| (s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse::<i32>().ok());
        let (hours, minutes) = (digits(hours)??, digits(minutes)??);
        let total = hours * 60 + minutes;
        if minutes > 59 || total > MAX_OFFSET_MINUTES {
            return None;
        }
        FixedOffset::east_opt(sign * total * 60).map(Self)
    }
    pub(crate) fn is_utc(self) -> bool {
        self.0.local_minus_utc() == 0
    }
    pub(crate) fn offset_ms(self) -> i64 {
        i64::from(self.0.local_minus_utc()) * 1000
    }
    /// As in the URL.
    pub(crate) fn param(self) -> String {
        if self.is_utc() { "UTC".to_owned() } else { self.0.to_string() }
    }
    /// As on the page.
    pub(crate) fn label(self) -> String {
        if self.is_utc() { "UTC".to_owned() } else { format!("UTC{}", self.0) }
    }
    /// The moment in this zone; absent outside the years that a calendar can hold.
    pub(crate) fn at(self, ms: i64) -> Option<DateTime<FixedOffset>> {
        self.0.timestamp_millis_opt(ms).single()
    }
    /// `12:41:20`.
    pub(crate) fn clock(self, ms: i64) -> String {
        self.print(ms, "%H:%M:%S")
    }
    /// `12:41`.
    pub(crate) fn minute(self, ms: i64) -> String {
        self.print(ms, "%H:%M")
    }
    /// `2026-11-21`.
    pub(crate) fn date(self, ms: i64) -> String {
        self.print(ms, "%Y-%m-%d")
    }
    /// `2026-11-21 12:41:20`.
    pub(crate) fn stamp(self, ms: i64) -> String {
        self.print(ms, "%Y-%m-%d %H:%M:%S")
    }
    /// `12:41:20 – 12:41:40`, end exclusive; with dates where it is not of one day.
    pub(crate) fn span(self, from_ms: i64, to_ms: i64) -> String {
        if self.is_one_day(from_ms, to_ms) {
            format!("{} – {}", self.clock(from_ms), self.clock(to_ms))
        } else {
            format!("{} – {}", self.stamp(from_ms), self.stamp(to_ms))
        }
    }
    /// `2026-11-21 12:41:20 – 12:41:40`, end exclusive; with two dates where it is not of one day.
    pub(crate) fn dated_span(self, from_ms: i64, to_ms: i64) -> String {
        let span = self.span(from_ms, to_ms);
        if self.is_one_day(from_ms, to_ms) { format!("{} {span}", self.date(from_ms)) } else { span }
    }
    fn is_one_day(self, from_ms: i64, to_ms: i64) -> bool {
        self.date(from_ms) == self.date(to_ms.saturating_sub(1).max(from_ms))
    }
    fn print(self, ms: i64, format: &str) -> String {
        self.at(ms).map_or_else(|| format!("{ms} ms"), |t| t.format(format).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_printed() {
        for (text, param) in
            [("UTC", "UTC"), ("utc", "UTC"), ("+02:00", "+02:00"), (" 05:30", "+05:30"), ("-03:30", "-03:30")]
        {
            assert_eq!(Zone::parse(text).map(Zone::param).as_deref(), Some(param), "{text}");
        }
        for bad in ["", "local", "+2:00", "+02:60", "+15:00", "+02", "Europe/Berlin", "+aa:bb", "é"] {
            assert_eq!(Zone::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_in_the_zone() {
        let t = 1_795_264_880_000; // 2026-11-21T12:41:20Z
        assert_eq!(Zone::utc().stamp(t), "2026-11-21 12:41:20");
        let zone = Zone::parse("+05:30").expect("zone");
        assert_eq!((zone.clock(t), zone.label()), ("18:11:20".into(), "UTC+05:30".into()));
        assert_eq!(Zone::utc().span(t, t + 20_000), "12:41:20 – 12:41:40");
        assert_eq!(Zone::utc().dated_span(t, t + 20_000), "2026-11-21 12:41:20 – 12:41:40");
        let midnight = t - t % 86_400_000 + 86_400_000;
        assert_eq!(Zone::utc().dated_span(t, midnight), "2026-11-21 12:41:20 – 00:00:00");
        for two_days in [Zone::span, Zone::dated_span] {
            assert_eq!(two_days(Zone::utc(), t, midnight + 1), "2026-11-21 12:41:20 – 2026-11-22 00:00:00");
            let longer = two_days(Zone::utc(), t, midnight + 86_400_000);
            assert_eq!(longer, "2026-11-21 12:41:20 – 2026-11-23 00:00:00");
        }
        assert_eq!(Zone::utc().clock(i64::MAX), format!("{} ms", i64::MAX));
    }
}
