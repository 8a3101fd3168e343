//! What the parts of the demo tell its director.

use super::ledger::Row;
use super::tamper::Done;
use super::wire::{Said, Stage};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A part inside this process has injected a fault.
    Done(Done),
    /// A stage process said something that is no answer to a letter.
    Said(Stage, Said),
    /// The process of that life has ended.
    Ended(Stage, u32),
    /// The rows of a look at the API.
    Rows(Vec<Row>),
    /// A part inside this process cannot go on.
    Failed(String),
}
