//! Finds the values of a record, and what the texts between them contain: the fast readers learn from it.

use std::ops::Range;

use super::plan::{ELEMENT, NodeId, Plan, RECORD};
use super::slots::Kind;

/// Maximum number of values, which bounds the memory of the fast readers.
const MAX_VALUES: usize = 1024;

/// Maximum number of open brackets.
const MAX_DEPTH: usize = 32;

/// Maximum length of a path, in bytes.
const MAX_PATH: usize = 1024;

/// The layout of one record.
#[derive(Default, Debug)]
pub(super) struct Layout {
    /// All scalars.
    pub(super) values: Vec<Value>,
    /// The text after the last value.
    pub(super) end: Gap,
    /// Number of elements of the exploded array.
    pub(super) elements: usize,
}

/// A scalar in a record.
#[derive(Debug)]
pub(super) struct Value {
    /// The containers around it, from the record on: names in quotes, and `[]` for the elements of an array.
    pub(super) path: String,
    /// Whether it has quotes.
    pub(super) is_text: bool,
    /// Its place in the record, without quotes.
    pub(super) place: Range<usize>,
    /// The wanted field; [`RECORD`] if it is not wanted.
    pub(super) node: NodeId,
    /// The element of the exploded array that contains it.
    pub(super) element: Option<usize>,
    /// The text before it.
    pub(super) before: Gap,
}

/// The contents of the text between two values.
#[derive(Default, Debug)]
pub(super) struct Gap {
    /// Wanted fields that begin in it, the value behind it included.
    pub(super) names: Vec<NodeId>,
    /// Wanted fields that are objects or arrays and begin in it.
    pub(super) containers: Vec<Container>,
    /// Whether an element of the exploded array begins in it: before all names of this element.
    pub(super) starts_element: bool,
}

/// A wanted field that is an object or an array.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) node: NodeId,
    pub(super) kind: Kind,
    /// The element of the exploded array that contains it.
    pub(super) element: Option<usize>,
}

impl Layout {
    /// The layout of a record that is valid JSON without escapes; `None` if the fast readers do not read such records.
    pub(super) fn of(plan: &Plan, record: &str) -> Option<Self> {
        let mut walk = Walk {
            plan,
            record,
            at: 0,
            depth: 0,
            path: String::new(),
            element: None,
            gap: Gap::default(),
            layout: Self::default(),
        };
        walk.blanks();
        walk.object(Some(RECORD))?;
        walk.blanks();
        let Walk { at, gap, layout, .. } = walk;
        (at == record.len() && !layout.values.is_empty()).then_some(Self { end: gap, ..layout })
    }
}

struct Walk<'a> {
    plan: &'a Plan,
    record: &'a str,
    at: usize,
    depth: usize,
    path: String,
    element: Option<usize>,
    gap: Gap,
    layout: Layout,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.record.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// The place of the string that begins here, without its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        let length = self.record[start..].find('"')?;
        self.at = start + length + 1;
        Some(start..start + length)
    }

    fn value(&mut self, node: Option<NodeId>) -> Option<()> {
        match self.peek()? {
            b'{' => {
                self.container(node, Kind::Object);
                self.object(node)
            }
            b'[' => {
                self.container(node, Kind::Array);
                self.array(node.filter(|node| self.plan.explode == Some(*node)))
            }
            b'"' => {
                let place = self.string()?;
                self.scalar(node, true, place)
            }
            _ => {
                let start = self.at;
                while !matches!(self.peek()?, b',' | b']' | b'}' | b' ') {
                    self.at += 1;
                }
                self.scalar(node, false, start..self.at)
            }
        }
    }

    fn container(&mut self, node: Option<NodeId>, kind: Kind) {
        let element = self.element;
        self.gap.containers.extend(node.map(|node| Container { node, kind, element }));
    }

    fn scalar(&mut self, node: Option<NodeId>, is_text: bool, place: Range<usize>) -> Option<()> {
        let (path, before) = (self.path.clone(), std::mem::take(&mut self.gap));
        let node = node.unwrap_or(RECORD);
        self.layout.values.push(Value { path, is_text, place, node, element: self.element, before });
        (self.layout.values.len() <= MAX_VALUES).then_some(())
    }

    /// The members of a container with this closing bracket.
    fn members(&mut self, close: u8, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth == MAX_DEPTH || self.path.len() > MAX_PATH {
            return None;
        }
        self.at += 1;
        self.depth += 1;
        self.blanks();
        if self.peek()? != close {
            loop {
                let length = self.path.len();
                member(self)?;
                self.path.truncate(length);
                self.blanks();
                match self.peek()? {
                    b',' => self.at += 1,
                    _ => break,
                }
                self.blanks();
            }
        }
        self.depth -= 1;
        self.expect(close)
    }

    fn object(&mut self, node: Option<NodeId>) -> Option<()> {
        self.members(b'}', |walk| {
            let record = walk.record;
            let name = &record[walk.string()?];
            let child = node.and_then(|node| walk.plan.nodes[node].child(name));
            walk.path.extend(["\"", name, "\""]);
            walk.gap.names.extend(child);
            walk.blanks();
            walk.expect(b':')?;
            walk.blanks();
            walk.value(child)
        })
    }

    fn array(&mut self, exploded: Option<NodeId>) -> Option<()> {
        self.path.push_str("[]");
        self.members(b']', |walk| match exploded {
            None => walk.value(None),
            Some(_) => walk.element(),
        })
    }

    /// An element of the exploded array. Other values than objects have no wanted fields.
    fn element(&mut self) -> Option<()> {
        let of_elements = &self.plan.of_elements;
        // An edge of the graph, which stands for the text between two values, starts one element, and this before its fields.
        if self.gap.starts_element || self.gap.names.iter().any(|name| of_elements.contains(name)) {
            return None;
        }
        self.gap.starts_element = true;
        self.element = Some(self.layout.elements);
        self.layout.elements += 1;
        if self.peek()? != b'{' {
            return None;
        }
        self.object(Some(ELEMENT))?;
        self.element = None;
        Some(())
    }
}
