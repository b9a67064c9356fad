//! Splits the deltas of a batch between `retail_open` and the delta log, as one array per column.

use retail_engine::Row;

use super::money::SqlMoney;
use super::time::SqlTime;

/// Maximum number of deltas in one row of the delta log, which a reader unpacks as a whole.
const MOST_PACKED: usize = 4096;

/// Deltas, as one array per column.
#[derive(Default, Debug)]
pub(super) struct Deltas<'a> {
    pub(super) windows: Vec<SqlTime>,
    pub(super) categories: Vec<&'a str>,
    pub(super) payment_methods: Vec<&'a str>,
    pub(super) events: Vec<i64>,
    pub(super) price_sums: Vec<SqlMoney>,
    pub(super) quantities: Vec<i64>,
    pub(super) amounts: Vec<SqlMoney>,
}

/// Rows of the delta log, each a slice of the arrays. Indexes start at 1, and `stops` are inclusive, as in Postgres.
#[derive(Default, Debug)]
pub(super) struct DeltaLog<'a> {
    pub(super) windows: Vec<SqlTime>,
    pub(super) starts: Vec<i32>,
    pub(super) stops: Vec<i32>,
    pub(super) deltas: Deltas<'a>,
}

/// The rows of each window. The rows of a batch are sorted by key.
fn windows(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.window_start == b.window_start)
}

/// Whether a window goes to the delta log.
pub(super) fn appends(rows: &[Row], delta_log_from: usize) -> bool {
    windows(rows).any(|window| window.len() >= delta_log_from)
}

/// The deltas to add to rows of `retail_open`, and those to append to the delta log: windows with at least `delta_log_from`
/// groups.
pub(super) fn split(rows: &[Row], delta_log_from: usize) -> (Deltas<'_>, DeltaLog<'_>) {
    let (mut added, mut log) = (Deltas::default(), DeltaLog::default());
    for window in windows(rows) {
        if window.len() < delta_log_from {
            added.extend(window);
        } else {
            window.chunks(MOST_PACKED).for_each(|pack| log.append(pack));
        }
    }
    (added, log)
}

impl<'a> Deltas<'a> {
    fn extend(&mut self, rows: &'a [Row]) {
        for Row { window_start, category, payment_method, sums } in rows {
            self.windows.push(SqlTime(*window_start));
            self.categories.push(category);
            self.payment_methods.push(payment_method);
            self.events.push(sums.events);
            self.price_sums.push(SqlMoney(sums.price));
            self.quantities.push(sums.quantity);
            self.amounts.push(SqlMoney(sums.amount));
        }
    }
}

impl<'a> DeltaLog<'a> {
    fn append(&mut self, pack: &'a [Row]) {
        let Some(first) = pack.first() else { return };
        self.windows.push(SqlTime(first.window_start));
        self.starts.push(self.deltas.windows.len() as i32 + 1);
        self.deltas.extend(pack);
        self.stops.push(self.deltas.windows.len() as i32);
    }
}

#[cfg(test)]
mod tests {
    use retail_engine::{Sums, Timestamp};

    use super::*;

    /// Rows of several windows, from the number of rows in each.
    fn rows(windows: &[usize]) -> Vec<Row> {
        let row = |window: usize, group: usize| Row {
            window_start: Timestamp::from_secs(window as i64),
            category: format!("{group:05}").into(),
            payment_method: "COD".into(),
            sums: Sums::default(),
        };
        windows
            .iter()
            .enumerate()
            .flat_map(|(window, groups)| (0..*groups).map(move |group| row(window, group)))
            .collect()
    }

    fn slices(windows: &[usize], delta_log_from: usize) -> (usize, Vec<(i64, i32, i32)>) {
        let rows = rows(windows);
        let (added, log) = split(&rows, delta_log_from);
        assert_eq!(appends(&rows, delta_log_from), !log.windows.is_empty());
        let slice = |at: usize| (log.windows[at].0.as_micros() / 1_000_000, log.starts[at], log.stops[at]);
        (added.windows.len(), (0..log.windows.len()).map(slice).collect())
    }

    #[test]
    fn only_windows_with_many_groups_go_to_the_delta_log() {
        assert_eq!(slices(&[], 3), (0, vec![]));
        assert_eq!(slices(&[2, 1, 2], 3), (5, vec![]));
        assert_eq!(slices(&[2, 3, 1, 4], 3), (3, vec![(1, 1, 3), (3, 4, 7)]));
    }

    #[test]
    fn delta_log_rows_have_a_maximum_length() {
        assert_eq!(slices(&[1, 4097, 4096], 2), (1, vec![(1, 1, 4096), (1, 4097, 4097), (2, 4098, 8193)]));
    }
}
