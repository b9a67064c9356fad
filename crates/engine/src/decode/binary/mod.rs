//! Reads purchases from the values of the wanted fields, which a reader of a binary format has put into [`Slots`].

mod number;
mod slots;

use super::Reason;
use super::mapped::plan::{NodeId, Plan};
use super::mapped::purchase::Purchases;
use super::mapped::{Mapped, wanted::WantedFields};
use super::timestamp::Dates;
use crate::mapping::{MAX_ELEMENTS, Mapping};
use crate::time::Timestamp;
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

    /// The purchases of a record with this timestamp, whose wanted values `fill` puts into empty slots. Its error is the reason of a
    /// malformed record.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        record_time: Option<Timestamp>,
        fill: impl FnOnce(&Plan, &mut Slots) -> Result<(), Reason>,
    ) -> Result<Mapped<'_>, Reason> {
        let Self { plan, slots, dates, purchases } = self;
        slots.clear();
        fill(plan, slots)?;
        let fields = slots.fields();
        if let Some(condition) = &plan.condition
            && condition.is_true(&fields) != Some(true)
        {
            return Ok(Mapped::Filtered);
        }
        let time = plan.timestamp.read(&fields, record_time, dates);
        let id = purchases.read_id(plan, &fields);
        purchases.clear();
        let elements = match plan.explode {
            None => purchases.read(plan, &fields),
            Some(array) => read_elements(plan, slots, array, purchases),
        };
        match (time, elements, id) {
            (Ok(time), Ok(()), Ok(())) => {
                purchases.time = time;
                Ok(Mapped::Purchases(purchases))
            }
            (time, elements, id) => Err(first([time.err(), elements.err(), id.err()]).unwrap_or(Reason::Empty)),
        }
    }
}

/// The purchases of all elements; otherwise the first reason of all of them, in the order of [`Reason`].
#[inline(never)]
fn read_elements(plan: &Plan, slots: &mut Slots, array: NodeId, purchases: &mut Purchases) -> Result<(), Reason> {
    if slots.fields().is_missing(array) {
        return Err(Reason::MissingField);
    }
    let Some(count) = slots.elements(array) else { return Err(Reason::BadItems) };
    let mut reason = (count == 0 || count > MAX_ELEMENTS).then_some(Reason::BadItems);
    for element in 0..count.min(MAX_ELEMENTS) {
        slots.load_element(plan, element);
        reason = first([reason, purchases.read(plan, &slots.fields()).err()]);
    }
    reason.map_or(Ok(()), Err)
}

fn first<const N: usize>(reasons: [Option<Reason>; N]) -> Option<Reason> {
    reasons.into_iter().flatten().min()
}
