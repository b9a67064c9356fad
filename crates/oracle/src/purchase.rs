//! Reads a purchase from the value of a record, with serde_json, BigDecimal and chrono.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Signed, ToPrimitive, Zero};
use chrono::{DateTime, Duration, TimeZone, Timelike, Utc};

use crate::json::Object;

/// A purchase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OraclePurchase {
    /// Values of the dimensions of the group.
    pub dimensions: Vec<String>,
    /// Number of pieces.
    pub quantity: i64,
    /// Price of a piece, without its sign.
    pub price: BigDecimal,
    /// Quantity × price.
    pub amount: BigDecimal,
    /// Values of the further sums.
    pub more: Vec<BigDecimal>,
}

/// A purchase with its event time.
pub(crate) struct TimedPurchase {
    pub(crate) time: DateTime<Utc>,
    /// For deduplication.
    pub(crate) id: Option<String>,
    pub(crate) purchase: OraclePurchase,
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

/// Reads the value of a record. Returns the reason if it is not a purchase, or if it has no id and needs one.
pub(crate) fn purchase(value: Option<&[u8]>, needs_id: bool) -> Result<TimedPurchase, &'static str> {
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
    let id = if needs_id { Some(field("transaction_id").ok_or(missing)?) } else { None };
    let time = event_time(timestamp).ok_or("bad_timestamp")?;
    let price = exact(price)
        .filter(|price| !price.is_negative() && price < &BigDecimal::from(1_000_000_000_000_i64))
        .map(|price| price.with_scale_round(6, RoundingMode::HalfEven))
        .ok_or("bad_price")?;
    let quantity: i64 =
        quantity.parse().ok().filter(|n| (1..=i64::from(i32::MAX)).contains(n)).ok_or("bad_quantity")?;
    let dimensions = vec![key(category).ok_or("bad_key")?, key(payment_method).ok_or("bad_key")?];
    let amount = &price * BigDecimal::from(quantity);
    let id = id.map(|raw| self::id(raw).ok_or("bad_key")).transpose()?;
    Ok(TimedPurchase { time, id, purchase: OraclePurchase { dimensions, quantity, price, amount, more: Vec::new() } })
}

/// The id in a string, or a number as written.
fn id(raw: &str) -> Option<String> {
    let id = match raw.as_bytes()[0] {
        b'"' => serde_json::from_str(raw).ok()?,
        b'-' | b'0'..=b'9' => raw.to_owned(),
        _ => return None,
    };
    (1..=1024).contains(&id.len()).then_some(id)
}

fn key(raw: &str) -> Option<String> {
    let key: String = serde_json::from_str(raw).ok()?;
    (fits_key(&key) && !key.contains('\0')).then_some(key)
}

/// Whether a key has a valid length.
pub(crate) fn fits_key(key: &str) -> bool {
    (1..=128).contains(&key.len())
}

/// The exact value of a JSON number; `None` for another value, or a magnitude of 10^30 or more. A magnitude below 10^-30
/// becomes 10^-30, which suffices for all rules, so that a large exponent does not cost memory.
pub(crate) fn exact(raw: &str) -> Option<BigDecimal> {
    exact_within(raw, 30)
}

/// As [`exact`], for other magnitudes.
pub(crate) fn exact_within(raw: &str, magnitude_bound: i64) -> Option<BigDecimal> {
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
    if magnitude > BigInt::from(magnitude_bound) {
        return None;
    }
    let magnitude = if magnitude < BigInt::from(-magnitude_bound) {
        BigDecimal::new(1.into(), magnitude_bound)
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
    within_years(time)
}

/// The instant, if it is in the years 1970 to 9999.
pub(crate) fn within_years(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let first = Utc.with_ymd_and_hms(1970, 1, 1, 0, 0, 0).unwrap();
    let last = Utc.with_ymd_and_hms(9999, 12, 31, 23, 59, 59).unwrap() + Duration::seconds(1);
    (first <= time && time < last).then_some(time)
}

pub(crate) fn rfc3339(text: &str) -> Option<DateTime<Utc>> {
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
