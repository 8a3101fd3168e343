//! Style sheet, scripts and icon: in the binary, at an address that changes with their content.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::error::WebError;

pub(crate) const CSS: &str = include_str!("../assets/chaperone.css");
pub(crate) const JS: &str = include_str!("../assets/chaperone.js");
pub(crate) const KEYS: &str = include_str!("../assets/keys.js");
const ICON: &str = include_str!("../assets/chaperone.svg");

/// Addresses of the assets, for the frame of every page.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) css: String,
    pub(crate) js: String,
    pub(crate) keys: String,
    pub(crate) icon: String,
}

pub(crate) fn addresses() -> Addresses {
    let at = |content, kind| format!("/assets/{}", file_name(content, kind));
    Addresses { css: at(CSS, "css"), js: at(JS, "js"), keys: at(KEYS, "js"), icon: at(ICON, "svg") }
}

pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    for (content, kind, media) in [
        (CSS, "css", "text/css; charset=utf-8"),
        (JS, "js", "text/javascript; charset=utf-8"),
        (KEYS, "js", "text/javascript; charset=utf-8"),
        (ICON, "svg", "image/svg+xml"),
    ] {
        if name == file_name(content, kind) {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(media)),
                (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
            ];
            return (headers, content).into_response();
        }
    }
    WebError::NotFound { what: "such asset; reload the page that names it".to_owned(), advice: Vec::new() }
        .into_problem()
}

fn file_name(content: &str, kind: &str) -> String {
    format!("chaperone-{:016x}.{kind}", fnv1a(content.as_bytes()))
}

/// FNV-1a: tells one build's content from another's; nothing relies on it being hard to forge.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_stay_small_and_build_no_html() {
        assert!(JS.len() < 6 * 1024 && KEYS.len() < 8 * 1024, "{} and {} bytes", JS.len(), KEYS.len());
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!JS.contains(forbidden) && !KEYS.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn every_key_is_in_the_list_of_keys() {
        let list = include_str!("../templates/frame.html").split("<dialog id=\"keys\"").nth(1).expect("list");
        let places = KEYS.split("go = {").nth(1).and_then(|rest| rest.split('}').next()).expect("where g leads to");
        let places: Vec<&str> = places.split(", ").filter_map(|p| p.split(':').next()).map(str::trim).collect();
        assert!(places.len() >= 7, "{places:?}");
        let others = ["g", "t", "-", "+", "=", "[", "]", "l", "f", "/", "k", "Esc", "?"];
        for key in places.into_iter().chain(others) {
            assert!(list.contains(&format!("<kbd>{key}</kbd>")), "{key}");
        }
    }

    #[test]
    fn a_pointer_stops_no_wall_display() {
        let held = JS.lines().find(|line| line.contains("'pointerover'")).expect("what stops a page");
        assert!(held.contains("!('kiosk' in document.documentElement.dataset) &&"), "{held}");
    }

    /// Relative luminance (WCAG 2).
    fn luminance(hex: &str) -> f64 {
        let channel = |i: usize| {
            let v =
                hex.get(i..i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()).map_or(0.0, |v| f64::from(v) / 255.0);
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }

    /// The colours of a variable: light, dark.
    fn colours(name: &str) -> [&'static str; 2] {
        let value = CSS.split(&format!("--{name}:")).nth(1).and_then(|v| v.split(';').next()).expect("variable");
        let mut hex = value.split('#').skip(1).filter_map(|h| h.get(..6));
        [hex.next().expect("light"), hex.next().expect("dark")]
    }

    #[test]
    fn text_can_be_read_in_light_and_dark() {
        let contrast = |a: &str, b: &str| {
            let (a, b) = (luminance(a), luminance(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        assert!((contrast("ffffff", "000000") - 21.0).abs() < 0.01 && contrast("777777", "888888") < 4.5);
        let inks = ["ink", "ink-2", "ink-3", "accent", "missing-ink", "surplus-ink", "late-ink", "mixed-ink"];
        for ink in inks {
            for ground in ["surface", "bg", "sunken"] {
                for (ink_is, ground_is) in colours(ink).into_iter().zip(colours(ground)) {
                    let found = contrast(ink_is, ground_is);
                    // The faintest ink is for what is said elsewhere too, and on sunken rows it is only hovered over.
                    let least = if ink == "ink-3" && ground == "sunken" { 4.0 } else { 4.5 };
                    assert!(found >= least, "{ink} on {ground}: {found:.2}");
                }
            }
        }
    }

    #[test]
    fn addresses_follow_the_content() {
        assert_ne!(file_name("a", "css"), file_name("b", "css"));
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
