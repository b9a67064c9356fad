//! The texts of numbers that a record has in binary form: the shortest decimals.

use std::fmt::{self, Write};

/// Maximum length of the bytes of a decimal, without bytes that only repeat its sign. They have up to 2,467 digits.
pub(super) const MAX_DECIMAL_BYTES: usize = 1024;

/// Maximum length of the text of a decimal with a point: no id is longer.
const MAX_PLAIN: usize = 1024;

/// A text of few bytes, which needs no allocation.
#[derive(Clone, Copy)]
pub(super) struct ShortText {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl ShortText {
    /// The longest text is that of the least `i64` with a point, or with an exponent of ten digits.
    const MAX: usize = 64;

    /// The text of a value that has at most [`Self::MAX`] bytes.
    pub(super) fn of(value: impl fmt::Display) -> Self {
        let mut text = Self { bytes: [0; Self::MAX], length: 0 };
        write!(text, "{value}").expect("numbers are shorter");
        text
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("it was written as text")
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The shortest decimal that reads back as this number. `None` for NaN and infinities.
pub(super) fn float<F: Into<f64> + Copy + fmt::Display + fmt::LowerExp>(value: F) -> Option<ShortText> {
    let wide: f64 = value.into();
    if !wide.is_finite() {
        return None;
    }
    if wide == 0.0 {
        return Some(ShortText::of(0));
    }
    // The text without an exponent has hundreds of digits for the largest and the smallest numbers.
    let is_plain = (1e-7..1e17).contains(&wide.abs());
    Some(if is_plain { ShortText::of(value) } else { ShortText::of(format_args!("{value:e}")) })
}

/// The millionths of a number whose shortest decimal has at most fifteen digits and six decimals. `None` for any other number.
#[inline(always)]
pub(super) fn float_millionths(value: f64) -> Option<i64> {
    let scaled = value * 1e6;
    // A decimal of at most fifteen digits is the only one of this length that reads back as its nearest float.
    if !(0.0..1e15).contains(&scaled) {
        return None;
    }
    let millionths = scaled.round() as i64;
    (millionths as f64 / 1e6 == value).then_some(millionths)
}

/// Drops zeros at the end of the decimals.
pub(super) const fn trimmed(mut unscaled: i64, mut scale: u32) -> (i64, u32) {
    while scale > 0 && unscaled % 10 == 0 {
        if unscaled == 0 {
            return (0, 0);
        }
        (unscaled, scale) = (unscaled / 10, scale - 1);
    }
    (unscaled, scale)
}

/// As JSON writes it: a whole number has only digits, any other one has an exponent.
pub(super) struct WithExponent<T>(pub(super) T, pub(super) u32);

impl<T: fmt::Display> fmt::Display for WithExponent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(unscaled, scale) = self;
        match scale {
            0 => unscaled.fmt(f),
            scale => write!(f, "{unscaled}e-{scale}"),
        }
    }
}

/// The text of ±`digits` × 10^-`scale` with a point. `None` if it is longer than any text that a field accepts.
pub(super) fn plain(unscaled: &str, scale: u32) -> Option<String> {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |digits| ("-", digits));
    let scale = scale as usize;
    if scale.max(digits.len()) > MAX_PLAIN {
        return None;
    }
    let zeros = "0".repeat((scale + 1).saturating_sub(digits.len()));
    let digits = zeros + digits;
    let (whole, decimals) = digits.split_at(digits.len() - scale);
    Some(if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") })
}

/// A decimal in big-endian two's complement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unscaled<'a> {
    Short(i64),
    /// Without bytes that only repeat the sign.
    Long(&'a [u8]),
    /// No number, or too long.
    Other,
}

impl<'a> Unscaled<'a> {
    #[inline(always)]
    pub(super) fn of(mut bytes: &'a [u8]) -> Self {
        while let [first, rest @ ..] = bytes
            && let [next, ..] = rest
            && *first == if *next < 0x80 { 0 } else { 0xff }
        {
            bytes = rest;
        }
        match bytes {
            [] => Self::Other,
            [first, ..] if bytes.len() <= 8 => {
                let sign = i64::from(first.cast_signed() >> 7);
                Self::Short(bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
            }
            _ if bytes.len() <= MAX_DECIMAL_BYTES => Self::Long(bytes),
            _ => Self::Other,
        }
    }
}

/// The digits of a whole number in big-endian two's complement, with its sign.
pub(super) fn digits(bytes: &[u8]) -> String {
    const BASE: u64 = 1_000_000_000;
    let is_negative = bytes.first().is_some_and(|first| *first >= 0x80);
    // The magnitude of a negative number is that of its complement, plus one.
    let mask = if is_negative { 0xff } else { 0 };
    let mut parts: Vec<u64> = Vec::new();
    let mut append = |factor: u64, add: u64| {
        let mut carry = add;
        for part in &mut parts {
            let value = *part * factor + carry;
            (*part, carry) = (value % BASE, value / BASE);
        }
        if carry > 0 {
            parts.push(carry);
        }
    };
    bytes.iter().for_each(|byte| append(256, u64::from(byte ^ mask)));
    append(1, u64::from(is_negative));
    let mut text = String::from(if is_negative { "-" } else { "" });
    let mut parts = parts.iter().rev();
    text += &parts.next().unwrap_or(&0).to_string();
    parts.for_each(|part| text += &format!("{part:09}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_their_shortest_decimals() {
        let single = |value: f32| float(value).map(|text| text.as_str().to_owned());
        let double = |value: f64| float(value).map(|text| text.as_str().to_owned());
        for (value, expected) in [
            (3.0, "3"),
            (-0.0, "0"),
            (19.99, "19.99"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-7, "0.0000001"),
            (1.5e-8, "1.5e-8"),
            (99_999_999_999_999_980.0, "99999999999999980"),
            (1e17, "1e17"),
            (-f64::MAX, "-1.7976931348623157e308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(double(value).as_deref(), Some(expected));
            assert!(crate::decode::number::is_number(expected.as_bytes()), "{expected}");
        }
        assert_eq!(single(0.1).as_deref(), Some("0.1"), "not that of the nearest double");
        assert_eq!([f64::NAN, f64::INFINITY, -f64::INFINITY].map(double), [None, None, None]);
    }

    #[test]
    fn float_millionths_equal_those_of_the_text() {
        let mut read = 0;
        for whole in [0_i64, 1, 7, 44, 999, 123_456, 99_999_999, 999_999_999, 1_000_000_000, 123_456_789_012] {
            for decimals in [0_i64, 1, 5, 10, 380_000, 500_000, 999_999, 123_456] {
                let text = format!("{whole}.{decimals:06}");
                let value: f64 = text.parse().unwrap();
                for value in [value, value.next_up(), value.next_down(), -value] {
                    let text = float(value).unwrap();
                    let exact = crate::decode::number::millionths(text.as_str().as_bytes()).unwrap();
                    if let Some(millionths) = float_millionths(value) {
                        assert_eq!(Some(millionths), exact.rounded(), "{value}");
                        read += 1;
                    }
                }
            }
        }
        assert!(read >= 8 * 8, "{read}");
        assert_eq!([f64::NAN, f64::INFINITY, 1e9, -1.0].map(float_millionths), [None; 4]);
    }

    #[test]
    fn decimals_are_read_from_any_number_of_bytes() {
        for (bytes, expected) in [
            (&[0x07, 0xcf][..], "1999"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0x07, 0xcf], "1999"),
            (&[0xff], "-1"),
            (&[0xff, 0xff, 0x80], "-128"),
            (&[0, 0xff], "255"),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "9223372036854775807"),
            (&[0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0, 0x80, 0, 0, 0, 0, 0, 0, 0], "9223372036854775808"),
            (&[0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "-9223372036854775809"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "340282366920938463463374607431768211456"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "-340282366920938463463374607431768211456"),
        ] {
            let text = match Unscaled::of(bytes) {
                Unscaled::Short(value) => {
                    assert_eq!(digits(bytes), value.to_string());
                    value.to_string()
                }
                Unscaled::Long(bytes) => digits(bytes),
                Unscaled::Other => String::new(),
            };
            assert_eq!(text, expected);
        }
        assert_eq!(Unscaled::of(&[]), Unscaled::Other);
        assert_eq!(Unscaled::of(&[1; MAX_DECIMAL_BYTES + 1]), Unscaled::Other);
        assert_eq!(Unscaled::of(&[0; 5000]), Unscaled::Short(0));
        assert_eq!(digits(&[0x7f; MAX_DECIMAL_BYTES]).len(), 2466);
    }

    #[test]
    fn texts_of_decimals_are_plain_or_have_an_exponent() {
        for (unscaled, scale, expected) in
            [("0", 0, "0"), ("5", 1, "0.5"), ("-5", 3, "-0.005"), ("1999", 2, "19.99"), ("1999", 0, "1999")]
        {
            assert_eq!(plain(unscaled, scale).as_deref(), Some(expected));
        }
        assert_eq!(plain("1", u32::MAX), None);
        assert_eq!(trimmed(-1500, 2), (-15, 0));
        assert_eq!(trimmed(0, u32::MAX), (0, 0));
        assert_eq!(WithExponent(-15, 1).to_string(), "-15e-1");
        assert_eq!(ShortText::of(WithExponent(i64::MIN, u32::MAX)).as_str(), "-9223372036854775808e-4294967295");
    }
}
