//! The result of deleting a topic or a schema.

/// The result of deleting a topic or a schema that may belong to another pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// It was deleted.
    Removed,
    /// It did not exist.
    Absent,
    /// It belongs to another owner and was not touched.
    NotOurs,
}
