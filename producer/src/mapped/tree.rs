//! The fields of a record as a tree: objects, the exploded array, and a slot for each value.

use retail_engine::{Level, Mapping, NumberField, Path, TimeField};

use super::choices::Choices;

/// Name of the id of a record, if the mapping does not read a field with this name.
const TRANSACTION_ID: &str = "transaction_id";

/// A field of an object.
#[derive(Debug)]
pub(super) struct Field {
    /// The name as the record contains it: in quotes, with a colon and a blank after them.
    pub(super) label: Box<[u8]>,
    pub(super) name: Box<str>,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Object(Vec<Field>),
    /// The exploded array, with the fields of its elements.
    Elements(Vec<Field>),
    Leaf(Leaf),
}

/// A value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub(super) slot: Slot,
    /// Whether the record is valid without it.
    pub(super) is_optional: bool,
}

/// What a value means. If fields of the mapping have the same path, the last of these slots has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Slot {
    /// A dimension, by its number.
    Dimension(usize),
    /// A field of the condition, by its number.
    Choice(usize),
    /// A further sum, by its number.
    Sum(usize),
    /// Price or amount.
    Value,
    Quantity,
    Time,
    TransactionId,
}

/// The fields of a record, in the order of the mapping.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) record: Vec<Field>,
    explode: Option<Path>,
}

impl Tree {
    pub(super) fn new(mapping: &Mapping, choices: &Choices) -> Self {
        let Mapping { format: _, id, timestamp, dimensions, quantity, value, refunds: _, sums, condition: _, explode } =
            mapping;
        let mut tree = Self { record: Vec::new(), explode: explode.clone() };
        match timestamp {
            TimeField::Rfc3339(path) | TimeField::Number { path, .. } => tree.put(path, Slot::Time, false),
            TimeField::RecordTime => {}
        }
        for (at, dimension) in dimensions.iter().enumerate() {
            tree.put(&dimension.path, Slot::Dimension(at), dimension.if_missing.is_some());
        }
        let number = |tree: &mut Self, field: &NumberField, slot| {
            tree.put(&field.path, slot, field.if_missing.is_some());
        };
        number(&mut tree, quantity, Slot::Quantity);
        number(&mut tree, value.field(), Slot::Value);
        sums.iter().enumerate().for_each(|(at, sum)| number(&mut tree, sum, Slot::Sum(at)));
        if let Some(array) = explode {
            // All fields may be those of the record.
            made_elements(&mut tree.record, &array.names);
        }
        for (at, path) in choices.paths().enumerate() {
            tree.put(path, Slot::Choice(at), true);
        }
        match id {
            Some(path) => tree.put(path, Slot::TransactionId, false),
            None => tree.put_transaction_id(),
        }
        tree
    }

    /// Ids are in each record, as topics of events have them.
    fn put_transaction_id(&mut self) {
        let path = Path { level: Level::Record, names: vec![TRANSACTION_ID.into()] };
        if self.record.iter().all(|field| *field.name != *TRANSACTION_ID) {
            self.put(&path, Slot::TransactionId, false);
            self.record.rotate_right(1);
        }
    }

    /// The slot at a path.
    pub(super) fn slot(&self, path: &Path) -> Option<Slot> {
        let mut fields = match (path.level, &self.explode) {
            (Level::Element, Some(array)) => elements(&self.record, &array.names)?,
            _ => &self.record,
        };
        for name in &path.names {
            match &fields.iter().find(|field| field.name == *name)?.node {
                Node::Object(inner) | Node::Elements(inner) => fields = inner,
                Node::Leaf(leaf) => return Some(leaf.slot),
            }
        }
        None
    }

    /// All values of the record.
    pub(super) fn leaves(&self) -> Vec<Leaf> {
        fn collect(fields: &[Field], leaves: &mut Vec<Leaf>) {
            for field in fields {
                match &field.node {
                    Node::Object(inner) | Node::Elements(inner) => collect(inner, leaves),
                    Node::Leaf(leaf) => leaves.push(*leaf),
                }
            }
        }
        let mut leaves = Vec::new();
        collect(&self.record, &mut leaves);
        leaves
    }

    /// Adds a value. Does nothing if a value is on the way to it: only a condition can name such a path.
    fn put(&mut self, path: &Path, slot: Slot, is_optional: bool) {
        let fields = match (path.level, &self.explode) {
            (Level::Element, Some(array)) => made_elements(&mut self.record, &array.names),
            _ => Some(&mut self.record),
        };
        if let Some(fields) = fields {
            put(fields, &path.names, Leaf { slot, is_optional });
        }
    }
}

fn put(fields: &mut Vec<Field>, names: &[Box<str>], leaf: Leaf) {
    let Some((name, rest)) = names.split_first() else { return };
    let node = made(fields, name, || if rest.is_empty() { Node::Leaf(leaf) } else { Node::Object(Vec::new()) });
    match node {
        Node::Object(inner) => put(inner, rest, leaf),
        Node::Leaf(there) if rest.is_empty() => {
            there.slot = there.slot.max(leaf.slot);
            // A condition is also evaluated without the field.
            if !matches!(leaf.slot, Slot::Choice(_)) {
                there.is_optional &= leaf.is_optional;
            }
        }
        Node::Leaf(_) | Node::Elements(_) => {}
    }
}

/// The fields of the elements of the array at a path, which is created if it is missing.
fn made_elements<'a>(fields: &'a mut Vec<Field>, names: &[Box<str>]) -> Option<&'a mut Vec<Field>> {
    let (name, rest) = names.split_first()?;
    let is_array = rest.is_empty();
    let node = made(fields, name, || if is_array { Node::Elements(Vec::new()) } else { Node::Object(Vec::new()) });
    match node {
        Node::Elements(inner) if is_array => Some(inner),
        Node::Object(inner) => made_elements(inner, rest),
        Node::Elements(_) | Node::Leaf(_) => None,
    }
}

fn elements<'a>(fields: &'a [Field], names: &[Box<str>]) -> Option<&'a Vec<Field>> {
    let (name, rest) = names.split_first()?;
    match &fields.iter().find(|field| field.name == *name)?.node {
        Node::Elements(inner) if rest.is_empty() => Some(inner),
        Node::Object(inner) => elements(inner, rest),
        Node::Elements(_) | Node::Leaf(_) => None,
    }
}

/// The field with a name, which is added if it is missing.
fn made<'a>(fields: &'a mut Vec<Field>, name: &str, node: impl FnOnce() -> Node) -> &'a mut Node {
    let at = fields.iter().position(|field| *field.name == *name).unwrap_or_else(|| {
        let label = format!("{}: ", serde_json::Value::from(name)).into_bytes().into();
        fields.push(Field { label, name: name.into(), node: node() });
        fields.len() - 1
    });
    &mut fields[at].node
}
