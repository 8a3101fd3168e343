//! Event time to window: the only place that divides by the width.
//!
//! Invariants: widths nest (10 divides 60 divides 600 s), so a hop whose stages count at different widths compares at
//! the coarser one. `window_start = floor(event_ms / width) × width`, also before 1970.

use serde::{Deserialize, Serialize};

/// The width of a window in milliseconds: 10, 60 or 600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Width(u32);

/// A width that does not nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("window width is {0} ms; allowed are 10000, 60000 and 600000")]
pub struct WrongWidth(u32);

impl Width {
    /// 10 s, the default.
    pub const TEN_SECONDS: Self = Self(10_000);
    /// The allowed widths, finest first.
    pub const ALL: [Self; 3] = [Self(10_000), Self(60_000), Self(600_000)];

    /// The width in milliseconds.
    pub const fn ms(self) -> i64 {
        self.0 as i64
    }
    /// The window that holds `event_ms`.
    pub const fn window_of(self, event_ms: i64) -> WindowStart {
        WindowStart(event_ms.div_euclid(self.ms()) * self.ms())
    }
}

impl Default for Width {
    fn default() -> Self {
        Self::TEN_SECONDS
    }
}
impl TryFrom<u32> for Width {
    type Error = WrongWidth;
    fn try_from(ms: u32) -> Result<Self, WrongWidth> {
        Self::ALL.into_iter().find(|w| w.0 == ms).ok_or(WrongWidth(ms))
    }
}
impl From<Width> for u32 {
    fn from(w: Width) -> Self {
        w.0
    }
}

/// The start of a window, in milliseconds since 1970 of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WindowStart(pub i64);

impl WindowStart {
    /// The first millisecond after the window.
    pub const fn end_ms(self, width: Width) -> i64 {
        self.0 + width.ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_floor_also_before_1970_and_nest() {
        let w = Width::TEN_SECONDS;
        assert_eq!(w.window_of(19_999), WindowStart(10_000));
        assert_eq!(w.window_of(20_000), WindowStart(20_000));
        assert_eq!(w.window_of(-1), WindowStart(-10_000));
        for pair in Width::ALL.windows(2) {
            assert_eq!(pair[1].ms() % pair[0].ms(), 0);
        }
        assert!(Width::try_from(15_000).is_err());
    }
}
