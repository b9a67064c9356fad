//! Values of texts and conditions.

use retail_engine::Operand;

/// A value of a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sample {
    Missing,
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(Box<str>),
    Text(Box<str>),
}

impl Sample {
    /// The value, as a condition sees it.
    pub(super) fn operand(&self) -> Operand<'_> {
        match self {
            Self::Missing => Operand::Missing,
            Self::Null => Operand::Null,
            Self::Bool(is) => Operand::Bool(*is),
            Self::Number(number) => Operand::Number(number),
            Self::Text(text) => Operand::Text((&**text).into()),
        }
    }

    /// The value in a record; `None` for a missing field.
    pub(super) fn json(&self) -> Option<Box<str>> {
        Some(match self {
            Self::Missing => return None,
            Self::Null => "null".into(),
            Self::Bool(is) => is.to_string().into(),
            Self::Number(number) => number.clone(),
            Self::Text(text) => serde_json::Value::from(&**text).to_string().into(),
        })
    }
}
