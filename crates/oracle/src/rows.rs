//! Collects the results: rows and dead letters.

use std::collections::BTreeMap;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};
use chrono::{DateTime, Duration, Utc};

use crate::framing::{OracleSchema, OracleSchemaId};
use crate::judge::{Judge, Judgement, OracleEvent, OracleLedger, OracleRecord};
use crate::mapping::OracleMapping;
use crate::purchase::OraclePurchase;

/// The row that the oracle expects for one group of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleRow {
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window.
    pub window_end: DateTime<Utc>,
    /// Values of the dimensions of the group.
    pub dimensions: Vec<String>,
    /// Number of purchases.
    pub events: i64,
    /// Sum of prices.
    pub price_sum: BigDecimal,
    /// Average price, rounded half away from zero to six decimals, as Postgres rounds.
    pub avg_price: BigDecimal,
    /// Sum of quantities.
    pub total_quantity: BigInt,
    /// Sum of quantity × price.
    pub total_amount: BigDecimal,
    /// Further sums.
    pub more: Vec<BigDecimal>,
    /// Sum of `total_amount` over this and all earlier windows of the group.
    pub running_total: BigDecimal,
}

/// The dead letter that the oracle expects for a record that was not applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleDeadLetter {
    /// `late`, `future`, or why the record is invalid.
    pub reason: &'static str,
    /// The purchase; `None` for a record without one, and for the elements of an array.
    pub purchase: Option<OraclePurchase>,
    /// For a late event: the time from the end of its window to the bound that closed it.
    pub missed_by: Option<Duration>,
}

/// The oracle, with its results so far. Its memory grows with them.
#[derive(Clone, Debug)]
pub struct Oracle {
    judge: Judge,
    rows: OracleRows,
    dead_letters: BTreeMap<(i32, i64), OracleDeadLetter>,
}

impl Oracle {
    /// An oracle with windows of length `window`, and a watermark at the distance `delay`.
    pub fn new(window: Duration, delay: Duration) -> Self {
        Self { judge: Judge::new(window, delay), rows: OracleRows::default(), dead_letters: BTreeMap::new() }
    }

    /// The oracle for records that have the fields of a mapping.
    #[must_use]
    pub fn with_mapping(self, mapping: Option<OracleMapping>) -> Self {
        Self { judge: self.judge.with_mapping(mapping), ..self }
    }

    /// Adds a schema; `None`: its registry does not know it.
    pub fn learn_schema(&mut self, id: OracleSchemaId, schema: Option<&OracleSchema>) {
        self.judge.learn_schema(id, schema);
    }

    /// The distance of the watermark from the latest observed time.
    pub const fn delay(&self) -> Duration {
        self.judge.delay()
    }

    /// Sets the first offset of a partition. Must be called before its first record.
    pub fn start(&mut self, partition: i32, offset: i64) {
        self.judge.start(partition, OracleLedger { next_offset: offset, ..OracleLedger::default() });
    }

    /// Moves a partition to `offset`, and counts the skipped offsets as gaps.
    pub fn skip_to(&mut self, partition: i32, offset: i64) {
        self.judge.skip_to(partition, offset);
    }

    /// Judges the next record of a partition. Returns its fate, or the reason if it is invalid.
    ///
    /// `floor` and `max_future` are those that apply to the partition at this offset.
    pub fn record(
        &mut self,
        partition: i32,
        record: &OracleRecord<'_>,
        floor: DateTime<Utc>,
        max_future: Duration,
    ) -> &'static str {
        let judgement = self.judge.record(partition, record, floor, max_future);
        let Judgement { fate, event, missed_by, id: _, duplicate_of: _ } = judgement;
        match (fate, event) {
            ("applied", Some(event)) => self.rows.add(event),
            ("filtered" | "duplicate", _) => {}
            (reason, event) => {
                let purchase = event.and_then(|event| event.purchase().cloned());
                self.dead_letters.insert((partition, record.offset), OracleDeadLetter { reason, purchase, missed_by });
            }
        }
        fate
    }

    /// The rows of all windows with events, sorted by window and dimensions.
    pub fn rows(&self) -> Vec<OracleRow> {
        self.rows.rows(self.judge.window())
    }

    /// The counts, by partition.
    pub const fn ledgers(&self) -> &BTreeMap<i32, OracleLedger> {
        self.judge.ledgers()
    }

    /// The records that were not applied, by partition and offset.
    pub const fn dead_letters(&self) -> &BTreeMap<(i32, i64), OracleDeadLetter> {
        &self.dead_letters
    }
}

/// The sums of applied events, by window and group.
#[derive(Clone, Default, Debug)]
pub struct OracleRows {
    groups: BTreeMap<(DateTime<Utc>, Vec<String>), Group>,
}

#[derive(Clone, Default, Debug)]
struct Group {
    events: i64,
    price: BigDecimal,
    quantity: BigInt,
    amount: BigDecimal,
    more: Vec<BigDecimal>,
}

impl OracleRows {
    /// Adds an applied event.
    pub fn add(&mut self, event: OracleEvent) {
        for purchase in event.purchases {
            let OraclePurchase { dimensions, quantity, price, amount, more } = purchase;
            let group = self.groups.entry((event.window_start, dimensions)).or_default();
            group.events += 1;
            group.amount += amount;
            group.price += price;
            group.quantity += quantity;
            group.more.resize(more.len(), BigDecimal::default());
            for (sum, value) in group.more.iter_mut().zip(more) {
                *sum += value;
            }
        }
    }

    /// The rows, sorted by window and dimensions. Their running totals begin with the first added window.
    pub fn rows(&self, window: Duration) -> Vec<OracleRow> {
        let mut running = BTreeMap::<&[String], BigDecimal>::new();
        self.groups
            .iter()
            .map(|((start, dimensions), group)| {
                let running_total = running.entry(dimensions).or_default();
                *running_total += &group.amount;
                OracleRow {
                    window_start: *start,
                    window_end: *start + window,
                    dimensions: dimensions.clone(),
                    events: group.events,
                    price_sum: group.price.clone(),
                    avg_price: average(&group.price, group.events),
                    total_quantity: group.quantity.clone(),
                    total_amount: group.amount.clone(),
                    more: group.more.clone(),
                    running_total: running_total.clone(),
                }
            })
            .collect()
    }
}

/// `sum / count`, rounded half away from zero to six decimals. BigDecimal divides to 100 digits, so that the first rounding
/// makes no tie.
pub fn average(sum: &BigDecimal, count: i64) -> BigDecimal {
    (sum / BigDecimal::from(count)).with_scale_round(6, RoundingMode::HalfUp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_rounded_half_away_from_zero() {
        for (sum, count, expected) in [
            ("1", 3, "0.333333"),
            ("2", 3, "0.666667"),
            ("-1", 1, "-1.000000"),
            ("0.000001", 2, "0.000001"),
            ("-0.000001", 2, "-0.000001"),
            ("-0.000001", 3, "0.000000"),
            ("-5", 3, "-1.666667"),
        ] {
            assert_eq!(average(&sum.parse().unwrap(), count).to_plain_string(), expected, "{sum} / {count}");
        }
    }
}
