//! From the bytes of a Kafka record to a purchase, or to the reason why it is none.
//!
//! Three steps: `scan` (fast) or `slow` (serde_json, with the final word) finds the fields as written; this file says
//! what each must be; `number` and `timestamp` read them exactly. Nothing here allocates for an event without escapes.

mod fields;
mod number;
mod scan;
mod slow;
mod timestamp;

use std::fmt;

use crate::time::Timestamp;
use fields::{Fields, Value};

/// The longest category or payment method, in bytes after JSON unescaping.
pub const MAX_KEY_BYTES: usize = 128;

/// The largest quantity: what a Postgres `integer` holds.
pub const MAX_QUANTITY: i64 = i32::MAX as i64;

/// What the aggregation needs of one purchase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// Grouping key, 1..=128 bytes, byte for byte as sent.
    pub category: &'a str,
    /// Grouping key, 1..=128 bytes, byte for byte as sent.
    pub payment_method: &'a str,
    /// Pieces, 1..=[`MAX_QUANTITY`].
    pub quantity: i64,
    /// Price of one piece in millionths, 0..=10^18.
    pub price: i64,
    /// Event time, years 1970..=9999.
    pub timestamp: Timestamp,
}

/// Why a record is not a purchase. Tried in the order of the variants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The record has no value, or one of zero bytes.
    Empty,
    /// Not one JSON object in UTF-8, or one that repeats a known field.
    MalformedJson,
    /// category, payment_method, quantity, price or timestamp is not there.
    MissingField,
    /// The timestamp is neither an RFC 3339 string with offset nor Unix seconds, or not in the years 1970..=9999.
    BadTimestamp,
    /// The price is not a number, below zero, or 10^12 or more.
    BadPrice,
    /// The quantity is not an integer of 1..=2^31-1.
    BadQuantity,
    /// A grouping key is not a string of 1..=128 bytes, or contains U+0000, which Postgres text cannot hold.
    BadKey,
}

impl Reason {
    /// Every reason, in the order in which they are tried.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::MalformedJson,
        Self::MissingField,
        Self::BadTimestamp,
        Self::BadPrice,
        Self::BadQuantity,
        Self::BadKey,
    ];

    /// The name in `dead_letter`, in metrics and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::MalformedJson => "malformed_json",
            Self::MissingField => "missing_field",
            Self::BadTimestamp => "bad_timestamp",
            Self::BadPrice => "bad_price",
            Self::BadQuantity => "bad_quantity",
            Self::BadKey => "bad_key",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decodes one record after another, keeping room for the rare key that has escapes.
#[derive(Default, Debug)]
pub struct Decoder {
    category: String,
    payment_method: String,
}

impl Decoder {
    /// The purchase in `value`, or why there is none.
    pub fn decode<'a>(&'a mut self, value: Option<&'a [u8]>) -> Result<Event<'a>, Reason> {
        let payload = match value {
            None | Some([]) => return Err(Reason::Empty),
            Some(payload) => payload,
        };
        // The whole value must be UTF-8, fields that nobody reads included, so it is checked at once and before all else.
        let text = std::str::from_utf8(payload).map_err(|_| Reason::MalformedJson)?;
        let fields = scan::scan(text).or_else(|| slow::read(payload)).ok_or(Reason::MalformedJson)?;
        self.event(fields)
    }

    fn event<'a>(&'a mut self, fields: Fields<'a>) -> Result<Event<'a>, Reason> {
        let timestamp = match fields.timestamp {
            Value::Missing => fields.ts,
            Value::Plain(_) | Value::Escaped(_) | Value::Number(_) | Value::Other => fields.timestamp,
        };
        let required = [fields.category, fields.payment_method, fields.quantity, fields.price, timestamp];
        if required.contains(&Value::Missing) {
            return Err(Reason::MissingField);
        }
        Ok(Event {
            timestamp: read_timestamp(timestamp).ok_or(Reason::BadTimestamp)?,
            price: read_price(fields.price).ok_or(Reason::BadPrice)?,
            quantity: read_quantity(fields.quantity).ok_or(Reason::BadQuantity)?,
            category: read_key(fields.category, &mut self.category).ok_or(Reason::BadKey)?,
            payment_method: read_key(fields.payment_method, &mut self.payment_method).ok_or(Reason::BadKey)?,
        })
    }
}

fn read_timestamp(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Plain(text) => timestamp::rfc3339(text),
        Value::Escaped(literal) => timestamp::rfc3339(&unescape(literal)?),
        Value::Number(text) => timestamp::unix_seconds(text),
        Value::Missing | Value::Other => None,
    }
}

fn read_price(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Number(text) => number::millionths(text)?.rounded(),
        Value::Missing | Value::Plain(_) | Value::Escaped(_) | Value::Other => None,
    }
}

fn read_quantity(value: Value<'_>) -> Option<i64> {
    match value {
        // Digits alone: neither `3.0` nor `3e0` is an integer as producers of integers write them.
        Value::Number(text) => text.parse().ok().filter(|quantity| (1..=MAX_QUANTITY).contains(quantity)),
        Value::Missing | Value::Plain(_) | Value::Escaped(_) | Value::Other => None,
    }
}

fn read_key<'a>(value: Value<'a>, scratch: &'a mut String) -> Option<&'a str> {
    let key = match value {
        Value::Plain(text) => text,
        Value::Escaped(literal) => {
            *scratch = unescape(literal)?;
            scratch
        }
        Value::Missing | Value::Number(_) | Value::Other => return None,
    };
    let fits = (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.contains('\0');
    fits.then_some(key)
}

/// The string that a JSON literal stands for, or nothing if it is none: `"\ud800"` names half a character.
fn unescape(literal: &str) -> Option<String> {
    serde_json::from_str(literal).ok()
}
