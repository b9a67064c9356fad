//! The fate of an offset, and the counters of the ledger.

use std::fmt;
use std::ops::AddAssign;

use crate::decode::Reason;

/// The fate of one record. Every offset has exactly one fate, or is a gap without a readable record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fate {
    /// Added to its window.
    Applied,
    /// Its window was closed for its partition.
    Late,
    /// Not a purchase, or a purchase that cannot be judged without the timestamp of its record.
    Invalid(Reason),
    /// Its event time is too far ahead of the timestamp of its record.
    Future,
    /// It is not among the events that the pipeline selects.
    Filtered,
    /// An earlier record of its partition has the same transaction id.
    Duplicate,
}

impl Fate {
    /// The name in metrics and in the columns of the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Late => "late",
            Self::Invalid(_) => "invalid",
            Self::Future => "future",
            Self::Filtered => "filtered",
            Self::Duplicate => "duplicate",
        }
    }

    /// The value of `dead_letter.reason`: the reason of an invalid record, otherwise the fate.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Invalid(reason) => reason.as_str(),
            Self::Applied | Self::Late | Self::Future | Self::Filtered | Self::Duplicate => self.as_str(),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Number of offsets by fate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Events added to a window.
    pub applied: i64,
    /// Events whose window was closed.
    pub late: i64,
    /// Invalid records.
    pub invalid: i64,
    /// Events too far ahead of the timestamp of their record.
    pub future: i64,
    /// Records that the pipeline does not select.
    pub filtered: i64,
    /// Records whose transaction id an earlier record of their partition has.
    pub duplicate: i64,
    /// Offsets without a record for a reader of committed data: transaction markers, aborted and compacted records.
    pub gaps: i64,
}

impl Counts {
    /// Counts one record.
    pub fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Applied => self.applied += 1,
            Fate::Late => self.late += 1,
            Fate::Invalid(_) => self.invalid += 1,
            Fate::Future => self.future += 1,
            Fate::Filtered => self.filtered += 1,
            Fate::Duplicate => self.duplicate += 1,
        }
    }

    /// Whether there are events that a floor or a watermark concerns: applied or late ones.
    pub const fn has_valid(&self) -> bool {
        self.applied + self.late > 0
    }

    /// Number of all offsets. The ledger balances if it equals `next_offset - start_offset`.
    pub const fn total(&self) -> i64 {
        self.applied + self.late + self.invalid + self.future + self.filtered + self.duplicate + self.gaps
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.applied += other.applied;
        self.late += other.late;
        self.invalid += other.invalid;
        self.future += other.future;
        self.filtered += other.filtered;
        self.duplicate += other.duplicate;
        self.gaps += other.gaps;
    }
}
