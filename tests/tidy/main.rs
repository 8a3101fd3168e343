//! Style and structure as tests: what a reviewer would have to look for by hand.

mod arrows;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::Context;
use chaperone_tests::{paths, promises};
use regex::Regex;
use source::{code_of, functions};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FILE_WARN: usize = 400;
const LINES_OF_A_FUNCTION: usize = 100;
const LINES_OF_A_FUNCTION_WARN: usize = 70;
const BYTES_OF_A_FILE: u64 = 1_000_000;

const TOP_LEVEL: [&str; 10] =
    ["Cargo.toml", "Cargo.lock", "README.md", "audit-lib", "collector", "docs", "service", "tests", "wal", "web"];

/// A file of the repository: tracked, or new and not ignored.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        std::path::Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

fn paths_of_files() -> anyhow::Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(paths::root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("cannot start git")?;
    anyhow::ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout)?;
    let present = listed.split('\0').filter(|path| !path.is_empty() && paths::root().join(path).is_file());
    Ok(present.map(str::to_owned).collect())
}

/// All text files.
fn files() -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths_of_files()? {
        if let Ok(text) = String::from_utf8(fs::read(paths::root().join(&path))?) {
            files.push(File { path, text });
        }
    }
    anyhow::ensure!(files.iter().filter(|file| file.is_rust()).count() > 10, "the checkout has no sources");
    Ok(files)
}

/// Fails with all findings at once.
fn none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

/// Where `pattern` matches in the code (not in comments and strings) of the Rust files that `wanted` picks.
fn in_code(pattern: &str, wanted: impl Fn(&File) -> bool) -> anyhow::Result<Vec<String>> {
    let pattern = Regex::new(pattern)?;
    let mut findings = Vec::new();
    for file in files()?.iter().filter(|file| file.is_rust() && wanted(file)) {
        findings.extend(matches(&pattern, &file.path, &code_of(&file.text)));
    }
    Ok(findings)
}

fn matches(pattern: &Regex, path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| pattern.is_match(line));
    lines.map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim())).collect()
}

#[test]
fn every_module_says_in_its_first_line_what_it_is_for() -> anyhow::Result<()> {
    let files = files()?;
    let silent = files.iter().filter(|file| file.is_rust() && !file.text.starts_with("//!"));
    none("begin with a `//!` line", &silent.map(|file| file.path.clone()).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn files_are_short() -> anyhow::Result<()> {
    let mut too_long = Vec::new();
    for file in files()?.iter().filter(|file| file.is_rust() && file.lines() > LINES_OF_A_FILE_WARN) {
        println!("long file: {} has {} lines", file.path, file.lines());
        if file.lines() > LINES_OF_A_FILE {
            too_long.push(format!("{}: {} lines", file.path, file.lines()));
        }
    }
    none(&format!("more than {LINES_OF_A_FILE} lines"), &too_long);
    Ok(())
}

#[test]
fn functions_are_short() -> anyhow::Result<()> {
    let mut too_long = Vec::new();
    for file in files()?.iter().filter(|file| file.is_rust()) {
        for function in functions(&code_of(&file.text)) {
            let text = format!("{}:{}: fn {} has {} lines", file.path, function.line, function.name, function.lines);
            if function.lines > LINES_OF_A_FUNCTION_WARN {
                println!("long function: {text}");
            }
            if function.lines > LINES_OF_A_FUNCTION {
                too_long.push(text);
            }
        }
    }
    none(&format!("more than {LINES_OF_A_FUNCTION} lines"), &too_long);
    Ok(())
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() -> anyhow::Result<()> {
    none("no test is ignored", &in_code(r"#\[(cfg_attr\(.*)?\bignore\b", |_| true)?);
    none("nothing is left to do", &in_code(r"\b(todo|unimplemented)!", |_| true)?);
    Ok(())
}

#[test]
fn unsafe_is_in_two_modules_only() -> anyhow::Result<()> {
    let allowed = |file: &File| ["wal/src/slots", "service/src/ffi"].iter().any(|start| file.path.starts_with(start));
    none("unsafe outside wal::slots and service::ffi", &in_code(r"\bunsafe\b", |file| !allowed(file))?);
    Ok(())
}

/// A test that sleeps is slow, or fails on a busy machine, or both: `eventually` polls.
#[test]
fn no_test_sleeps() -> anyhow::Result<()> {
    let sleep = Regex::new(r"\bsleep(_ms|_until)?\s*\(")?;
    let mut findings = Vec::new();
    for file in files()?.iter().filter(|file| file.is_rust() && file.path != "tests/src/eventually.rs") {
        let code = code_of(&file.text);
        let all = file.path.starts_with("tests/") || file.path.contains("/tests/") || file.path.contains("/tests.rs");
        // In a source file, what comes after `#[cfg(test)]` is the tests' module.
        let begin = if all { Some(0) } else { code.find("#[cfg(test)]") };
        if let Some(begin) = begin {
            findings.extend(matches(&sleep, &file.path, &code[begin..]));
        }
    }
    none("wait with chaperone_tests::eventually, or make time a parameter", &findings);
    Ok(())
}

#[test]
fn the_top_level_is_what_the_design_says() -> anyhow::Result<()> {
    let paths = paths_of_files()?;
    let found: BTreeSet<&str> = paths.iter().filter_map(|path| path.split('/').next()).collect();
    let found: BTreeSet<&str> = found.into_iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(found, BTreeSet::from(TOP_LEVEL));
    Ok(())
}

#[test]
fn no_file_is_large() -> anyhow::Result<()> {
    let mut large = Vec::new();
    for path in paths_of_files()? {
        let bytes = fs::metadata(paths::root().join(&path))?.len();
        if bytes > BYTES_OF_A_FILE {
            large.push(format!("{path}: {bytes} bytes"));
        }
    }
    none("larger than 1 MB", &large);
    Ok(())
}

/// Where packages come from is the machine's business, and no path of anybody's machine means anything on another.
#[test]
fn no_file_names_a_package_registry_or_a_path_of_one_machine() -> anyhow::Result<()> {
    // Put together here, so that this file does not name them either.
    let hosts = [
        ["crates", "io"],
        ["repo.maven", "apache.org"],
        ["repo1.maven", "org"],
        ["registry.npmjs", "org"],
        ["pypi", "org"],
        ["proxy.golang", "org"],
        ["deb.debian", "org"],
    ];
    let hosts = hosts.map(|parts| regex::escape(&parts.join("."))).join("|");
    let host = Regex::new(&format!(r"\b(?:{hosts})\b"))?;
    let folders = ["work", "root", "home"].join("|");
    let path = Regex::new(&format!(r"(?:^|[^\w./*<-])/(?:{folders})\b"))?;
    let mut findings = Vec::new();
    // cargo writes the registry's name into the lock file itself.
    for file in files()?.iter().filter(|file| file.path != "Cargo.lock") {
        findings.extend(matches(&host, &file.path, &file.text));
        findings.extend(matches(&path, &file.path, &file.text));
    }
    none("names of package registries, or paths of one machine", &findings);
    Ok(())
}

#[test]
fn every_promise_names_its_issue() -> anyhow::Result<()> {
    // Reading them checks bounds, modes and issues.
    let promises = promises::load()?;
    let all: Vec<_> = promises.values().flat_map(|names| names.values()).collect();
    assert!(!all.is_empty() && all.iter().all(|promise| promise.issue > 0));
    Ok(())
}
