//! Addresses of a topic's views: all state is in the URL.

use crate::format::url;
use crate::range::Range;
use crate::strip::Piece;
use crate::zone::Zone;

/// What a link of this page keeps.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    pub(crate) cluster: String,
    pub(crate) topic: String,
    pub(crate) range: Range,
    pub(crate) zone: Zone,
    pub(crate) window_ms: Option<i64>,
}

impl Links {
    /// The path of a topic's page.
    pub(crate) fn path(cluster: &str, topic: &str) -> String {
        format!("/t/{}/{}", url(cluster), url(topic))
    }
    fn query(from: &str, to: &str, zone: Zone, window_ms: Option<i64>) -> String {
        let window = window_ms.map(|w| format!("&w={w}")).unwrap_or_default();
        format!("?from={}&to={}&tz={}{window}", url(from), url(to), url(&zone.param()))
    }
    /// This page with that window selected, or with none.
    pub(crate) fn window(&self, window_ms: Option<i64>) -> String {
        Self::query(&self.range.from, &self.range.to, self.zone, window_ms)
    }
    /// This page with that range.
    pub(crate) fn range(&self, from: &str, to: &str) -> String {
        Self::query(from, to, self.zone, self.window_ms)
    }
    /// This page in that zone.
    pub(crate) fn zone(&self, zone: Zone) -> String {
        Self::query(&self.range.from, &self.range.to, zone, self.window_ms)
    }
    /// The window that begins then, at its worst hop.
    pub(crate) fn detail(&self, window_ms: i64) -> String {
        self.detail_at(window_ms, None)
    }
    /// Likewise, at the hop that ends at this stage.
    pub(crate) fn detail_at(&self, window_ms: i64, at: Option<&str>) -> String {
        let at = at.map(|stage| format!("&at={}", url(stage))).unwrap_or_default();
        let query = Self::query(&self.range.from, &self.range.to, self.zone, None);
        format!("{}/w/{window_ms}{query}{at}", Self::path(&self.cluster, &self.topic))
    }
    /// What a piece of a strip opens: its window, at the hop that ends at this stage; of several with trouble their range.
    pub(crate) fn piece(&self, piece: &Piece, at: Option<&str>) -> String {
        if piece.windows > 1 && piece.look.is_trouble() {
            self.range(&piece.from_ms.to_string(), &piece.to_ms.to_string())
        } else {
            self.detail_at(piece.from_ms, at)
        }
    }
    /// This window in another form.
    pub(crate) fn detail_as(&self, suffix: &str, at: Option<&str>) -> String {
        let window_ms = self.window_ms.unwrap_or_default();
        let at = at.map(|stage| format!("&at={}", url(stage))).unwrap_or_default();
        let zone = url(&self.zone.param());
        format!("{}/w/{window_ms}{suffix}?tz={zone}{at}", Self::path(&self.cluster, &self.topic))
    }
    /// The rows of this page.
    pub(crate) fn rows(&self, format: &str) -> String {
        let query = Self::query(&self.range.from, &self.range.to, self.zone, None);
        format!("/api/v1/flow{query}&topic={}&format={format}", url(&self.topic))
    }
    /// Where this page hears that there is something new.
    pub(crate) fn events(&self) -> String {
        let query = Self::query(&self.range.from, &self.range.to, self.zone, None);
        format!("/events{query}&topic={}", url(&self.topic))
    }
    /// Likewise of what lies between two moments.
    pub(crate) fn events_between(&self, from_ms: i64, to_ms: i64) -> String {
        format!("/events?from={from_ms}&to={to_ms}&topic={}", url(&self.topic))
    }
}

/// A choice among a few, as links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) text: String,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// The quick ranges.
pub(crate) fn quick_ranges(range: &Range, href: impl Fn(&str, &str) -> String) -> Vec<Choice> {
    let choice = |text: &str| {
        let from = format!("now-{text}");
        let current = range.from == from && range.to == "now";
        Choice { text: text.to_owned(), href: href(&from, "now"), current }
    };
    ["15m", "1h", "6h", "24h", "7d"].map(choice).to_vec()
}

/// The zones: UTC, and the one of the address where it is another.
pub(crate) fn zones(zone: Zone, href: impl Fn(Zone) -> String) -> Vec<Choice> {
    let mut zones = vec![Choice { text: "UTC".to_owned(), href: href(Zone::utc()), current: zone.is_utc() }];
    if !zone.is_utc() {
        zones.push(Choice { text: zone.label(), href: href(zone), current: true });
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_range_zone_and_window_and_escape_them() {
        let range = Range { from: "now-1h".into(), to: "2026-11-21T12:00:00+02:00".into(), from_ms: 0, to_ms: 1 };
        let zone = Zone::parse("+02:00").expect("zone");
        let links = Links { cluster: "c".into(), topic: "a&b=\"<".into(), range, zone, window_ms: Some(7) };
        assert_eq!(links.window(Some(9)), "?from=now-1h&to=2026-11-21T12%3A00%3A00%2B02%3A00&tz=%2B02%3A00&w=9");
        assert_eq!(links.range("now-6h", "now"), "?from=now-6h&to=now&tz=%2B02%3A00&w=7");
        assert!(links.rows("csv").ends_with("&topic=a%26b%3D%22%3C&format=csv"));
        assert_eq!(Links::path("kafka:sjc", "../x"), "/t/kafka%3Asjc/..%2Fx");
        assert_eq!(
            links.detail_at(9, Some("k:1")),
            "/t/c/a%26b%3D%22%3C/w/9?from=now-1h&to=2026-11-21T12%3A00%3A00%2B02%3A00&tz=%2B02%3A00&at=k%3A1"
        );
        assert_eq!(links.detail_as(".md", None), "/t/c/a%26b%3D%22%3C/w/7.md?tz=%2B02%3A00");
        assert_eq!(zones(zone, |z| links.zone(z)).len(), 2);
        assert!(quick_ranges(&links.range, |f, t| links.range(f, t)).iter().all(|c| !c.current));
    }
}
