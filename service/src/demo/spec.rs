//! What `--faults` says: which faults, on which hops, of how many messages. Pure.
//!
//! `none`, or `KIND:hop=N,count=N;…`. Both keys have defaults. What is unknown is named together with what is allowed.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Hops of the demo: producer → proxy → regional → aggregate → consumer.
pub const HOPS: u8 = 4;
/// Most faults in one specification; more would not fit into any patience.
const FAULTS_MAX: usize = 40;

/// What is done to a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Messages vanish.
    Loss,
    /// Messages are passed on twice.
    Dup,
    /// As many vanish as are passed on twice, so that the counts agree.
    Masked,
    /// Nothing is passed on for a while.
    Stall,
    /// The reporter of the downstream stage, whose counts are on its heap, is killed with SIGKILL and restarted.
    Kill,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Loss, Self::Dup, Self::Masked, Self::Stall, Self::Kill];

    /// The word in a specification and in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Dup => "dup",
            Self::Masked => "masked",
            Self::Stall => "stall",
            Self::Kill => "kill",
        }
    }

    /// Where it can be injected, and why not elsewhere.
    pub const fn hops(self) -> (&'static [u8], &'static str) {
        match self {
            Self::Loss | Self::Dup | Self::Masked => (&[1, 2, 3, 4], "the demo has four hops"),
            Self::Stall => (&[3, 4], "before Kafka, what stands still is in flight at its sender"),
            Self::Kill => (&[1, 4], "only the hops to the proxy and to the consumer end in a process of its own"),
        }
    }

    /// How many messages it may touch. A window has about 2,000, and the faults keep to its first half.
    pub const fn counts(self) -> RangeInclusive<u32> {
        match self {
            Self::Loss | Self::Dup | Self::Stall | Self::Kill => 1..=500,
            Self::Masked => 1..=250,
        }
    }

    const fn usual(self) -> (u8, u32) {
        match self {
            Self::Loss => (3, 7),
            Self::Dup => (4, 5),
            Self::Masked => (2, 5),
            Self::Stall => (3, 1),
            Self::Kill => (4, 100),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == word)
    }
}

/// One fault that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// What.
    pub kind: Kind,
    /// Where: 1 is the first stage → the second.
    pub hop: u8,
    /// Of how many messages: lost, doubled, or (masked) lost and as many doubled. A stall holds back at least so many
    /// of its window; a reporter is killed when it has counted at least so many of its window.
    pub count: u32,
}

/// What `--faults` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Faults {
    /// A new mix every few minutes.
    #[default]
    Mix,
    /// None.
    None,
    /// These, once.
    These(Vec<Wish>),
}

impl Faults {
    /// Reads a specification.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::None);
        }
        let parts: Vec<&str> = text.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(format!(
                "no fault is named; allowed: none, or KIND:hop=N,count=N;… with KIND one of {}",
                kinds()
            ));
        }
        if parts.len() > FAULTS_MAX {
            return Err(format!("{} faults; allowed are at most {FAULTS_MAX}", parts.len()));
        }
        parts.into_iter().map(wish).collect::<Result<_, _>>().map(Self::These)
    }
}

fn kinds() -> String {
    Kind::ALL.map(Kind::as_str).join(", ")
}

fn wish(text: &str) -> Result<Wish, String> {
    let (word, pairs) = text.split_once(':').unwrap_or((text, ""));
    let word = word.trim();
    let kind = Kind::parse(word).ok_or_else(|| match word {
        "none" => "none stands alone, or not at all".to_owned(),
        _ => format!("unknown kind '{}'; allowed: {}", shown(word), kinds()),
    })?;
    let (mut hop, mut count) = (None, None);
    for pair in pairs.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match key.trim() {
            "hop" => &mut hop,
            "count" => &mut count,
            other => return Err(format!("unknown key '{}' in '{}'; allowed: hop, count", shown(other), shown(text))),
        };
        let number = value.trim().parse::<u32>().map_err(|_| {
            format!("{} in '{}' is '{}'; it must be a whole number", key.trim(), shown(text), shown(value.trim()))
        })?;
        if slot.replace(number).is_some() {
            return Err(format!("'{}' names {} twice", shown(text), key.trim()));
        }
    }
    let (usual_hop, usual_count) = kind.usual();
    let (hops, why) = kind.hops();
    let hop = hop.map_or(Ok(usual_hop), |h| {
        let known = hops.iter().find(|k| u32::from(**k) == h).copied();
        known.ok_or_else(|| format!("hop={h} in '{}'; allowed for {word}: {} ({why})", shown(text), list(hops)))
    })?;
    let count = count.unwrap_or(usual_count);
    if !kind.counts().contains(&count) {
        let (least, most) = (kind.counts().start().to_owned(), kind.counts().end().to_owned());
        return Err(format!("count={count} in '{}'; allowed for {word}: {least} to {most}", shown(text)));
    }
    Ok(Wish { kind, hop, count })
}

fn list(hops: &[u8]) -> String {
    hops.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

/// The beginning of what was typed: enough to find it.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_names_kind_hop_and_count_and_both_keys_have_defaults() {
        let read = |text: &str| Faults::parse(text).expect(text);
        assert_eq!(read(" none "), Faults::None);
        let loss = Wish { kind: Kind::Loss, hop: 3, count: 7 };
        let masked = Wish { kind: Kind::Masked, hop: 2, count: 5 };
        for text in
            ["loss:hop=3,count=7;masked:hop=2,count=5", "loss;masked", " loss : count=7 , hop=3 ; masked:hop=2;; "]
        {
            assert_eq!(read(text), Faults::These(vec![loss, masked]), "{text}");
        }
        for kind in Kind::ALL {
            for hop in kind.hops().0 {
                for count in [*kind.counts().start(), *kind.counts().end()] {
                    let text = format!("{}:hop={hop},count={count}", kind.as_str());
                    assert_eq!(read(&text), Faults::These(vec![Wish { kind, hop: *hop, count }]));
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (text, named, allowed) in [
            ("", "no fault", "loss, dup, masked, stall, kill"),
            (";", "no fault", "none"),
            ("fire:hop=1", "'fire'", "loss, dup, masked, stall, kill"),
            ("none;loss", "none", "alone"),
            ("loss:hops=1", "'hops'", "hop, count"),
            ("loss:hop=5", "hop=5", "1, 2, 3, 4"),
            ("loss:hop=0", "hop=0", "1, 2, 3, 4"),
            ("stall:hop=2", "hop=2", "3, 4"),
            ("kill:hop=3", "hop=3", "1, 4"),
            ("loss:count=0", "count=0", "1 to 500"),
            ("loss:count=501", "count=501", "1 to 500"),
            ("masked:count=251", "count=251", "1 to 250"),
            ("loss:count=many", "'many'", "whole number"),
            ("loss:count=-1", "'-1'", "whole number"),
            ("loss:hop=", "''", "whole number"),
            ("loss:hop", "''", "whole number"),
            ("loss:hop=1,hop=2", "hop", "twice"),
            ("loss:count=99999999999", "99999999999", "whole number"),
        ] {
            let said = Faults::parse(text).expect_err(text);
            assert!(said.contains(named) && said.contains(allowed), "{text}: {said}");
        }
        let many = vec!["loss"; FAULTS_MAX + 1].join(";");
        assert!(Faults::parse(&many).expect_err("too many").contains("at most"));
        let long = Faults::parse(&"x".repeat(10_000)).expect_err("long");
        assert!(long.len() < 300, "{long}");
    }
}
