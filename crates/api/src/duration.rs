//! Durations as Go and Kubernetes write them: `5m`, `1h30m`, `500ms`. Messages also have days: `3d4h`.

use std::time::Duration;

/// Parses a duration that matches the pattern of the schema.
///
/// # Panics
///
/// If it does not match.
pub(crate) fn parse(text: &str) -> Duration {
    read(text).expect("the schema only accepts durations")
}

/// Parses a number of days that matches the pattern of the schema, such as `400d`.
///
/// # Panics
///
/// If it does not match.
pub(crate) fn parse_days(text: &str) -> Duration {
    let days =
        text.strip_suffix('d').and_then(|days| days.parse().ok()).map(|days: u32| Duration::from_hours(24) * days);
    days.expect("the schema only accepts days")
}

/// Parses the duration of a flag, such as `1h30m`: whole numbers with the units `h`, `m`, `s` and `ms`.
pub fn read(text: &str) -> Result<Duration, String> {
    sum(text).ok_or_else(|| format!("{text:?} is not a duration: write it as 5m, 1h30m or 500ms"))
}

fn sum(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let letters = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let millis = match &unit[..letters] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        total += Duration::from_millis(u64::from(number) * millis);
        rest = &unit[letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// Writes a duration as [`read`] reads it: `1h30m` or `500ms`. Time below a millisecond is left out.
pub fn write(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= millis {
            text += &format!("{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A duration for a message: its two largest units, rounded down, such as `3d4h` or `59s`.
pub fn approximate(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        let is_second = !text.is_empty();
        if rest >= seconds {
            text += &format!("{}{unit}", rest / seconds);
            rest %= seconds;
        }
        if is_second {
            break;
        }
    }
    if text.is_empty() { format!("{}ms", duration.as_millis()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_with_several_units_is_their_sum() {
        for (text, millis) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1h2m3s4ms", 3_723_004),
            ("0s", 0),
            ("1s500ms", 1500),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!((parse(text), &*write(duration)), (duration, text));
        }
    }

    #[test]
    fn message_names_the_two_largest_units() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (3_600_000, "1h"),
            (3_659_000, "1h"),
            (5_400_000, "1h30m"),
            (273_600_000, "3d4h"),
            (315_360_000_000, "3650d"),
        ] {
            assert_eq!(approximate(Duration::from_millis(millis)), text, "{millis}");
        }
    }

    #[test]
    fn days_are_24_hours_each() {
        assert_eq!(parse_days("400d"), Duration::from_secs(400 * 86_400));
        assert_eq!(parse_days("0031d"), parse("744h"));
    }

    #[test]
    fn text_without_units_is_refused() {
        for text in ["", "5", "m", "5 m", "5d", "-5m", "1.5h", "5m3", "99999999999s"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
