//! The values of the wanted fields of a record.

#![allow(clippy::wildcard_enum_match_arm, reason = "most values have no fast reading")]

use super::number::{self, ShortText, Unscaled, WithExponent, float_millionths, trimmed};
use crate::condition::{Operand, Operands};
use crate::decode::Reason;
use crate::decode::mapped::plan::{NodeId, Plan};
use crate::decode::mapped::wanted::WantedFields;
use crate::decode::number::{HIGH, is_number, plain, positive};
use crate::decode::timestamp::from_units;
use crate::mapping::MAX_ELEMENTS;
use crate::time::Timestamp;

/// The value of a wanted field. Texts are in [`Slots::texts`].
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
    /// As [`Self::Decimal`], with digits in `texts`.
    Digits {
        start: u32,
        end: u32,
        scale: u32,
    },
    Text {
        start: u32,
        end: u32,
    },
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
    /// The texts of the record, one after the other. A record has less than 4 GiB.
    texts: String,
    /// The fields of the first elements, one element after the other.
    rows: Vec<Slot>,
    elements: usize,
}

impl Slots {
    pub(super) fn new(nodes: usize) -> Self {
        Self { slots: vec![Slot::Missing; nodes], texts: String::new(), rows: Vec::new(), elements: 0 }
    }

    /// All fields are missing.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::Missing);
        self.texts.clear();
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

    #[inline(always)]
    pub(in crate::decode) fn set_text(&mut self, node: NodeId, text: &str) {
        let start = self.texts.len() as u32;
        self.texts.push_str(text);
        self.slots[node] = Slot::Text { start, end: self.texts.len() as u32 };
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
        let start = self.texts.len() as u32;
        self.texts.push_str(digits);
        self.slots[node] = Slot::Digits { start, end: self.texts.len() as u32, scale };
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

    #[inline(always)]
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { slots: &self.slots, texts: &self.texts }
    }
}

/// The wanted fields of a record or element.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    slots: &'a [Slot],
    texts: &'a str,
}

impl Fields<'_> {
    #[inline(always)]
    fn text(&self, start: u32, end: u32) -> &str {
        &self.texts[start as usize..end as usize]
    }
}

/// Whether one of the bytes is zero. Most texts are too short for a search of the standard library to be fast.
#[inline(always)]
fn has_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    let of_word = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word.wrapping_sub(0x0101_0101_0101_0101) & !word & HIGH != 0
    };
    words.iter().any(of_word) || rest.iter().fold(false, |has, byte| has | (*byte == 0))
}

impl WantedFields for Fields<'_> {
    #[inline(always)]
    fn is_missing(&self, node: NodeId) -> bool {
        matches!(self.slots[node], Slot::Missing | Slot::Null)
    }

    #[inline(always)]
    fn plain(&self, node: NodeId) -> Option<&str> {
        let Slot::Text { start, end } = self.slots[node] else { return None };
        let text = self.text(start, end);
        (!has_zero(text.as_bytes())).then_some(text)
    }

    fn with_string<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        let Slot::Text { start, end } = self.slots[node] else { return None };
        Some(read(self.text(start, end)))
    }

    /// Numbers are decimals without zeros at the end. Floats have no text: equal amounts can differ in their last digit.
    fn with_key<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        match self.slots[node] {
            Slot::Text { .. } => self.with_string(node, read),
            Slot::Bool(is) => Some(read(if is { "true" } else { "false" })),
            Slot::Whole(number) | Slot::Instant { units: number, .. } | Slot::LocalTime(number) => {
                Some(read(ShortText::of(number).as_str()))
            }
            Slot::Decimal { unscaled, scale } => {
                let (unscaled, scale) = trimmed(unscaled, scale);
                number::plain(ShortText::of(unscaled).as_str(), scale).map(|text| read(&text))
            }
            Slot::Large(number) => Some(read(ShortText::of(number).as_str())),
            Slot::Digits { start, end, scale } => number::plain(self.text(start, end), scale).map(|text| read(&text)),
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
            Slot::Digits { start, end, scale } => {
                return Some(read(&WithExponent(self.text(start, end), scale).to_string()));
            }
            Slot::Text { start, end } if is_text => {
                let text = self.text(start, end);
                return is_number(text.as_bytes()).then(|| read(text));
            }
            Slot::Missing
            | Slot::Null
            | Slot::Bool(_)
            | Slot::Text { .. }
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
            Slot::Text { start, end } if is_text => positive(self.text(start, end).as_bytes()),
            _ => None,
        }
    }

    #[inline(always)]
    fn millionths(&self, node: NodeId, is_text: bool, scale: u8) -> Option<i64> {
        let (units, scale) = match self.slots[node] {
            Slot::Whole(units) => (units, u32::from(scale)),
            Slot::Decimal { unscaled, scale: own } => (unscaled, own.checked_add(scale.into())?),
            Slot::Double(number) if scale == 0 => return float_millionths(number),
            Slot::Text { start, end } if is_text && scale == 0 => return plain(self.text(start, end).as_bytes()),
            _ => return None,
        };
        if units < 0 {
            return None;
        }
        units.checked_mul(10_i64.pow(6_u32.checked_sub(scale)?))
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
            Slot::Text { start, end } => Operand::Text(self.text(start, end).into()),
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
