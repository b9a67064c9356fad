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
use super::plan::{NodeId, Plan, RECORD, TimePlan};
use super::slots::{Kind, Parsed, is_bare};
use super::wanted::WantedFields;
use crate::condition::{Operand, Operands};
use crate::decode::number;
use crate::decode::quotes::Quotes;
use crate::mapping::MAX_ELEMENTS;

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
    /// The wanted fields of the record.
    record: Box<[Wanted]>,
    /// The same with the wanted fields of each element.
    elements: Vec<Box<[Wanted]>>,
    /// The values without quotes other than numbers of a purchase.
    bare: Vec<usize>,
    /// The numbers of all purchases, and the event time, if they have no quotes. If these numbers are read, they are valid.
    numbers: Vec<usize>,
}

/// A wanted field. A value is an index into [`Line::places`].
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// It is missing, or is a container.
    Fixed(Kind),
    Text(u32),
    Bare(u32),
}

impl Line {
    /// The layout of a valid record. `None` if its records cannot be valid purchases.
    pub(super) fn new(plan: &Plan, text: &str, layout: &Layout) -> Option<Self> {
        let Layout { values, end, elements } = layout;
        let (head, last) = (values.first()?, values.last()?);
        if *elements > MAX_ELEMENTS {
            return None;
        }
        let between: Vec<_> =
            values.windows(2).map(|pair| Literal::new(text, pair[0].place.end, pair[1].place.start)).collect();
        let first = Literal::new(text, 0, head.place.start);
        let tail = Literal::new(text, last.place.end, text.len());
        let has_long = between.iter().chain([&first, &tail]).any(Literal::is_long);
        let containers = values.iter().map(|value| &value.before).chain([end]).flat_map(|gap| &gap.containers);
        let containers = containers.map(|Container { node, kind, element }| (*node, *element, Wanted::Fixed(*kind)));
        let wanted = (0..).zip(values).filter(|(_, value)| value.node != RECORD).map(|(at, value)| {
            let Value { is_text, node, element, .. } = value;
            (*node, *element, if *is_text { Wanted::Text(at) } else { Wanted::Bare(at) })
        });
        let fields: Vec<(NodeId, Option<usize>, Wanted)> = containers.chain(wanted).collect();
        let of_part = |of: Option<usize>, mut part: Box<[Wanted]>| {
            let of_part = fields.iter().filter(|(_, element, _)| *element == of);
            of_part.for_each(|(node, _, field)| part[*node] = *field);
            part
        };
        let record = of_part(None, vec![Wanted::Fixed(Kind::Missing); plan.nodes.len()].into());
        let numbers = [plan.quantity.at, plan.value.at].into_iter().chain(plan.sums.iter().map(|sum| sum.at));
        let mut numbers: Vec<NodeId> = numbers.collect();
        if let TimePlan::Number { at, .. } = plan.timestamp {
            numbers.push(at);
        }
        let bare = values.iter().enumerate().filter(|(_, value)| !value.is_text);
        let (numbers, bare): (Vec<_>, Vec<_>) =
            bare.partition(|(_, value)| value.node != RECORD && numbers.contains(&value.node));
        let positions = |values: Vec<(usize, &Value)>| values.into_iter().map(|(at, _)| at).collect();
        Some(Self {
            first,
            between,
            tail,
            has_long,
            last_is_text: last.is_text,
            places: vec![(0, 0); values.len()],
            elements: (0..*elements).map(|element| of_part(Some(element), record.clone())).collect(),
            record,
            bare: positions(bare),
            numbers: positions(numbers),
        })
    }

    /// Whether a record has this layout.
    #[inline(always)]
    pub(super) fn read(&mut self, text: &str, quotes: &Quotes) -> bool {
        self.fits(text.as_bytes(), quotes) && self.bare.iter().all(|at| self.is_bare(*at, text))
    }

    /// The fields of the record that was read.
    #[inline(always)]
    pub(super) fn record<'a>(&'a self, text: &'a str) -> Fields<'a> {
        Fields { fields: &self.record, places: &self.places, text }
    }

    /// The fields of its elements.
    #[inline(always)]
    pub(super) fn elements<'a>(&'a self, text: &'a str) -> impl ExactSizeIterator<Item = Fields<'a>> {
        self.elements.iter().map(move |fields| Fields { fields, places: &self.places, text })
    }

    /// Whether the numbers are valid. Those that a purchase was read from are.
    #[cold]
    #[inline(never)]
    pub(super) fn has_valid_numbers(&self, text: &str) -> bool {
        self.numbers.iter().all(|at| self.is_bare(*at, text))
    }

    #[inline(always)]
    fn is_bare(&self, at: usize, text: &str) -> bool {
        let (start, end) = self.places[at];
        is_bare(text.as_bytes(), start, end)
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

/// The wanted fields of a record or element.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    fields: &'a [Wanted],
    places: &'a [(usize, usize)],
    text: &'a str,
}

impl<'a> Fields<'a> {
    #[inline(always)]
    fn value(&self, at: u32) -> &'a str {
        let (start, end) = self.places[at as usize];
        &self.text[start..end]
    }

    #[inline(always)]
    fn parsed(&self, node: NodeId, is_text: bool) -> Parsed {
        let at = match self.fields[node] {
            Wanted::Bare(at) => at,
            Wanted::Text(at) if is_text => at,
            Wanted::Text(_) | Wanted::Fixed(_) => return Parsed::Unknown,
        };
        let (start, end) = self.places[at as usize];
        Parsed::at(self.text.as_bytes(), start, end)
    }
}

impl WantedFields for Fields<'_> {
    #[inline(always)]
    fn is_missing(&self, node: NodeId) -> bool {
        match self.fields[node] {
            Wanted::Fixed(kind) => matches!(kind, Kind::Missing),
            Wanted::Text(_) => false,
            Wanted::Bare(at) => self.value(at) == "null",
        }
    }

    /// A control character, such as U+0000, is not plain.
    #[inline(always)]
    fn plain(&self, node: NodeId) -> Option<(u32, u32)> {
        let Wanted::Text(at) = self.fields[node] else { return None };
        let (start, end) = self.places[at as usize];
        Some((start as u32, end as u32))
    }

    #[inline(always)]
    fn plain_text(&self, node: NodeId) -> Option<&[u8]> {
        let Wanted::Text(at) = self.fields[node] else { return None };
        let (start, end) = self.places[at as usize];
        self.text.as_bytes().get(start..end)
    }

    fn with_string<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        let Wanted::Text(at) = self.fields[node] else { return None };
        Some(read(self.value(at)))
    }

    /// Numbers and booleans are texts as written.
    fn with_key<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> Option<R> {
        match self.fields[node] {
            Wanted::Text(at) => Some(read(self.value(at))),
            Wanted::Bare(at) => Some(self.value(at)).filter(|text| *text != "null").map(read),
            Wanted::Fixed(_) => None,
        }
    }

    fn with_number<R>(&self, node: NodeId, is_text: bool, read: impl FnOnce(&str) -> R) -> Option<R> {
        let text = match self.fields[node] {
            Wanted::Bare(at) => self.value(at),
            Wanted::Text(at) if is_text => self.value(at),
            Wanted::Text(_) | Wanted::Fixed(_) => return None,
        };
        number::is_number(text.as_bytes()).then(|| read(text))
    }

    #[inline(always)]
    fn positive(&self, node: NodeId, is_text: bool) -> Option<i64> {
        self.parsed(node, is_text).positive()
    }

    #[inline(always)]
    fn millionths(&self, node: NodeId, is_text: bool, scale: u8) -> Option<i64> {
        self.parsed(node, is_text).millionths(scale)
    }
}

impl Operands<NodeId> for Fields<'_> {
    #[inline(always)]
    fn with<R>(&self, node: &NodeId, read: impl FnOnce(&Operand<'_>) -> R) -> R {
        read(&match self.fields[*node] {
            Wanted::Text(at) => Operand::Text(self.value(at).into()),
            Wanted::Bare(at) => match self.value(at) {
                "null" => Operand::Null,
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                number => Operand::Number(number),
            },
            Wanted::Fixed(Kind::Missing) => Operand::Missing,
            Wanted::Fixed(Kind::Object) => Operand::Object,
            Wanted::Fixed(_) => Operand::Other,
        })
    }
}
