//! The schemas that records name, as far as the decoder has learnt them.

use std::collections::BTreeSet;

use super::Reason;
use crate::schema::SchemaId;

/// Maximum number of schemas that are kept. The one whose last record is the oldest goes first, and must be learnt again.
const MAX_SCHEMAS: usize = 1024;

/// Maximum memory of all plans, in bytes. A single plan can be larger.
const MAX_BYTES: usize = 64 << 20;

/// The plans by which records are read, or why a record with that schema is invalid.
#[derive(Debug)]
pub(super) struct Schemas<P> {
    /// By id, in order.
    schemas: Vec<(SchemaId, Schema<P>)>,
    /// The position of the schema of the last record, which nearly always is that of the next one.
    last: usize,
    /// Approximate memory of all plans.
    bytes: usize,
    /// Number of times that another schema than the one before was used.
    clock: u64,
    /// The schemas of the records since [`Self::take_used`].
    used: BTreeSet<SchemaId>,
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
        Self { schemas: Vec::new(), last: 0, bytes: 0, clock: 0, used: BTreeSet::new() }
    }
}

impl<P> Schemas<P> {
    #[inline(always)]
    pub(super) fn contains(&self, id: SchemaId) -> bool {
        self.is_last(id) || self.position(id).is_ok()
    }

    #[inline(always)]
    fn is_last(&self, id: SchemaId) -> bool {
        self.schemas.get(self.last).is_some_and(|(last, _)| *last == id)
    }

    /// The position of a schema; otherwise the one at which it must be inserted.
    fn position(&self, id: SchemaId) -> Result<usize, usize> {
        self.schemas.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// Adds a schema whose plan takes about this memory, and drops others that are too many.
    pub(super) fn insert(&mut self, id: SchemaId, plan: Result<P, Reason>, bytes: usize) {
        self.clock += 1;
        if let Ok(at) = self.position(id) {
            self.remove(at);
        }
        while self.schemas.len() >= MAX_SCHEMAS || (self.bytes + bytes > MAX_BYTES && !self.schemas.is_empty()) {
            let oldest = (0..self.schemas.len()).min_by_key(|at| self.schemas[*at].1.used);
            oldest.into_iter().for_each(|at| self.remove(at));
        }
        self.bytes += bytes;
        let at = self.position(id).unwrap_or_else(|at| at);
        // The schema of the next record counts as used, the last one included.
        self.last = usize::MAX;
        self.schemas.insert(at, (id, Schema { plan: plan.map(Box::new), bytes, used: self.clock }));
    }

    fn remove(&mut self, at: usize) {
        let (_, removed) = self.schemas.remove(at);
        self.bytes -= removed.bytes;
    }

    /// The plan of a schema; `None` if it is not known yet.
    #[inline(always)]
    pub(super) fn plan(&mut self, id: SchemaId) -> Option<Result<&mut P, Reason>> {
        if !self.is_last(id) {
            self.use_other(id)?;
        }
        let (_, schema) = &mut self.schemas[self.last];
        Some(schema.plan.as_deref_mut().map_err(|reason| *reason))
    }

    /// The next records have another schema.
    #[inline(never)]
    fn use_other(&mut self, id: SchemaId) -> Option<()> {
        self.last = self.position(id).ok()?;
        self.clock += 1;
        self.schemas[self.last].1.used = self.clock;
        self.used.insert(id);
        Some(())
    }

    /// The schemas of the records since the last call.
    pub(super) fn take_used(&mut self) -> BTreeSet<SchemaId> {
        // So that the next record notes its schema again.
        self.last = usize::MAX;
        std::mem::take(&mut self.used)
    }

    /// All schemas must be learnt again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
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
    fn every_schema_that_was_used_is_reported_once() {
        let mut schemas: Schemas<u32> = Schemas::default();
        let id = SchemaId::Number;
        for number in 0..3 {
            schemas.insert(id(number), Ok(number), 1);
        }
        assert_eq!(schemas.take_used(), BTreeSet::new());
        for number in [0, 2, 2, 0] {
            assert!(schemas.plan(id(number)).is_some());
        }
        assert_eq!(schemas.plan(id(3)), None);
        assert_eq!(schemas.take_used(), BTreeSet::from([id(0), id(2)]));
        assert!(schemas.plan(id(0)).is_some());
        assert_eq!(schemas.take_used(), BTreeSet::from([id(0)]), "the schema of the last record before counts again");
        schemas.forget();
        assert!(!schemas.contains(id(0)));
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
