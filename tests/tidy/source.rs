//! Just enough of Rust's lexis to tell code from text.

/// The source with comments, strings and characters blanked out; lines stay where they are.
pub(crate) fn code_of(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_text(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment, string or character ends that begins at `at`; `at` itself if none does.
fn end_of_text(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let after_word = at > 0 && is_word(chars[at - 1]);
    let length = match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, 1),
        ['b' | 'c', '"', ..] if !after_word => quoted(rest, 2),
        ['b', '\'', ..] if !after_word => character(&rest[1..]).map_or(0, |length| length + 1),
        ['r', '"' | '#', ..] if !after_word => raw(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !after_word => raw(rest, 2),
        ['\'', ..] => character(rest).unwrap_or(0),
        _ => 0,
    };
    at + length
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// A string whose contents begin at `at`.
fn quoted(rest: &[char], mut at: usize) -> usize {
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A raw string whose hashes begin at `at`; 0 if it is none (a raw identifier).
fn raw(rest: &[char], at: usize) -> usize {
    let hashes = rest[at..].iter().take_while(|c| **c == '#').count();
    if rest.get(at + hashes) != Some(&'"') {
        return 0;
    }
    let body = at + hashes + 1;
    let closes = |from: usize| {
        rest[from] == '"' && rest[from + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (body..rest.len()).find(|from| closes(*from)).map_or(rest.len(), |from| (from + 1 + hashes).min(rest.len()))
}

/// A character; `None` if it is a lifetime.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', _, tail @ ..] => tail.iter().position(|c| *c == '\'').map(|position| position + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// A function in code: its name, the line of its `fn` and how many lines it has.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// The functions with a body in `code` (the answer of [`code_of`]).
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let head = regex::Regex::new(r"\bfn\s+(\w+)").expect("a valid expression");
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    let mut functions = Vec::new();
    for found in head.captures_iter(code) {
        let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else { continue };
        if let Some(end) = body_end(code, whole.end()) {
            let line = line_of(whole.start());
            functions.push(Function { name: name.as_str().to_owned(), line, lines: line_of(end) - line + 1 });
        }
    }
    functions
}

/// The end of the body of the function whose signature goes on at `from`; `None` if it has no body.
fn body_end(code: &str, from: usize) -> Option<usize> {
    let mut nesting = 0_i32;
    let mut body = false;
    for (at, c) in code[from..].char_indices() {
        match c {
            // `[u8; 4]` in a signature is no end.
            '(' | '[' => nesting += 1,
            ')' | ']' | '}' => nesting -= 1,
            ';' if nesting == 0 && !body => return None,
            '{' => (nesting, body) = (nesting + 1, true),
            _ => {}
        }
        if body && nesting == 0 {
            return Some(from + at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_blanked_and_code_is_kept() {
        let source = "let a = \"unsafe \\\" {\"; // unsafe\n/* x /* y */ unsafe */ let b = '{'; let c: &'static str = r#\"un\"safe\"#;\nfn f<'a>(x: &'a u8) { b'\\''; '\\u{7d}'; }";
        let code = code_of(source);
        assert_eq!(code.lines().count(), source.lines().count());
        assert!(!code.contains("unsafe") && !code.contains("un\"safe"), "{code}");
        assert!(code.contains("let c: &'static str =") && code.contains("fn f<'a>(x: &'a u8) {"), "{code}");
        assert_eq!(code.matches(['{', '}']).count(), 2, "{code}");
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let code = "trait T { fn none(&self) -> [u8; 4]; }\nfn one() {}\nfn three(\n    a: u8) {\n}\n";
        let found: Vec<_> = functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("one".to_owned(), 2, 1), ("three".to_owned(), 3, 3)]);
    }
}
