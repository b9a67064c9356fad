//! The record in progress.

use retail_engine::Timestamp;

/// How a record differs from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// A purchase; with a condition in the mapping, some of them are filtered.
    Any,
    /// A purchase that is not filtered.
    Kept,
    /// Not a valid purchase.
    Malformed,
}

/// The record in progress. The buffers are used for all records.
#[derive(Default, Debug)]
pub(crate) struct Draft {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp: Option<Timestamp>,
}
