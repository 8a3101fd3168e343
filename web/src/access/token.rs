//! Tokens: 256 random bits as text, known to the process only by their SHA-256.
//!
//! A fast hash is right for them: there is nothing to guess that a slow one would slow down, and a request costs one.
//! Their text begins with `chp_`, so that scanners for leaked secrets find them.

use std::fmt;

use openssl::{memcmp, rand, sha::sha256};

use super::{Role, Who};

/// What every token begins with.
pub const PREFIX: &str = "chp_";
/// What a hash begins with, as it is written.
const ALGORITHM: &str = "sha256:";

/// A token as it is known: its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    hash: [u8; 32],
}

/// Without the hash: it is nobody's business either.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Token {
    /// A token by what [`hash`] says of it.
    ///
    /// # Errors
    /// What a hash looks like.
    pub fn new(name: impl Into<String>, role: Role, hash: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "must be '{ALGORITHM}' and 64 hex digits, as `chaperone token` prints it; it has {} characters",
                hash.len()
            )
        };
        let digits = hash.strip_prefix(ALGORITHM).ok_or_else(wrong)?;
        let bytes = unhex(digits).ok_or_else(wrong)?;
        Ok(Self { name: name.into(), role, hash: bytes })
    }

    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        memcmp::eq(&sha256(text.as_bytes()), &self.hash)
    }

    pub(crate) fn who(&self) -> Who {
        Who { name: self.name.clone(), role: self.role }
    }
}

/// A new token.
///
/// # Errors
/// The system has no randomness.
pub fn generate() -> Result<String, String> {
    let mut bits = [0; 32];
    rand::rand_bytes(&mut bits).map_err(|e| format!("no randomness: {e}"))?;
    Ok(format!("{PREFIX}{}", hex(&bits)))
}

/// What the configuration has of a token.
pub fn hash(token: &str) -> String {
    format!("{ALGORITHM}{}", hex(&sha256(token.as_bytes())))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_alone() {
        let text = generate().expect("random");
        assert!(text.starts_with("chp_") && text.len() == 68, "{text}");
        assert_ne!(text, generate().expect("random"));
        let token = Token::new("ci", Role::Viewer, &hash(&text)).expect("hash");
        assert!(token.is(&text) && !token.is(&hash(&text)) && !token.is("") && !token.is(&text[..67]));
        assert!(!format!("{token:?}").contains(&hash(&text)[10..20]), "{token:?}");
        assert_eq!(hash("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_hash_is_refused_without_being_shown() {
        let good = hash("abc");
        for bad in ["", "abc", "sha256:", &good[7..], &good[..70], &good.replace('b', "g"), &format!("{good}0")] {
            let error = Token::new("x", Role::Viewer, bad).expect_err(bad);
            assert!(error.contains("64 hex digits") && (bad.len() < 20 || !error.contains(&bad[10..20])), "{error}");
        }
    }
}
