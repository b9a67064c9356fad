//! Numbers and tables for people.

use indicatif::HumanCount;

/// A number of things, with separators.
pub(crate) fn count(number: i64) -> String {
    HumanCount(number.unsigned_abs()).to_string()
}

/// A number of things with their name, which takes an `s` in the plural.
pub(crate) fn number_of(number: i64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A number per second; per minute if it is below one.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 9.95 => format!("{}/s", HumanCount(rate.round() as u64)),
        rate if rate >= 0.95 => format!("{rate:.1}/s"),
        rate if rate > 0.0 => format!("{:.1}/min", rate * 60.0),
        _ => "0/s".to_owned(),
    }
}

/// A share in percent with two significant digits.
pub(crate) fn share(part: i64, all: i64) -> String {
    percent(part as f64 / all.max(1) as f64)
}

/// A share, where 0.01 is one percent, with two significant digits.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = (1.0 - percent.log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{percent:.digits$} %")
}

/// Rows of cells as lines, with columns of equal width. The first row has the names of the columns.
pub(crate) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_rates_are_per_minute() {
        let rates = [0.0, 0.01, 0.9, 1.0, 9.94, 10.4, 123_456.7];
        assert_eq!(rates.map(rate), ["0/s", "0.6/min", "54.0/min", "1.0/s", "9.9/s", "10/s", "123,457/s"]);
    }

    #[test]
    fn share_has_two_significant_digits() {
        let shares = [(1, 3), (1, 100), (12, 1_000_000), (1, 1_000_000_000), (7, 7), (1, 0)];
        assert_eq!(
            shares.map(|(part, all)| share(part, all)),
            ["33 %", "1.0 %", "0.0012 %", "0.0000 %", "100 %", "100 %"]
        );
    }
}
