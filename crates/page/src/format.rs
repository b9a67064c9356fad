//! Numbers, times and durations for people.

use std::time::Duration;

use retail_api::duration;
use retail_engine::Timestamp;

/// A whole number with separators.
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let sign = if number < 0 { "−" } else { "" };
    format!("{sign}{}", separated(&digits))
}

/// A decimal as Postgres prints it, with separators, two decimals, and further ones if they are not zero.
pub(crate) fn money(decimal: &str) -> String {
    let (sign, digits) = decimal.strip_prefix('-').map_or(("", decimal), |digits| ("−", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    format!("{sign}{}.{:0<2}", separated(whole), fraction.trim_end_matches('0'))
}

/// An amount of which only the first digits matter, such as `12.3k`.
pub(crate) fn rough(amount: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (divisor, unit) = units.into_iter().find(|(size, _)| amount.abs() >= *size).unwrap_or((1.0, ""));
    let text = format!("{:.2}", amount / divisor);
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.')).replace('-', "−")
}

/// A share of all in percent, with two significant digits.
pub(crate) fn share(part: f64, all: f64) -> String {
    let percent = if all == 0.0 { 0.0 } else { part / all * 100.0 };
    if percent == 0.0 {
        return "0 %".to_owned();
    }
    let digits = (1.0 - percent.abs().log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{percent:.digits$} %")
}

fn separated(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Date and time in whole seconds of UTC, such as `2026-10-01 18:50:09`.
pub(crate) fn time(time: Timestamp) -> String {
    let text = time.to_string();
    let seconds = text.get(..19).unwrap_or(&text);
    seconds.replace('T', " ")
}

/// The time of day in UTC: with seconds, if it has some.
pub(crate) fn clock(at: Timestamp) -> String {
    let text = time(at);
    let clock = text.get(11..).unwrap_or_default();
    clock.strip_suffix(":00").unwrap_or(clock).to_owned()
}

/// The month and the day, such as `10-01`.
pub(crate) fn day(at: Timestamp) -> String {
    time(at).get(5..10).unwrap_or_default().to_owned()
}

/// A duration in its two largest units, such as `1h5m` or `12s`.
pub(crate) fn span(span: Duration) -> String {
    duration::approximate(span)
}

/// How long ago something was: in whole seconds.
pub(crate) fn ago(age: Duration) -> String {
    if age < Duration::from_secs(1) { "now".to_owned() } else { format!("{} ago", span(age)) }
}

/// The time from one instant to a later one; zero if it is not later.
pub(crate) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.since(earlier).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_two_decimals_and_those_that_are_not_zero() {
        let cases = [
            ("0", "0.00"),
            ("12.5", "12.50"),
            ("1234567.500000", "1,234,567.50"),
            ("0.001", "0.001"),
            ("-1999.990001", "−1,999.990001"),
            ("100", "100.00"),
        ];
        for (decimal, expected) in cases {
            assert_eq!(money(decimal), expected);
        }
    }

    #[test]
    fn numbers_have_separators_and_signs() {
        assert_eq!([0, 999, 1000, -1_234_567].map(count), ["0", "999", "1,000", "−1,234,567"]);
        assert_eq!([0.0, 999.0, 1500.0, -2_000_000.0].map(rough), ["0", "999", "1.5k", "−2M"]);
        assert_eq!(
            [(1.0, 3.0), (0.0, 5.0), (1.0, 0.0), (12.0, 1e6)].map(|(part, all)| share(part, all)),
            ["33 %", "0 %", "0 %", "0.0012 %"]
        );
    }

    #[test]
    fn age_below_a_second_is_now() {
        assert_eq!([999, 1000, 61_000].map(|millis| ago(Duration::from_millis(millis))), ["now", "1s ago", "1m1s ago"]);
    }

    #[test]
    fn times_are_in_whole_seconds() {
        let at = Timestamp::from_micros(1_735_693_209_500_000);
        assert_eq!((time(at), clock(at), day(at)), ("2025-01-01 01:00:09".into(), "01:00:09".into(), "01-01".into()));
        assert_eq!(clock(Timestamp::from_secs(1_735_693_200)), "01:00");
    }
}
