//! Writes values as JSON.

use retail_engine::Timestamp;

/// First and last event time in the calendar: 0001 and 9999.
const CALENDAR: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// A text with quotes.
pub(super) fn text(out: &mut String, text: &str) {
    *out += &serde_json::to_string(text).expect("a text can be written as JSON");
}

/// A float or a double. One that is whole has a point or an exponent.
pub(super) fn float(out: &mut String, is_finite: bool, shown: &str) {
    if is_finite { *out += shown } else { text(out, shown) }
}

/// Bytes as text, if they are UTF-8.
pub(super) fn bytes(out: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(bytes) => text(out, bytes),
        Err(_) => *out += "null",
    }
}

/// A number of units of 10^-`decimals` seconds since 1970.
pub(super) fn instant(out: &mut String, units: i64, decimals: u8) {
    let micros = match decimals {
        3 => units.checked_mul(1000),
        6 => Some(units),
        _ => Some(units.div_euclid(1000)),
    };
    match micros.filter(|micros| CALENDAR.contains(micros)) {
        Some(micros) => text(out, &Timestamp::from_micros(micros).to_string()),
        None => *out += &units.to_string(),
    }
}

/// An unscaled integer as a plain decimal.
pub(super) fn decimal(out: &mut String, unscaled: &str, scale: usize) {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |digits| ("-", digits));
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    *out += sign;
    *out += whole;
    if !fraction.is_empty() {
        *out += ".";
        *out += fraction;
    }
}

/// The digits of an integer in two's complement, big endian.
pub(super) fn unscaled(bytes: &[u8]) -> String {
    let is_negative = bytes.first().is_some_and(|first| *first >= 0x80);
    // Decimal digits, the lowest first.
    let mut digits = vec![0_u32];
    for byte in bytes {
        let mut carry = u32::from(if is_negative { !byte } else { *byte });
        for digit in &mut digits {
            carry += *digit * 256;
            *digit = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    if is_negative {
        // -x is the complement of x, plus one.
        let nines = digits.iter().take_while(|digit| **digit == 9).count();
        digits[..nines].fill(0);
        match digits.get_mut(nines) {
            Some(digit) => *digit += 1,
            None => digits.push(1),
        }
    }
    let digits: String = digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect();
    if is_negative { format!("-{digits}") } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn decimals_are_exact() {
        for number in [0_i64, 1, -1, 127, 128, -128, -129, 255, 256, -256, 9_999, -10_000, i64::MAX, i64::MIN] {
            assert_eq!(unscaled(&number.to_be_bytes()), number.to_string());
        }
        assert_eq!(unscaled(&[0x80]), "-128");
        let decimal = |unscaled, scale| written(|out| decimal(out, unscaled, scale));
        assert_eq!([decimal("5", 2), decimal("-1999", 2), decimal("100", 2)], ["0.05", "-19.99", "1"]);
        assert_eq!([decimal("0", 3), decimal("12", 0)], ["0", "12"]);
    }

    #[test]
    fn instants_beyond_the_calendar_are_numbers() {
        let instant = |units, decimals| written(|out| instant(out, units, decimals));
        assert_eq!(instant(1_764_349_200_250, 3), "\"2025-11-28T17:00:00.250Z\"");
        assert_eq!(instant(-1, 9), "\"1969-12-31T23:59:59.999999Z\"");
        assert_eq!(instant(i64::MAX, 3), i64::MAX.to_string());
    }
}
