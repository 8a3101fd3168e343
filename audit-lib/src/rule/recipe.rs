//! Rules as people write them: `json:/meta/ts`, `header:x-id`, `cloudevents`. One reader for configuration, command line
//! and library.

use std::fmt;
use std::sync::Arc;

use crate::scan::{Pointer, PointerError};

/// Where event time and identity are found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipe {
    /// Event time.
    pub time: TimeRule,
    /// Identity.
    pub id: IdRule,
}

/// Where the event time is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TimeRule {
    /// `default`: the `chaperone` header, else `ce_time`, else the record's timestamp.
    #[default]
    Default,
    /// `timestamp`: the record's own.
    Timestamp,
    /// `cloudevents`: `ce_time`, or `time` of a structured event; of an event without one the record's timestamp.
    CloudEvents,
    /// `header:NAME`: text, or 8 bytes big-endian.
    Header(Arc<str>, Unit),
    /// `json:POINTER`: a number or a string in the value.
    Json(Pointer, Unit),
}

/// Where the identity is found; where it is not, the content is the identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IdRule {
    /// `default`: the `chaperone` header, else `ce_id` and `ce_source`, else the content.
    #[default]
    Default,
    /// `content`: key and value.
    Content,
    /// `cloudevents`: `ce_id` and `ce_source`, or `id` and `source` of a structured event.
    CloudEvents,
    /// `header:NAME`: 16 bytes, a UUID as text, or any text.
    Header(Arc<str>),
    /// `json:POINTER`: a string (a UUID or any text) or a number in the value.
    Json(Pointer),
}

/// What a time in a header or a JSON field is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Milliseconds since 1970.
    #[default]
    Ms,
    /// Seconds since 1970.
    S,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
    /// Text as in RFC 3339.
    Rfc3339,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No time rule has that name.
    #[error("'{0}' is no time rule; allowed: default, timestamp, cloudevents, header:NAME, json:/POINTER")]
    Time(String),
    /// No identity rule has that name.
    #[error("'{0}' is no identity rule; allowed: default, content, cloudevents, header:NAME, json:/POINTER")]
    Id(String),
    /// No unit has that name.
    #[error("'{0}' is no unit; allowed: ms, s, us, ns, rfc3339")]
    Unit(String),
    /// A unit that the rule does not have.
    #[error("unit {1} does not go with '{0}', whose times are in {2}; choose it for header:NAME and json:/POINTER")]
    OtherUnit(String, &'static str, &'static str),
    /// A header without a name.
    #[error("'{0}' names no header; write header:NAME")]
    NoHeader(String),
    /// No pointer.
    #[error("'{text}': {source}")]
    Pointer {
        /// The rule.
        text: String,
        /// What is wrong with its pointer.
        source: PointerError,
    },
    /// No topic pattern.
    #[error("topic pattern '{0}': {1}")]
    Topic(String, String),
}

impl Unit {
    const ALL: [Self; 5] = [Self::Ms, Self::S, Self::Us, Self::Ns, Self::Rfc3339];

    /// The name in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::S => "s",
            Self::Us => "us",
            Self::Ns => "ns",
            Self::Rfc3339 => "rfc3339",
        }
    }
    /// Reads a name.
    ///
    /// # Errors
    /// [`RuleError::Unit`], which names what is allowed.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        Self::ALL.into_iter().find(|u| u.as_str() == text).ok_or_else(|| RuleError::Unit(text.to_owned()))
    }
    /// The power of ten that makes milliseconds of it; none for a text.
    pub(super) const fn power(self) -> Option<i64> {
        match self {
            Self::Ms => Some(0),
            Self::S => Some(3),
            Self::Us => Some(-3),
            Self::Ns => Some(-6),
            Self::Rfc3339 => None,
        }
    }
}

impl TimeRule {
    /// Reads a rule; the unit is `ms` where none is given.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(text: &str, unit: Option<Unit>) -> Result<Self, RuleError> {
        let (rule, own) = match text {
            "default" => (Self::Default, Unit::Ms),
            "timestamp" => (Self::Timestamp, Unit::Ms),
            "cloudevents" => (Self::CloudEvents, Unit::Rfc3339),
            _ => {
                let unit = unit.unwrap_or_default();
                return match place(text)? {
                    Some(Place::Header(name)) => Ok(Self::Header(name, unit)),
                    Some(Place::Json(pointer)) => Ok(Self::Json(pointer, unit)),
                    None => Err(RuleError::Time(text.to_owned())),
                };
            }
        };
        match unit.filter(|unit| *unit != own) {
            Some(unit) => Err(RuleError::OtherUnit(text.to_owned(), unit.as_str(), own.as_str())),
            None => Ok(rule),
        }
    }

    /// What times are written in, where the rule leaves it open.
    pub const fn unit(&self) -> Option<Unit> {
        match self {
            Self::Header(_, unit) | Self::Json(_, unit) => Some(*unit),
            Self::Default | Self::Timestamp | Self::CloudEvents => None,
        }
    }
}

impl IdRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        Ok(match text {
            "default" => Self::Default,
            "content" => Self::Content,
            "cloudevents" => Self::CloudEvents,
            _ => match place(text)? {
                Some(Place::Header(name)) => Self::Header(name),
                Some(Place::Json(pointer)) => Self::Json(pointer),
                None => return Err(RuleError::Id(text.to_owned())),
            },
        })
    }
}

enum Place {
    Header(Arc<str>),
    Json(Pointer),
}

fn place(text: &str) -> Result<Option<Place>, RuleError> {
    if let Some(name) = text.strip_prefix("header:") {
        let named = !name.is_empty();
        return if named { Ok(Some(Place::Header(name.into()))) } else { Err(RuleError::NoHeader(text.to_owned())) };
    }
    let Some(pointer) = text.strip_prefix("json:") else { return Ok(None) };
    match Pointer::parse(pointer) {
        Ok(pointer) => Ok(Some(Place::Json(pointer))),
        Err(source) => Err(RuleError::Pointer { text: text.to_owned(), source }),
    }
}

impl Recipe {
    /// Reads both rules; what is absent is `default`.
    ///
    /// # Errors
    /// See [`TimeRule::parse`] and [`IdRule::parse`].
    pub fn parse(time: Option<&str>, unit: Option<&str>, id: Option<&str>) -> Result<Self, RuleError> {
        let unit = unit.map(Unit::parse).transpose()?;
        Ok(Self {
            time: TimeRule::parse(time.unwrap_or("default"), unit)?,
            id: IdRule::parse(id.unwrap_or("default"))?,
        })
    }

    /// What a rule's id is made of: it differs whenever an answer could, and is never changed for what exists.
    pub(super) fn canonical(&self) -> String {
        if *self == Self::default() {
            return "v1 header:chaperone,cloudevents,create_time+content".to_owned();
        }
        let (time, id) = (self.time.to_string(), self.id.to_string());
        let unit = self.time.unit().map_or("-", Unit::as_str);
        // Lengths, so that no name can look like another rule.
        format!("v2 {}:{time} {unit} {}:{id}", time.len(), id.len())
    }
}

impl fmt::Display for TimeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::CloudEvents => f.write_str("cloudevents"),
            Self::Header(name, _) => write!(f, "header:{name}"),
            Self::Json(pointer, _) => write!(f, "json:{}", pointer.as_str()),
        }
    }
}

impl fmt::Display for IdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Content => f.write_str("content"),
            Self::CloudEvents => f.write_str("cloudevents"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{}", pointer.as_str()),
        }
    }
}
