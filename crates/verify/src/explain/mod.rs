//! Why a record has its fate, and how a row came about: the replay of a few records, and the decisions of the store.

mod cause;
mod record;
mod row;
mod row_cause;
mod stored;
mod stored_row;

pub use cause::{ObservedTime, WindowSpan};
pub use record::{ReadRecord, RecordExplanation, explain_record};
pub use row::{RowExplanation, RowPart, WindowError, explain_row, window_time};
pub use row_cause::{Closing, Holder};
