//! What is refused before a parser sees it: size and depth. A cheap scan, so that hostile nesting cannot exhaust the
//! stack of whatever parses or drops the value.

/// The largest record that is read, in bytes; the largest that we write is smaller.
pub const BYTES_MAX: usize = 1 << 20;
/// The deepest nesting; our schema needs 4.
pub const DEPTH_MAX: u32 = 32;

/// Whether a parser may see it.
///
/// # Errors
/// Why not.
pub fn admit(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("{} bytes; allowed are {BYTES_MAX}", bytes.len()));
    }
    let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
    for byte in bytes {
        if escaped {
            escaped = false;
        } else if in_string {
            match byte {
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH_MAX {
                return Err(format!("nested deeper than {DEPTH_MAX}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_outside_strings_only() {
        assert!(admit("[".repeat(32).as_bytes()).is_ok());
        assert!(admit("[".repeat(33).as_bytes()).is_err());
        assert!(admit("[]".repeat(1_000).as_bytes()).is_ok());
        assert!(admit(format!("\"{}\"", "[".repeat(1_000)).as_bytes()).is_ok());
        assert!(admit(format!("\"\\\"\"{}", "{".repeat(33)).as_bytes()).is_err());
        assert!(admit(format!("\"\\\\\"{}", "{".repeat(33)).as_bytes()).is_err());
        assert!(admit("{".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn size_is_limited() {
        assert!(admit(&vec![b' '; BYTES_MAX]).is_ok());
        assert!(admit(&vec![b' '; BYTES_MAX + 1]).is_err());
    }
}
