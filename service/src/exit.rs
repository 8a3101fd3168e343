//! Exit codes: scripts and supervisors tell a typing mistake from a full disk by them (docs/OPERATIONS.md).

use std::fmt;

/// Why the process ends, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// `recount`: Kafka and the store do not agree; `store rebuild`: the two stores. `wal inspect`: some of the log cannot be read.
    Differs = 1,
    /// The command line or a line of input cannot be understood.
    Usage = 64,
    /// A port is taken, or no broker answers a command that needs one at once.
    Unavailable = 69,
    /// A fault of ours.
    Software = 70,
    /// A file or directory cannot be written.
    CannotWrite = 73,
    /// A broker refuses us.
    NotAuthorised = 77,
    /// The configuration cannot be used.
    Configuration = 78,
}

/// What went wrong, where, what to do; and the code to end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// One line a problem; empty when everything was said before.
    pub message: String,
}

impl Failure {
    /// A failure with its words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Failure {}

impl From<crate::config::ConfigError> for Failure {
    fn from(e: crate::config::ConfigError) -> Self {
        Self::new(Code::Configuration, e.to_string())
    }
}
