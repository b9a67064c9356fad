//! The schemas that records name, as far as the decoder has learnt them.

use std::collections::BTreeMap;

use super::Reason;
use crate::schema::SchemaId;

/// Maximum number of schemas that are kept. The one whose last record is the oldest goes first, and must be learnt again.
const MAX_SCHEMAS: usize = 1024;

/// Maximum memory of all plans, in bytes. A single plan can be larger.
const MAX_BYTES: usize = 64 << 20;

/// The plans by which records are read, or why a record with that schema is invalid.
#[derive(Debug)]
pub(super) struct Schemas<P> {
    schemas: BTreeMap<SchemaId, Schema<P>>,
    /// Approximate memory of all plans.
    bytes: usize,
    /// Number of times that another schema than the one before was used.
    clock: u64,
}

#[derive(Debug)]
struct Schema<P> {
    plan: Result<Box<P>, Reason>,
    /// Approximate memory of its plan.
    bytes: usize,
    /// The time of its last use.
    used: u64,
}

impl<P> Default for Schemas<P> {
    fn default() -> Self {
        Self { schemas: BTreeMap::new(), bytes: 0, clock: 0 }
    }
}

impl<P> Schemas<P> {
    pub(super) fn contains(&self, id: SchemaId) -> bool {
        self.schemas.contains_key(&id)
    }

    /// Adds a schema whose plan takes about this memory, and drops others that are too many.
    pub(super) fn insert(&mut self, id: SchemaId, plan: Result<P, Reason>, bytes: usize) {
        self.clock += 1;
        self.remove(id);
        while self.schemas.len() >= MAX_SCHEMAS || (self.bytes + bytes > MAX_BYTES && !self.schemas.is_empty()) {
            let oldest = self.schemas.iter().min_by_key(|(_, schema)| schema.used).map(|(id, _)| *id);
            oldest.into_iter().for_each(|id| self.remove(id));
        }
        self.bytes += bytes;
        self.schemas.insert(id, Schema { plan: plan.map(Box::new), bytes, used: self.clock });
    }

    fn remove(&mut self, id: SchemaId) {
        if let Some(removed) = self.schemas.remove(&id) {
            self.bytes -= removed.bytes;
        }
    }

    /// The plan of a schema; `None` if it is not known yet.
    #[inline(always)]
    pub(super) fn plan(&mut self, id: SchemaId) -> Option<Result<&mut P, Reason>> {
        let schema = self.schemas.get_mut(&id)?;
        if schema.used != self.clock {
            self.clock += 1;
            schema.used = self.clock;
        }
        Some(schema.plan.as_deref_mut().map_err(|reason| *reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_that_was_not_used_for_longest_is_dropped() {
        let mut schemas: Schemas<u32> = Schemas::default();
        let id = SchemaId::Number;
        for number in 0..MAX_SCHEMAS as u32 {
            schemas.insert(id(number), Ok(number), 1);
        }
        schemas.insert(id(7), Err(Reason::UnknownSchema), 0);
        assert!(schemas.contains(id(0)), "a schema was only replaced");
        assert_eq!(schemas.plan(id(0)), Some(Ok(&mut 0)));
        schemas.insert(id(5000), Ok(1), 1);
        assert_eq!(schemas.plan(id(1)), None);
        assert_eq!(schemas.plan(id(0)), Some(Ok(&mut 0)));
        assert_eq!(schemas.plan(id(7)), Some(Err(Reason::UnknownSchema)));
        assert_eq!((schemas.schemas.len(), schemas.bytes), (MAX_SCHEMAS, MAX_SCHEMAS - 1));
    }

    #[test]
    fn large_plans_leave_no_room_for_others() {
        let mut schemas: Schemas<u32> = Schemas::default();
        for number in 0..100 {
            schemas.insert(SchemaId::Number(number), Ok(number), MAX_BYTES / 4);
        }
        assert_eq!((schemas.schemas.len(), schemas.bytes), (4, MAX_BYTES));
        schemas.insert(SchemaId::Number(100), Ok(100), 2 * MAX_BYTES);
        assert_eq!((schemas.schemas.len(), schemas.bytes), (1, 2 * MAX_BYTES));
        assert_eq!(schemas.plan(SchemaId::Number(100)), Some(Ok(&mut 100)));
    }
}
