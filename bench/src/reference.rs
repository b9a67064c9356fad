//! The correct result, computed by the oracle, and the difference of another result from it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bigdecimal::{BigDecimal, ToPrimitive};
use chrono::{DateTime, Utc};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use retail_engine::{Rules, Span};
use retail_kafka::{KafkaAdmin, KafkaConnection, LogOffset};
use retail_oracle::{Oracle, OracleRecord};
use serde::{Deserialize, Serialize};

/// Maximum wait for the next record.
const PATIENCE: Duration = Duration::from_secs(60);

/// Window, category, payment method.
pub(crate) type Key = (DateTime<Utc>, String, String);

/// Sums by group and window.
pub(crate) type Totals = BTreeMap<Key, Sums>;

/// The sums of one group in one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sums {
    pub(crate) quantity: i64,
    pub(crate) amount: BigDecimal,
}

/// Reads a topic to its end and computes the correct result. Blocks.
///
/// # Errors
///
/// If a record is invalid, late or in the future: systems treat those differently.
pub(crate) fn read(connection: &KafkaConnection, topic: &str, partitions: i32, rules: Rules) -> Result<Totals> {
    let micros = |span: Span| chrono::Duration::microseconds(span.as_micros());
    let mut oracle = Oracle::new(micros(rules.window), micros(rules.delay));
    let ends = KafkaAdmin::new(connection)?.log_offsets(topic, partitions, LogOffset::End)?;
    let consumer: BaseConsumer =
        connection.client_config().set("group.id", "bench-reference").set("fetch.queue.backoff.ms", "2").create()?;
    let mut start = TopicPartitionList::new();
    for partition in 0..partitions {
        oracle.start(partition, 0);
        start.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&start)?;
    let mut remaining: i64 = ends.iter().sum();
    let mut last = Instant::now();
    while remaining > 0 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            ensure!(last.elapsed() < PATIENCE, "no record for {PATIENCE:?}, with {remaining} records left to read");
            continue;
        };
        let message = message?;
        last = Instant::now();
        remaining -= 1;
        let record = OracleRecord {
            offset: message.offset(),
            timestamp_millis: message.timestamp().to_millis(),
            value: message.payload(),
            schema: None,
        };
        let fate = oracle.record(message.partition(), &record, DateTime::UNIX_EPOCH, micros(rules.max_future));
        ensure!(fate == "applied", "partition {}, offset {}: {fate}", message.partition(), message.offset());
    }
    let sums = oracle.rows().into_iter().map(|row| {
        let quantity = row.total_quantity.to_i64().context("a sum of quantities exceeds 64 bits")?;
        let [category, payment_method] = row.dimensions.try_into().expect("purchases have two dimensions");
        Ok(((row.window_start, category, payment_method), Sums { quantity, amount: row.total_amount }))
    });
    sums.collect()
}

/// The difference between a result and the reference.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Rows of the reference.
    pub(crate) rows: usize,
    /// Rows of the reference that the result does not have.
    pub(crate) missing: usize,
    /// Rows of the result that the reference does not have.
    pub(crate) unexpected: usize,
    /// Rows with different sums.
    pub(crate) wrong: usize,
    /// The total quantity minus the correct total, and the correct total.
    pub(crate) quantity: (i64, i64),
    /// The total amount minus the correct total.
    pub(crate) amount: String,
}

impl Verdict {
    pub(crate) fn is_equal(&self) -> bool {
        self.missing + self.unexpected + self.wrong == 0
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, missing, unexpected, wrong, quantity: (off, all), amount } = self;
        if self.is_equal() {
            return f.write_str("equal");
        }
        write!(f, "**different**: of {rows} rows, {missing} missing and {wrong} wrong")?;
        if *unexpected > 0 {
            write!(f, ", {unexpected} unexpected")?;
        }
        write!(f, "; quantity off by {off} of {all}, amount by {amount}")
    }
}

/// Compares a result with the reference, to the last digit.
pub(crate) fn compare(reference: &Totals, result: &Totals) -> Verdict {
    let sum = |totals: &Totals| -> (i64, BigDecimal) {
        (totals.values().map(|sums| sums.quantity).sum(), totals.values().map(|sums| &sums.amount).sum())
    };
    let ((must, must_amount), (is, is_amount)) = (sum(reference), sum(result));
    let missing = reference.keys().filter(|key| !result.contains_key(*key)).count();
    Verdict {
        rows: reference.len(),
        missing,
        unexpected: result.keys().filter(|key| !reference.contains_key(*key)).count(),
        wrong: reference.iter().filter(|(key, sums)| result.get(*key).is_some_and(|is| is != *sums)).count(),
        quantity: (is - must, must),
        amount: (is_amount - must_amount).normalized().to_plain_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(rows: &[(&str, i64, &str)]) -> Totals {
        let row = |(category, quantity, amount): &(&str, i64, &str)| {
            let key = (DateTime::UNIX_EPOCH, (*category).to_owned(), "COD".to_owned());
            (key, Sums { quantity: *quantity, amount: amount.parse().unwrap() })
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn compare_reports_a_difference_of_one_cent() {
        let reference = totals(&[("Makeup", 3, "12345678.90"), ("Skincare", 1, "0.10")]);
        let verdict = compare(&reference, &totals(&[("Makeup", 3, "12345678.91"), ("Skincare", 1, "0.10")]));
        assert!(!verdict.is_equal());
        assert_eq!(
            verdict.to_string(),
            "**different**: of 2 rows, 0 missing and 1 wrong; quantity off by 0 of 4, amount by 0.01"
        );
    }

    #[test]
    fn compare_reports_two_errors_with_sum_zero() {
        let reference = totals(&[("Makeup", 3, "1.00"), ("Skincare", 3, "1.00")]);
        let verdict = compare(&reference, &totals(&[("Makeup", 2, "0.99"), ("Skincare", 4, "1.01")]));
        assert_eq!((verdict.wrong, verdict.quantity, &*verdict.amount), (2, (0, 6), "0"));
        assert!(!verdict.is_equal());
    }

    #[test]
    fn compare_reports_missing_and_unexpected_rows() {
        let reference = totals(&[("Makeup", 3, "1.00"), ("Skincare", 0, "0.00")]);
        assert_eq!(compare(&reference, &totals(&[("Makeup", 3, "1.00")])).missing, 1);
        let more = totals(&[("Makeup", 3, "1.00"), ("Skincare", 0, "0.00"), ("Hair Care", 0, "0")]);
        let verdict = compare(&reference, &more);
        assert_eq!((verdict.unexpected, verdict.is_equal()), (1, false));
    }

    #[test]
    fn compare_ignores_trailing_zeros() {
        let reference = totals(&[("Makeup", 3, "1.5")]);
        assert_eq!(compare(&reference, &totals(&[("Makeup", 3, "1.500000")])).to_string(), "equal");
    }
}
