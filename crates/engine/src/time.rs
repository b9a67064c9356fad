//! Instants and spans in whole microseconds, the resolution of Postgres.

use std::fmt;
use std::time::Duration;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// An instant: whole microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z. No window ends at or before it, so that it is the floor of a partition without closed windows.
    pub const EPOCH: Self = Self(0);

    /// The first instant of the year 10000; all events are earlier.
    pub(crate) const YEAR_10000: Self = Self(253_402_300_800 * MICROS_PER_SECOND);

    /// The instant, if it is in the years 1970..=9999 of events.
    pub(crate) fn in_years_of_events(self) -> Option<Self> {
        (Self::EPOCH..Self::YEAR_10000).contains(&self).then_some(self)
    }

    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the epoch, the unit of Kafka's record timestamps.
    ///
    /// A record can contain any number: values out of range saturate.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// The instant `seconds` seconds after the epoch.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant `span` later.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time from `earlier` to this instant; zero if this instant is not later.
    pub const fn since(self, earlier: Self) -> Span {
        let micros = self.0.saturating_sub(earlier.0);
        Span(if micros > 0 { micros } else { 0 })
    }

    /// The start of the window of length `window` that contains this instant. Windows are aligned to the epoch.
    #[must_use]
    pub const fn floor(self, window: Span) -> Self {
        // Nearly all instants are after 1970, where the division is simpler.
        let into = if self.0 >= 0 { (self.0 as u64 % window.0 as u64) as i64 } else { self.0.rem_euclid(window.0) };
        Self(self.0 - into)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with the necessary fraction digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            None => write!(f, "{} µs after 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time: whole microseconds, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    /// The empty span.
    pub const ZERO: Self = Self(0);

    /// `seconds` seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds as i64 * MICROS_PER_SECOND)
    }

    /// The span in microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl From<Duration> for Span {
    /// Truncates to microseconds; a duration out of range becomes the longest span.
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0.unsigned_abs())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from(*self), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_starts_are_multiples_of_the_window() {
        let window = Span::from_secs(300);
        for (micros, start) in [(0, 0), (299_999_999, 0), (300_000_000, 300), (-1, -300)] {
            assert_eq!(Timestamp::from_micros(micros).floor(window), Timestamp::from_secs(start), "{micros} µs");
        }
    }

    #[test]
    fn extreme_record_timestamps_saturate() {
        assert_eq!(Timestamp::from_millis(i64::MAX).as_micros(), i64::MAX);
        assert_eq!(Timestamp::from_micros(i64::MAX).plus(Span::from_secs(1)).as_micros(), i64::MAX);
    }
}
