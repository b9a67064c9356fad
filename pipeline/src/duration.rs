//! Durations as Go and Kubernetes write them: `5m`, `1h30m`, `500ms`.

use std::time::Duration;

/// Reads a duration that the schema's pattern has let through: numbers of at most six digits, each with `h`, `m`, `s` or
/// `ms`.
///
/// # Panics
///
/// If it was not let through.
pub(crate) fn parse(text: &str) -> Duration {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("the schema wants a unit");
        let number: u64 = rest[..digits].parse().expect("the schema wants a number");
        let unit = &rest[digits..];
        let letters = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let millis = match &unit[..letters] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            other => unreachable!("the schema knows no unit {other}"),
        };
        total += Duration::from_millis(number * millis);
        rest = &unit[letters..];
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_add_up() {
        for (text, millis) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1h2m3s4ms", 3_723_004),
            ("0s", 0),
            ("1s500ms", 1500),
        ] {
            assert_eq!(parse(text), Duration::from_millis(millis), "{text}");
        }
    }
}
