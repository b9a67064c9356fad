//! Parses JSON numbers exactly.
//!
//! A binary float cannot represent 19.99. Therefore a price is parsed digit by digit to whole millionths, and the digits
//! below a millionth to one of the four cases that matter for rounding.

/// The length of the JSON number at the start of `text`; `None` if `text` does not start with one.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    let count = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let some_digits = |from: usize| Some(count(from)).filter(|&digits| digits > 0);
    let is = |at: usize, any: &[u8]| text.get(at).is_some_and(|byte| any.contains(byte));
    let start = usize::from(is(0, b"-"));
    let mut end = start + if is(start, b"0") { 1 } else { some_digits(start)? };
    if is(end, b".") {
        end += 1 + some_digits(end + 1)?;
    }
    if is(end, b"eE") {
        let sign = usize::from(is(end + 1, b"+-"));
        end += 1 + sign + some_digits(end + 1 + sign)?;
    }
    Some(end)
}

/// Whether the whole `text` is a JSON number.
pub(super) fn is_number(text: &[u8]) -> bool {
    length(text) == Some(text.len())
}

/// Parses the most common form of a price, digits with at most six decimals, to millionths. Returns `None` for any other
/// text, a number or not.
#[inline]
pub(super) fn plain(text: &[u8]) -> Option<i64> {
    const SCALES: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    // A u64 can hold any number of nineteen digits.
    if text.len() > 19 {
        return None;
    }
    let (whole, rest) = digits(0, text);
    let integer = text.len() - rest.len();
    if !(1..=12).contains(&integer) || (integer > 1 && text[0] == b'0') {
        return None;
    }
    let [b'.', decimals @ ..] = rest else { return rest.is_empty().then_some(whole.cast_signed() * SCALES[0]) };
    let (value, rest) = digits(whole, decimals);
    let scale = SCALES.get(decimals.len()).filter(|_| rest.is_empty() && !decimals.is_empty())?;
    Some(value.cast_signed() * scale)
}

/// Appends the digits at the start of `text` to those of `value`. Returns the value and the rest of the text.
#[inline(always)]
fn digits(mut value: u64, mut text: &[u8]) -> (u64, &[u8]) {
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        (value, text) = (value * 10 + u64::from(digit - b'0'), rest);
    }
    (value, text)
}

/// Parses a positive JSON integer of at most eighteen digits. Returns `None` for any other text.
#[inline]
pub(super) fn positive(text: &[u8]) -> Option<i64> {
    if !(1..=18).contains(&text.len()) || text[0] == b'0' {
        return None;
    }
    let (value, rest) = digits(0, text);
    rest.is_empty().then_some(value.cast_signed())
}

/// A number of units of 10^-`scale` in millionths. `None` if it is not whole, or out of range.
#[inline(always)]
pub(super) fn scaled(units: i64, scale: u32) -> Option<i64> {
    const MILLIONTHS: [i64; 7] = [1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
    units.checked_mul(*MILLIONTHS.get(scale as usize)?)
}

/// The highest bit of each byte.
pub(super) const HIGH: u64 = 0x8080_8080_8080_8080;

/// Eight zero digits: XOR converts digits to values and values to digits.
pub(super) const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// Whether each byte is at most nine.
#[inline(always)]
pub(super) fn are_digits(values: u64) -> bool {
    (values.wrapping_add(0x7676_7676_7676_7676) | values) & HIGH == 0
}

/// The number with these eight digits, the lowest byte first.
#[inline(always)]
pub(super) fn from_digits(values: u64) -> u64 {
    // Combines digits to pairs, and pairs to groups of four digits.
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// A number of at most eight bytes, parsed without a loop, and so without a mispredicted length.
#[derive(Clone, Copy)]
pub(super) struct Short {
    /// The value of each digit. The last digit is the highest byte; bytes before the first digit are zero.
    values: u64,
    /// Number of bits before the first digit.
    before: u32,
}

impl Short {
    /// The bytes `start..end` of `text`. Returns `None` unless they are one to eight bytes and `end` is at least 8.
    #[inline(always)]
    pub(super) fn new(text: &[u8], start: usize, end: usize) -> Option<Self> {
        let before = 8_usize.wrapping_sub(end.wrapping_sub(start));
        let eight = text.get(end.wrapping_sub(8)..)?.first_chunk()?;
        if before >= 8 {
            return None;
        }
        let before = 8 * before as u32;
        Some(Self { values: (u64::from_le_bytes(*eight) ^ ZEROS) >> before << before, before })
    }

    #[inline(always)]
    fn first(self) -> u8 {
        (self.values >> self.before) as u8
    }

    /// As [`positive`].
    #[inline(always)]
    pub(super) fn positive(self) -> Option<i64> {
        (self.first() != 0 && are_digits(self.values)).then(|| from_digits(self.values).cast_signed())
    }

    /// As [`plain`], but returns `None` for numbers without decimals.
    #[inline(always)]
    pub(super) fn plain(self) -> Option<i64> {
        /// Millionths of the last digit, by the position of the point.
        const SCALES: [i64; 8] = [0, 1, 10, 100, 1_000, 10_000, 100_000, 0];
        const POINTS: u64 = u64::from_le_bytes([b'.' ^ b'0'; 8]);
        let differs = self.values ^ POINTS;
        // The lowest of these bits belongs to the first point. Without a point, the position is 0, which is invalid.
        let points = differs.wrapping_sub(0x0101_0101_0101_0101) & !differs & HIGH;
        let point = points.trailing_zeros() & 0b11_1000;
        let scale = SCALES[(point / 8) as usize];
        let behind = self.values >> point & !0xff;
        let ahead = self.values & ((1 << point) - 1);
        let values = behind << point | ahead << 8;
        let whole = point.wrapping_sub(self.before);
        let fits = scale != 0 && are_digits(values) && (whole == 8 || (whole > 8 && self.first() != 0));
        fits.then(|| from_digits(values).cast_signed() * scale)
    }
}

/// As [`positive`], for the bytes `start..end` of `text`, without a loop. Returns `None` unless they are nine to sixteen bytes and
/// `end` is at least 16.
#[inline(always)]
pub(super) fn nine_to_sixteen_digits(text: &[u8], start: usize, end: usize) -> Option<i64> {
    let before = 16_usize.wrapping_sub(end.wrapping_sub(start));
    let sixteen: &[u8; 16] = text.get(end.wrapping_sub(16)..)?.first_chunk()?;
    if before >= 8 {
        return None;
    }
    let before = 8 * before as u32;
    let [high, low] =
        std::array::from_fn(|half| u64::from_le_bytes(std::array::from_fn(|byte| sixteen[8 * half + byte])) ^ ZEROS);
    let high = high >> before << before;
    let fits = (high >> before) as u8 != 0 && are_digits(high) && are_digits(low);
    fits.then(|| (from_digits(high) * 100_000_000 + from_digits(low)).cast_signed())
}

/// The part of a number below its last millionth.
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
    /// The magnitude in millionths, truncated: below 10^18.
    whole: i64,
    rest: Rest,
}

impl Millionths {
    /// The magnitude, truncated to millionths; `None` for a negative number. Minus zero is zero.
    pub(super) fn truncated(self) -> Option<i64> {
        let zero = self.whole == 0 && self.rest == Rest::Nothing;
        (!self.negative || zero).then_some(self.whole)
    }

    /// The number rounded half-even to millionths; `None` for a negative number.
    pub(super) fn rounded(self) -> Option<i64> {
        self.truncated().map(|whole| whole + self.up())
    }

    /// The number rounded half-even to millionths, with its sign.
    pub(super) fn signed_rounded(self) -> i64 {
        let magnitude = self.whole + self.up();
        if self.negative { -magnitude } else { magnitude }
    }

    /// What rounding adds to the magnitude.
    fn up(self) -> i64 {
        match self.rest {
            Rest::Nothing | Rest::BelowHalf => 0,
            Rest::Half => self.whole & 1,
            Rest::AboveHalf => 1,
        }
    }
}

/// Parses `text`, which [must be](is_number) a JSON number. Returns `None` if its magnitude is 10^12 or more.
///
/// Any exponent and any number of digits are exact: `1e-999999999999` is above zero and below half a millionth.
pub(super) fn millionths(text: &[u8]) -> Option<Millionths> {
    millionths_of(text, 0)
}

/// As [`millionths`], of the number × 10^`shift`.
pub(super) fn millionths_of(text: &[u8], shift: i64) -> Option<Millionths> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let before = |is: fn(&u8) -> bool, text: &[u8]| text.iter().position(is).unwrap_or(text.len());
    let (mantissa, power) = text.split_at(before(|byte| matches!(byte, b'e' | b'E'), text));
    let (integer, fraction) = mantissa.split_at(before(|byte| *byte == b'.', mantissa));
    let exponent = exponent(power.get(1..).unwrap_or_default()).saturating_add(shift);
    let digits = integer.iter().chain(fraction.get(1..).unwrap_or_default());
    let mut digits = digits.map(|digit| i64::from(digit - b'0')).peekable();
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

/// The value of the exponent; zero for an empty text. Values out of range saturate.
fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    let magnitude =
        digits.iter().fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(text: &str) -> Option<i64> {
        millionths(text.as_bytes()).and_then(Millionths::rounded)
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
    fn plain_prices_equal_the_exact_reading() {
        let mut plain_ones = 0;
        for integer in ["", "0", "7", "00", "01", "44", "123456789012", "999999999999", "1234567890123", "-1", "+1"] {
            for fraction in ["", ".", ".0", ".5", ".38", ".000001", ".999999", ".1234567", ".1.2", "e1", ".5e1", " "] {
                let text = format!("{integer}{fraction}");
                let json = serde_json::from_str::<f64>(&text).is_ok_and(|_| !text.ends_with(' '));
                if let Some(value) = plain(text.as_bytes()) {
                    assert!(json, "{text}");
                    assert_eq!(Some(value), rounded(&text), "{text}");
                    plain_ones += 1;
                }
            }
        }
        assert_eq!(plain_ones, 6 * 5, "each integer that JSON has, with no, one, two and six decimals");
    }

    /// `text` as a short number, at several positions.
    fn short(text: &str) -> Option<Short> {
        let shorts = ["\"price\": ", "99999999", ".0.0.0.0"].map(|before| {
            let all = format!("{before}{text}}}");
            Short::new(all.as_bytes(), before.len(), before.len() + text.len())
        });
        let values = shorts.map(|short| short.map(|short| short.values));
        assert!(values.iter().all(|value| *value == values[0]), "{text}");
        shorts[0]
    }

    #[test]
    fn short_numbers_equal_the_general_reading() {
        // Every text of up to six of these characters.
        let mut texts = vec![String::new()];
        let mut tried = 0;
        let longest = if cfg!(miri) { 3 } else { 6 };
        while let Some(text) = texts.pop() {
            if let Some(short) = short(&text) {
                let bytes = text.as_bytes();
                assert_eq!(short.positive(), positive(bytes), "{text}");
                assert_eq!(short.plain(), plain(bytes).filter(|_| text.contains('.')), "{text}");
                tried += 1;
            }
            if text.len() < longest {
                texts.extend(['0', '1', '9', '.', '-', '/', ':', 'é'].map(|next| format!("{text}{next}")));
            }
        }
        assert!(tried > 400, "{tried}");
    }

    #[test]
    fn short_numbers_need_one_to_eight_bytes() {
        assert_eq!(short("12345678").and_then(Short::positive), Some(12_345_678));
        assert_eq!(short("1.234567").and_then(Short::plain), Some(1_234_567));
        assert_eq!(short("99999.99").and_then(Short::plain), Some(99_999_990_000));
        assert!(short("123456789").is_none() && short("").is_none());
        assert!(Short::new(b"1234567", 6, 7).is_none(), "the beginning of the text is too close");
        assert!(Short::new(b"12345678", 7, 9).is_none(), "beyond its end");
        assert!(Short::new(b"123456789", 8, 3).is_none(), "the wrong simd round");
    }

    #[test]
    fn nine_to_sixteen_digits_equal_the_general_reading() {
        let mut read = 0;
        for length in 0..20 {
            for filler in ["0", "7", "9"] {
                for at in 0..length {
                    for byte in ["0", "1", "9", "/", ":", ".", "-", "é"] {
                        let mut text = filler.repeat(length);
                        text.replace_range(at..=at, byte);
                        for before in ["", "1", "99999999", "{\"price\": 12345678"] {
                            let all = format!("{before}{text}}}");
                            let (start, end) = (before.len(), before.len() + text.len());
                            let general = positive(text.as_bytes());
                            let found = nine_to_sixteen_digits(all.as_bytes(), start, end);
                            let is_read = (9..=16).contains(&text.len()) && end >= 16;
                            assert_eq!(found, general.filter(|_| is_read), "{all}");
                            read += usize::from(found.is_some());
                        }
                    }
                }
            }
        }
        assert!(read > 500, "{read}");
        assert_eq!(nine_to_sixteen_digits(b"12345678901234567", 5, 3), None);
        assert_eq!(nine_to_sixteen_digits(b"12345678901234567", 3, 18), None, "beyond the end");
    }

    #[test]
    fn whole_numbers_are_digits_without_a_leading_zero() {
        assert_eq!(positive(b"1"), Some(1));
        assert_eq!(positive(b"999999999999999999"), Some(999_999_999_999_999_999));
        for text in ["", "0", "01", "-1", "+1", "1.0", "1e0", " 1", "1 ", "1000000000000000000"] {
            assert_eq!(positive(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn unix_seconds_are_cut_to_microseconds() {
        let cut = |text: &str| millionths(text.as_bytes()).and_then(Millionths::truncated);
        assert_eq!(cut("1700000000.1234569"), Some(1_700_000_000_123_456));
        assert_eq!(cut("1.7e9"), Some(1_700_000_000_000_000));
        assert_eq!(cut("-0"), Some(0));
        assert_eq!(cut("-0.0000001"), None);
    }
}
