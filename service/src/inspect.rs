//! `chaperone inspect`: the product's own pure functions, one JSON object a line in and out.
//!
//! "What does chaperone make of this message, this pair of states, this hop, this history?" The answers are those of the running
//! product, because they come from the same functions. Unknown fields are an error that names them; absent ones have
//! the default of INTERFACES.

pub mod count;
pub mod intervals;
pub mod join;
pub mod rule;
pub mod verdict;

use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;

/// Reads one line as JSON of a known shape.
fn read<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| {
        let text = e.to_string();
        match text.rsplit_once(" at line ") {
            Some((words, place)) => format!("{words} (column {})", place.rsplit(' ').next().unwrap_or_default()),
            None => text,
        }
    })
}

/// Answers each line of `input` in order. A bad line gets one line of `errors`, with its number, and no answer.
/// Returns how many lines were bad.
///
/// # Errors
/// When reading or writing fails.
pub fn answer_lines(
    mut input: impl BufRead,
    mut output: impl Write,
    mut errors: impl Write,
    answer: impl Fn(&str) -> Result<String, String>,
) -> io::Result<u64> {
    let mut bad = 0;
    let mut bytes = Vec::new();
    for number in 1u64.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let answered = match std::str::from_utf8(&bytes).map(str::trim) {
            Ok("") => continue,
            Ok(line) => answer(line),
            Err(_) => Err("not UTF-8".to_owned()),
        };
        match answered {
            Ok(line) => writeln!(output, "{line}")?,
            Err(problem) => {
                bad += 1;
                writeln!(errors, "line {number}: {problem}")?;
            }
        }
        output.flush()?;
    }
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_and_the_others_are_answered_in_order() {
        let input = "a\n\nbad\n\u{e9}\n".as_bytes();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let answer = |l: &str| if l == "bad" { Err("no".to_owned()) } else { Ok(l.to_uppercase()) };
        assert_eq!(answer_lines(input, &mut out, &mut err, answer).expect("io"), 1);
        assert_eq!(String::from_utf8_lossy(&out), "A\n\u{c9}\n");
        assert_eq!(String::from_utf8_lossy(&err), "line 3: no\n");
    }
}
