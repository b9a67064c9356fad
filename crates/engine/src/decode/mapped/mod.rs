//! Reads the purchases of records by a mapping.
//!
//! `plan` compiles the mapping to a tree of the wanted fields, `slots` finds their places in a record with serde_json, without
//! building the rest of it, and `purchase` parses their values. The decoder keeps the memory for the items of a record, of which
//! there are at most 1,000. Apart from that, a record costs a stack of one byte for each open bracket, and its texts with escapes.

mod plan;
mod purchase;
mod slots;

pub(crate) use purchase::{MappedPurchase, Purchases};

use super::Reason;
use super::timestamp::Dates;
use crate::mapping::{MAX_ELEMENTS, Mapping};
use crate::time::Timestamp;
use plan::Plan;
use slots::{Kind, Slots};

/// Reads records by a mapping.
#[derive(Debug)]
pub(crate) struct MappedDecoder {
    plan: Plan,
    slots: Slots,
    dates: Dates,
    purchases: Purchases,
}

/// The contents of a record.
#[derive(Debug)]
pub(crate) enum Mapped<'a> {
    /// The condition of the mapping is not true.
    Filtered,
    /// The purchases of the record: a record without an exploded array has one.
    Purchases(&'a Purchases),
}

impl MappedDecoder {
    pub(crate) fn new(mapping: &Mapping) -> Self {
        let plan = Plan::new(mapping);
        let purchases = Purchases::new(mapping);
        Self { slots: Slots::new(plan.nodes.len()), dates: Dates::default(), purchases, plan }
    }

    /// Whether events have ids.
    pub(crate) fn has_id(&self) -> bool {
        self.plan.id.is_some()
    }

    /// Reads a record with this timestamp.
    pub(crate) fn decode(
        &mut self,
        value: Option<&[u8]>,
        record_time: Option<Timestamp>,
    ) -> Result<Mapped<'_>, Reason> {
        let payload = match value {
            None | Some([]) => return Err(Reason::Empty),
            Some(payload) => payload,
        };
        let text = std::str::from_utf8(payload).map_err(|_| Reason::MalformedJson)?;
        self.slots.read_record(&self.plan, text).map_err(|_| Reason::MalformedJson)?;
        // Elements can repeat a field too, which makes the record malformed before any condition.
        let elements = self.read_elements(text)?;
        if let Some(condition) = &self.plan.condition
            && condition.is_true(&self.slots.of(text)) != Some(true)
        {
            return Ok(Mapped::Filtered);
        }
        let time = self.plan.timestamp.read(&self.slots.of(text), record_time, &mut self.dates);
        let id = self.purchases.read_id(&self.plan, &self.slots.of(text));
        match (time, elements, id) {
            (Ok(time), Ok(()), Ok(())) => {
                self.purchases.time = time;
                Ok(Mapped::Purchases(&self.purchases))
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
