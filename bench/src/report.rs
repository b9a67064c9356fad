//! Figures as tables for people, and their place in the document.

use anyhow::{Context, Result};

use crate::ground::Loaded;
use crate::results::{Dated, Results, Setting};
use crate::statistics::Spread;
use crate::{curves, standings};

/// What stands between these two is written by the harness, and by nobody else.
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
        // A bar in a cell, of an error message for example, would begin another.
        let cells = cells.map(|cell| cell.replace('|', "/").replace('\n', " "));
        self.text += &format!("| {} |\n", cells.join(" | "));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A whole number with commas.
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

/// `median (least to most)`, with so many digits.
pub(crate) fn spread(Spread { min, median, max }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

/// Everything that was measured, as Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = Text::default();
    let Results { race, workers, producer, rates, groups, freshness, start_up, recovery } = results;
    text.section("On the same work", race.as_ref(), |race| {
        format!(
            "![CPU per event of each contender](performance.svg)\n\n{}\n{}",
            standings::in_words(race),
            standings::table(race)
        )
    });
    text.section("Events per second against workers", workers.as_ref(), |race| standings::workers(race).to_string());
    text.section("What a load costs", rates.as_ref(), |rows| {
        format!("![CPU against load](performance-load.svg)\n\n{}", curves::rates::table(rows))
    });
    text.section("What groups and open windows cost", groups.as_ref(), |rows| {
        format!("![Cost against groups](performance-groups.svg)\n\n{}", curves::groups::table(rows))
    });
    text.section("Freshness", freshness.as_ref(), |rows| {
        format!(
            "From before a purchase is sent until its row is seen, by a look each 4 ms; 1,000 other purchases a second beside it.\n\n{}",
            curves::freshness::table(rows)
        )
    });
    text.section("Start", start_up.as_ref(), |figures| curves::start_up::table(figures).to_string());
    text.section("Recovery", recovery.as_ref(), |rows| {
        format!(
            "kill -9, and a new process at once; 1,000 purchases a second, trigger 1 s.\n\n{}",
            curves::recovery::table(rows)
        )
    });
    text.section("The producer", producer.as_ref(), |all| {
        let each = |of: fn(&Loaded) -> f64, digits| {
            Spread::of(all.iter().map(of)).map_or_else(String::new, |figures| spread(figures, digits))
        };
        format!(
            "`retail-producer --rate max`, all of it on one core, `acks=all`, idempotent, lz4: {} purchases of {} bytes in {} s, \
             **{} million a second**, {} µs of CPU each.\n",
            all.first().map_or_else(String::new, |loaded| grouped(loaded.events)),
            each(|loaded| loaded.bytes / loaded.events as f64, 0),
            each(|loaded| loaded.seconds, 1),
            each(|loaded| loaded.events as f64 / loaded.seconds / 1e6, 2),
            each(|loaded| loaded.cpu * 1e6 / loaded.events as f64, 2),
        )
    });
    text.text
}

/// What has been told so far.
#[derive(Default)]
struct Text {
    text: String,
    /// On what it was measured; said again only where it is something else.
    ground: String,
}

impl Text {
    fn section<T>(&mut self, title: &str, figures: Option<&Dated<T>>, tell: impl FnOnce(&T) -> String) {
        let Some(Dated { setting, figures }) = figures else { return };
        let Setting { date, machine, load, versions, command } = setting;
        let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let ground = format!("On a machine with {machine}, which everything shares; {}.", versions.join(", "));
        let said = if ground == self.ground { String::new() } else { format!(" {ground}") };
        let told = tell(figures);
        self.text += &format!("### {title}\n\n{told}\n`{command}`, {date}; load before: {load}.{said}\n\n");
        self.ground = ground;
    }
}

/// The document with `text` in the place that is for it.
pub(crate) fn put(document: &str, text: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("there is no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("there is no line {END} after {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced_however_often() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nBy hand.\n");
        let once = put(&document, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nBy hand.\n"));
        assert_eq!(put(&once, "new").unwrap(), once);
    }

    #[test]
    fn a_document_without_both_marks_in_order_is_left_alone() {
        assert!(put("nothing", "new").is_err());
        assert!(put(&format!("{BEGIN} and no end"), "new").is_err());
        assert!(put(&format!("{END} {BEGIN}"), "new").is_err());
    }

    #[test]
    fn numbers_have_commas_where_people_expect_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_bar_in_a_cell_makes_no_column() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x|y".to_owned(), "z\nz".to_owned()]);
        assert_eq!(table.to_string(), "| A | B |\n|---|---|\n| x/y | z z |\n");
    }
}
