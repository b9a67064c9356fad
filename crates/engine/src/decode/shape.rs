//! The fastest reading of a purchase: it is laid out like one before.
//!
//! A producer writes the same fields in the same order with the same blanks. So a record is a row of literals, the same in
//! each, with values between them:
//!
//! ```text
//!   {"category": "    Skincare    ", "quantity":     2    , "price":     19.99    }
//!   └ literal 0 ─┘     value      └─ literal 1 ─┘  value  └ literal 2 ┘  value    └ tail
//! ```
//!
//! A [`Shape`] is learnt from a record that the scanner has read. From then on a value is what stands between a literal and the
//! next quote, or what the next literal has before its quote; nothing else is searched for. A record that fits is the JSON object
//! that its literals say, because
//!
//! - it begins with the first literal and ends with the tail, and every literal is where the value before it ends;
//! - no value has a quote in it, because the next quote ended it;
//! - it is text without backslashes and control characters, so that what is between two quotes is a JSON string;
//! - a value without quotes is a number, or a word where nobody needs it.
//!
//! Only good purchases are read here. Whatever else a record is, the answer is nothing, and others find out what it is.

use super::fields::{Field, Value};
use super::number::{self, Short};
use super::quotes::{FindQuotes, Quotes, portable};
use super::timestamp::{Dates, unix_seconds};
use super::{Event, fits_key, price, quantity, scan};

/// How purchases are laid out.
#[derive(Debug)]
pub(super) struct Shape {
    /// What a record begins with.
    first: Literal,
    /// What is between two values.
    between: Vec<Literal>,
    /// What a record ends with.
    tail: Literal,
    /// What literals have behind their blocks, each with the value after which it comes; that at the beginning comes after none.
    long: Vec<(Option<usize>, Box<[u8]>)>,
    /// Which values a purchase is made of.
    needed: Needed,
    /// Those that are not needed and have no quotes.
    bare: Vec<usize>,
    /// Of the record that was read last: where each value begins and ends.
    places: Vec<(usize, usize)>,
}

/// The values that a purchase is made of, by their places in the record.
#[derive(Debug)]
struct Needed {
    category: usize,
    payment_method: usize,
    quantity: usize,
    price: usize,
    timestamp: usize,
    /// Whether the timestamp has quotes.
    timestamp_is_text: bool,
    /// Whether the last value has.
    last_is_text: bool,
}

impl Shape {
    /// The layout of `record`, if that is a good purchase and can be read by one.
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

    /// How many fields its records have.
    #[cfg(test)]
    pub(super) fn fields(&self) -> usize {
        self.places.len()
    }

    /// The purchase in `payload`, if it is one of this layout.
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

    /// Whether all literals are in their places. Afterwards `places` says where the values are.
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

    /// The value at a place of a record that fits; nothing where the literal behind it begins too early.
    #[inline(always)]
    fn value<'a>(&self, at: usize, text: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.places[at];
        text.get(start..end)
    }

    /// The same as a number of a few bytes, if it may be one.
    #[inline(always)]
    fn short(&self, at: usize, text: &[u8]) -> Option<Short> {
        let (start, end) = self.places[at];
        Short::new(text, start, end)
    }

    /// The same as a key.
    #[inline(always)]
    fn key<'a>(&self, at: usize, text: &'a str) -> Option<&'a str> {
        let (start, end) = self.places[at];
        let (to_end, _) = text.split_at_checked(end)?;
        let (_, key) = to_end.split_at_checked(start)?;
        fits_key(key).then_some(key)
    }

    /// What a record that fits says, if its values are those of a purchase.
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

/// The price that a text without quotes names, if any.
#[cold]
fn long_price(text: &[u8]) -> Option<i64> {
    number::is_number(text).then(|| price(text))?
}

/// Whether that is a value that needs no quotes.
#[cold]
fn is_bare(value: &[u8]) -> bool {
    number::is_number(value) || matches!(value, b"true" | b"false" | b"null")
}

/// Bytes that are the same in each record.
#[derive(Debug)]
struct Literal {
    /// How many they are.
    length: usize,
    /// Where their first quote is; a tail may have none.
    quote: usize,
    /// The first of them, with zeros behind if they are fewer; of a tail the last, with zeros before.
    block: [u64; BLOCK / 8],
    /// Ones where the block has bytes of theirs.
    mask: [u64; BLOCK / 8],
}

/// So many bytes are compared at once.
const BLOCK: usize = 32;

/// What differed, in all literals together: looked at once, in the end.
#[derive(Default)]
struct Differences([u64; BLOCK / 8]);

impl Literal {
    fn new(text: &str) -> Self {
        Self::in_block(text, 0)
    }

    fn tail(text: &str) -> Self {
        Self::in_block(text, BLOCK.saturating_sub(text.len()))
    }

    /// With so many zeros before.
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

    /// Whether its block begins there, unless `differences` says otherwise.
    #[inline(always)]
    fn compare(&self, text: &[u8], start: usize, differences: &mut Differences) -> bool {
        let Some(here) = text.get(start..) else { return false };
        match here.first_chunk() {
            Some(here) => differences.note(here, self),
            None => return self.is_all_of(here),
        }
        true
    }

    /// The same close to the end of the text: a literal has no zeros, so that those behind the end differ from it.
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
