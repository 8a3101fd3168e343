//! Sessions of browsers: made by a log-in with a token, known by the SHA-256 of their cookie, in memory.
//!
//! A session is as good as its token: when the token goes, so does the session. A restart ends all of them. Limits:
//! [`MOST`] sessions, of which the oldest make room; an age that the configuration says, counted from the log-in.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue, header};
use openssl::rand;
use openssl::sha::sha256;
use parking_lot::Mutex;

use super::token::hex;

/// Sessions at the same time.
const MOST: usize = 10_000;
/// The prefix makes browsers keep it to this host, this path and encrypted connections (or the same machine).
const COOKIE: &str = "__Host-chaperone";

/// The sessions of this process.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

#[derive(Clone, Copy)]
struct Session {
    /// The token's hash.
    token: [u8; 32],
    ends_ms: i64,
}

impl Sessions {
    /// Begins one, and gives the text of its cookie.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn begin(&self, token: [u8; 32], now_ms: i64, ends_ms: i64) -> Result<String, String> {
        let mut bits = [0; 32];
        rand::rand_bytes(&mut bits).map_err(|e| format!("no randomness: {e}"))?;
        let text = hex(&bits);
        let mut sessions = self.0.lock();
        if sessions.len() >= MOST {
            sessions.retain(|_, session| session.ends_ms > now_ms);
        }
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.ends_ms).map(|(id, _)| *id)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(sha256(text.as_bytes()), Session { token, ends_ms });
        Ok(text)
    }

    /// The hash of the token that a request's session was begun with.
    pub(crate) fn token_of(&self, headers: &HeaderMap, now_ms: i64) -> Option<[u8; 32]> {
        let id = sha256(cookie(headers)?.as_bytes());
        let found = self.0.lock().get(&id).copied()?;
        (found.ends_ms > now_ms).then_some(found.token)
    }

    /// Ends the session of a request.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(text) = cookie(headers) {
            self.0.lock().remove(&sha256(text.as_bytes()));
        }
    }
}

/// The one cookie of ours; two are none.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|h| h.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    ours.next().filter(|_| ours.next().is_none())
}

/// Gives a browser its cookie for so many seconds; none takes it away.
pub(crate) fn set_cookie(text: Option<&str>, seconds: u64) -> HeaderValue {
    let (text, age) = text.map_or(("", 0), |text| (text, seconds));
    let line = format!("{COOKIE}={text}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={age}");
    // Hex digits only.
    HeaderValue::from_str(&line).unwrap_or_else(|_| HeaderValue::from_static("x=; Max-Age=0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(&format!("a=b; {COOKIE}={text}")).expect("header"));
        headers
    }

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let text = sessions.begin([7; 32], 0, 1_000).expect("random");
        assert_eq!(sessions.token_of(&with(&text), 999), Some([7; 32]));
        assert_eq!(sessions.token_of(&with(&text), 1_000), None, "expired");
        assert_eq!(sessions.token_of(&with(&text[1..]), 1), None);
        assert_eq!(sessions.token_of(&HeaderMap::new(), 1), None);
        let mut two = with(&text);
        two.append(header::COOKIE, HeaderValue::from_str(&format!("{COOKIE}={text}")).expect("header"));
        assert_eq!(sessions.token_of(&two, 1), None, "two cookies of one name");
        sessions.end(&with(&text));
        assert_eq!(sessions.token_of(&with(&text), 1), None, "ended");
    }

    #[test]
    fn the_oldest_make_room() {
        let sessions = Sessions::default();
        let first = sessions.begin([1; 32], 0, 10).expect("random");
        for _ in 1..MOST {
            sessions.begin([2; 32], 0, 100).expect("random");
        }
        assert_eq!(sessions.token_of(&with(&first), 1), Some([1; 32]));
        sessions.begin([3; 32], 1, 100).expect("random");
        assert_eq!(sessions.token_of(&with(&first), 1), None);
        assert_eq!(sessions.0.lock().len(), MOST);
    }

    #[test]
    fn the_cookie_is_for_browsers_of_this_host_alone() {
        let line = set_cookie(Some("ab"), 60);
        let line = line.to_str().expect("text");
        assert_eq!(line, "__Host-chaperone=ab; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60");
        assert!(set_cookie(None, 60).to_str().expect("text").contains("=; ") && !line.contains("Domain"));
    }
}
