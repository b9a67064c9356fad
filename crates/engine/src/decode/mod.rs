//! Decodes the bytes of a Kafka record to a purchase, or to the reason why the record is invalid.
//!
//! Three decoders give the same result; the fastest applicable one reads the record:
//!
//! - `shape`: a valid purchase with the layout of an earlier one; the positions of its quotes (`quotes`) delimit all values;
//! - `scan`: a flat object without escapes, read byte by byte;
//! - `slow`: anything else, read by serde_json, whose result is authoritative.
//!
//! With a mapping, `formats` reads the records instead: JSON by `mapped`, the others by the schemas that they name (`framing`, `schemas`).
//!
//! `event` defines the valid values of each field; `number` and `timestamp` parse them exactly. An event without escapes
//! does not allocate.

mod avro;
mod binary;
mod event;
mod fields;
mod formats;
mod framing;
mod mapped;
mod number;
mod protobuf;
mod quotes;
mod scan;
mod schemas;
mod shape;
mod slow;
mod timestamp;

use std::borrow::Cow;

pub use event::{Event, Reason};
use event::{fits_id, fits_key, price, quantity};
use fields::{Fields, Value};
pub(crate) use formats::FormatDecoder;
pub use framing::Frame;
pub use mapped::Readers;
pub(crate) use mapped::{Mapped, MappedPurchase};
pub use protobuf::protobuf_file;
use quotes::Quotes;
pub(crate) use quotes::{FindQuotes, SimdBackend, SimdTask};
use shape::Shape;
use timestamp::Dates;

use crate::time::Timestamp;

/// A new layout is learnt only after this number of records that did not fit, so that two producers that alternate do not
/// cause learning for each record.
const PATIENCE: u32 = 8;

/// Decodes records, and remembers the layout of recent ones. The remembered layout affects the speed, never the result.
#[derive(Debug)]
pub struct Decoder {
    simd: SimdBackend,
    shape: Option<Shape>,
    /// Number of further records that may not fit before another shape is learnt.
    patience: u32,
    quotes: Quotes,
    dates: Dates,
    /// Buffer for a key with escapes.
    category: String,
    payment_method: String,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            simd: SimdBackend::best(),
            shape: None,
            patience: 0,
            quotes: Quotes::default(),
            dates: Dates::default(),
            category: String::new(),
            payment_method: String::new(),
        }
    }
}

impl Decoder {
    /// The purchase in `value`, or the reason why it is invalid.
    pub fn decode<'a>(&'a mut self, value: Option<&'a [u8]>) -> Result<Event<'a>, Reason> {
        self.simd.run(Decode { decoder: self, value })
    }

    /// The fastest backend of this CPU.
    pub(crate) fn simd(&self) -> SimdBackend {
        self.simd
    }

    /// As [`Self::decode`], within a task of a SIMD backend.
    #[inline(always)]
    pub(crate) fn decode_by<'a>(
        &'a mut self,
        value: Option<&'a [u8]>,
        find: impl FindQuotes,
    ) -> Result<Event<'a>, Reason> {
        let payload = match value {
            None | Some([]) => return Err(Reason::Empty),
            Some(payload) => payload,
        };
        if let Some(shape) = &mut self.shape
            && let Some(event) = shape.read(payload, find, &mut self.quotes, &mut self.dates)
        {
            self.patience = PATIENCE;
            return Ok(event);
        }
        self.read(payload)
    }

    /// As [`Self::decode_by`], with the id of the event, without which a record is invalid.
    #[inline(always)]
    pub(crate) fn decode_with_id<'a>(
        &'a mut self,
        value: Option<&'a [u8]>,
        find: impl FindQuotes,
    ) -> Result<(Event<'a>, Cow<'a, str>), Reason> {
        let payload = match value {
            None | Some([]) => return Err(Reason::Empty),
            Some(payload) => payload,
        };
        if let Some(shape) = &mut self.shape
            && let Some(event) = shape.read(payload, find, &mut self.quotes, &mut self.dates)
            && let Some(id) = shape.id(payload)
        {
            self.patience = PATIENCE;
            return Ok((event, Cow::Borrowed(id)));
        }
        let id = read_id(payload);
        // A missing field precedes all other reasons but those of the record, and a bad key follows them.
        match self.read(payload) {
            Err(reason) if reason > Reason::MissingField && id == Err(Reason::MissingField) => {
                Err(Reason::MissingField)
            }
            Err(reason) => Err(reason),
            Ok(event) => Ok((event, id?)),
        }
    }

    #[cold]
    #[inline(never)]
    fn read<'a>(&'a mut self, payload: &'a [u8]) -> Result<Event<'a>, Reason> {
        // The whole value must be UTF-8, including unknown fields, so that it is checked first.
        let text = std::str::from_utf8(payload).map_err(|_| Reason::MalformedJson)?;
        let Some(fields) = scan::scan(text) else {
            let fields = slow::read(payload).ok_or(Reason::MalformedJson)?;
            return self.event(fields);
        };
        match self.patience.checked_sub(1) {
            Some(less) => self.patience = less,
            None => {
                self.patience = PATIENCE;
                if let Some(shape) = Shape::learn(text) {
                    self.shape = Some(shape);
                }
            }
        }
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
            timestamp: read_timestamp(timestamp, &mut self.dates).ok_or(Reason::BadTimestamp)?,
            price: read_price(fields.price).ok_or(Reason::BadPrice)?,
            quantity: read_quantity(fields.quantity).ok_or(Reason::BadQuantity)?,
            category: read_key(fields.category, &mut self.category).ok_or(Reason::BadKey)?,
            payment_method: read_key(fields.payment_method, &mut self.payment_method).ok_or(Reason::BadKey)?,
        })
    }
}

/// The task of decoding a record.
struct Decode<'a> {
    decoder: &'a mut Decoder,
    value: Option<&'a [u8]>,
}

impl<'a> SimdTask for Decode<'a> {
    type Output = Result<Event<'a>, Reason>;

    #[inline(always)]
    fn run(self, find: impl FindQuotes) -> Self::Output {
        self.decoder.decode_by(self.value, find)
    }
}

fn read_timestamp(value: Value<'_>, dates: &mut Dates) -> Option<Timestamp> {
    match value {
        Value::Plain(text) => dates.rfc3339(text.as_bytes()),
        Value::Escaped(literal) => dates.rfc3339(unescape(literal)?.as_bytes()),
        Value::Number(text) => timestamp::unix_seconds(text.as_bytes()),
        Value::Missing | Value::Other => None,
    }
}

fn read_price(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Number(text) => price(text.as_bytes()),
        Value::Missing | Value::Plain(_) | Value::Escaped(_) | Value::Other => None,
    }
}

fn read_quantity(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Number(text) => quantity(text.as_bytes()),
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
    (fits_key(key.len()) && !key.contains('\0')).then_some(key)
}

/// The id of a record; numbers as written.
#[cold]
fn read_id(payload: &[u8]) -> Result<Cow<'_, str>, Reason> {
    let text = std::str::from_utf8(payload).map_err(|_| Reason::MalformedJson)?;
    let fields = scan::scan(text).or_else(|| slow::read(payload)).ok_or(Reason::MalformedJson)?;
    let id = match fields.transaction_id {
        Value::Missing => return Err(Reason::MissingField),
        Value::Plain(id) | Value::Number(id) => Cow::Borrowed(id),
        Value::Escaped(literal) => Cow::Owned(unescape(literal).ok_or(Reason::BadKey)?),
        Value::Other => return Err(Reason::BadKey),
    };
    if fits_id(id.len()) { Ok(id) } else { Err(Reason::BadKey) }
}

/// The value of a JSON string literal; `None` if it is invalid, such as the unpaired surrogate `"\ud800"`.
fn unescape(literal: &str) -> Option<String> {
    serde_json::from_str(literal).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETAILED: &str = r#"{"transaction_id": "fb797f4d-139c-43dd-92c2-b9fdd9c111ed", "customer_id": 964, "category": "Hair Care", "quantity": 5, "price": 44.38, "payment_method": "Debit Card", "timestamp": "2024-12-31T23:49:40.382924+00:00"}"#;
    const COMPACT: &str =
        r#"{"category":"Hair Care","payment_method":"Debit Card","quantity":5,"price":44.38,"ts":1735688980.382924}"#;

    /// How many times the layout changed.
    fn relearnt(decoder: &mut Decoder, payloads: &[&str]) -> usize {
        let fields = |decoder: &Decoder| decoder.shape.as_ref().map(Shape::fields);
        let mut times = 0;
        for payload in payloads {
            let before = fields(decoder);
            assert!(decoder.decode(Some(payload.as_bytes())).is_ok(), "{payload}");
            times += usize::from(fields(decoder) != before);
        }
        times
    }

    #[test]
    fn layout_is_replaced_only_when_a_new_one_persists() {
        let mut decoder = Decoder::default();
        assert_eq!(relearnt(&mut decoder, &[DETAILED]), 1);
        assert_eq!(relearnt(&mut decoder, &[COMPACT, DETAILED].repeat(20)), 0, "two producers that alternate");
        assert_eq!(relearnt(&mut decoder, &[COMPACT; PATIENCE as usize]), 0);
        assert_eq!(relearnt(&mut decoder, &[COMPACT; 2]), 1);
    }

    #[test]
    fn all_decoders_agree() {
        for payload in [DETAILED, COMPACT] {
            let payload = payload.as_bytes();
            let mut decoder = Decoder::default();
            let scanned = decoder.decode(Some(payload)).ok().map(|event| format!("{event:?}"));
            assert!(scanned.is_some() && decoder.shape.is_some());
            for simd in [SimdBackend::Portable, SimdBackend::best()] {
                (decoder.simd, decoder.patience) = (simd, 0);
                let event = decoder.decode(Some(payload));
                assert_eq!(event.ok().map(|event| format!("{event:?}")), scanned, "{simd:?}");
                assert_eq!(decoder.patience, PATIENCE, "the shape did not read it");
            }
            let event = decoder.event(slow::read(payload).expect("an object"));
            assert_eq!(event.ok().map(|event| format!("{event:?}")), scanned);
        }
    }
}
