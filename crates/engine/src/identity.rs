//! The identity of a record: more than its offset, because brokers that lost records give their offsets to others.

/// The identity of a record: two records with equal identities are the same record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordIdentity {
    /// Offset in the partition.
    pub offset: i64,
    /// Epoch of the leader that appended the record; -1 if the broker does not report it.
    pub leader_epoch: i32,
    /// Timestamp of the record in milliseconds since 1970, as the broker reports it; -1 without one.
    pub timestamp_millis: i64,
    /// SHA-256 of key and value.
    pub digest: [u8; 32],
}
