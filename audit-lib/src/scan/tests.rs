//! Decoys by hand, and bytes at random against a scanner that goes byte by byte. Generated documents against
//! `serde_json` are a suite of their own (`tests/scan`).

mod corpus;
mod plain;

use fearless_simd::Level;
use proptest::prelude::*;

use super::*;

/// Every instruction set that this processor has.
pub(super) fn levels() -> Vec<Level> {
    let best = Level::new();
    let mut all = vec![best, Level::baseline()];
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(best.as_sse4_2().map(Level::Sse4_2));
        all.extend(best.as_avx2().map(Level::Avx2));
    }
    all
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

/// The answer, the same on every instruction set.
fn find_everywhere<'a>(document: &'a [u8], pointer: &Pointer) -> Found<'a> {
    let found = find(document, pointer);
    for level in levels() {
        assert_eq!(find_at(level, document, pointer), found, "{level:?} {}", String::from_utf8_lossy(document));
    }
    found
}

/// As a text that is easy to write down.
fn said(found: Found<'_>) -> String {
    match found {
        Found::Absent => "absent".to_owned(),
        Found::Malformed => "malformed".to_owned(),
        Found::Null => "null".to_owned(),
        Found::Other => "other".to_owned(),
        Found::Number(number) => String::from_utf8_lossy(number.as_bytes()).into_owned(),
        Found::Text(text) => text.read().map_or_else(|| "unreadable".to_owned(), |text| format!("\"{text}\"")),
    }
}

#[test]
fn pointers_are_read_as_rfc_6901_says() {
    let names = |text: &str| -> Vec<String> {
        let steps = pointer(text).steps;
        steps.iter().map(|s| String::from_utf8_lossy(&s.name).into_owned()).collect()
    };
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("/"), [""]);
    assert_eq!(names("/a~1b/~0/~01//é"), ["a/b", "~", "~1", "", "é"]);
    let index = |text: &str| pointer(text).steps[0].index;
    assert_eq!(
        (index("/0"), index("/10"), index("/01"), index("/-"), index("/1a"), index("/+1")),
        (Some(0), Some(10), None, None, None, None)
    );
    assert_eq!(index("/99999999999999999999"), None);
    for (bad, word) in [("a", "'a' does not begin with '/'"), ("/a~", "~0"), ("/~2", "~1"), ("#/a", "begin")] {
        let said = Pointer::parse(bad).expect_err(bad).to_string();
        assert!(said.contains(word), "{said}");
    }
}

/// Documents of any size, with the field before, on and behind every edge of a block.
#[test]
fn blocks_have_no_edges() {
    let wanted = pointer("/a/ts");
    for before in if cfg!(miri) { 60..66 } else { 0..200 } {
        for after in [0, 1, 63, 64, 65] {
            let fill = "x".repeat(before);
            let rest = " ".repeat(after);
            for (document, answer) in [
                (format!(r#"{{"{fill}":1,"a":{{"ts":17,"z":{{}}}}{rest}}}"#), "17"),
                (format!(r#"{{"f":"{fill}\\","a":{{"t\u0073":17}}{rest}}}"#), "17"),
                (format!(r#"{{"f":"{fill}\"ts\":3,","a":{rest}{{"b":{{"ts":1}},"ts" :{rest} "7"}}}}"#), "\"7\""),
                (format!(r#"{{"f":[{{"{fill}":[{{}}]}}],"a":{{"b":[{{"ts":1}}]{rest}}},"ts":2}}"#), "absent"),
                (format!(r#"{{"f":[{fill}],"a":{{"ts":[{{"ts":1}}]{rest},"ts":2}}}}"#), "other"),
                (format!(r#"{{"x{fill}\u0061":1,"\u0061":{{"{fill}":0,"\u0074\u0073":17{rest}}}}}"#), "17"),
            ] {
                assert_eq!(said(find_everywhere(document.as_bytes(), &wanted)), answer, "{document}");
            }
        }
    }
}

/// The name's end may lie in the block of its beginning, in the next, or far away.
#[test]
fn names_of_any_length_are_found() {
    for length in 0..140 {
        let name = "n".repeat(length);
        let wanted = pointer(&format!("/{name}"));
        for before in 0..66 {
            let fill = "x".repeat(before);
            let document = format!(r#"{{"{fill}y":"{name}","{name}n":1,"{name}":2,"{name}":3}}"#);
            assert_eq!(said(find_everywhere(document.as_bytes(), &wanted)), "2", "{document}");
        }
    }
}

#[test]
fn every_cut_of_a_document_is_malformed_or_has_the_answer() {
    let document = br#" {"b":[1,{"ts":"\""}], "\u0061" : {"x":"\\","ts" : "2026\u002d" , "ts":1 } , "z":tru"#;
    let wanted = pointer("/a/ts");
    let answer = find_everywhere(document, &wanted);
    assert_eq!(said(answer), "\"2026-\"");
    let known = document.windows(3).position(|w| w == b"\" ,").expect("there") + 3;
    for cut in 0..document.len() {
        let found = find_everywhere(&document[..cut], &wanted);
        assert_eq!(found, if cut < known { Found::Malformed } else { answer }, "{cut}");
    }
}

#[test]
fn depth_and_size_are_no_matter() {
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    let nested = deep(r#"{"ts":["#, "]}", 10_000);
    let document = format!(r#"{{"a":{nested},"b":{},"ts":5}}"#, deep("[", "]", 10_000));
    assert_eq!(said(find_everywhere(document.as_bytes(), &pointer("/ts"))), "5");
    assert_eq!(said(find_everywhere(document.as_bytes(), &pointer("/a/ts/0/ts"))), "other");
    let steps = "/ts/0".repeat(10_000);
    let path = pointer(&steps);
    assert_eq!(said(find_everywhere(nested.as_bytes(), &path)), "absent", "nothing is in the innermost array");
    assert_eq!(said(find_everywhere(&nested.as_bytes()[..70_000], &path)), "malformed");
    let megabyte = "\\\"{\\\\ts\\\":[".repeat(100_000);
    let document = format!(r#"{{"{megabyte}":"{megabyte}","ts":6}}"#);
    assert_eq!(said(find_everywhere(document.as_bytes(), &pointer("/ts"))), "6");
    let blank = " ".repeat(1_000_000);
    let document = format!(r#"{blank}{{{blank}"ts"{blank}:{blank}7{blank}}}"#);
    assert_eq!(said(find_everywhere(document.as_bytes(), &pointer("/ts"))), "7");
}

/// What a search for the quoted name would say, and most would write.
fn naive<'a>(document: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let key = format!("\"{name}\"");
    let at = memchr::memmem::find(document, key.as_bytes())?;
    let rest = document.get(at + key.len()..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    Some(&rest[..rest.iter().take_while(|b| !b",}] \n".contains(b)).count()])
}

#[test]
fn the_decoys_are_not_taken_and_would_be() {
    let mut fooled = 0;
    for (path, document, answer) in corpus::ALL {
        assert_eq!(said(find_everywhere(document.as_bytes(), &pointer(path))), *answer, "{path} in {document}");
        if let Some(name) = path.strip_prefix('/').filter(|name| !name.contains(['/', '~'])) {
            let guess = naive(document.as_bytes(), name).map_or("absent".into(), String::from_utf8_lossy);
            fooled += usize::from(guess != *answer);
        }
    }
    assert!(fooled >= 30, "the control was fooled {fooled} times only");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    /// Whatever the bytes, the answer is that of a scanner that knows no blocks.
    #[test]
    fn soup_is_read_as_byte_by_byte(
        parts in proptest::collection::vec(prop::sample::select(plain::PARTS), 0..80),
        path in prop::sample::select(vec!["", "/a", "/ts", "/a/ts", "/a/0", "/1", "/a/1/ts", "/t\"s", "/", "/ts/a"]),
    ) {
        let document = parts.concat();
        let path = pointer(path);
        prop_assert_eq!(said(find_everywhere(&document, &path)), said(plain::find(&document, &path)), "{}", String::from_utf8_lossy(&document));
    }
    #[test]
    fn any_bytes_have_an_answer(document: Vec<u8>) {
        let path = pointer("/a/0");
        prop_assert_eq!(find_everywhere(&document, &path), plain::find(&document, &path));
    }
}

proptest! {
    #[test]
    fn two_members_in_one_walk_are_what_two_walks_find(
        document in "[\"\\\\{}\\[\\], :idts10.e-]{0,160}", whole in any::<bool>(), pad in 0usize..80,
        names in (0usize..6, 0usize..6),
    ) {
        let (pad, at) = (" ".repeat(pad), ["/id", "/ts", "/i", "", "/0", "/ts/id"]);
        let document = if whole { format!("{{\"pad\":\"{pad}\",\"t\":{{\"ts\":1}},\"ts\":[1],\"id\":\"{}\"}}", pad.len()) } else { format!("{{{document}") };
        let (first, second) = (pointer(at[names.0]), pointer(at[names.1]));
        let alone = [&first, &second].map(|p| find_everywhere(document.as_bytes(), p));
        for level in levels() {
            prop_assert_eq!(find_both_at(level, document.as_bytes(), [&first, &second]), alone, "{}", document);
        }
    }
}
