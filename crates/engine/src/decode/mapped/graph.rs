//! The reader of records that vary: optional fields, arrays of any length, several producers.
//!
//! The graph has a node for each place of a scalar: the containers around it, without the positions in arrays. An edge between two
//! nodes is the text between two values. Eight layouts of three optional fields are few edges, and an array of any length has one
//! edge that leads from an element to the next.
//!
//! ```text
//!   start ─{"id":"─▶ id ─","qty":─▶ qty ─,"price":─▶ price ─}─▶ end
//!                     └─","channel":"─▶ channel ─","qty":─▶ qty
//! ```
//!
//! A node determines all open brackets, and each edge was cut out of a valid record, so that it leads from a node's brackets to
//! those of the next. Every walk from the start to the end therefore is a JSON object, if its values are valid as in `line`. Only
//! one thing depends on the rest of a walk: whether a wanted name occurs twice in its object. Each edge has the set of the wanted
//! names in it, and a walk that repeats one is not read. An edge that starts an element removes the names of elements.

use std::collections::BTreeMap;

use super::layout::{Container, Gap, Layout};
use super::literal::Literal;
use super::plan::{NodeId, Plan, RECORD};
use super::slots::{Kind, Slot, Slots};
use crate::decode::quotes::Quotes;
use crate::mapping::MAX_ELEMENTS;

/// Maximum number of places.
const MAX_NODES: usize = 512;

/// Maximum number of edges from a place.
const MAX_EDGES: usize = 8;

/// Maximum length of all texts and paths, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// After this number of layouts that added nothing, the graph learns no more.
const MAX_FRUITLESS: u32 = 64;

/// The node before the first value.
const START: usize = 0;

/// The end of a record.
const END: usize = usize::MAX;

/// The learnt places of values, and the texts between them.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    by_path: BTreeMap<(String, bool), usize>,
    /// The names of elements.
    of_elements: u64,
    /// The fields of all elements of the last record, one element after the other.
    rows: Vec<Slot>,
    bytes: usize,
    fruitless: u32,
}

/// A place of a value.
#[derive(Debug)]
struct Node {
    is_text: bool,
    /// The wanted field; [`RECORD`] if it is not wanted.
    slot: NodeId,
    edges: Vec<Edge>,
}

/// The text between two values.
#[derive(Debug)]
struct Edge {
    literal: Literal,
    to: usize,
    /// The wanted names in it.
    names: u64,
    /// The names that do not belong to the values behind it.
    cleared: u64,
    starts_element: bool,
    containers: Box<[(NodeId, Kind)]>,
}

impl Graph {
    /// An empty graph; `None` if there are more wanted names than bits.
    pub(super) fn new(plan: &Plan) -> Option<Self> {
        let bits = u64::BITS as usize;
        (plan.nodes.len() <= bits).then(|| Self {
            nodes: vec![Node { is_text: false, slot: RECORD, edges: Vec::new() }],
            by_path: BTreeMap::new(),
            of_elements: plan.of_elements.iter().fold(0, |names, node| names | 1 << node),
            rows: Vec::new(),
            bytes: 0,
            fruitless: 0,
        })
    }

    /// Whether the graph can learn more.
    pub(super) fn learns(&self) -> bool {
        self.fruitless < MAX_FRUITLESS
    }

    /// Adds the layout of a valid record.
    pub(super) fn learn(&mut self, text: &str, layout: &Layout) {
        let before = self.bytes;
        if self.add(text, layout).is_none() {
            self.fruitless = MAX_FRUITLESS;
        } else if self.bytes == before {
            self.fruitless += 1;
        }
    }

    /// As [`Self::learn`]; `None` if the graph is full. A part of a layout is as correct as all of it.
    fn add(&mut self, text: &str, layout: &Layout) -> Option<()> {
        let (mut from, mut end) = (START, 0);
        for value in &layout.values {
            let to = match self.by_path.get(&(value.path.clone(), value.is_text)) {
                Some(node) => *node,
                None => self.node(&value.path, value.is_text, value.node)?,
            };
            self.edge(from, Literal::new(text, end, value.place.start), to, &value.before)?;
            (from, end) = (to, value.place.end);
        }
        self.edge(from, Literal::new(text, end, text.len()), END, &layout.end)
    }

    fn node(&mut self, path: &str, is_text: bool, slot: NodeId) -> Option<usize> {
        let node = self.nodes.len();
        self.bytes += path.len();
        if node == MAX_NODES || self.bytes > MAX_BYTES {
            return None;
        }
        self.nodes.push(Node { is_text, slot, edges: Vec::new() });
        self.by_path.insert((path.to_owned(), is_text), node);
        Some(node)
    }

    fn edge(&mut self, from: usize, literal: Literal, to: usize, gap: &Gap) -> Option<()> {
        let edges = &mut self.nodes[from].edges;
        if edges.len() == MAX_EDGES || edges.iter().any(|edge| edge.literal.text() == literal.text()) {
            return Some(());
        }
        self.bytes += literal.length;
        if self.bytes > MAX_BYTES {
            return None;
        }
        // The first edge that fits is taken: a text must stand before those that begin as it.
        let begins_as = |edge: &Edge| literal.text().starts_with(edge.literal.text());
        let at = edges.iter().position(begins_as).unwrap_or(edges.len());
        let edge = Edge {
            to,
            names: gap.names.iter().fold(0, |names, node| names | 1 << node),
            cleared: if gap.starts_element { self.of_elements } else { 0 },
            starts_element: gap.starts_element,
            containers: gap.containers.iter().map(|Container { node, kind, .. }| (*node, *kind)).collect(),
            literal,
        };
        edges.insert(at, edge);
        Some(())
    }

    /// The number of elements of a record, if its layout is known. Sets the fields of the record.
    #[inline(always)]
    pub(super) fn read(&mut self, plan: &Plan, text: &str, quotes: &Quotes, slots: &mut Slots) -> Option<usize> {
        let Self { nodes, rows, .. } = self;
        let record = text.as_bytes();
        slots.clear();
        rows.clear();
        let (mut seen, mut elements) = (0, 0);
        let mut edge = nodes[START].edges.iter().find(|edge| edge.literal.matches(record, 0))?;
        let mut end = edge.literal.length;
        loop {
            seen &= !edge.cleared;
            if seen & edge.names != 0 {
                return None;
            }
            seen |= edge.names;
            if edge.starts_element {
                if elements > 0 {
                    slots.save(&plan.of_elements, rows);
                    slots.clear_some(&plan.of_elements);
                }
                elements += 1;
            }
            for (node, kind) in &edge.containers {
                slots.set_kind(*node, *kind);
            }
            let Some(node) = nodes.get(edge.to) else { break };
            let quote = quotes.next(end);
            let mut found = None;
            for edge in &node.edges {
                let start = edge.literal.start(record, end, quote);
                if edge.literal.matches(record, start)
                    && (node.is_text || slots.set_bare(node.slot, text, (end, start)))
                {
                    found = Some((edge, start));
                    break;
                }
            }
            let (next, start) = found?;
            if node.is_text {
                slots.set_text(node.slot, (end, start));
            }
            edge = next;
            end = start + edge.literal.length;
        }
        if elements > 0 {
            slots.save(&plan.of_elements, rows);
        }
        (end == record.len() && elements <= MAX_ELEMENTS).then_some(elements)
    }

    /// Sets the fields of one element of the last record after the other, and calls `each`.
    #[inline(always)]
    pub(super) fn read_elements(&self, plan: &Plan, slots: &mut Slots, mut each: impl FnMut(&Slots)) {
        for row in self.rows.chunks_exact(plan.of_elements.len()) {
            slots.load(&plan.of_elements, row);
            each(slots);
        }
    }
}
