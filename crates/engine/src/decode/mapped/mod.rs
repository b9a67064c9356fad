//! Reads the purchases of records by a mapping.
//!
//! `plan` compiles the mapping to a tree of the wanted fields. Three readers find the places of these fields; the fastest applicable
//! one reads the record:
//!
//! - `line`: a record with the layout of an earlier one;
//! - `graph`: a record whose parts, from one value to the next, occurred in earlier ones;
//! - `slots`: anything else, read by serde_json, whose result is authoritative. `layout` teaches the other two from its records.
//!
//! A fast reader finds the same places as serde_json, or leaves the record to it: only `slots` decides that a record is invalid, and
//! why. `purchase` parses the values for all three, and for other formats (`wanted`).
//!
//! The decoder keeps the memory for the items of a record, of which there are at most 1,000, and for at most 1 MiB of learnt texts.
//! Apart from that, a record costs a stack of one byte for each open bracket, and its texts with escapes.

mod graph;
mod layout;
mod line;
mod literal;
pub(super) mod plan;
pub(super) mod purchase;
mod slots;
mod tiers;
pub(super) mod wanted;

pub(in crate::decode) use purchase::Purchases;
pub(crate) use purchase::{MappedPurchase, MappedRecord};
pub use tiers::Readers;

use super::Reason;
use super::quotes::{FindQuotes, Quotes};
use super::timestamp::Dates;
use crate::mapping::{MAX_ELEMENTS, Mapping};
use crate::time::Timestamp;
use plan::Plan;
use slots::{Kind, Slots};
use tiers::Tiers;
use wanted::WantedFields;

/// Reads records by a mapping.
#[derive(Debug)]
pub(crate) struct MappedDecoder {
    plan: Plan,
    slots: Slots,
    dates: Dates,
    purchases: Purchases,
    quotes: Quotes,
    tiers: Tiers,
}

/// The contents of a record.
#[derive(Debug)]
pub(crate) enum Mapped<'a> {
    /// The condition of the mapping is not true.
    Filtered,
    /// The purchases of the record: a record without an exploded array has one.
    Purchases(MappedRecord<'a>),
}

/// The result of the fast readers.
enum Fast {
    Filtered,
    Purchases,
    /// The slow reader must read the record.
    NotMine {
        /// Whether the record is text without escapes and control characters, from which the fast readers can learn.
        is_plain: bool,
    },
}

impl MappedDecoder {
    pub(crate) fn new(mapping: &Mapping) -> Self {
        let plan = Plan::new(mapping);
        Self {
            slots: Slots::new(plan.nodes.len()),
            dates: Dates::default(),
            purchases: Purchases::new(mapping),
            quotes: Quotes::default(),
            tiers: Tiers::new(&plan),
            plan,
        }
    }

    /// How many records each reader has read.
    pub(crate) fn readers(&self) -> Readers {
        self.tiers.readers
    }

    /// Whether events have ids.
    pub(crate) fn has_id(&self) -> bool {
        self.plan.id.is_some()
    }

    /// Reads a record with this timestamp, within a task of a SIMD backend.
    #[inline(always)]
    pub(crate) fn decode<'a>(
        &'a mut self,
        value: Option<&'a [u8]>,
        record_time: Option<Timestamp>,
        find: impl FindQuotes,
    ) -> Result<Mapped<'a>, Reason> {
        let payload = match value {
            None | Some([]) => return Err(Reason::Empty),
            Some(payload) => payload,
        };
        match self.read_fast(payload, record_time, find) {
            Fast::Filtered => Ok(Mapped::Filtered),
            Fast::Purchases => Ok(Mapped::Purchases(self.purchases.of(payload))),
            Fast::NotMine { is_plain } => self.read_slow(payload, record_time, is_plain),
        }
    }

    #[inline(always)]
    fn read_fast(&mut self, payload: &[u8], record_time: Option<Timestamp>, find: impl FindQuotes) -> Fast {
        let Some(text) = find(&mut self.quotes, payload) else { return Fast::NotMine { is_plain: false } };
        let Self { plan, slots, dates, purchases, quotes, tiers } = self;
        purchases.clear();
        let mut are_valid;
        if let Some(line) = tiers.read_line(text, quotes) {
            let fields = line.record(text);
            if plan.explode.is_none() {
                are_valid = purchases.read(plan, &fields).is_ok();
            } else {
                let elements = line.elements(text);
                are_valid = elements.len() > 0;
                for element in elements {
                    are_valid &= purchases.read(plan, &element).is_ok();
                }
            }
            let time = plan.timestamp.read(&fields, record_time, dates).ok().filter(|_| are_valid);
            if time.is_none() && !line.has_valid_numbers(text) {
                return Fast::NotMine { is_plain: true };
            }
            return finish(plan, purchases, &fields, time);
        }
        let Some((graph, elements)) = tiers.read_graph(plan, text, quotes, slots) else {
            return Fast::NotMine { is_plain: true };
        };
        if plan.explode.is_none() {
            are_valid = purchases.read(plan, &slots.of(text)).is_ok();
        } else {
            are_valid = (1..=MAX_ELEMENTS).contains(&elements);
            graph.read_elements(plan, slots, |slots| are_valid &= purchases.read(plan, &slots.of(text)).is_ok());
        }
        let fields = slots.of(text);
        let time = plan.timestamp.read(&fields, record_time, dates);
        finish(plan, purchases, &fields, time.ok().filter(|_| are_valid))
    }

    /// Reads a record with serde_json. The fast readers learn from one that is valid.
    #[cold]
    #[inline(never)]
    fn read_slow<'a>(
        &'a mut self,
        payload: &'a [u8],
        record_time: Option<Timestamp>,
        is_plain: bool,
    ) -> Result<Mapped<'a>, Reason> {
        let text = std::str::from_utf8(payload).map_err(|_| Reason::MalformedJson)?;
        self.slots.read_record(&self.plan, text).map_err(|_| Reason::MalformedJson)?;
        // Elements can repeat a field too, which makes the record malformed before any condition.
        let elements = self.read_elements(text)?;
        self.tiers.readers.slow += 1;
        if !passes(&self.plan, &self.slots.of(text)) {
            self.tiers.learn(&self.plan, text, is_plain);
            return Ok(Mapped::Filtered);
        }
        let time = self.plan.timestamp.read(&self.slots.of(text), record_time, &mut self.dates);
        let id = self.purchases.read_id(&self.plan, &self.slots.of(text));
        match (time, elements, id) {
            (Ok(time), Ok(()), Ok(())) => {
                self.purchases.time = time;
                self.tiers.learn(&self.plan, text, is_plain);
                Ok(Mapped::Purchases(self.purchases.of(payload)))
            }
            (time, elements, id) => {
                Err([time.err(), elements.err(), id.err()].into_iter().flatten().min().unwrap_or(Reason::Empty))
            }
        }
    }

    /// Reads the purchases. The outer error is a malformed record; the inner one is the first reason of all purchases, in the
    /// order of [`Reason`].
    fn read_elements(&mut self, text: &str) -> Result<Result<(), Reason>, Reason> {
        let Self { plan, slots, purchases, .. } = self;
        purchases.clear();
        let Some(array) = plan.explode else { return Ok(purchases.read(plan, &slots.of(text))) };
        match slots.kind(array) {
            Kind::Missing | Kind::Null => return Ok(Err(Reason::MissingField)),
            Kind::Array => {}
            Kind::Bool(_) | Kind::Number | Kind::Plain | Kind::Escaped | Kind::Object => {
                return Ok(Err(Reason::BadItems));
            }
        }
        let mut first: Option<Reason> = None;
        let mut count = 0;
        let whole = slots.read_elements(plan, text, array, |slots| {
            count += 1;
            if count > MAX_ELEMENTS {
                return false;
            }
            let reason = purchases.read(plan, &slots.of(text)).err();
            first = [first, reason].into_iter().flatten().min();
            true
        });
        whole.map_err(|_| Reason::MalformedJson)?;
        if count == 0 || count > MAX_ELEMENTS {
            first = [first, Some(Reason::BadItems)].into_iter().flatten().min();
        }
        Ok(first.map_or(Ok(()), Err))
    }
}

/// Finishes a record by its fields. `time` is its event time, if its purchases are valid.
#[inline(always)]
fn finish(plan: &Plan, purchases: &mut Purchases, fields: &impl WantedFields, time: Option<Timestamp>) -> Fast {
    if !passes(plan, fields) {
        return Fast::Filtered;
    }
    match time {
        Some(time) if purchases.read_id(plan, fields).is_ok() => {
            purchases.time = time;
            Fast::Purchases
        }
        _ => Fast::NotMine { is_plain: true },
    }
}

/// Whether a record is not filtered.
#[inline(always)]
fn passes(plan: &Plan, fields: &impl WantedFields) -> bool {
    plan.condition.as_ref().is_none_or(|condition| condition.is_true(fields) == Some(true))
}
