//! The result of a verification.

use serde::Serialize;

use crate::proof::Proof;

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Whether the store equals the results of the oracle.
    pub equal: bool,
    /// The first difference, as a sentence.
    pub difference: Option<String>,
    /// Number of differences, at least: of the ranges of windows that differ, only the first is read row by row.
    pub differences: usize,
    /// Contents that were not recomputed, as sentences.
    pub trusted: Vec<String>,
    /// Number of the proof from which the verification continued; `None` if it read the whole topic.
    pub from_proof: Option<i32>,
    /// The newest proof in the store.
    pub proof: Option<Proof>,
    /// Number of compared partitions.
    pub partitions: usize,
    /// Number of offsets that were read again, including those without a record.
    pub offsets: i64,
    /// Number of compared rows of `retail`, closed and open.
    pub rows: usize,
    /// Number of windows whose final rows were dropped, as spec.retention demands.
    pub windows_dropped: usize,
    /// Number of dead letters in the table, all compared.
    pub dead_letters: i64,
    /// With deduplication, number of transaction ids that are in several partitions, whose records count once in each. Exact for up to
    /// a million ids, and estimated beyond.
    pub ids_in_several_partitions: u64,
    /// Number of dead letters that were deleted, as dead_letter_log contains them.
    pub dead_letters_deleted: i64,
}
