//! A mapping as a tree of the wanted fields.

use crate::condition::Condition;
use crate::mapping::{Level, Mapping, NumberField, Path, TextField, TimeField, ValueField};

/// A wanted field, or an object on the way to one. The same number is the field's slot.
pub(in crate::decode) type NodeId = usize;

/// The record.
pub(in crate::decode) const RECORD: NodeId = 0;

/// An element of the exploded array.
pub(in crate::decode) const ELEMENT: NodeId = 1;

/// A mapping as a tree of the wanted fields: the records' fields below [`RECORD`], the elements' below [`ELEMENT`].
#[derive(Debug)]
pub(in crate::decode) struct Plan {
    pub(in crate::decode) nodes: Vec<Node>,
    /// The nodes below [`ELEMENT`]: their slots are cleared for each element.
    pub(in crate::decode) of_elements: Vec<NodeId>,
    pub(in crate::decode) timestamp: TimePlan,
    pub(in crate::decode) id: Option<NodeId>,
    pub(in crate::decode) dimensions: Vec<TextPlan>,
    pub(in crate::decode) quantity: NumberPlan,
    pub(in crate::decode) value: NumberPlan,
    pub(in crate::decode) is_amount: bool,
    pub(in crate::decode) refunds: bool,
    pub(in crate::decode) sums: Vec<NumberPlan>,
    pub(in crate::decode) condition: Option<Condition<NodeId>>,
    pub(in crate::decode) explode: Option<NodeId>,
    /// The fields of a purchase, except for the timestamp, that have no constant if they are missing.
    pub(in crate::decode) required: Vec<NodeId>,
}

/// The wanted fields of an object.
#[derive(Default, Debug)]
pub(in crate::decode) struct Node {
    pub(in crate::decode) children: Vec<(Box<str>, NodeId)>,
}

impl Node {
    /// The field with this name, if it is wanted.
    pub(in crate::decode) fn child(&self, name: &str) -> Option<NodeId> {
        self.children.iter().find(|(other, _)| **other == *name).map(|(_, child)| *child)
    }
}

#[derive(Debug)]
pub(in crate::decode) enum TimePlan {
    Rfc3339(NodeId),
    Number { at: NodeId, decimals: u8, is_text: bool },
    RecordTime,
}

#[derive(Debug)]
pub(in crate::decode) struct TextPlan {
    pub(in crate::decode) at: NodeId,
    pub(in crate::decode) if_missing: Option<Box<str>>,
}

#[derive(Debug)]
pub(in crate::decode) struct NumberPlan {
    pub(in crate::decode) at: NodeId,
    pub(in crate::decode) if_missing: Option<Box<str>>,
    pub(in crate::decode) is_text: bool,
    pub(in crate::decode) scale: u8,
}

impl Plan {
    pub(in crate::decode) fn new(mapping: &Mapping) -> Self {
        let Mapping { format: _, timestamp, id, dimensions, quantity, value, refunds, sums, condition, explode } =
            mapping;
        let mut tree = Tree { nodes: vec![Node::default(), Node::default()], of_elements: vec![ELEMENT] };
        let numbers = [quantity, value.field()].into_iter().chain(sums);
        let numbers = numbers.map(|field| (&field.path, &field.if_missing));
        let texts = dimensions.iter().map(|field| (&field.path, &field.if_missing));
        let required = numbers.chain(texts).filter(|(_, if_missing)| if_missing.is_none());
        let mut required: Vec<NodeId> = required.map(|(path, _)| tree.node(path)).collect();
        required.sort_unstable();
        required.dedup();
        Self {
            required,
            timestamp: match timestamp {
                TimeField::Rfc3339(path) => TimePlan::Rfc3339(tree.node(path)),
                TimeField::Number { path, decimals, is_text } => {
                    TimePlan::Number { at: tree.node(path), decimals: *decimals, is_text: *is_text }
                }
                TimeField::RecordTime => TimePlan::RecordTime,
            },
            id: id.as_ref().map(|path| tree.node(path)),
            dimensions: dimensions.iter().map(|field| tree.text(field)).collect(),
            quantity: tree.number(quantity),
            value: tree.number(value.field()),
            is_amount: matches!(value, ValueField::Amount(_)),
            refunds: *refunds,
            sums: sums.iter().map(|field| tree.number(field)).collect(),
            condition: condition.as_ref().map(|condition| condition.map(&mut |path| tree.node(path))),
            explode: explode.as_ref().map(|path| tree.node(path)),
            of_elements: tree.of_elements,
            nodes: tree.nodes,
        }
    }
}

struct Tree {
    nodes: Vec<Node>,
    of_elements: Vec<NodeId>,
}

impl Tree {
    fn node(&mut self, path: &Path) -> NodeId {
        let start = match path.level {
            Level::Record => RECORD,
            Level::Element => ELEMENT,
        };
        path.names.iter().fold(start, |node, name| match self.nodes[node].child(name) {
            Some(child) => child,
            None => {
                let child = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[node].children.push((name.clone(), child));
                if path.level == Level::Element {
                    self.of_elements.push(child);
                }
                child
            }
        })
    }

    fn text(&mut self, TextField { path, if_missing }: &TextField) -> TextPlan {
        TextPlan { at: self.node(path), if_missing: if_missing.clone() }
    }

    fn number(&mut self, NumberField { path, if_missing, is_text, scale }: &NumberField) -> NumberPlan {
        NumberPlan { at: self.node(path), if_missing: if_missing.clone(), is_text: *is_text, scale: *scale }
    }
}
