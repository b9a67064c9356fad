//! A condition as a value, before it gets times and generation.

use retail_connection::text::shortened_lines;

use crate::reconcile::reason::{ConditionType, Reason, ReasonKind};

/// Maximum length of a message in bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// Status of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The operator cannot tell.
    Unknown,
}

impl ConditionStatus {
    /// The value in the resource.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition without times and generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConditionDraft {
    /// Its type.
    pub(crate) condition_type: ConditionType,
    /// Its status.
    pub(crate) status: ConditionStatus,
    /// Its reason.
    pub(crate) reason: Reason,
    /// Its message.
    pub(crate) message: String,
}

impl ConditionDraft {
    pub(crate) fn new(
        condition_type: ConditionType,
        status: ConditionStatus,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        // Texts of servers and Secrets are in the message. A terminal shows it, as part of `kubectl get -o yaml`.
        Self { condition_type, status, reason, message: shortened_lines(&message.into(), MAX_MESSAGE) }
    }

    /// True for a normal reason, false for any other.
    pub(crate) fn by_reason(condition_type: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        let status = if reason.kind() == ReasonKind::Normal { ConditionStatus::True } else { ConditionStatus::False };
        Self::new(condition_type, status, reason, message)
    }
}
