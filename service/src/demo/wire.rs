//! What the demo and its stage processes tell each other: one JSON object a line, down standard input and up standard
//! output. The end of a stage's input is its order to end, however the demo came to its own end.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::tamper::{Armed, Done};

/// What a stage process is, as its one argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Which stage.
    pub stage: Stage,
    /// Brokers that it produces to or consumes from.
    pub brokers: String,
    /// Brokers of the audit topic.
    pub audit_brokers: String,
    /// Directory of its recorder's log.
    pub data_dir: PathBuf,
    /// Seed of identities.
    pub identity_seed: u64,
    /// Seed of its faults.
    pub fault_seed: u64,
}

/// A stage with a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Takes messages from the producer and produces them to the regional cluster.
    Proxy,
    /// Consumes from the aggregate cluster.
    Consumer,
}

impl Stage {
    /// Its name in the pipeline.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Consumer => "consumer",
        }
    }
}

/// A message on its way from the producer to the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// By which it is answered; 0 if no answer is wanted.
    pub n: u64,
    /// Event time, ms.
    pub at_ms: i64,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// To a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A message; for the proxy only.
    Letter(Letter),
    /// Lose or double messages.
    Tamper(Armed),
    /// Pass nothing on from then until then.
    Stall(Stall),
    /// Stand still once so many messages are counted, to be killed.
    Stand(Stand),
}

/// A standstill, ms of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The fault's number.
    pub id: u32,
    /// Its begin.
    pub from_ms: i64,
    /// Its end.
    pub until_ms: i64,
}

/// A last stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// The fault's number.
    pub id: u32,
    /// Messages of that event time or later, ms.
    pub from_ms: i64,
    /// So many of them are counted first.
    pub count: u32,
}

/// From a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The first message was counted.
    Flowing,
    /// A letter is persisted.
    Taken(u64),
    /// A letter is provably not persisted.
    Refused(u64),
    /// It is not known whether a letter is persisted.
    Doubtful(u64),
    /// A fault was injected, or a stall has begun.
    Done(Done),
    /// It stands still and waits for its end.
    Standing(Done),
}

/// As a line.
///
/// # Errors
/// Never in practice: every field has a JSON form.
pub fn line<T: Serialize>(what: &T) -> std::io::Result<String> {
    let mut text = serde_json::to_string(what)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip_whatever_a_message_holds() {
        let letter = Letter { n: 3, at_ms: 5, key: "k\n\"".into(), value: "\u{1f980}\r\n".into() };
        let order = Order::Letter(letter);
        let text = line(&order).expect("a line");
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Order>(&text).expect("an order"), order);
        for said in [Said::Flowing, Said::Taken(7), Said::Standing(Done { id: 1, count: 2 })] {
            assert_eq!(serde_json::from_str::<Said>(&line(&said).expect("a line")).expect("said"), said);
        }
    }
}
