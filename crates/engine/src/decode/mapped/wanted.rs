//! The values of the wanted fields, as [`purchase`](super::purchase) reads them from every format.

use super::plan::NodeId;
use crate::condition::Operands;
use crate::decode::Reason;
use crate::time::Timestamp;

/// The wanted fields of a record, or of one of its elements.
///
/// Texts are passed to a function: a format can have none, and makes them where no allocation is needed.
pub(in crate::decode) trait WantedFields: Operands<NodeId> {
    /// Whether the field is missing or null.
    fn is_missing(&self, node: NodeId) -> bool;

    /// Where the record contains the content of a string, if it contains it as it is, without U+0000. `None` for any other value.
    fn plain(&self, node: NodeId) -> Option<(u32, u32)>;

    /// The content of a string for which [`Self::plain`] returns a place.
    fn plain_text(&self, node: NodeId) -> Option<&[u8]>;

    /// Reads the content of a string. `None` for another value, and for a string that is not Unicode.
    fn with_string<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R>;

    /// Reads the text of a dimension or id: a string, or the text of a number or boolean. `None` for a value without one.
    fn with_key<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R>;

    /// Reads a number as JSON writes it, from a string too if `is_text`. `None` for another value.
    fn with_number<R>(&self, node: NodeId, is_text: bool, read: impl FnOnce(&str) -> R) -> Option<R>;

    /// A positive integer in the most common forms, in a string too if `is_text`. `None` for any other value.
    fn positive(&self, node: NodeId, is_text: bool) -> Option<i64>;

    /// A number that is not negative in millionths of a unit of 10^-`scale`, in the most common forms. `None` for any other value.
    fn millionths(&self, node: NodeId, is_text: bool, scale: u8) -> Option<i64>;

    /// The instant of a value that is one by its schema, whatever the unit of the mapping is. `None` for any other value.
    #[inline(always)]
    fn instant(&self, _node: NodeId) -> Option<Result<Timestamp, Reason>> {
        None
    }
}
