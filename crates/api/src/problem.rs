//! The problems of a pipeline.yaml, each with its position.

use std::fmt;

use crate::yaml::Position;

/// A problem of a pipeline.yaml.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Position in the text.
    pub position: Position,
    /// Path in the resource, such as `spec.topic.name`; empty for the whole file.
    pub path: String,
    /// The violated rule, as a sentence.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(position: Position, path: &str, message: impl Into<String>) -> Self {
        Self { position, path: path.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    /// `12:5: spec.window: must be …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {}{colon}{}", self.path, self.message)
    }
}

/// All problems of a pipeline.yaml, in the order of the text. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);
