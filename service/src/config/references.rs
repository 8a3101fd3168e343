//! `@file:/path` and `${NAME}` in librdkafka values: secrets by reference, so that the file itself holds none.

use std::path::Path;

/// Where references are looked up; a parameter, so that reading a configuration is pure.
pub trait Lookup {
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// A file's text.
    ///
    /// # Errors
    /// The operating system's words.
    fn file(&self, path: &Path) -> std::io::Result<String>;
}

/// The process's environment and files.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Lookup for System {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    fn file(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Replaces the references in a value. A file's last line break is not part of it.
///
/// # Errors
/// Names the variable or the file; never its content.
pub fn resolve(value: &str, lookup: &dyn Lookup) -> Result<String, String> {
    if let Some(path) = value.strip_prefix("@file:") {
        let text = lookup.file(Path::new(path)).map_err(|e| format!("cannot read {path}: {e}"))?;
        return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}').ok_or("'${' without '}'")?;
        out.push_str(before);
        out.push_str(&lookup.env(name).ok_or_else(|| format!("environment variable {name} is not set"))?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}
