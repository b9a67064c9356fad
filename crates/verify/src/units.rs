//! Units: decimals as whole millionths, and times as whole microseconds.

use bigdecimal::{BigDecimal, ToPrimitive};
use chrono::{DateTime, Duration, Utc};

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

#[cfg(test)]
mod tests {
    use super::*;

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
