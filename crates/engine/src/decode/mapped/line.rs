//! The fastest reader: records with the layout of one earlier record.
//!
//! As the [reader of purchases](crate::decode::shape), it knows the texts between the values, and finds the end of a value by the
//! next quote. It looks at all differences in the end. Records that fit have the brackets and names of the learnt record, which
//! was valid, so that they are valid if
//!
//! - no string contains a quote, an escape or a control character: the search for quotes finds the last two;
//! - a value without quotes is a number, `true`, `false` or `null`.

use super::layout::{Container, Layout, Value};
use super::literal::{Differences, Literal};
use super::plan::{ELEMENT, NodeId, Plan, RECORD};
use super::slots::{Kind, Slots};
use crate::decode::quotes::Quotes;

/// The layout of records.
#[derive(Debug)]
pub(super) struct Line {
    /// The start of a record.
    first: Literal,
    /// The literals between two values.
    between: Vec<Literal>,
    /// The end of a record.
    tail: Literal,
    /// Whether a literal is longer than its block.
    has_long: bool,
    /// Whether the last value has quotes.
    last_is_text: bool,
    /// Start and end of each value of the last record.
    places: Vec<(usize, usize)>,
    /// The fields of the record, and all values that are not wanted and have no quotes.
    record: Group,
    /// The fields of each element.
    elements: Vec<Group>,
}

/// Fields that are set together. A value is an index into [`Line::places`].
#[derive(Default, Debug)]
struct Group {
    /// Fields that are missing, or are containers.
    fixed: Vec<(NodeId, Kind)>,
    texts: Vec<(NodeId, usize)>,
    bare: Vec<(NodeId, usize)>,
}

impl Line {
    /// The layout of a valid record.
    pub(super) fn new(plan: &Plan, text: &str, layout: &Layout) -> Option<Self> {
        let Layout { values, end, elements } = layout;
        let (head, last) = (values.first()?, values.last()?);
        let between: Vec<_> =
            values.windows(2).map(|pair| Literal::new(text, pair[0].place.end, pair[1].place.start)).collect();
        let first = Literal::new(text, 0, head.place.start);
        let tail = Literal::new(text, last.place.end, text.len());
        let has_long = between.iter().chain([&first, &tail]).any(Literal::is_long);
        let of_record = (RECORD..plan.nodes.len()).filter(|node| !plan.of_elements.contains(node));
        let mut line = Self {
            first,
            between,
            tail,
            has_long,
            last_is_text: last.is_text,
            places: vec![(0, 0); values.len()],
            record: Group::missing(of_record),
            elements: (0..*elements).map(|_| Group::missing(plan.of_elements.iter().copied())).collect(),
        };
        for (at, value) in values.iter().enumerate() {
            let Value { before, is_text, node, element, .. } = value;
            line.add_containers(&before.containers);
            let is_wanted = *node != RECORD;
            let group = line.group(element.filter(|_| is_wanted));
            match is_text {
                false => group.set(*node, |group| &mut group.bare, at),
                true if is_wanted => group.set(*node, |group| &mut group.texts, at),
                true => {}
            }
        }
        line.add_containers(&end.containers);
        Some(line)
    }

    fn group(&mut self, element: Option<usize>) -> &mut Group {
        match element {
            Some(element) => &mut self.elements[element],
            None => &mut self.record,
        }
    }

    fn add_containers(&mut self, containers: &[Container]) {
        for Container { node, kind, element } in containers {
            let fixed = self.group(*element).fixed.iter_mut();
            fixed.filter(|(other, _)| other == node).for_each(|(_, other)| *other = *kind);
        }
    }

    /// Whether a record has this layout. Sets the fields of the record.
    #[inline(always)]
    pub(super) fn read(&mut self, text: &str, quotes: &Quotes, slots: &mut Slots) -> bool {
        self.fits(text.as_bytes(), quotes) && self.record.fill(text, &self.places, slots)
    }

    /// Sets the fields of one element after the other, and calls `each`. Returns false if a value is invalid.
    #[inline(always)]
    pub(super) fn read_elements(&self, text: &str, slots: &mut Slots, mut each: impl FnMut(&Slots)) -> bool {
        for element in &self.elements {
            if !element.fill(text, &self.places, slots) {
                return false;
            }
            each(slots);
        }
        true
    }

    /// Number of elements.
    pub(super) fn elements(&self) -> usize {
        self.elements.len()
    }

    /// Whether all literals are at their positions. Sets `places` to the positions of the values.
    #[inline(always)]
    fn fits(&mut self, record: &[u8], quotes: &Quotes) -> bool {
        let Self { first, between, tail, places, .. } = self;
        let mut differences = Differences::default();
        if !first.compare(record, 0, &mut differences) {
            return false;
        }
        let mut end = first.length;
        for (place, literal) in places.iter_mut().zip(&*between) {
            let start = literal.start(record, end, quotes.next(end));
            if !literal.compare(record, start, &mut differences) {
                return false;
            }
            *place = (end, start);
            end = start + literal.length;
        }
        let tail_start = record.len().wrapping_sub(tail.length);
        if let Some(last) = places.last_mut() {
            *last = (end, tail_start);
        }
        tail.compare(record, tail_start, &mut differences)
            && differences.none()
            && (!self.last_is_text || quotes.next(end) == tail_start)
            && (!self.has_long || self.long_fit(record))
    }

    /// As [`Self::fits`], for all bytes of long literals.
    #[inline(never)]
    fn long_fit(&self, record: &[u8]) -> bool {
        let Self { first, between, tail, places, .. } = self;
        let starts = std::iter::once(0).chain(places.iter().map(|(_, end)| *end));
        let mut literals = std::iter::once(first).chain(between).chain([tail]).zip(starts);
        literals.all(|(literal, start)| !literal.is_long() || literal.is_at(record, start))
    }
}

impl Group {
    fn missing(nodes: impl Iterator<Item = NodeId>) -> Self {
        let fixed = nodes.filter(|node| ![RECORD, ELEMENT].contains(node)).map(|node| (node, Kind::Missing));
        Self { fixed: fixed.collect(), ..Self::default() }
    }

    fn set(&mut self, node: NodeId, list: impl Fn(&mut Self) -> &mut Vec<(NodeId, usize)>, at: usize) {
        self.fixed.retain(|(other, _)| *other != node);
        list(self).push((node, at));
    }

    /// Sets the fields. Returns false if a value without quotes is invalid.
    #[inline(always)]
    fn fill(&self, text: &str, places: &[(usize, usize)], slots: &mut Slots) -> bool {
        for (node, kind) in &self.fixed {
            slots.set_kind(*node, *kind);
        }
        for (node, at) in &self.texts {
            slots.set_text(*node, places[*at]);
        }
        for (node, at) in &self.bare {
            if !slots.set_bare(*node, text, places[*at]) {
                return false;
            }
        }
        true
    }
}
