//! The result of one check.

use std::fmt::Display;

use serde::Serialize;

/// How a precondition is met.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    /// The pipeline works, with a limit.
    Warn,
    /// The pipeline cannot work.
    Fail,
}

/// A checked precondition.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
    /// The observed state. An error contains its fix.
    pub(super) detail: String,
    /// The command or the change that mends it.
    pub(super) fix: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &'static str, detail: impl Display) -> Self {
        Self { name, outcome: Outcome::Ok, detail: detail.to_string(), fix: None }
    }

    pub(super) fn warn(name: &'static str, detail: impl Display) -> Self {
        Self { outcome: Outcome::Warn, ..Self::ok(name, detail) }
    }

    pub(super) fn fail(name: &'static str, detail: impl Display) -> Self {
        Self { outcome: Outcome::Fail, ..Self::ok(name, detail) }
    }

    pub(super) fn fixed_by(self, fix: impl Display) -> Self {
        Self { fix: Some(fix.to_string()), ..self }
    }
}
