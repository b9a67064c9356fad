//! Compares the snapshot of the store with the results of the oracle.

use std::cmp::Ordering;
use std::fmt::Display;

use bigdecimal::num_bigint::BigInt;
use retail_oracle::{Oracle, OracleDeadLetter, OracleRow};

use super::Report;
use super::snapshot::{DeadLetter, Row, Snapshot};

pub(super) fn compare(snapshot: &Snapshot, oracle: &Oracle) -> Report {
    let mut differences = Differences::default();
    compare_ledger(snapshot, oracle, &mut differences);
    let rows = oracle.rows();
    let (dropped, expected) = rows.split_at(rows.partition_point(|row| row.window_start < snapshot.retained_from));
    if snapshot.retained_from > snapshot.closed_until {
        differences
            .add(|| "pipeline: retained_from is after closed_until, and only closed windows are dropped".to_owned());
    }
    compare_rows(snapshot, expected, &mut differences);
    let dead_letters_missing = compare_dead_letters(snapshot, oracle, &mut differences);
    Report {
        equal: differences.count == 0,
        difference: differences.first,
        differences: differences.count,
        partitions: snapshot.partitions.len(),
        offsets: snapshot.partitions.iter().map(|p| p.next_offset - p.start_offset).sum(),
        rows: snapshot.rows.len(),
        windows_dropped: dropped.chunk_by(|a, b| a.window_start == b.window_start).count(),
        dead_letters: snapshot.dead_letters.len(),
        dead_letters_missing,
    }
}

#[derive(Default)]
struct Differences {
    count: usize,
    first: Option<String>,
}

impl Differences {
    fn add(&mut self, difference: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(difference);
    }

    /// Adds a difference if `what` of `place` does not have the expected value.
    fn check<T: PartialEq + Display>(&mut self, place: &str, what: &str, is: &T, should_be: &T) {
        if is != should_be {
            self.add(|| format!("{place}: {what} is {is}, expected {should_be}"));
        }
    }
}

fn compare_ledger(snapshot: &Snapshot, oracle: &Oracle, differences: &mut Differences) {
    for partition in &snapshot.partitions {
        let place = format!("ledger, partition {}", partition.partition);
        let Some(expected) = oracle.ledgers().get(&partition.partition) else {
            differences.add(|| format!("{place}: unexpected partition"));
            continue;
        };
        let names = ["applied", "late", "invalid", "future", "gaps"];
        let expected_counts = [expected.applied, expected.late, expected.invalid, expected.future, expected.gaps];
        for ((name, is), should_be) in names.into_iter().zip(partition.counts).zip(expected_counts) {
            differences.check(&place, name, &is, &should_be);
        }
        differences.check(&place, "balanced", &partition.balanced, &true);
        let time = |time: Option<chrono::DateTime<_>>| time.map_or_else(|| "none".to_owned(), |time| time.to_rfc3339());
        differences.check(&place, "max_observed_time", &time(partition.max_observed), &time(expected.max_observed));
        // A window closes only when no partition can contain events for it: by its observed times, or by its floor.
        let delay = oracle.delay();
        let shown = expected.max_observed.map(|time| time - delay);
        if shown.max(Some(partition.floor)) < Some(snapshot.closing_until) {
            differences
                .add(|| format!("{place}: windows were closed that could still receive events from this partition"));
        }
    }
}

fn compare_rows(snapshot: &Snapshot, expected: &[OracleRow], differences: &mut Differences) {
    let (mut are, mut should_be) = (snapshot.rows.iter().peekable(), expected.iter().peekable());
    loop {
        let order = match (are.peek(), should_be.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(is), Some(expected)) => key(is).cmp(&expected_key(expected)),
        };
        let is = (order != Ordering::Greater).then(|| are.next()).flatten();
        let expected = (order != Ordering::Less).then(|| should_be.next()).flatten();
        match (is, expected) {
            (Some(is), None) => differences.add(|| format!("{}: unexpected row", place(key(is)))),
            (None, Some(expected)) => differences.add(|| format!("{}: missing row", place(expected_key(expected)))),
            (Some(is), Some(expected)) => compare_row(snapshot, is, expected, differences),
            (None, None) => return,
        }
    }
}

fn compare_row(snapshot: &Snapshot, is: &Row, expected: &OracleRow, differences: &mut Differences) {
    let place = place(key(is));
    differences.check(&place, "window_end", &is.window_end, &expected.window_end);
    differences.check(&place, "avg_price", &is.avg_price, &expected.avg_price);
    differences.check(&place, "total_quantity", &BigInt::from(is.total_quantity), &expected.total_quantity);
    differences.check(&place, "total_amount", &is.total_amount, &expected.total_amount);
    differences.check(&place, "running_total", &is.running_total, &expected.running_total);
    differences.check(&place, "events", &is.events, &expected.events);
    if let Some(price_sum) = &is.price_sum {
        differences.check(&place, "price_sum", price_sum, &expected.price_sum);
    }
    // While a window is being closed, some of its rows are final.
    let is_closing = snapshot.closed_until < expected.window_end && expected.window_end <= snapshot.closing_until;
    if !is_closing {
        differences.check(&place, "final", &is.is_final, &(expected.window_end <= snapshot.closed_until));
    }
}

/// Users may delete dead letters: those in the table are compared with the oracle, the missing ones are counted.
fn compare_dead_letters(snapshot: &Snapshot, oracle: &Oracle, differences: &mut Differences) -> usize {
    let expected = oracle.dead_letters();
    for letter in &snapshot.dead_letters {
        let place = format!("dead_letter, partition {}, offset {}", letter.partition, letter.offset);
        match expected.get(&(letter.partition, letter.offset)) {
            Some(should_be) => compare_dead_letter(&place, letter, should_be, differences),
            None => differences.add(|| format!("{place}: unexpected dead letter")),
        }
    }
    expected.len().saturating_sub(snapshot.dead_letters.len())
}

fn compare_dead_letter(place: &str, is: &DeadLetter, expected: &OracleDeadLetter, differences: &mut Differences) {
    fn text(value: Option<&impl Display>) -> String {
        value.map_or_else(|| "null".to_owned(), ToString::to_string)
    }
    let purchase = expected.purchase.as_ref();
    let texts = [
        ("category", text(is.category.as_ref()), text(purchase.map(|p| &p.category))),
        ("payment_method", text(is.payment_method.as_ref()), text(purchase.map(|p| &p.payment_method))),
        ("quantity", text(is.quantity.as_ref()), text(purchase.map(|p| &p.quantity))),
        ("missed_by", text(is.missed_by.as_ref()), text(expected.missed_by.as_ref())),
    ];
    differences.check(place, "reason", &is.reason, &expected.reason.to_owned());
    for (what, is, should_be) in texts {
        differences.check(place, what, &is, &should_be);
    }
    // Numbers with different scales are equal.
    let amount = purchase.map(|p| &p.amount);
    if is.amount.as_ref() != amount {
        differences.add(|| format!("{place}: amount is {}, expected {}", text(is.amount.as_ref()), text(amount)));
    }
}

type Key<'a> = (chrono::DateTime<chrono::Utc>, &'a str, &'a str);

fn key(row: &Row) -> Key<'_> {
    (row.window_start, &row.category, &row.payment_method)
}

fn expected_key(row: &OracleRow) -> Key<'_> {
    (row.window_start, &row.category, &row.payment_method)
}

fn place((window_start, category, payment_method): Key<'_>) -> String {
    format!("retail, window {}, {category}, {payment_method}", window_start.format("%F %T"))
}
