//! JSON numbers, read exactly.
//!
//! A binary float cannot hold 19.99; a price is therefore read digit by digit into whole millionths, and what lies
//! below a millionth is kept as the one of four cases that rounding needs to know.

/// What a number has below its last millionth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    Nothing,
    BelowHalf,
    Half,
    AboveHalf,
}

/// A number of magnitude below 10^12, split at the millionth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Millionths {
    negative: bool,
    /// The magnitude in millionths, cut: below 10^18.
    whole: i64,
    rest: Rest,
}

impl Millionths {
    /// The magnitude, cut to millionths, or nothing for a number below zero. Minus zero is zero.
    pub(super) fn cut(self) -> Option<i64> {
        let zero = self.whole == 0 && self.rest == Rest::Nothing;
        (!self.negative || zero).then_some(self.whole)
    }

    /// The number rounded half-even to millionths, or nothing for a number below zero.
    pub(super) fn rounded(self) -> Option<i64> {
        let up = match self.rest {
            Rest::Nothing | Rest::BelowHalf => 0,
            Rest::Half => self.whole & 1,
            Rest::AboveHalf => 1,
        };
        self.cut().map(|whole| whole + up)
    }
}

/// Reads `text`, which must be a JSON number, or answers nothing when its magnitude is 10^12 or more.
///
/// Any exponent and any number of digits are exact: `1e-999999999999` is zero and a bit.
pub(super) fn millionths(text: &str) -> Option<Millionths> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = integer.bytes().chain(fraction.bytes()).map(|digit| i64::from(digit - b'0')).peekable();
    let mut leading_zeros = 0;
    while digits.next_if_eq(&0).is_some() {
        leading_zeros += 1;
    }
    if digits.peek().is_none() {
        return Some(Millionths { negative, whole: 0, rest: Rest::Nothing });
    }
    // The number is below 10^magnitude, and not below 10^(magnitude - 1).
    let magnitude = exponent.saturating_add(integer.len() as i64 - leading_zeros);
    if magnitude > 12 {
        return None;
    }
    let whole_digits = magnitude.saturating_add(6);
    if whole_digits < 0 {
        return Some(Millionths { negative, whole: 0, rest: Rest::BelowHalf });
    }
    let whole = (0..whole_digits).fold(0, |whole, _| whole * 10 + digits.next().unwrap_or(0));
    let rest = match digits.next() {
        None => Rest::Nothing,
        Some(first) => {
            let more = digits.any(|digit| digit != 0);
            match (first, more) {
                (0, false) => Rest::Nothing,
                (5, false) => Rest::Half,
                (0..=4, _) => Rest::BelowHalf,
                _ => Rest::AboveHalf,
            }
        }
    };
    Some(Millionths { negative, whole, rest })
}

/// The exponent's value; one beyond all sense stays beyond all sense.
fn exponent(text: &str) -> i64 {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude =
        digits.bytes().fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(text: &str) -> Option<i64> {
        millionths(text).and_then(Millionths::rounded)
    }

    #[test]
    fn prices_round_half_even_to_six_decimals() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("19.990000000000002", Some(19_990_000)),
            ("0.0000005", Some(0)),
            ("0.0000015", Some(2)),
            ("0.0000025", Some(2)),
            ("0.00000250000000000000000000000000000000001", Some(3)),
            ("1e2", Some(100_000_000)),
            ("12.5E-1", Some(1_250_000)),
            ("0.00012e4", Some(1_200_000)),
            ("999999999999.999999", Some(999_999_999_999_999_999)),
            ("999999999999.9999999", Some(1_000_000_000_000_000_000)),
            ("1000000000000", None),
            ("1e12", None),
            ("-0.0000001", None),
            ("-1", None),
            ("5e-7", Some(0)),
            ("5.1e-7", Some(1)),
            ("9e-8", Some(0)),
            ("1e-99999999999999999999999999", Some(0)),
            ("1e99999999999999999999999999", None),
            ("0e99999999999999999999999999", Some(0)),
            ("0.000000000000000000000000000001e30", Some(1_000_000)),
        ] {
            assert_eq!(rounded(text), expected, "{text}");
        }
    }

    #[test]
    fn unix_seconds_are_cut_to_microseconds() {
        let cut = |text| millionths(text).and_then(Millionths::cut);
        assert_eq!(cut("1700000000.1234569"), Some(1_700_000_000_123_456));
        assert_eq!(cut("1.7e9"), Some(1_700_000_000_000_000));
        assert_eq!(cut("-0"), Some(0));
        assert_eq!(cut("-0.0000001"), None);
    }
}
