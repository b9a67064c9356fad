//! The results as Markdown, and their place in the performance page.

use anyhow::{Context, Result};

use crate::results::{Dated, Results, Setting};
use crate::setup::Loaded;
use crate::statistics::Spread;
use crate::{comparison, curves, sql, verification};

/// The harness replaces the text between these two lines.
const BEGIN: &str = "<!-- begin: written by make bench -->";
const END: &str = "<!-- end: written by make bench -->";

/// A table in Markdown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    columns: usize,
    text: String,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        let text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
        Self { columns: columns.len(), text }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns);
        // A bar in an error message would start a new cell.
        let cells = cells.map(|cell| cell.replace('|', "/").replace('\n', " "));
        self.text += &format!("| {} |\n", cells.join(" | "));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Formats a whole number with commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats `median (minimum to maximum)` with a number of digits.
pub(crate) fn spread(Spread { min, median, max }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

/// Returns all results as Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = Text::default();
    let Results { race, workers, producer, rates, groups, freshness, start_up, recovery, sql, verify } = results;
    text.section("Comparison of systems", race.as_ref(), |race| {
        format!(
            "![CPU per event of each system](performance.svg)\n\n{}\n{}",
            comparison::in_words(race),
            comparison::table(race)
        )
    });
    text.section("Throughput by number of workers", workers.as_ref(), |race| comparison::workers(race).to_string());
    text.section("Cost by load", rates.as_ref(), |rows| {
        format!("![CPU against load](performance-load.svg)\n\n{}", curves::rates::table(rows))
    });
    text.section("Cost by groups and open windows", groups.as_ref(), |rows| {
        format!("![Cost against groups](performance-groups.svg)\n\n{}", curves::groups::table(rows))
    });
    text.section("Freshness", freshness.as_ref(), |rows| {
        format!(
            "Time from sending a purchase to its row, by a query every 4 ms. 1,000 other purchases per second arrive meanwhile.\n\n{}",
            curves::freshness::table(rows)
        )
    });
    text.section("Start", start_up.as_ref(), |figures| curves::start_up::table(figures).to_string());
    text.section("Recovery", recovery.as_ref(), |rows| {
        format!(
            "`kill -9`, then an immediate start of a new process; 1,000 purchases per second, trigger 1 s.\n\n{}",
            curves::recovery::table(rows)
        )
    });
    text.section("The store at ten million rows", sql.as_ref(), |figures| {
        format!("{}\n{}", sql::in_words(figures), sql::table(figures))
    });
    text.section("Verification", verify.as_ref(), |rows| verification::table(rows).to_string());
    text.section("The producer", producer.as_ref(), |all| {
        let each = |of: fn(&Loaded) -> f64, digits| {
            Spread::of(all.iter().map(of)).map_or_else(String::new, |figures| spread(figures, digits))
        };
        format!(
            "`retail-producer --rate max`, pinned to one core, `acks=all`, idempotent, lz4: {} purchases of {} bytes in {} s, \
             **{} million per second**, {} µs of CPU per purchase.\n",
            all.first().map_or_else(String::new, |loaded| grouped(loaded.events)),
            each(|loaded| loaded.bytes / loaded.events as f64, 0),
            each(|loaded| loaded.seconds, 1),
            each(|loaded| loaded.events as f64 / loaded.seconds / 1e6, 2),
            each(|loaded| loaded.cpu * 1e6 / loaded.events as f64, 2),
        )
    });
    text.text
}

/// The report so far.
#[derive(Default)]
struct Text {
    text: String,
    /// Machine and versions of the last section. The next section repeats them only if they differ.
    environment: String,
}

impl Text {
    fn section<T>(&mut self, title: &str, figures: Option<&Dated<T>>, render: impl FnOnce(&T) -> String) {
        let Some(Dated { setting, figures }) = figures else { return };
        let Setting { date, machine, load, versions, command } = setting;
        let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let environment = format!("One machine for all processes: {machine}; {}.", versions.join(", "));
        let repeated = if environment == self.environment { String::new() } else { format!(" {environment}") };
        let body = render(figures);
        self.text += &format!("### {title}\n\n{body}\n`{command}`, {date}; load average before: {load}.{repeated}\n\n");
        self.environment = environment;
    }
}

/// Replaces the text between the two marks in the document. Fails if a mark is missing or their order is wrong.
pub(crate) fn put(document: &str, text: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("the page has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the page has no line {END} after {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_replaces_only_the_text_between_the_marks() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nBy hand.\n");
        let once = put(&document, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nBy hand.\n"));
        assert_eq!(put(&once, "new").unwrap(), once);
    }

    #[test]
    fn put_without_both_marks_in_order_fails() {
        assert!(put("nothing", "new").is_err());
        assert!(put(&format!("{BEGIN} and no end"), "new").is_err());
        assert!(put(&format!("{END} {BEGIN}"), "new").is_err());
    }

    #[test]
    fn grouped_puts_a_comma_before_each_three_digits() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn row_with_a_bar_in_a_cell_keeps_its_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x|y".to_owned(), "z\nz".to_owned()]);
        assert_eq!(table.to_string(), "| A | B |\n|---|---|\n| x/y | z z |\n");
    }
}
