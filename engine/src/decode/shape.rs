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
use super::quotes::{Block, Quotes, Task, Way};
use super::timestamp::{Dates, unix_seconds};
use super::{Event, fits_key, number, price, quantity, scan};

/// How purchases are laid out.
#[derive(Debug)]
pub(super) struct Shape {
    /// The literals, each but the last with a value behind it.
    literals: Vec<Literal>,
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
}

impl Shape {
    /// The layout of `record`, if that is a good purchase and can be read by one.
    pub(super) fn learn(record: &str) -> Option<Self> {
        let (mut literals, mut values, mut end) = (Vec::new(), Vec::new(), 0);
        scan::walk(record, |name, value, place| {
            let quoted = matches!(value, Value::Plain(_));
            let inside = if quoted { place.start + 1..place.end - 1 } else { place };
            literals.push(Literal::new(&record[end..inside.start]));
            values.push((Field::named(name), quoted));
            end = inside.end;
            Some(())
        })?;
        literals.push(Literal::new(&record[end..]));
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
        };
        let read_anyway = [needed.quantity, needed.price, needed.timestamp];
        let bare = (0..values.len()).filter(|at| !values[*at].1 && !read_anyway.contains(at)).collect();
        let places = vec![(0, 0); values.len()];
        let mut shape = Self { literals, needed, bare, places };
        let fits = shape.read(record.as_bytes(), Way::best(), &mut Quotes::default(), &mut Dates::default()).is_some();
        fits.then_some(shape)
    }

    /// How many fields its records have.
    #[cfg(test)]
    pub(super) fn fields(&self) -> usize {
        self.literals.len() - 1
    }

    /// The purchase in `payload`, if it is one of this layout.
    #[inline]
    pub(super) fn read<'a>(
        &mut self,
        payload: &'a [u8],
        way: Way,
        quotes: &mut Quotes,
        dates: &mut Dates,
    ) -> Option<Event<'a>> {
        way.run(Read { shape: self, payload, quotes, dates })
    }

    /// Whether all literals are in their places. Afterwards `places` says where the values are.
    #[inline(always)]
    fn fits(&mut self, text: &[u8], quotes: &Quotes) -> bool {
        let Some((tail, literals)) = self.literals.split_last() else { return false };
        let Some(tail_start) = text.len().checked_sub(tail.bytes.len()) else { return false };
        let mut end = literals[0].bytes.len();
        for (place, literal) in self.places.iter_mut().zip(&literals[1..]) {
            let start = quotes.next(end).wrapping_sub(literal.quote);
            *place = (end, start);
            end = start.wrapping_add(literal.bytes.len());
        }
        self.places[literals.len() - 1] = (end, tail_start);
        let ends = tail.bytes[0] != b'"' || quotes.next(end) == tail_start;
        let starts = std::iter::once(0).chain(self.places.iter().map(|(_, end)| *end));
        let mut differences = [0; BLOCK / 8];
        for (literal, start) in literals.iter().zip(starts) {
            match literal.differences(text, start) {
                Some(more) => differences.iter_mut().zip(more).for_each(|(differences, more)| *differences |= more),
                None if literal.is_at(text, start) => {}
                None => return false,
            }
        }
        differences == [0; BLOCK / 8] && ends && text.ends_with(&tail.bytes)
    }

    /// The value at a place of a record that fits; nothing where the literal behind it begins too early.
    #[inline(always)]
    fn value<'a>(&self, at: usize, text: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.places[at];
        text.get(start..end)
    }

    /// The same as a key.
    #[inline(always)]
    fn key<'a>(&self, at: usize, text: &'a str) -> Option<&'a str> {
        let (start, end) = self.places[at];
        text.get(start..end).filter(|key| fits_key(key))
    }

    /// What a record that fits says, if its values are those of a purchase.
    #[inline(always)]
    fn event<'a>(&self, text: &'a str, dates: &mut Dates) -> Option<Event<'a>> {
        let (needed, bytes) = (&self.needed, text.as_bytes());
        for &at in &self.bare {
            if !is_bare(self.value(at, bytes)?) {
                return None;
            }
        }
        let (timestamp, amount) = (self.value(needed.timestamp, bytes)?, self.value(needed.price, bytes)?);
        Some(Event {
            timestamp: if needed.timestamp_is_text {
                dates.rfc3339(timestamp)?
            } else {
                number::is_number(timestamp).then(|| unix_seconds(timestamp))??
            },
            price: match number::plain(amount) {
                Some(price) => price,
                None => number::is_number(amount).then(|| price(amount))??,
            },
            quantity: quantity(self.value(needed.quantity, bytes)?)?,
            category: self.key(needed.category, text)?,
            payment_method: self.key(needed.payment_method, text)?,
        })
    }
}

/// A record to be read.
struct Read<'a, 'b> {
    shape: &'b mut Shape,
    payload: &'a [u8],
    quotes: &'b mut Quotes,
    dates: &'b mut Dates,
}

impl<'a> Task for Read<'a, '_> {
    type Output = Option<Event<'a>>;

    #[inline(always)]
    fn run(self, look: impl Fn(&[u8; 64]) -> Block) -> Option<Event<'a>> {
        let text = self.quotes.find(self.payload, look)?;
        if self.shape.fits(self.payload, self.quotes) { self.shape.event(text, self.dates) } else { None }
    }
}

/// Whether that is a value that needs no quotes.
#[inline]
fn is_bare(value: &[u8]) -> bool {
    number::positive(value).is_some() || number::is_number(value) || matches!(value, b"true" | b"false" | b"null")
}

/// Bytes that are the same in each record.
#[derive(Debug)]
struct Literal {
    bytes: Box<[u8]>,
    /// The bytes in a block with zeros behind, if they are no more, and ones where there are bytes.
    block: [u64; BLOCK / 8],
    mask: [u64; BLOCK / 8],
    /// Where its first quote is; a last literal may have none.
    quote: usize,
}

/// So many bytes are compared at once; a longer literal is compared as any other bytes.
const BLOCK: usize = 32;

impl Literal {
    fn new(text: &str) -> Self {
        let byte = |i: usize| text.as_bytes().get(i).copied();
        let words = |byte: &dyn Fn(usize) -> u8| {
            std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|i| byte(word * 8 + i))))
        };
        Self {
            bytes: text.as_bytes().into(),
            block: words(&|i| byte(i).unwrap_or(0)),
            mask: words(&|i| byte(i).map_or(0, |_| 0xff)),
            quote: text.find('"').unwrap_or(0),
        }
    }

    /// What differs if it does not begin there; nothing if that cannot be said of it at once.
    #[inline(always)]
    fn differences(&self, text: &[u8], start: usize) -> Option<[u64; BLOCK / 8]> {
        let here = text.get(start..)?.first_chunk::<BLOCK>().filter(|_| self.bytes.len() <= BLOCK)?;
        let (words, _) = here.as_chunks();
        Some(std::array::from_fn(|i| (u64::from_le_bytes(words[i]) ^ self.block[i]) & self.mask[i]))
    }

    /// Whether it begins there.
    #[cold]
    fn is_at(&self, text: &[u8], start: usize) -> bool {
        text.get(start..).is_some_and(|here| here.starts_with(&self.bytes))
    }
}
