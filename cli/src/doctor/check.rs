//! The result of one check.

use std::fmt::Display;

use serde::Serialize;

/// How a precondition is met.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    /// The pipeline works, with a limit.
    Warn,
    /// The pipeline cannot work.
    Fail,
    /// It was not looked at, because an earlier check failed or the means are missing.
    Skip,
}

/// A checked precondition.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// The observed state. An error contains its fix.
    pub(crate) detail: String,
    /// The command or the change that mends it.
    pub(crate) fix: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, detail: impl Display) -> Self {
        Self { name, outcome: Outcome::Ok, detail: detail.to_string(), fix: None }
    }

    pub(crate) fn warn(name: &'static str, detail: impl Display) -> Self {
        Self { outcome: Outcome::Warn, ..Self::ok(name, detail) }
    }

    pub(crate) fn fail(name: &'static str, detail: impl Display) -> Self {
        Self { outcome: Outcome::Fail, ..Self::ok(name, detail) }
    }

    pub(crate) fn skip(name: &'static str, detail: impl Display) -> Self {
        Self { outcome: Outcome::Skip, ..Self::ok(name, detail) }
    }

    pub(crate) fn fixed_by(self, fix: impl Display) -> Self {
        Self { fix: Some(fix.to_string()), ..self }
    }
}
