//! The meaning of the records of a topic: which fields are the event time, the dimensions and the numbers of a purchase.

use crate::condition::Condition;
use crate::schema::Format;

/// Maximum number of dimensions.
pub const MAX_DIMENSIONS: usize = 8;

/// Maximum number of elements of an exploded array.
pub const MAX_ELEMENTS: usize = 1000;

/// The meaning of the records of a topic. Without a mapping, records have the fields of [`Event`](crate::Event).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// How records are encoded.
    pub format: Format,
    /// Event time.
    pub timestamp: TimeField,
    /// Identifies an event, for deduplication. A record without it is invalid.
    pub id: Option<Path>,
    /// Grouping keys, 1 to [`MAX_DIMENSIONS`].
    pub dimensions: Vec<TextField>,
    /// Number of pieces.
    pub quantity: NumberField,
    /// Price of a piece, or amount.
    pub value: ValueField,
    /// Whether quantities and amounts can be negative.
    pub refunds: bool,
    /// Numbers that are summed up, too.
    pub sums: Vec<NumberField>,
    /// Records for which it is not true are filtered.
    pub condition: Option<Condition<Path>>,
    /// An array in the record: each of its elements is a purchase.
    pub explode: Option<Path>,
}

/// The place of a field: names from the record, or from the element of an exploded array, down to the field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Where the first name is.
    pub level: Level,
    /// Names of fields. Never empty.
    pub names: Vec<Box<str>>,
}

impl Path {
    /// Parses names that are joined by dots; a name with a dot is quoted. A path starts at the element of an exploded array, if
    /// there is one, except for a path that begins with `$.`.
    ///
    /// `None` if a name is empty, or a quote is missing.
    pub fn parse(text: &str, is_exploded: bool) -> Option<Self> {
        let (text, level) = match text.strip_prefix("$.") {
            Some(text) => (text, Level::Record),
            None if is_exploded => (text, Level::Element),
            None => (text, Level::Record),
        };
        let mut names: Vec<Box<str>> = Vec::new();
        let mut rest = text;
        loop {
            let (name, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => rest.split_at(rest.find(['.', '"']).unwrap_or(rest.len())),
            };
            if name.is_empty() {
                return None;
            }
            names.push(name.into());
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => return Some(Self { level, names }),
                None => return None,
            }
        }
    }
}

/// Where a path starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// At the record.
    Record,
    /// At an element of the exploded array.
    Element,
}

/// The field with the event time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimeField {
    /// RFC 3339.
    Rfc3339(Path),
    /// A number of units of 10^-`decimals` seconds since 1970, in a string too if `is_text`.
    Number {
        /// Place of the field.
        path: Path,
        /// Decimals of a second: 0 for seconds, 3 for milliseconds.
        decimals: u8,
        /// Whether the field can be a string that contains a number.
        is_text: bool,
    },
    /// No field: the timestamp of the record.
    RecordTime,
}

/// A field with text. Numbers and booleans are texts as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextField {
    /// Place of the field.
    pub path: Path,
    /// Value of a missing field; without it, the record is invalid.
    pub if_missing: Option<Box<str>>,
}

/// A field with a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberField {
    /// Place of the field.
    pub path: Path,
    /// Number of a missing field, as JSON writes it; without it, the record is invalid.
    pub if_missing: Option<Box<str>>,
    /// Whether the field can be a string that contains a number.
    pub is_text: bool,
    /// The number counts units of 10^-`scale`. Not used for quantities.
    pub scale: u8,
}

/// The field with the money of a purchase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueField {
    /// Price of a piece: the amount is quantity × price.
    Price(NumberField),
    /// Amount: the price is amount / quantity.
    Amount(NumberField),
}

impl ValueField {
    /// The field.
    pub const fn field(&self) -> &NumberField {
        match self {
            Self::Price(field) | Self::Amount(field) => field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_with_dots_between() {
        let parse = |text| Path::parse(text, false).map(|path| path.names.join("|"));
        for (text, names) in [
            ("a", Some("a")),
            ("a.b.c", Some("a|b|c")),
            ("\"a.b\".c", Some("a.b|c")),
            ("c.\"a.b\"", Some("c|a.b")),
            ("$.a", Some("a")),
            ("$", Some("$")),
            ("", None),
            (".", None),
            ("a.", None),
            ("a..b", None),
            ("\"a", None),
            ("\"a\"b", None),
            ("a\"b\"", None),
            ("\"\"", None),
        ] {
            assert_eq!(parse(text).as_deref(), names, "{text}");
        }
        assert_eq!(Path::parse("a", true).map(|path| path.level), Some(Level::Element));
        assert_eq!(Path::parse("$.a", true).map(|path| path.level), Some(Level::Record));
    }
}
