//! Event timestamps: RFC 3339 strings, or JSON numbers of Unix seconds.

use super::number::millionths;
use crate::time::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Reads a JSON number of Unix seconds, cut to microseconds. Years 1970..=9999.
pub(super) fn unix_seconds(text: &str) -> Option<Timestamp> {
    in_range(millionths(text)?.cut()?)
}

/// Reads an RFC 3339 string with offset, cut to microseconds. Years 1970..=9999 in UTC.
///
/// `YYYY-MM-DD`, `T` or a blank, `hh:mm:ss`, at most nine fraction digits, `Z` or `±hh:mm`. `T` and `Z` may be lower
/// case. A leap second is read as the first instant of the next minute, as Postgres reads it, and only where one can be.
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    let (date_time, rest) = text.as_bytes().split_at_checked(19)?;
    let (fraction, offset) = fraction(rest)?;
    let local = days(&date_time[..10])? * MICROS_PER_DAY + time_of_day(&date_time[10..])? + fraction;
    let utc = local - offset_micros(offset)?;
    let leap_second = &date_time[17..] == b"60";
    if leap_second && (utc - fraction).rem_euclid(MICROS_PER_DAY) != 0 {
        return None;
    }
    in_range(utc)
}

fn in_range(micros: i64) -> Option<Timestamp> {
    let time = Timestamp::from_micros(micros);
    (Timestamp::EPOCH..Timestamp::YEAR_10000).contains(&time).then_some(time)
}

/// `YYYY-MM-DD` as days since 1970-01-01.
fn days(date: &[u8]) -> Option<i64> {
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

/// `Thh:mm:ss` in microseconds.
fn time_of_day(time: &[u8]) -> Option<i64> {
    if !matches!(time[0], b'T' | b't' | b' ') || time[3] != b':' || time[6] != b':' {
        return None;
    }
    let (hour, minute, second) = (two_digits(time, 1)?, two_digits(time, 4)?, two_digits(time, 7)?);
    (hour <= 23 && minute <= 59 && second <= 60).then_some(((hour * 60 + minute) * 60 + second) * 1_000_000)
}

/// The fraction in microseconds, cut, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
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

/// `Z` or `±hh:mm` in microseconds.
fn offset_micros(offset: &[u8]) -> Option<i64> {
    let sign = match offset {
        [b'Z' | b'z'] => return Some(0),
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
            assert_eq!(rfc3339(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..=9999 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(days) = days(format!("{year:04}-{month:02}-{day:02}").as_bytes()) {
                        assert_eq!(days, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected * MICROS_PER_DAY, Timestamp::YEAR_10000.as_micros());
    }
}
