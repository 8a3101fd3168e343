//! Style sheet, script and icon: in the binary, at an address that changes with their content.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::error::WebError;

pub(crate) const CSS: &str = include_str!("../assets/chaperone.css");
pub(crate) const JS: &str = include_str!("../assets/chaperone.js");
const ICON: &str = include_str!("../assets/chaperone.svg");

/// Addresses of the assets, for the frame of every page.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) css: String,
    pub(crate) js: String,
    pub(crate) icon: String,
}

pub(crate) fn addresses() -> Addresses {
    let at = |content, kind| format!("/assets/{}", file_name(content, kind));
    Addresses { css: at(CSS, "css"), js: at(JS, "js"), icon: at(ICON, "svg") }
}

pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    for (content, kind, media) in [
        (CSS, "css", "text/css; charset=utf-8"),
        (JS, "js", "text/javascript; charset=utf-8"),
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
    fn the_script_stays_small_and_builds_no_html() {
        assert!(JS.len() < 6 * 1024, "{} bytes", JS.len());
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!JS.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn addresses_follow_the_content() {
        assert_ne!(file_name("a", "css"), file_name("b", "css"));
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
