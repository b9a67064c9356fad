//! The rows of one trigger as a text table.

use std::fmt::Write;

use retail_connection::text::{amount, visible};
use retail_store::RetailRow;

/// Limit for the rows shown of one trigger: they fit a screen.
pub(crate) const MAX_ROWS: usize = 20;

/// The columns after the dimensions.
const VALUES: [&str; 5] = ["avg_price", "total_quantity", "total_amount", "running_total", "timestamp"];

/// Rows below the column names; `more` is the number of changed rows that are not shown.
pub(crate) fn table(dimensions: &[String], rows: &[RetailRow], more: usize) -> String {
    let dimensions = dimensions.iter().map(String::as_str);
    let names: Vec<&str> = ["window"].into_iter().chain(dimensions).chain(VALUES).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let width = |(column, name): (usize, &&str)| {
        let longest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        longest.max(name.chars().count())
    };
    let widths: Vec<usize> = names.iter().enumerate().map(width).collect();
    let mut text = String::new();
    line(&mut text, &names, &widths);
    line(&mut text, &widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>(), &widths);
    for row in &cells {
        line(&mut text, row, &widths);
    }
    if more > 0 {
        let _infallible = writeln!(text, "… and {more} more");
    }
    text
}

fn line<T: AsRef<str>>(text: &mut String, cells: &[T], widths: &[usize]) {
    // All values but the timestamp are numbers.
    let numbers = cells.len() - VALUES.len()..cells.len() - 1;
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = cell.as_ref();
        let _infallible =
            if numbers.contains(&column) { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn cells(row: &RetailRow) -> Vec<String> {
    let (start, end) = (row.window_start.to_string(), row.window_end.to_string());
    // From 2025-01-01T00:05:00Z: the day is shown once, the seconds only if they are not zero.
    let clock = |time: &str| time[11..19].strip_suffix(":00").unwrap_or(&time[11..19]).to_owned();
    let window =
        format!("{} {}–{}{}", &start[..10], clock(&start), clock(&end), if row.is_final { " final" } else { "" });
    let values = [
        amount(&row.avg_price),
        row.total_quantity.to_string(),
        amount(&row.total_amount),
        amount(&row.running_total),
        row.timestamp.to_string()[..19].replace('T', " "),
    ];
    let dimensions = row.dimensions.iter().map(|dimension| visible(dimension).into_owned());
    [window].into_iter().chain(dimensions).chain(values).collect()
}

#[cfg(test)]
mod tests {
    use retail_engine::Timestamp;

    use super::*;

    #[test]
    fn table_rows_align_in_columns() {
        let row = RetailRow {
            window_start: Timestamp::from_secs(1_735_689_600),
            window_end: Timestamp::from_secs(1_735_689_900),
            dimensions: vec!["Bath & Body".to_owned(), "COD".to_owned()],
            avg_price: "12.345600".to_owned(),
            total_quantity: 7,
            total_amount: "86".to_owned(),
            running_total: "1086.500000".to_owned(),
            timestamp: Timestamp::from_micros(1_735_690_000_123_456),
            is_final: false,
        };
        let closed = RetailRow {
            dimensions: vec!["Make-up für Ältere".to_owned(), "COD".to_owned()],
            is_final: true,
            ..row.clone()
        };
        insta::assert_snapshot!(table(&["category".to_owned(), "payment_method".to_owned()], &[row, closed], 3), @r"
        window                        category            payment_method  avg_price  total_quantity  total_amount  running_total  timestamp
        ────────────────────────────  ──────────────────  ──────────────  ─────────  ──────────────  ────────────  ─────────────  ───────────────────
        2025-01-01 00:00–00:05        Bath & Body         COD               12.3456               7         86.00        1086.50  2025-01-01 00:06:40
        2025-01-01 00:00–00:05 final  Make-up für Ältere  COD               12.3456               7         86.00        1086.50  2025-01-01 00:06:40
        … and 3 more
        ");
    }
}
