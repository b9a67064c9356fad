//! Reads purchases from the values of the wanted fields, which a reader of a binary format has put into [`Slots`].

mod cursor;
mod number;
mod slots;

use super::Reason;
use super::mapped::plan::{NodeId, Plan};
use super::mapped::{Mapped, Purchases, wanted::WantedFields};
use super::timestamp::Dates;
use crate::mapping::{MAX_ELEMENTS, Mapping};
use crate::time::Timestamp;
pub(super) use cursor::{Cursor, Place, zigzag};
pub(super) use slots::{Slot, Slots};

/// Reads the purchases of records of a binary format by a mapping.
#[derive(Debug)]
pub(super) struct BinaryRecords {
    plan: Plan,
    slots: Slots,
    dates: Dates,
    purchases: Purchases,
}

impl BinaryRecords {
    pub(super) fn new(mapping: &Mapping) -> Self {
        let plan = Plan::new(mapping);
        Self { slots: Slots::new(plan.nodes.len()), dates: Dates::default(), purchases: Purchases::new(mapping), plan }
    }

    /// The wanted fields.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The wanted fields, and the empty slots for the values of a record.
    #[inline(always)]
    pub(super) fn start(&mut self) -> (&Plan, &mut Slots) {
        self.slots.clear();
        (&self.plan, &mut self.slots)
    }

    /// The purchases of a record with this body and timestamp, whose values are in the slots.
    #[inline(always)]
    pub(super) fn finish<'a>(
        &'a mut self,
        body: &'a [u8],
        record_time: Option<Timestamp>,
    ) -> Result<Mapped<'a>, Reason> {
        let Self { plan, slots, dates, purchases } = self;
        let fields = slots.fields(body);
        if let Some(condition) = &plan.condition
            && condition.is_true(&fields) != Some(true)
        {
            return Ok(Mapped::Filtered);
        }
        let time = plan.timestamp.read(&fields, record_time, dates);
        purchases.clear();
        let id = purchases.read_id(plan, &fields);
        let elements = match plan.explode {
            None => purchases.read(plan, &fields),
            Some(array) => read_elements(plan, body, slots, array, purchases),
        };
        match (time, elements, id) {
            (Ok(time), Ok(()), Ok(())) => {
                purchases.time = time;
                Ok(Mapped::Purchases(purchases.of(body)))
            }
            (time, elements, id) => Err(first([time.err(), elements.err(), id.err()]).unwrap_or(Reason::Empty)),
        }
    }
}

/// The purchases of all elements; otherwise the first reason of all of them, in the order of [`Reason`].
#[inline(never)]
fn read_elements(
    plan: &Plan,
    body: &[u8],
    slots: &mut Slots,
    array: NodeId,
    purchases: &mut Purchases,
) -> Result<(), Reason> {
    if slots.fields(body).is_missing(array) {
        return Err(Reason::MissingField);
    }
    let Some(count) = slots.elements(array) else { return Err(Reason::BadItems) };
    let mut reason = (count == 0 || count > MAX_ELEMENTS).then_some(Reason::BadItems);
    for element in 0..count.min(MAX_ELEMENTS) {
        slots.load_element(plan, element);
        reason = first([reason, purchases.read(plan, &slots.fields(body)).err()]);
    }
    reason.map_or(Ok(()), Err)
}

fn first<const N: usize>(reasons: [Option<Reason>; N]) -> Option<Reason> {
    reasons.into_iter().flatten().min()
}
