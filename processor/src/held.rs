//! Copies of the records at which a partition waits for a schema: the first one whose schema is missing, and some behind it.
//!
//! The schemas of all of them are asked for at the same time. Otherwise each new id would cost the time after which an id counts as
//! unknown.

use std::collections::VecDeque;

use retail_engine::{PartitionInput, Record, SchemaId, Timestamp};

/// Maximum number and size of the records that a partition holds. A process can have many partitions.
const MAX_ITEMS: usize = 256;
const MAX_BYTES: usize = 256 << 10;

/// The items that a partition holds, in order. It waits while there are any.
#[derive(Default, Debug)]
pub(crate) struct Held {
    /// The schema that is missing.
    pub(crate) waits_for: Option<SchemaId>,
    items: VecDeque<Item>,
    bytes: usize,
}

/// An item that is not judged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// A record.
    Record(HeldRecord),
    /// The end of the readable log.
    End(i64),
}

/// A copy of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeldRecord {
    offset: i64,
    timestamp: Option<Timestamp>,
    value: Option<Box<[u8]>>,
    schema: Option<Box<[u8]>>,
}

impl HeldRecord {
    fn new(record: &Record<'_>) -> Self {
        let Record { offset, timestamp, value, schema } = *record;
        Self { offset, timestamp, value: value.map(Box::from), schema: schema.map(Box::from) }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        let Self { offset, timestamp, value, schema } = self;
        Record { offset: *offset, timestamp: *timestamp, value: value.as_deref(), schema: schema.as_deref() }
    }

    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        length(&self.value) + length(&self.schema)
    }
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether no further item can be held. A single record can be larger than the limit.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= MAX_ITEMS || self.bytes >= MAX_BYTES
    }

    pub(crate) fn first(&self) -> Option<&Item> {
        self.items.front()
    }

    /// The schema of the first record, if it is missing.
    pub(crate) fn missing_schema(&self, input: &PartitionInput<'_>) -> Option<SchemaId> {
        match self.first()? {
            Item::Record(first) => input.missing_schema(&first.record()),
            Item::End(_) => None,
        }
    }

    pub(crate) fn hold(&mut self, record: &Record<'_>) {
        let record = HeldRecord::new(record);
        self.bytes += record.bytes();
        self.items.push_back(Item::Record(record));
    }

    pub(crate) fn hold_end(&mut self, offset: i64) {
        self.items.push_back(Item::End(offset));
    }

    pub(crate) fn remove_first(&mut self) {
        if let Some(Item::Record(record)) = self.items.pop_front() {
            self.bytes -= record.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, value: &[u8]) -> Record<'_> {
        Record { offset, timestamp: None, value: Some(value), schema: Some(b"id") }
    }

    #[test]
    fn items_keep_their_order_within_bounds() {
        let mut held = Held::default();
        held.hold(&record(3, b"x"));
        held.hold_end(5);
        held.hold(&record(5, &[0; MAX_BYTES]));
        assert!(held.is_full());
        assert_eq!(held.first(), Some(&Item::Record(HeldRecord::new(&record(3, b"x")))));
        held.remove_first();
        assert_eq!(held.first(), Some(&Item::End(5)));
        held.remove_first();
        held.remove_first();
        assert_eq!((held.is_empty(), held.bytes), (true, 0));
        for offset in 0..MAX_ITEMS as i64 {
            assert!(!held.is_full());
            held.hold(&record(offset, b""));
        }
        assert!(held.is_full());
    }
}
