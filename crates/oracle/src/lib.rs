//! The oracle: a second, simple implementation that computes the expected rows.
//!
//! It handles one record after another with serde_json, chrono, BigDecimal and a BTreeMap, and follows the rules as they are
//! documented. It shares no code with the engine, so that a mistake in one of them shows as a difference.

use std::collections::BTreeMap;
use std::fmt;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Signed, ToPrimitive, Zero};
use chrono::{DateTime, Duration, TimeZone, Timelike, Utc};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One Kafka record.
#[derive(Clone, Debug)]
pub struct OracleRecord<'a> {
    /// Position in the partition.
    pub offset: i64,
    /// The timestamp of the record in milliseconds since the epoch, if it has one.
    pub timestamp_millis: Option<i64>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

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

/// The counts of one partition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OracleLedger {
    /// Events added to a window.
    pub applied: i64,
    /// Events whose window was closed.
    pub late: i64,
    /// Invalid records.
    pub invalid: i64,
    /// Events too far ahead of the timestamp of their record.
    pub future: i64,
    /// Offsets without a record.
    pub gaps: i64,
    /// The latest observed time.
    pub max_observed: Option<DateTime<Utc>>,
    next_offset: i64,
}

/// The oracle, with its results so far.
#[derive(Clone, Debug)]
pub struct Oracle {
    window: Duration,
    delay: Duration,
    ledgers: BTreeMap<i32, OracleLedger>,
    groups: BTreeMap<(DateTime<Utc>, String, String), Group>,
    dead_letters: BTreeMap<(i32, i64), OracleDeadLetter>,
}

#[derive(Clone, Default, Debug)]
struct Group {
    events: i64,
    price: BigDecimal,
    quantity: BigInt,
    amount: BigDecimal,
}

impl Oracle {
    /// An oracle with windows of length `window`, and a watermark at the distance `delay`.
    pub fn new(window: Duration, delay: Duration) -> Self {
        Self { window, delay, ledgers: BTreeMap::new(), groups: BTreeMap::new(), dead_letters: BTreeMap::new() }
    }

    /// The distance of the watermark from the latest observed time.
    pub const fn delay(&self) -> Duration {
        self.delay
    }

    /// Sets the first offset of a partition. Must be called before its first record.
    pub fn start(&mut self, partition: i32, offset: i64) {
        self.ledgers.insert(partition, OracleLedger { next_offset: offset, ..OracleLedger::default() });
    }

    /// Moves a partition to `offset`, and counts the skipped offsets as gaps.
    pub fn skip_to(&mut self, partition: i32, offset: i64) {
        let ledger = self.ledgers.entry(partition).or_default();
        ledger.gaps += offset - ledger.next_offset;
        ledger.next_offset = offset;
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
        self.skip_to(partition, record.offset);
        let ledger = self.ledgers.entry(partition).or_default();
        ledger.next_offset += 1;
        let letter = match purchase(record.value) {
            Err(reason) => {
                ledger.invalid += 1;
                OracleDeadLetter { reason, purchase: None, missed_by: None }
            }
            Ok(purchase) => {
                let record_time = record.timestamp_millis.map(record_time);
                let latest = record_time.and_then(|record_time| record_time.checked_add_signed(max_future));
                let amount = &purchase.price * BigDecimal::from(purchase.quantity);
                let is_newest = ledger.max_observed.is_none_or(|max| purchase.time > max);
                if record_time.is_none() && is_newest {
                    ledger.invalid += 1;
                    let purchase = Some(purchase.not_applied(amount));
                    OracleDeadLetter { reason: "no_record_time", purchase, missed_by: None }
                } else if latest.is_some_and(|latest| purchase.time > latest) {
                    ledger.future += 1;
                    OracleDeadLetter { reason: "future", purchase: Some(purchase.not_applied(amount)), missed_by: None }
                } else {
                    let micros = self.window.num_microseconds().expect("a window is shorter than a day");
                    let start = purchase.time.timestamp_micros() / micros * micros;
                    let start = DateTime::from_timestamp_micros(start).expect("within the years of event time");
                    let end = start + self.window;
                    let closed = ledger.max_observed.map(|max| max - self.delay);
                    let closed = closed.map_or(floor, |closed| closed.max(floor));
                    let observed = record_time.map_or(purchase.time, |record_time| purchase.time.min(record_time));
                    ledger.max_observed = ledger.max_observed.max(Some(observed));
                    if end <= closed {
                        ledger.late += 1;
                        let missed_by = Some(closed - end);
                        OracleDeadLetter { reason: "late", purchase: Some(purchase.not_applied(amount)), missed_by }
                    } else {
                        ledger.applied += 1;
                        let group = self.groups.entry((start, purchase.category, purchase.payment_method)).or_default();
                        group.events += 1;
                        group.amount += amount;
                        group.price += purchase.price;
                        group.quantity += purchase.quantity;
                        return "applied";
                    }
                }
            }
        };
        let fate = letter.reason;
        self.dead_letters.insert((partition, record.offset), letter);
        fate
    }

    /// The rows of all windows with events, sorted by window, category and payment method.
    pub fn rows(&self) -> Vec<OracleRow> {
        let mut running = BTreeMap::<(&str, &str), BigDecimal>::new();
        self.groups
            .iter()
            .map(|((start, category, payment_method), group)| {
                let running_total = running.entry((category, payment_method)).or_default();
                *running_total += &group.amount;
                OracleRow {
                    window_start: *start,
                    window_end: *start + self.window,
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

    /// The counts, by partition.
    pub const fn ledgers(&self) -> &BTreeMap<i32, OracleLedger> {
        &self.ledgers
    }

    /// The records that were not applied, by partition and offset.
    pub const fn dead_letters(&self) -> &BTreeMap<(i32, i64), OracleDeadLetter> {
        &self.dead_letters
    }
}

/// The timestamp of a record. Values beyond the calendar of chrono are later than any event.
fn record_time(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(millis).single().unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `sum / count`, rounded half away from zero to six decimals. BigDecimal divides to 100 digits, so that the first rounding
/// makes no tie.
fn average(sum: &BigDecimal, count: i64) -> BigDecimal {
    (sum / BigDecimal::from(count)).with_scale_round(6, RoundingMode::HalfUp)
}

struct Purchase {
    category: String,
    payment_method: String,
    quantity: i64,
    price: BigDecimal,
    time: DateTime<Utc>,
}

impl Purchase {
    fn not_applied(self, amount: BigDecimal) -> OraclePurchase {
        let Self { category, payment_method, quantity, .. } = self;
        OraclePurchase { category, payment_method, quantity, amount }
    }
}

const KNOWN: [&str; 10] = [
    "category",
    "payment_method",
    "quantity",
    "price",
    "timestamp",
    "ts",
    "transaction_id",
    "customer_id",
    "brand",
    "product_name",
];

fn purchase(value: Option<&[u8]>) -> Result<Purchase, &'static str> {
    let value = value.unwrap_or_default();
    if value.is_empty() {
        return Err("empty");
    }
    let object: Object = serde_json::from_slice(value).map_err(|_| "malformed_json")?;
    for name in KNOWN {
        if object.0.iter().filter(|(other, _)| other == name).count() > 1 {
            return Err("malformed_json");
        }
    }
    let field = |name: &str| object.0.iter().find(|(other, _)| other == name).map(|(_, raw)| raw.get());
    let missing = "missing_field";
    let timestamp = field("timestamp").or_else(|| field("ts")).ok_or(missing)?;
    let price = field("price").ok_or(missing)?;
    let quantity = field("quantity").ok_or(missing)?;
    let category = field("category").ok_or(missing)?;
    let payment_method = field("payment_method").ok_or(missing)?;
    Ok(Purchase {
        time: event_time(timestamp).ok_or("bad_timestamp")?,
        price: exact(price)
            .filter(|price| !price.is_negative() && price < &BigDecimal::from(1_000_000_000_000_i64))
            .map(|price| price.with_scale_round(6, RoundingMode::HalfEven))
            .ok_or("bad_price")?,
        quantity: quantity.parse().ok().filter(|n| (1..=i64::from(i32::MAX)).contains(n)).ok_or("bad_quantity")?,
        category: key(category).ok_or("bad_key")?,
        payment_method: key(payment_method).ok_or("bad_key")?,
    })
}

fn key(raw: &str) -> Option<String> {
    let key: String = serde_json::from_str(raw).ok()?;
    (!key.is_empty() && key.len() <= 128 && !key.contains('\0')).then_some(key)
}

/// The exact value of a JSON number; `None` for another value, or a magnitude of 10^30 or more. A magnitude below 10^-30
/// becomes 10^-30, which suffices for all rules, so that a large exponent does not cost memory.
fn exact(raw: &str) -> Option<BigDecimal> {
    let unsigned = raw.strip_prefix('-').unwrap_or(raw);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let mantissa: BigDecimal = mantissa.parse().expect("a JSON number");
    if mantissa.is_zero() {
        return Some(mantissa);
    }
    let exponent: BigInt = exponent.parse().expect("a JSON exponent");
    let magnitude = BigInt::from(mantissa.digits()) - mantissa.fractional_digit_count() + &exponent;
    if magnitude > BigInt::from(30) {
        return None;
    }
    let magnitude = if magnitude < BigInt::from(-30) {
        BigDecimal::new(1.into(), 30)
    } else {
        let exponent = exponent.to_i64().expect("bounded by the magnitude and the length of the text");
        let (digits, scale) = mantissa.into_bigint_and_exponent();
        BigDecimal::new(digits, scale - exponent)
    };
    Some(if raw.starts_with('-') { -magnitude } else { magnitude })
}

fn event_time(raw: &str) -> Option<DateTime<Utc>> {
    let time = if raw.starts_with('"') {
        rfc3339(&serde_json::from_str::<String>(raw).ok()?)?
    } else {
        let seconds = exact(raw).filter(|seconds| !seconds.is_negative())?;
        let micros = (seconds * BigDecimal::from(1_000_000)).with_scale_round(0, RoundingMode::Down);
        DateTime::from_timestamp_micros(micros.to_i64()?)?
    };
    let first = Utc.with_ymd_and_hms(1970, 1, 1, 0, 0, 0).unwrap();
    let last = Utc.with_ymd_and_hms(9999, 12, 31, 23, 59, 59).unwrap() + Duration::seconds(1);
    (first <= time && time < last).then_some(time)
}

fn rfc3339(text: &str) -> Option<DateTime<Utc>> {
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let fraction_digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    // chrono accepts any number of digits, a Unicode minus sign, and a leap second in any minute.
    if fraction_digits > 9 || !text.is_ascii() {
        return None;
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    if time.nanosecond() >= 1_000_000_000 && (time.hour(), time.minute()) != (23, 59) {
        return None;
    }
    DateTime::from_timestamp_micros(time.timestamp_micros())
}

/// A JSON object with all fields in their order, including repeated ones.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
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
