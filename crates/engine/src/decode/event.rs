//! A decoded purchase, the reasons why a record is not one, and the bounds of its values.

use std::fmt;

use super::number;
use crate::money::Money;
use crate::time::Timestamp;

/// Maximum length of a category or payment method, in bytes after JSON unescaping.
const MAX_KEY_BYTES: usize = 128;

/// Maximum length of the id of an event, in bytes.
const MAX_ID_BYTES: usize = 1024;

/// Maximum quantity: the largest Postgres `integer`.
pub(super) const MAX_QUANTITY: i64 = i32::MAX as i64;

/// The fields of one purchase that the aggregation uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// Grouping key, 1..=128 bytes, as sent.
    pub category: &'a str,
    /// Grouping key, 1..=128 bytes, as sent.
    pub payment_method: &'a str,
    /// Number of pieces, 1..=2^31-1.
    pub quantity: i64,
    /// Price of one piece in millionths, 0..=10^18.
    pub price: i64,
    /// Event time, years 1970..=9999.
    pub timestamp: Timestamp,
}

impl Event<'_> {
    /// Quantity × price.
    #[inline]
    pub fn amount(&self) -> Money {
        Money::from_millionths(i128::from(self.price) * i128::from(self.quantity))
    }
}

/// Why a record is invalid. Checked in the order of the variants; the decoder returns all but the last one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The record has no value, or an empty one.
    Empty,
    /// Neither the value nor a header of the record has the id of a schema, although the format has one.
    NoSchemaId,
    /// The registry does not know the schema of the record.
    UnknownSchema,
    /// The schema of the record is invalid, of another format, not a record, or too large.
    UnusableSchema,
    /// The value is not one JSON object in UTF-8, or repeats a known field.
    MalformedJson,
    /// The body is not a value of its Avro schema.
    MalformedAvro,
    /// The body is not a message of its Protobuf schema.
    MalformedProtobuf,
    /// A required field is missing: without a mapping category, payment_method, quantity, price or timestamp.
    MissingField,
    /// The exploded field is not an array, or an array without elements, or with more than 1,000.
    BadItems,
    /// The timestamp is neither an RFC 3339 string with offset nor Unix seconds, or not in the years 1970..=9999.
    BadTimestamp,
    /// The price, the amount or a further sum is not a number, or is 10^12 or more, or price or amount is negative without refunds.
    BadPrice,
    /// The quantity is not an integer of 1..=2^31-1, or of -(2^31-1)..=-1 with refunds and a price that is not negative.
    BadQuantity,
    /// A grouping key is not a text of 1..=128 bytes, or contains U+0000, which Postgres does not support.
    BadKey,
    /// The record has no timestamp, and its purchase is newer than all earlier events of the partition: no record time bounds
    /// the time that it would prove.
    NoRecordTime,
}

impl Reason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 14] = [
        Self::Empty,
        Self::NoSchemaId,
        Self::UnknownSchema,
        Self::UnusableSchema,
        Self::MalformedJson,
        Self::MalformedAvro,
        Self::MalformedProtobuf,
        Self::MissingField,
        Self::BadItems,
        Self::BadTimestamp,
        Self::BadPrice,
        Self::BadQuantity,
        Self::BadKey,
        Self::NoRecordTime,
    ];

    /// The name in `dead_letter`, in metrics and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NoSchemaId => "no_schema_id",
            Self::UnknownSchema => "unknown_schema",
            Self::UnusableSchema => "unusable_schema",
            Self::MalformedJson => "malformed_json",
            Self::MalformedAvro => "malformed_avro",
            Self::MalformedProtobuf => "malformed_protobuf",
            Self::MissingField => "missing_field",
            Self::BadItems => "bad_items",
            Self::BadTimestamp => "bad_timestamp",
            Self::BadPrice => "bad_price",
            Self::BadQuantity => "bad_quantity",
            Self::BadKey => "bad_key",
            Self::NoRecordTime => "no_record_time",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a key can have this length, in bytes.
pub(super) fn fits_key(length: usize) -> bool {
    (1..=MAX_KEY_BYTES).contains(&length)
}

/// Whether the id of an event can have this length, in bytes.
pub(super) fn fits_id(length: usize) -> bool {
    (1..=MAX_ID_BYTES).contains(&length)
}

/// The price in a JSON number.
pub(super) fn price(text: &[u8]) -> Option<i64> {
    number::plain(text).or_else(|| number::millionths(text)?.rounded())
}

/// The quantity in a JSON number. Only digits are valid: producers of integers write neither `3.0` nor `3e0`.
pub(super) fn quantity(text: &[u8]) -> Option<i64> {
    number::positive(text).filter(|&quantity| quantity <= MAX_QUANTITY)
}
