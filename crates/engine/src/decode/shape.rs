//! The fastest decoder, for purchases with the layout of an earlier one.
//!
//! A producer writes the same fields in the same order with the same blanks. Each record therefore consists of the same
//! literals, with values between them:
//!
//! ```text
//!   {"category": "    Skincare    ", "quantity":     2    , "price":     19.99    }
//!   └ literal 0 ─┘     value      └─ literal 1 ─┘  value  └ literal 2 ┘  value    └ tail
//! ```
//!
//! A [`Shape`] is learnt from a record that the scanner has read. From then on, a value extends from a literal to the start of
//! the next one, whose position follows from the next quote; the decoder searches only for quotes. A record that fits is the
//! JSON object that its literals describe, because
//!
//! - it begins with the first literal and ends with the tail, and each literal follows the value before it;
//! - no value contains a quote, because the next quote ends it;
//! - it is text without backslashes and control characters, so that the bytes between two quotes are a JSON string;
//! - a value without quotes is a number, or a word in a field that is not used.
//!
//! This decoder reads only valid purchases. For any other record it returns `None`, and the other decoders read it.

use super::event::{Event, fits_id, fits_key, price, quantity};
use super::fields::{Field, Value};
use super::number::{self, Short};
use super::quotes::{FindQuotes, Quotes, portable};
use super::scan;
use super::timestamp::{Dates, unix_seconds};

/// The layout of purchases.
#[derive(Debug)]
pub(super) struct Shape {
    /// The start of a record.
    first: Literal,
    /// The literals between two values.
    between: Vec<Literal>,
    /// The end of a record.
    tail: Literal,
    /// The bytes of literals after their blocks, each with the value before it; `None` for the start of a record.
    long: Vec<(Option<usize>, Box<[u8]>)>,
    /// The values of a purchase.
    needed: Needed,
    /// The values that are not used and have no quotes.
    bare: Vec<usize>,
    /// Start and end of each value of the last record.
    places: Vec<(usize, usize)>,
}

/// The values of a purchase, by their positions in the record.
#[derive(Debug)]
struct Needed {
    category: usize,
    payment_method: usize,
    quantity: usize,
    price: usize,
    timestamp: usize,
    /// The id, if it is a text.
    transaction_id: Option<usize>,
    /// Whether the timestamp has quotes.
    timestamp_is_text: bool,
    /// Whether the last value has quotes.
    last_is_text: bool,
}

impl Shape {
    /// The layout of `record`, if it is a valid purchase that can be read with it.
    pub(super) fn learn(record: &str) -> Option<Self> {
        let (mut literals, mut values, mut end) = (Vec::new(), Vec::new(), 0);
        scan::walk(record, |name, value, place| {
            let quoted = matches!(value, Value::Plain(_));
            let inside = if quoted { place.start + 1..place.end - 1 } else { place };
            literals.push(&record[end..inside.start]);
            values.push((Field::named(name), quoted));
            end = inside.end;
            Some(())
        })?;
        let tail = &record[end..];
        if tail.len() > BLOCK {
            return None;
        }
        let long = literals
            .iter()
            .enumerate()
            .filter_map(|(number, literal)| Some((number.checked_sub(1), literal.as_bytes().get(BLOCK..)?.into())));
        let long = long.filter(|(_, rest): &(_, Box<[u8]>)| !rest.is_empty()).collect();
        let (first, between) = literals.split_first()?;
        let (first, tail) = (Literal::new(first), Literal::tail(tail));
        let between = between.iter().map(|literal| Literal::new(literal)).collect();
        let place = |field| values.iter().position(|(other, _)| *other == Some(field));
        let text = |field| place(field).filter(|at| values[*at].1);
        let number = |field| place(field).filter(|at| !values[*at].1);
        let timestamp = place(Field::Timestamp).or_else(|| place(Field::Ts))?;
        let needed = Needed {
            category: text(Field::Category)?,
            payment_method: text(Field::PaymentMethod)?,
            quantity: number(Field::Quantity)?,
            price: number(Field::Price)?,
            timestamp,
            transaction_id: text(Field::TransactionId),
            timestamp_is_text: values[timestamp].1,
            last_is_text: values.last()?.1,
        };
        let read_anyway = [needed.quantity, needed.price, needed.timestamp];
        let bare = (0..values.len()).filter(|at| !values[*at].1 && !read_anyway.contains(at)).collect();
        let places = vec![(0, 0); values.len()];
        let mut shape = Self { first, between, tail, long, needed, bare, places };
        let fits =
            shape.read(record.as_bytes(), portable::find, &mut Quotes::default(), &mut Dates::default()).is_some();
        fits.then_some(shape)
    }

    /// Number of fields of the records.
    #[cfg(test)]
    pub(super) fn fields(&self) -> usize {
        self.places.len()
    }

    /// The purchase in `payload`, if it has this layout.
    #[inline(always)]
    pub(super) fn read<'a>(
        &mut self,
        payload: &'a [u8],
        find: impl FindQuotes,
        quotes: &mut Quotes,
        dates: &mut Dates,
    ) -> Option<Event<'a>> {
        let text = find(quotes, payload)?;
        if self.fits(payload, quotes) { self.event(text, dates) } else { None }
    }

    /// Whether all literals are at their positions. Sets `places` to the positions of the values.
    #[inline(always)]
    fn fits(&mut self, text: &[u8], quotes: &Quotes) -> bool {
        let Self { first, between, tail, long, places, .. } = self;
        let Some(last) = text.last_chunk() else { return false };
        let mut differences = Differences::default();
        differences.note(last, tail);
        if !first.compare(text, 0, &mut differences) {
            return false;
        }
        let mut end = first.length;
        for (place, literal) in places.iter_mut().zip(&*between) {
            let start = quotes.next(end).wrapping_sub(literal.quote);
            if !literal.compare(text, start, &mut differences) {
                return false;
            }
            *place = (end, start);
            end = start + literal.length;
        }
        let tail_start = text.len().wrapping_sub(tail.length);
        places[between.len()] = (end, tail_start);
        if !differences.none() || (self.needed.last_is_text && quotes.next(end) != tail_start) {
            return false;
        }
        long.iter().all(|(after, rest)| {
            let start = after.map_or(0, |value| places[value].1);
            text.get(start + BLOCK..).is_some_and(|text| text.starts_with(rest))
        })
    }

    /// The id of the record that was read last.
    pub(super) fn id<'a>(&self, text: &'a [u8]) -> Option<&'a str> {
        let id = self.value(self.needed.transaction_id?, text)?;
        std::str::from_utf8(id).ok().filter(|id| fits_id(id.len()))
    }

    /// A value of a record that fits; `None` if the literal after it begins too early.
    #[inline(always)]
    fn value<'a>(&self, at: usize, text: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.places[at];
        text.get(start..end)
    }

    /// A value as a number of a few bytes, if it can be one.
    #[inline(always)]
    fn short(&self, at: usize, text: &[u8]) -> Option<Short> {
        let (start, end) = self.places[at];
        Short::new(text, start, end)
    }

    /// A value as a key.
    #[inline(always)]
    fn key<'a>(&self, at: usize, text: &'a str) -> Option<&'a str> {
        let (start, end) = self.places[at];
        let (to_end, _) = text.split_at_checked(end)?;
        let (_, key) = to_end.split_at_checked(start)?;
        fits_key(key.len()).then_some(key)
    }

    /// The purchase of a record that fits, if its values are valid.
    #[inline(always)]
    fn event<'a>(&self, text: &'a str, dates: &mut Dates) -> Option<Event<'a>> {
        let (needed, bytes) = (&self.needed, text.as_bytes());
        for &at in &self.bare {
            if self.short(at, bytes).and_then(Short::positive).is_none() && !is_bare(self.value(at, bytes)?) {
                return None;
            }
        }
        let timestamp = self.value(needed.timestamp, bytes)?;
        Some(Event {
            timestamp: if needed.timestamp_is_text {
                dates.rfc3339(timestamp)?
            } else {
                number::is_number(timestamp).then(|| unix_seconds(timestamp))??
            },
            price: match self.short(needed.price, bytes).and_then(Short::plain) {
                Some(price) => price,
                None => long_price(self.value(needed.price, bytes)?)?,
            },
            quantity: match self.short(needed.quantity, bytes).and_then(Short::positive) {
                Some(quantity) => quantity,
                None => quantity(self.value(needed.quantity, bytes)?)?,
            },
            category: self.key(needed.category, text)?,
            payment_method: self.key(needed.payment_method, text)?,
        })
    }
}

/// The price in a text without quotes, if it is valid.
#[cold]
fn long_price(text: &[u8]) -> Option<i64> {
    number::is_number(text).then(|| price(text))?
}

/// Whether the value is valid without quotes.
#[cold]
fn is_bare(value: &[u8]) -> bool {
    number::is_number(value) || matches!(value, b"true" | b"false" | b"null")
}

/// Bytes that are equal in all records.
#[derive(Debug)]
struct Literal {
    /// Number of bytes.
    length: usize,
    /// Position of the first quote; 0 for a tail without quotes.
    quote: usize,
    /// The first bytes, padded with zeros after them; for a tail the last bytes, padded with zeros before them.
    block: [u64; BLOCK / 8],
    /// Ones at the bytes of the literal.
    mask: [u64; BLOCK / 8],
}

/// Number of bytes that are compared at once.
const BLOCK: usize = 32;

/// The accumulated differences of all literals, evaluated once at the end.
#[derive(Default)]
struct Differences([u64; BLOCK / 8]);

impl Literal {
    fn new(text: &str) -> Self {
        Self::in_block(text, 0)
    }

    fn tail(text: &str) -> Self {
        Self::in_block(text, BLOCK.saturating_sub(text.len()))
    }

    /// The block with `zeros` zeros before the text.
    fn in_block(text: &str, zeros: usize) -> Self {
        let byte = |i: usize| i.checked_sub(zeros).and_then(|i| text.as_bytes().get(i)).copied();
        let words = |byte: &dyn Fn(usize) -> u8| {
            std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|i| byte(word * 8 + i))))
        };
        Self {
            length: text.len(),
            quote: text.find('"').unwrap_or(0),
            block: words(&|i| byte(i).unwrap_or(0)),
            mask: words(&|i| byte(i).map_or(0, |_| 0xff)),
        }
    }

    /// Compares the block with the text at `start`, and adds to `differences`. Returns false if it cannot match.
    #[inline(always)]
    fn compare(&self, text: &[u8], start: usize, differences: &mut Differences) -> bool {
        let Some(here) = text.get(start..) else { return false };
        match here.first_chunk() {
            Some(here) => differences.note(here, self),
            None => return self.is_all_of(here),
        }
        true
    }

    /// Compares close to the end of the text: a literal contains no zeros, so that the padding after the end differs from it.
    #[cold]
    fn is_all_of(&self, here: &[u8]) -> bool {
        let mut differences = Differences::default();
        differences.note(&std::array::from_fn(|i| here.get(i).copied().unwrap_or(0)), self);
        differences.none()
    }
}

impl Differences {
    #[inline(always)]
    fn note(&mut self, here: &[u8; BLOCK], literal: &Literal) {
        for (i, word) in here.as_chunks().0.iter().enumerate() {
            self.0[i] |= (u64::from_le_bytes(*word) ^ literal.block[i]) & literal.mask[i];
        }
    }

    #[inline(always)]
    fn none(&self) -> bool {
        self.0 == [0; BLOCK / 8]
    }
}
