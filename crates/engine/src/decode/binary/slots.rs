//! The values of the wanted fields of a record.

#![allow(clippy::wildcard_enum_match_arm, reason = "most values have no fast reading")]

use super::cursor::Place;
use super::number::{self, ShortText, Unscaled, WithExponent, float_millionths, trimmed};
use crate::condition::{Operand, Operands};
use crate::decode::Reason;
use crate::decode::mapped::plan::{NodeId, Plan};
use crate::decode::mapped::wanted::WantedFields;
use crate::decode::number::{HIGH, is_number, plain, positive, scaled};
use crate::decode::timestamp::from_units;
use crate::mapping::MAX_ELEMENTS;
use crate::time::Timestamp;

/// The value of a wanted field.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(in crate::decode) enum Slot {
    /// The record has no such field.
    #[default]
    Missing,
    Null,
    Bool(bool),
    Whole(i64),
    /// An integer above those of [`Self::Whole`].
    Large(u64),
    Single(f32),
    Double(f64),
    /// A number of units of 10^-`scale`.
    Decimal {
        unscaled: i64,
        scale: u32,
    },
    /// As [`Self::Decimal`], with digits in [`Slots::made`].
    Digits {
        place: Place,
        scale: u32,
    },
    /// A string in the record, which is UTF-8.
    Text {
        place: Place,
        /// Whether it is without U+0000.
        is_plain: bool,
    },
    /// A string in [`Slots::made`].
    Made(Place),
    /// A number of units of 10^-`decimals` seconds since 1970.
    Instant {
        units: i64,
        decimals: u8,
    },
    /// An object that is an instant: seconds since 1970, and nanoseconds below a second.
    Timestamp {
        seconds: i64,
        nanos: i32,
    },
    /// A number that is a time without a zone, or a date: no event time.
    LocalTime(i64),
    Object,
    Array,
    /// A value that no field accepts.
    Other,
}

/// The values of all wanted fields of a record, and of the elements of its exploded array.
#[derive(Debug)]
pub(in crate::decode) struct Slots {
    slots: Vec<Slot>,
    /// The texts that are not in the record as they are, one after the other.
    made: String,
    /// The fields of the first elements, one element after the other.
    rows: Vec<Slot>,
    elements: usize,
}

impl Slots {
    pub(super) fn new(nodes: usize) -> Self {
        Self { slots: vec![Slot::Missing; nodes], made: String::new(), rows: Vec::new(), elements: 0 }
    }

    /// All fields are missing.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::Missing);
        self.made.clear();
        self.rows.clear();
        self.elements = 0;
    }

    #[inline(always)]
    pub(in crate::decode) fn set(&mut self, node: NodeId, slot: Slot) {
        self.slots[node] = slot;
    }

    /// As [`Self::set`]; without effect beyond the last field.
    #[inline(always)]
    pub(in crate::decode) fn set_wanted(&mut self, node: NodeId, slot: Slot) {
        if let Some(wanted) = self.slots.get_mut(node) {
            *wanted = slot;
        }
    }

    #[inline(always)]
    pub(in crate::decode) fn get(&self, node: NodeId) -> Slot {
        self.slots[node]
    }

    /// Sets a string in the record. Returns false if it is not UTF-8.
    #[inline(always)]
    pub(in crate::decode) fn set_text(&mut self, node: NodeId, record: &[u8], place: Place) -> bool {
        let is_usual = is_ascii_without_zeros(place.of(record));
        if is_usual {
            self.slots[node] = Slot::Text { place, is_plain: true };
        }
        is_usual || self.set_any_text(node, record, place)
    }

    #[inline(never)]
    fn set_any_text(&mut self, node: NodeId, record: &[u8], place: Place) -> bool {
        let text = std::str::from_utf8(place.of(record));
        if let Ok(text) = text {
            self.slots[node] = Slot::Text { place, is_plain: !text.contains('\0') };
        }
        text.is_ok()
    }

    /// Sets a string that is not in the record.
    #[inline(always)]
    pub(in crate::decode) fn make_text(&mut self, node: NodeId, text: &str) {
        self.slots[node] = Slot::Made(self.make(text));
    }

    fn make(&mut self, text: &str) -> Place {
        let start = self.made.len() as u32;
        self.made.push_str(text);
        Place { start, end: self.made.len() as u32 }
    }

    /// Sets a number of units of 10^-`scale`, in big-endian two's complement.
    #[inline(always)]
    pub(in crate::decode) fn set_decimal(&mut self, node: NodeId, bytes: &[u8], scale: u32) {
        match Unscaled::of(bytes) {
            Unscaled::Short(unscaled) => self.slots[node] = Slot::Decimal { unscaled, scale },
            Unscaled::Long(bytes) => self.set_long_decimal(node, bytes, scale),
            Unscaled::Other => self.slots[node] = Slot::Other,
        }
    }

    #[cold]
    fn set_long_decimal(&mut self, node: NodeId, bytes: &[u8], mut scale: u32) {
        let digits = number::digits(bytes);
        let mut digits = digits.as_str();
        while let Some(less) = digits.strip_suffix('0').filter(|_| scale > 0) {
            (digits, scale) = (less, scale - 1);
        }
        self.slots[node] = Slot::Digits { place: self.make(digits), scale };
    }

    /// A field and all fields in it are missing.
    pub(in crate::decode) fn clear_tree(&mut self, plan: &Plan, node: NodeId) {
        self.slots[node] = Slot::Missing;
        for (_, child) in &plan.nodes[node].children {
            self.clear_tree(plan, *child);
        }
    }

    /// Starts an exploded array, instead of one that was read before.
    #[inline(always)]
    pub(in crate::decode) fn start_elements(&mut self) {
        self.rows.clear();
        self.elements = 0;
    }

    /// The fields of elements are missing: the next one follows.
    #[inline(always)]
    pub(in crate::decode) fn clear_element(&mut self, plan: &Plan) {
        for node in &plan.of_elements {
            self.slots[*node] = Slot::Missing;
        }
    }

    /// Adds the element whose fields were set.
    #[inline(always)]
    pub(in crate::decode) fn end_element(&mut self, plan: &Plan) {
        if self.elements < MAX_ELEMENTS {
            self.rows.extend(plan.of_elements.iter().map(|node| self.slots[*node]));
        }
        self.elements += 1;
    }

    /// The number of elements of the exploded array; `None` for another value.
    pub(super) fn elements(&self, array: NodeId) -> Option<usize> {
        (self.slots[array] == Slot::Array).then_some(self.elements)
    }

    /// Sets the fields of one of the first elements.
    #[inline(always)]
    pub(super) fn load_element(&mut self, plan: &Plan, element: usize) {
        let width = plan.of_elements.len();
        for (node, slot) in plan.of_elements.iter().zip(&self.rows[element * width..]) {
            self.slots[*node] = *slot;
        }
    }

    /// The fields of this record.
    #[inline(always)]
    pub(super) fn fields<'a>(&'a self, record: &'a [u8]) -> Fields<'a> {
        Fields { slots: &self.slots, made: &self.made, record }
    }
}

/// The wanted fields of a record or element.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    slots: &'a [Slot],
    made: &'a str,
    record: &'a [u8],
}

impl<'a> Fields<'a> {
    fn made(&self, Place { start, end }: Place) -> &'a str {
        &self.made[start as usize..end as usize]
    }

    /// The content of a string; `None` for another value.
    fn string(&self, node: NodeId) -> Option<&'a str> {
        match self.slots[node] {
            Slot::Text { place, .. } => std::str::from_utf8(place.of(self.record)).ok(),
            Slot::Made(place) => Some(self.made(place)),
            _ => None,
        }
    }
}

/// Whether all bytes are ASCII, without U+0000. Most texts are too short for the functions of the standard library to be fast.
#[inline(always)]
fn is_ascii_without_zeros(bytes: &[u8]) -> bool {
    // The highest bit of a byte other than those, and of some bytes above it.
    let odd = |word: u64| (word.wrapping_sub(0x0101_0101_0101_0101) | word) & HIGH;
    if let Some(last) = bytes.last_chunk() {
        // The last eight bytes overlap with the others.
        let (words, _) = bytes.as_chunks();
        words.iter().fold(odd(u64::from_le_bytes(*last)), |bits, word| bits | odd(u64::from_le_bytes(*word))) == 0
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        odd(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))) == 0
    } else {
        bytes.iter().all(|byte| (1..0x80).contains(byte))
    }
}

impl WantedFields for Fields<'_> {
    #[inline(always)]
    fn is_missing(&self, node: NodeId) -> bool {
        matches!(self.slots[node], Slot::Missing | Slot::Null)
    }

    #[inline(always)]
    fn plain(&self, node: NodeId) -> Option<(u32, u32)> {
        match self.slots[node] {
            Slot::Text { place: Place { start, end }, is_plain: true } => Some((start, end)),
            _ => None,
        }
    }

    #[inline(always)]
    fn plain_text(&self, node: NodeId) -> Option<&[u8]> {
        let (start, end) = self.plain(node)?;
        Some(Place { start, end }.of(self.record))
    }

    fn with_string<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        self.string(node).map(read)
    }

    /// Numbers are decimals without zeros at the end. Floats have no text: equal amounts can differ in their last digit.
    fn with_key<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        match self.slots[node] {
            Slot::Text { .. } | Slot::Made(_) => self.with_string(node, read),
            Slot::Bool(is) => Some(read(if is { "true" } else { "false" })),
            Slot::Whole(number) | Slot::Instant { units: number, .. } | Slot::LocalTime(number) => {
                Some(read(ShortText::of(number).as_str()))
            }
            Slot::Decimal { unscaled, scale } => {
                let (unscaled, scale) = trimmed(unscaled, scale);
                number::plain(ShortText::of(unscaled).as_str(), scale).map(|text| read(&text))
            }
            Slot::Large(number) => Some(read(ShortText::of(number).as_str())),
            Slot::Digits { place, scale } => number::plain(self.made(place), scale).map(|text| read(&text)),
            Slot::Missing
            | Slot::Null
            | Slot::Single(_)
            | Slot::Double(_)
            | Slot::Timestamp { .. }
            | Slot::Object
            | Slot::Array
            | Slot::Other => None,
        }
    }

    fn with_number<R>(&self, node: NodeId, is_text: bool, read: impl FnOnce(&str) -> R) -> Option<R> {
        let short = match self.slots[node] {
            Slot::Whole(number) | Slot::Instant { units: number, .. } | Slot::LocalTime(number) => {
                ShortText::of(number)
            }
            Slot::Large(number) => ShortText::of(number),
            Slot::Single(number) => number::float(number)?,
            Slot::Double(number) => number::float(number)?,
            Slot::Decimal { unscaled, scale } => {
                let (unscaled, scale) = trimmed(unscaled, scale);
                ShortText::of(WithExponent(unscaled, scale))
            }
            Slot::Digits { place, scale } => return Some(read(&WithExponent(self.made(place), scale).to_string())),
            Slot::Text { .. } | Slot::Made(_) if is_text => {
                return self.string(node).filter(|text| is_number(text.as_bytes())).map(read);
            }
            Slot::Missing
            | Slot::Null
            | Slot::Bool(_)
            | Slot::Text { .. }
            | Slot::Made(_)
            | Slot::Timestamp { .. }
            | Slot::Object
            | Slot::Array
            | Slot::Other => return None,
        };
        Some(read(short.as_str()))
    }

    #[inline(always)]
    fn positive(&self, node: NodeId, is_text: bool) -> Option<i64> {
        match self.slots[node] {
            Slot::Whole(whole) => Some(whole).filter(|whole| *whole > 0),
            Slot::Text { place, .. } if is_text => positive(place.of(self.record)),
            _ => None,
        }
    }

    #[inline(always)]
    fn millionths(&self, node: NodeId, is_text: bool, scale: u8) -> Option<i64> {
        let (units, scale) = match self.slots[node] {
            Slot::Whole(units) => (units, u32::from(scale)),
            Slot::Decimal { unscaled, scale: own } => (unscaled, own.checked_add(scale.into())?),
            Slot::Double(number) if scale == 0 => return float_millionths(number),
            Slot::Text { place, .. } if is_text && scale == 0 => return plain(place.of(self.record)),
            _ => return None,
        };
        if units < 0 {
            return None;
        }
        scaled(units, scale)
    }

    #[inline(always)]
    fn instant(&self, node: NodeId) -> Option<Result<Timestamp, Reason>> {
        match self.slots[node] {
            Slot::Instant { units, decimals } => {
                let time = Some(units).filter(|units| *units >= 0).and_then(|units| from_units(units, decimals));
                Some(time.ok_or(Reason::BadTimestamp))
            }
            Slot::Timestamp { seconds, nanos } => {
                let nanos = (0..1_000_000_000).contains(&nanos).then(|| i64::from(nanos) / 1000);
                let micros = nanos.and_then(|micros| seconds.checked_mul(1_000_000)?.checked_add(micros));
                let time = micros.and_then(|micros| Timestamp::from_micros(micros).in_years_of_events());
                Some(time.ok_or(Reason::BadTimestamp))
            }
            Slot::LocalTime(_) => Some(Err(Reason::BadTimestamp)),
            _ => None,
        }
    }
}

impl Operands<NodeId> for Fields<'_> {
    fn with<R>(&self, node: &NodeId, read: impl FnOnce(&Operand<'_>) -> R) -> R {
        let value = match self.slots[*node] {
            Slot::Missing => Operand::Missing,
            Slot::Null => Operand::Null,
            Slot::Bool(is) => Operand::Bool(is),
            Slot::Text { .. } | Slot::Made(_) => {
                self.string(*node).map_or(Operand::Other, |text| Operand::Text(text.into()))
            }
            Slot::Object | Slot::Timestamp { .. } => Operand::Object,
            Slot::Array | Slot::Other => Operand::Other,
            Slot::Whole(_)
            | Slot::Large(_)
            | Slot::Single(_)
            | Slot::Double(_)
            | Slot::Decimal { .. }
            | Slot::Digits { .. }
            | Slot::Instant { .. }
            | Slot::LocalTime(_) => {
                let mut read = Some(read);
                let number =
                    self.with_number(*node, false, |number| read.take().map(|read| read(&Operand::Number(number))));
                return match (number.flatten(), read) {
                    (Some(result), _) => result,
                    // NaN, or an infinity.
                    (None, Some(read)) => read(&Operand::Other),
                    (None, None) => unreachable!("the number was read"),
                };
            }
        };
        read(&value)
    }
}
