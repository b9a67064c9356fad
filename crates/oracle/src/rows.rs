//! Collects the results: rows and dead letters.

use std::collections::BTreeMap;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};
use chrono::{DateTime, Duration, Utc};

use crate::judge::{Judge, Judgement, OracleEvent, OracleLedger, OracleRecord};

/// The row that the oracle expects for one group of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleRow {
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window.
    pub window_end: DateTime<Utc>,
    /// Grouping key.
    pub category: String,
    /// Grouping key.
    pub payment_method: String,
    /// Number of events.
    pub events: i64,
    /// Sum of prices.
    pub price_sum: BigDecimal,
    /// Average price, rounded half away from zero to six decimals, as Postgres rounds.
    pub avg_price: BigDecimal,
    /// Sum of quantities.
    pub total_quantity: BigInt,
    /// Sum of quantity × price.
    pub total_amount: BigDecimal,
    /// Sum of `total_amount` over this and all earlier windows of the group.
    pub running_total: BigDecimal,
}

/// The dead letter that the oracle expects for a record that was not applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleDeadLetter {
    /// `late`, `future`, or why the record is invalid.
    pub reason: &'static str,
    /// The contents of a purchase; `None` for another record.
    pub purchase: Option<OraclePurchase>,
    /// For a late event: the time from the end of its window to the bound that closed it.
    pub missed_by: Option<Duration>,
}

/// The contents of a purchase that was not applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OraclePurchase {
    /// Grouping key.
    pub category: String,
    /// Grouping key.
    pub payment_method: String,
    /// Number of pieces.
    pub quantity: i64,
    /// Quantity × price.
    pub amount: BigDecimal,
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
        let Judgement { fate, event, missed_by } = judgement;
        match (fate, event) {
            ("applied", Some(event)) => self.rows.add(event),
            (reason, event) => {
                let purchase = event.map(OraclePurchase::from);
                self.dead_letters.insert((partition, record.offset), OracleDeadLetter { reason, purchase, missed_by });
            }
        }
        fate
    }

    /// The rows of all windows with events, sorted by window, category and payment method.
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

impl From<OracleEvent> for OraclePurchase {
    fn from(event: OracleEvent) -> Self {
        let OracleEvent { category, payment_method, quantity, amount, .. } = event;
        Self { category, payment_method, quantity, amount }
    }
}

/// The sums of applied events, by window and group.
#[derive(Clone, Default, Debug)]
pub struct OracleRows {
    groups: BTreeMap<(DateTime<Utc>, String, String), Group>,
}

#[derive(Clone, Default, Debug)]
struct Group {
    events: i64,
    price: BigDecimal,
    quantity: BigInt,
    amount: BigDecimal,
}

impl OracleRows {
    /// Adds an applied event.
    pub fn add(&mut self, event: OracleEvent) {
        let group = self.groups.entry((event.window_start, event.category, event.payment_method)).or_default();
        group.events += 1;
        group.amount += event.amount;
        group.price += event.price;
        group.quantity += event.quantity;
    }

    /// The rows, sorted by window, category and payment method. Their running totals begin with the first added window.
    pub fn rows(&self, window: Duration) -> Vec<OracleRow> {
        let mut running = BTreeMap::<(&str, &str), BigDecimal>::new();
        self.groups
            .iter()
            .map(|((start, category, payment_method), group)| {
                let running_total = running.entry((category, payment_method)).or_default();
                *running_total += &group.amount;
                OracleRow {
                    window_start: *start,
                    window_end: *start + window,
                    category: category.clone(),
                    payment_method: payment_method.clone(),
                    events: group.events,
                    price_sum: group.price.clone(),
                    avg_price: average(&group.price, group.events),
                    total_quantity: group.quantity.clone(),
                    total_amount: group.amount.clone(),
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
