//! The results of an engine: one transaction of the store.

use std::collections::BTreeSet;

use crate::deltas::Row;
use crate::fate::Counts;
use crate::lateness::Lateness;
use crate::money::Money;
use crate::recent_ids::Milestone;
use crate::schema::SchemaId;
use crate::time::{Span, Timestamp};

/// The progress of one partition in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Number of the partition.
    pub partition: i32,
    /// The first offset of the batch.
    pub from: i64,
    /// The offset after the last one of the batch.
    pub to: i64,
    /// The latest observed time, including all earlier batches.
    pub max_observed: Option<Timestamp>,
    /// The floor by which the records were judged.
    pub floor: Timestamp,
    /// The fates of the offsets `from..to`.
    pub counts: Counts,
}

impl Progress {
    /// Whether the batch contains offsets of this partition.
    pub const fn moved(&self) -> bool {
        self.from != self.to
    }
}

/// A record that was not applied, with the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// Why it was not applied, as in [`Fate::reason`](crate::Fate::reason).
    pub reason: &'static str,
    /// Further explanation of the reason, such as the missing field.
    pub detail: Option<Box<str>>,
    /// Event time, if the record contains a valid one.
    pub event_time: Option<Timestamp>,
    /// Timestamp of the record.
    pub record_time: Option<Timestamp>,
    /// The purchase, if the record contains a valid one.
    pub purchase: Option<Purchase>,
    /// For a late event: the time from the end of its window to the bound that closed it.
    pub missed_by: Option<Span>,
    /// The value, truncated to 64 KiB; `None` for a tombstone.
    pub payload: Option<Box<[u8]>>,
    /// The header with the id of its schema, truncated to 1 KiB. Explanations need it; it is not stored.
    pub schema: Option<Box<[u8]>>,
}

/// The contents of a purchase that was not applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purchase {
    /// The group: one value for each dimension of the pipeline.
    pub dimensions: Box<[Box<str>]>,
    /// Number of pieces.
    pub quantity: i64,
    /// Quantity × price.
    pub amount: Money,
    /// One value for each further sum of the pipeline.
    pub more: Box<[Money]>,
}

/// The results since the last [`Engine::take_batch`](crate::Engine::take_batch): one transaction of the store.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    /// All assigned partitions in order, including those without new offsets.
    pub partitions: Vec<Progress>,
    /// Sums to add, sorted by key.
    pub rows: Vec<Row>,
    /// Records that were not applied.
    pub dead_letters: Vec<DeadLetter>,
    /// Lateness of the applied and late events.
    pub lateness: Lateness,
    /// With deduplication, its state after the batch, for each partition in which it has changed.
    pub milestones: Vec<(i32, Vec<Milestone>)>,
    /// The schemas that the records name, if they were judged by them. Their verdicts must be as durable as the batch.
    pub schemas: BTreeSet<SchemaId>,
}
