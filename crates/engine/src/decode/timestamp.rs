//! Event timestamps: RFC 3339 strings, or JSON numbers of Unix seconds.

use super::number::{HIGH, ZEROS, are_digits, from_digits, millionths_of};
use crate::time::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Parses a JSON number of Unix seconds, truncated to microseconds. Years 1970..=9999.
pub(super) fn unix_seconds(text: &[u8]) -> Option<Timestamp> {
    from_number(text, 0)
}

/// Parses a JSON number of units of 10^-`decimals` seconds since 1970, truncated to microseconds. Years 1970..=9999.
pub(super) fn from_number(text: &[u8], decimals: u8) -> Option<Timestamp> {
    in_range(millionths_of(text, -i64::from(decimals))?.truncated()?)
}

/// As [`from_number`], for a number of units. `None` also for a number beyond the range of microseconds.
#[inline(always)]
pub(super) fn from_units(units: i64, decimals: u8) -> Option<Timestamp> {
    let decimals = u32::from(decimals);
    let micros = match 6_u32.checked_sub(decimals) {
        Some(zeros) => units.checked_mul(10_i64.checked_pow(zeros)?)?,
        None => units / 10_i64.checked_pow(decimals - 6)?,
    };
    in_range(micros)
}

/// Parses RFC 3339 strings with an offset, truncated to microseconds. Years 1970..=9999 in UTC.
///
/// `YYYY-MM-DD`, `T` or a blank, `hh:mm:ss`, at most nine fraction digits, `Z` or `±hh:mm`. `T` and `Z` may be lower
/// case. A leap second is only valid at the end of a day in UTC, and is the first instant of the next minute, as in Postgres.
#[derive(Debug)]
pub(super) struct Dates {
    /// The last date, and its start in microseconds: the next date is nearly always equal.
    date: [u8; 10],
    start: i64,
}

impl Default for Dates {
    fn default() -> Self {
        Self { date: *b"1970-01-01", start: 0 }
    }
}

impl Dates {
    /// The instant of `text`; `None` if it is invalid.
    #[inline(always)]
    pub(super) fn rfc3339(&mut self, text: &[u8]) -> Option<Timestamp> {
        let usual = text.try_into().ok().and_then(|text| self.usual(text));
        in_range(usual.or_else(|| self.any(text))?)
    }

    /// Parses the most common form, `YYYY-MM-DDThh:mm:ss.ffffff+00:00` on the day of the previous timestamp. Returns `None`
    /// for any other text, valid or not.
    #[inline(always)]
    fn usual(&self, text: &[u8; 32]) -> Option<i64> {
        let (date, rest) = text.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let micros = self.start + time_of_day(time, 59)? + six_decimals(rest.first_chunk()?)?;
        (*date == self.date && rest.ends_with(b"+00:00")).then_some(micros)
    }

    #[inline(never)]
    fn any(&mut self, text: &[u8]) -> Option<i64> {
        let (date, time) = text.split_first_chunk()?;
        if *date != self.date {
            self.start = days(date)? * MICROS_PER_DAY;
            self.date = *date;
        }
        let (time, rest) = time.split_first_chunk()?;
        let (fraction, offset) = fraction(rest)?;
        let whole = self.start + time_of_day(time, 60)? - offset_micros(offset)?;
        if time.ends_with(b"60") && whole.rem_euclid(MICROS_PER_DAY) != 0 {
            return None;
        }
        Some(whole + fraction)
    }
}

fn in_range(micros: i64) -> Option<Timestamp> {
    Timestamp::from_micros(micros).in_years_of_events()
}

/// `YYYY-MM-DD` as days since 1970-01-01.
fn days(date: &[u8; 10]) -> Option<i64> {
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let year = two_digits(date, 0)? * 100 + two_digits(date, 2)?;
    let month = two_digits(date, 5)?;
    let day = two_digits(date, 8)?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if day == 0 || day > days_in_month {
        return None;
    }
    // Years that begin in March put the leap day last, so that a month's first day is a linear function of its number.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + day_of_year - 719_468)
}

/// `Thh:mm:ss` in microseconds, with at most `most_seconds` seconds.
#[inline(always)]
fn time_of_day(time: &[u8; 9], most_seconds: i64) -> Option<i64> {
    /// Zeros for the digits, with the colons between them.
    const PATTERN: u64 = u64::from_le_bytes(*b"00:00:00");
    let (separator, time) = time.split_first()?;
    let digits = u64::from_le_bytes(*time.first_chunk()?) ^ PATTERN;
    // Sets the highest bit of a byte above nine, and of a byte other than zero in the place of a colon.
    let wrong = digits.wrapping_add(0x7676_7f76_767f_7676) | digits;
    if wrong & HIGH != 0 || !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let pairs = digits * 10 + (digits >> 8);
    let pair = |at: u32| (pairs >> (8 * at)) as i64 & 0xff;
    let (hour, minute, second) = (pair(0), pair(3), pair(6));
    (hour <= 23 && minute <= 59 && second <= most_seconds).then_some(((hour * 60 + minute) * 60 + second) * 1_000_000)
}

/// The fraction in microseconds, truncated, and the text after it.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    if let Some(micros) = text.first_chunk().and_then(six_decimals) {
        return Some((micros, &text[7..]));
    }
    let Some((b'.', text)) = text.split_first() else {
        return Some((0, text));
    };
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let (digits, rest) = text.split_at(digits);
    let micros = (0..6).fold(0, |micros, i| micros * 10 + digits.get(i).map_or(0, |digit| i64::from(digit - b'0')));
    Some((micros, rest))
}

/// The most common form of the fraction: a point and six digits, followed by a byte that is not a digit.
#[inline(always)]
fn six_decimals(text: &[u8; 8]) -> Option<i64> {
    let [point, .., after] = *text;
    // Without the point and the byte after the digits, and with two zeros in front.
    let values = (u64::from_le_bytes(*text) ^ ZEROS) << 8 >> 16 << 16;
    let fits = point == b'.' && !after.is_ascii_digit() && are_digits(values);
    fits.then(|| from_digits(values).cast_signed())
}

/// `Z` or `±hh:mm` in microseconds.
#[inline]
fn offset_micros(offset: &[u8]) -> Option<i64> {
    if matches!(offset, b"Z" | b"+00:00") {
        return Some(0);
    }
    let sign = match offset {
        [b'z'] => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (two_digits(offset, 1)?, two_digits(offset, 4)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

fn two_digits(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(i64::from(tens) * 10 + i64::from(ones))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_examples() {
        for (text, expected) in [
            ("1985-04-12T23:20:50.52Z", Some("1985-04-12T23:20:50.520Z")),
            ("1996-12-19T16:39:57-08:00", Some("1996-12-20T00:39:57Z")),
            ("1990-12-31T23:59:60Z", Some("1991-01-01T00:00:00Z")),
            ("1990-12-31T15:59:60.25-08:00", Some("1991-01-01T00:00:00.250Z")),
            ("1990-12-31T15:58:60-08:00", None),
            ("1937-01-01T12:00:27.87+00:20", None),
            ("2024-02-29 00:00:00.123456789z", Some("2024-02-29T00:00:00.123456Z")),
            ("2100-02-29T00:00:00Z", None),
            ("2000-02-29t00:00:00-00:00", Some("2000-02-29T00:00:00Z")),
            ("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z")),
            ("1970-01-01T00:00:00+00:01", None),
            ("1969-12-31T23:59:00-00:01", Some("1970-01-01T00:00:00Z")),
            ("9999-12-31T23:59:59.999999999Z", Some("9999-12-31T23:59:59.999999Z")),
            ("9999-12-31T23:59:59-00:01", None),
            ("2025-01-01T00:00:00", None),
            ("2025-01-01T00:00:00.Z", None),
            ("2025-01-01T00:00:00.1234567890Z", None),
            ("2025-01-01T00:00:00+0700", None),
            ("2025-01-01T00:00:00+24:00", None),
            ("2025-01-01T24:00:00Z", None),
            ("2025-01-01T00:60:00Z", None),
            ("2025-1-1T0:0:0Z", None),
            ("2025-01-01", None),
            ("2025-01-01T00:00:00Z ", None),
            ("2025-01-01T00:00:00\u{2212}07:00", None),
            ("", None),
        ] {
            assert_eq!(
                Dates::default().rfc3339(text.as_bytes()).map(|time| time.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn cached_date_does_not_change_the_result() {
        let mut dates = Dates::default();
        for (text, expected) in [
            ("2016-12-31T12:00:00.000000+00:00", Some("2016-12-31T12:00:00Z")),
            ("2016-12-31T12:00:60.000000+00:00", None),
            ("2016-12-31T23:59:60.500000+00:00", Some("2017-01-01T00:00:00.500Z")),
            ("2016-12-31T24:00:00.000000+00:00", None),
            ("2016-12-31T12:00:00.000000+01:00", Some("2016-12-31T11:00:00Z")),
            ("2016-12-30T12:00:00.000001+00:00", Some("2016-12-30T12:00:00.000001Z")),
            ("2016-12-32T12:00:00.000000+00:00", None),
            ("2016-12-31T12:00:00.000000+00:00", Some("2016-12-31T12:00:00Z")),
        ] {
            assert_eq!(dates.rfc3339(text.as_bytes()).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn days_are_consecutive_from_1970_to_9999() {
        let mut expected = 0;
        for year in 1970..=9999 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let date = format!("{year:04}-{month:02}-{day:02}");
                    if let Some(days) = date.as_bytes().first_chunk().and_then(days) {
                        assert_eq!(days, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected * MICROS_PER_DAY, Timestamp::YEAR_10000.as_micros());
    }
}
