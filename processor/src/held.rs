//! A copy of the record at which a partition waits for a schema.

use retail_engine::{Record, SchemaId, Timestamp};

/// A record that is not judged yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// The schema that the record names.
    pub(crate) id: SchemaId,
    offset: i64,
    timestamp: Option<Timestamp>,
    value: Option<Box<[u8]>>,
    schema: Option<Box<[u8]>>,
}

impl Held {
    pub(crate) fn new(record: &Record<'_>, id: SchemaId) -> Self {
        let Record { offset, timestamp, value, schema } = *record;
        Self { id, offset, timestamp, value: value.map(Box::from), schema: schema.map(Box::from) }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        let Self { id: _, offset, timestamp, value, schema } = self;
        Record { offset: *offset, timestamp: *timestamp, value: value.as_deref(), schema: schema.as_deref() }
    }
}
