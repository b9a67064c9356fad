//! Units: decimals as whole millionths, and times as whole microseconds.

use bigdecimal::{BigDecimal, ToPrimitive};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use retail_api::duration;

/// The millionths of a decimal as Postgres prints it; `None` if it has further decimals or another form.
pub(crate) fn millionths(text: &str) -> Option<i128> {
    let decimal: BigDecimal = text.parse().ok()?;
    exact_millionths(&decimal)
}

/// The millionths of a decimal; `None` if it has further decimals, or more than 38 digits.
pub(crate) fn exact_millionths(decimal: &BigDecimal) -> Option<i128> {
    let rounded = decimal.with_scale(6);
    (rounded == *decimal).then(|| rounded.into_bigint_and_exponent().0.to_i128()).flatten()
}

/// A number of millionths as a decimal.
pub(crate) fn decimal(millionths: i128) -> BigDecimal {
    BigDecimal::new(millionths.into(), 6)
}

/// An instant; the end of the calendar for a number of microseconds beyond it.
pub(crate) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The microseconds of a span.
pub(crate) fn micros(duration: Duration) -> i64 {
    duration.num_microseconds().expect("windows and delays are shorter than centuries")
}

/// An instant as the messages name it.
pub(crate) fn shown(micros: i64) -> String {
    time(micros).format("%F %T").to_string()
}

/// The start of the window with this event time.
pub(crate) fn window_start(event_time: DateTime<Utc>, window: Duration) -> DateTime<Utc> {
    let window = micros(window);
    time(event_time.timestamp_micros().div_euclid(window) * window)
}

/// An instant in RFC 3339.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A span that is not negative, such as `1h1m11s`.
pub(crate) fn written(span: Duration) -> String {
    let span = span.to_std().unwrap_or_default();
    if !span.is_zero() && span < std::time::Duration::from_millis(1) {
        format!("{}µs", span.as_micros())
    } else {
        duration::write(span)
    }
}

/// The least delay, in steps that people would write, which is longer than `span`: whole seconds below an hour, whole minutes above.
pub(crate) fn least_delay(span: Duration) -> Duration {
    let step = if span < Duration::hours(1) - Duration::seconds(1) { 1_000_000 } else { 60_000_000 };
    Duration::microseconds((micros(span).div_euclid(step) + 1) * step).max(Duration::zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_delay_is_longer_than_the_span() {
        for (micros, delay) in [
            (-5_000_001, "0s"),
            (-1, "0s"),
            (0, "1s"),
            (999_999, "1s"),
            (1_000_000, "2s"),
            (3_598_999_999, "59m59s"),
            (3_599_000_000, "1h"),
            (3_600_000_000, "1h1m"),
            (3_611_000_000, "1h1m"),
        ] {
            let span = Duration::microseconds(micros);
            assert!(least_delay(span) > span);
            assert_eq!(written(least_delay(span)), delay, "{micros}");
        }
    }

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        for (text, expected) in [
            ("1", Some(1_000_000)),
            ("-0.000001", Some(-1)),
            ("2.2000000", Some(2_200_000)),
            ("2.2000001", None),
            ("NaN", None),
        ] {
            assert_eq!(millionths(text), expected, "{text}");
        }
        assert_eq!(decimal(-1_500_000).to_plain_string(), "-1.500000");
    }
}
