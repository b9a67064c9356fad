//! The type of each field of the records, for formats with schemas.

use retail_engine::{Mapping, NumberField, TimeField};

use super::choices::Choices;
use super::sample::Sample;
use super::tree::{Field, Leaf, Node, Slot, Tree};

/// A record, or an object in it.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) fields: Vec<TypedField>,
}

#[derive(Debug)]
pub(super) struct TypedField {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    /// Whether records can lack it.
    pub(super) is_optional: bool,
}

/// The type of a value.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Int,
    Long,
    Double,
    Bool,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// A number with this number of decimals.
    Decimal(u8),
    Object(Shape),
    /// An array of objects.
    Elements(Shape),
}

impl Shape {
    /// The types of the fields in a tree.
    pub(super) fn new(tree: &Tree, kinds: &dyn Fn(Slot) -> Kind) -> Self {
        of_fields(&tree.record, kinds)
    }

    /// A name that neither Avro nor Protobuf allows.
    pub(super) fn unusable_name(&self) -> Option<&str> {
        self.fields.iter().find_map(|TypedField { name, kind, .. }| {
            if !is_identifier(name) {
                return Some(&**name);
            }
            let (Kind::Object(inner) | Kind::Elements(inner)) = kind else { return None };
            inner.unusable_name()
        })
    }
}

/// The type of a value; `dimensions` are the values of each dimension.
pub(super) fn kind(slot: Slot, mapping: &Mapping, choices: &Choices, dimensions: &[Vec<Sample>]) -> Kind {
    match slot {
        Slot::TransactionId => Kind::Text,
        Slot::Time => time(&mapping.timestamp),
        Slot::Quantity if mapping.quantity.is_text => Kind::Text,
        Slot::Quantity => Kind::Int,
        Slot::Value => money(mapping.value.field()),
        Slot::Sum(at) => money(&mapping.sums[at]),
        Slot::Dimension(at) => of_samples(&dimensions[at]),
        Slot::Choice(at) => of_samples(choices.values(at)),
    }
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn of_fields(fields: &[Field], kinds: &dyn Fn(Slot) -> Kind) -> Shape {
    let typed = fields.iter().map(|Field { name, node, .. }| {
        let (kind, is_optional) = match node {
            Node::Object(inner) => (Kind::Object(of_fields(inner, kinds)), false),
            Node::Elements(inner) => (Kind::Elements(of_fields(inner, kinds)), false),
            Node::Leaf(Leaf { slot, is_optional }) => (kinds(*slot), *is_optional),
        };
        TypedField { name: name.clone(), kind, is_optional }
    });
    Shape { fields: typed.collect() }
}

fn time(field: &TimeField) -> Kind {
    match field {
        TimeField::Rfc3339(_) | TimeField::RecordTime | TimeField::Number { is_text: true, .. } => Kind::Text,
        TimeField::Number { decimals: 3, .. } => Kind::Millis,
        TimeField::Number { decimals: 6, .. } => Kind::Micros,
        TimeField::Number { .. } => Kind::Long,
    }
}

/// Whole units of cents and less are integers.
fn money(NumberField { is_text, scale, .. }: &NumberField) -> Kind {
    match scale {
        _ if *is_text => Kind::Text,
        0 | 1 => Kind::Decimal(2 - scale),
        _ => Kind::Long,
    }
}

/// The type of values of one type; missing values have any.
fn of_samples(samples: &[Sample]) -> Kind {
    let mut kind = Kind::Text;
    for sample in samples {
        kind = match sample {
            Sample::Missing | Sample::Null => continue,
            Sample::Text(_) => return Kind::Text,
            Sample::Bool(_) => return Kind::Bool,
            Sample::Number(number) if number.parse::<i64>().is_ok() => Kind::Long,
            Sample::Number(_) => return Kind::Double,
        };
    }
    kind
}
