//! What a hop is expected to pass on, where that is not every message once. Pure.
//!
//! *Linear*, `a/b`: a × upstream = b × downstream. Ids are sums, so they compare likewise, and such a hop is proven like any
//! other. *Share*, `LEAST..MOST`: a filter passes on a part. Only counts can be compared: it is never proven, so never *ok*
//! and never *mixed*; what lies between the bounds is *unproven*.
//! Numbers in a judgement are messages of the downstream stage, parts rounded up.

use std::fmt;
use std::str::FromStr;

use chaperone_audit::Fingerprint;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Evidence, Judgement, Progress, Verdict, judge};

/// The largest coefficient.
const FACTOR_MAX: u32 = 1_000;
/// Parts of a whole.
const WHOLE: u32 = 1_000_000;

/// See the module's head. As text: `3/1`, `20%..40%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expect {
    /// `upstream` × what is upstream = `downstream` × what is downstream; 1 to 1,000 each.
    Linear {
        /// a.
        upstream: u32,
        /// b.
        downstream: u32,
    },
    /// Of what is upstream at least and at most so many millionths; least ≤ most ≤ 1,000,000.
    Share {
        /// At least.
        least: u32,
        /// At most.
        most: u32,
    },
}

impl Default for Expect {
    fn default() -> Self {
        Self::ALL
    }
}

impl Expect {
    /// Every message once.
    pub const ALL: Self = Self::Linear { upstream: 1, downstream: 1 };

    /// a and b; of a share 1 and 1.
    pub(crate) const fn factors(self) -> (u64, u64) {
        match self {
            Self::Linear { upstream, downstream } => (upstream as u64, downstream as u64),
            Self::Share { .. } => (1, 1),
        }
    }
    pub(super) const fn is_share(self) -> bool {
        matches!(self, Self::Share { .. })
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u32| f64::from(part) / 10_000.0;
        match *self {
            Self::Linear { upstream, downstream } => write!(f, "{upstream}/{downstream}"),
            Self::Share { least, most } => write!(f, "{}%..{}%", percent(least), percent(most)),
        }
    }
}

/// A text that says nothing of a hop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no expectation; allowed: A/B with whole numbers from 1 to 1000 (A times upstream is B times downstream), or \
     LEAST%..MOST% with 0 ≤ LEAST ≤ MOST ≤ 100 and at most four decimals (the share that is passed on)"
)]
pub struct UnknownExpect(String);

impl FromStr for Expect {
    type Err = UnknownExpect;
    fn from_str(text: &str) -> Result<Self, UnknownExpect> {
        let wrong = || UnknownExpect(text.chars().take(80).collect());
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (part(least).ok_or_else(wrong)?, part(most).ok_or_else(wrong)?);
            return if least <= most && most <= WHOLE { Ok(Self::Share { least, most }) } else { Err(wrong()) };
        }
        let (upstream, downstream) = text.split_once('/').ok_or_else(wrong)?;
        let factor = |text: &str| text.trim().parse().ok().filter(|n| (1..=FACTOR_MAX).contains(n)).ok_or_else(wrong);
        Ok(Self::Linear { upstream: factor(upstream)?, downstream: factor(downstream)? })
    }
}

/// `12.5%` in millionths.
fn part(text: &str) -> Option<u32> {
    let number = text.trim().strip_suffix('%')?.trim();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(decimals)
}

impl Serialize for Expect {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

fn times(f: Fingerprint, factor: u64) -> Fingerprint {
    Fingerprint { hi: f.hi.wrapping_mul(factor), lo: f.lo.wrapping_mul(factor) }
}

impl Evidence {
    /// Both sides of the equation.
    pub(super) fn equation(&self) -> Self {
        let (a, b) = self.expect.factors();
        let up = |n: u64| n.saturating_mul(a);
        Self {
            attempted: up(self.attempted),
            acked: up(self.acked),
            failed: up(self.failed),
            in_flight: self.in_flight,
            downstream: self.downstream.map(|n| n.saturating_mul(b)),
            upstream_reports: self.upstream_reports,
            f_in: times(self.f_in, a),
            f_acked: times(self.f_acked, a),
            f_failed: times(self.f_failed, a),
            f_down: times(self.f_down, b),
            progress: self.progress.clone(),
            caveats: self.caveats.clone(),
            members: self.members.clone(),
            ..*self
        }
    }

    /// Of an equation: the least that must be downstream.
    pub(super) fn least(&self) -> u64 {
        match self.expect {
            Expect::Linear { .. } => self.acked,
            Expect::Share { least, .. } => {
                let exact = u128::from(self.acked) * u128::from(least);
                u64::try_from(exact.div_ceil(u128::from(WHOLE))).unwrap_or(u64::MAX)
            }
        }
    }

    /// Of an equation: the most that may be.
    pub(super) fn most(&self) -> u64 {
        let all = self.attempted.saturating_sub(self.failed);
        match self.expect {
            Expect::Linear { .. } => all,
            Expect::Share { most, .. } => {
                u64::try_from(u128::from(all) * u128::from(most) / u128::from(WHOLE)).unwrap_or(u64::MAX)
            }
        }
    }

    /// A difference of both sides in messages of the downstream stage.
    pub(super) fn messages(&self, difference: u64) -> u64 {
        difference.div_ceil(self.expect.factors().1)
    }

    /// What so many messages of the upstream stage are downstream.
    pub(super) fn of_upstream(&self, messages: u64) -> u64 {
        let (a, b) = self.expect.factors();
        messages.saturating_mul(a).div_ceil(b)
    }

    /// Fewer are downstream than must be.
    pub fn lacks(&self) -> bool {
        let e = self.equation();
        e.downstream.is_some_and(|n| n < e.least())
    }

    /// Not more are downstream than must be.
    pub fn at_most_least(&self) -> bool {
        let e = self.equation();
        e.downstream.is_some_and(|n| n <= e.least())
    }

    /// Not fewer are downstream than may be.
    pub fn at_least_most(&self) -> bool {
        let e = self.equation();
        e.downstream.is_some_and(|n| n >= e.most())
    }

    /// Something may be absent: fewer are downstream than must be, or as many where some may be others'.
    pub fn may_lack(&self) -> bool {
        let e = self.equation();
        let others = e.left_out.is_some() && !e.complete && !e.expect.is_share();
        self.lacks() || others && e.downstream == Some(e.acked) && e.f_down != e.f_acked
    }

    /// Whether the verdict is *ok*.
    pub fn is_ok(&self) -> bool {
        judge(self).verdict == Verdict::Ok
    }
}

/// A filter passed on as much as it should, as far as can be told.
pub(super) fn within(e: &Evidence, down: u64) -> Judgement {
    let why = format!(
        "acked {} upstream, {down} seen downstream: between {} and {} is expected, and which ones cannot be told",
        e.acked,
        e.least(),
        e.most()
    );
    Judgement::plain(Verdict::Unproven, why)
}

/// What `why` says of a hop from which not every message once is expected.
pub(super) fn note(e: &Evidence, why: String) -> String {
    let told = e.progress == Progress::Settled && e.upstream_reports && e.downstream.is_some();
    match e.expect {
        Expect::ALL => why,
        _ if !told => why,
        Expect::Linear { upstream, downstream } => {
            format!("{why}; upstream counts {upstream} times, downstream {downstream} times")
        }
        Expect::Share { .. } => format!("{why}; expected is a share of {}", e.expect),
    }
}
