//! What was checked, as it comes, and what failed, at the end.

use std::io::Write;

use crate::exit::{Code, Failure};

/// Lines of standard output, and failures.
pub(super) struct Report<'a> {
    out: Box<dyn Write + 'a>,
    failures: Vec<Failure>,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: impl Write + 'a) -> Self {
        Self { out: Box::new(out), failures: Vec::new() }
    }

    /// This is right.
    pub(super) fn ok(&mut self, what: impl AsRef<str>) {
        self.line("ok     ", what.as_ref());
    }
    /// It works, and is perhaps not what was meant.
    pub(super) fn warning(&mut self, what: impl AsRef<str>) {
        self.line("warning", what.as_ref());
    }
    /// It shows only when it is done.
    pub(super) fn unknown(&mut self, what: impl AsRef<str>) {
        self.line("unknown", what.as_ref());
    }
    /// This is wrong.
    pub(super) fn fail(&mut self, code: Code, what: impl Into<String>) {
        self.failures.push(Failure::new(code, what));
    }
    /// Right or wrong.
    pub(super) fn put(&mut self, outcome: Result<String, Failure>) {
        match outcome {
            Ok(what) => self.ok(what),
            Err(failure) => self.failures.push(failure),
        }
    }

    /// All failures as one, with the code of the first.
    pub(super) fn end(self) -> Result<(), Failure> {
        let Some(first) = self.failures.first() else { return Ok(()) };
        let mut lines: Vec<&str> = Vec::new();
        for failure in &self.failures {
            if !lines.contains(&failure.message.as_str()) {
                lines.push(&failure.message);
            }
        }
        Err(Failure::new(first.code, lines.join("\n")))
    }

    fn line(&mut self, word: &str, what: &str) {
        if let Err(e) = writeln!(self.out, "{word} {what}").and_then(|()| self.out.flush()) {
            self.failures.push(Failure::new(Code::Unavailable, format!("cannot write to standard output: {e}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_gives_the_code_and_all_are_listed_once() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.ok("a");
        report.put(Err(Failure::new(Code::CannotWrite, "b")));
        report.fail(Code::Unavailable, "c");
        report.fail(Code::Unavailable, "c");
        report.warning("d");
        assert_eq!(report.end(), Err(Failure::new(Code::CannotWrite, "b\nc")));
        assert_eq!(String::from_utf8_lossy(&out), "ok      a\nwarning d\n");
    }
}
