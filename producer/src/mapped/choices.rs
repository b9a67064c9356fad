//! Values for the fields that a condition tests: combinations for which it is true, and others for which it is not.

#![allow(clippy::wildcard_enum_match_arm, reason = "a condition is a combination or a leaf")]

use std::mem;

use retail_engine::{Comparison, Condition, Format, Literal, Mapping, Operand, Operands, Path, TimeField};

use super::dimensions;
use super::sample::Sample;
use crate::random::Random;

/// Maximum number of values that are tried for a field; a set of them fits into 64 bits.
const MAX_VALUES: usize = 64;

/// Maximum number of combinations that are kept.
const MAX_COMBINATIONS: usize = 64;

/// A field that the condition tests, and no number or time of the mapping.
#[derive(Debug)]
struct Tested {
    path: Path,
    values: Vec<Sample>,
    /// `values` as JSON.
    json: Vec<Option<Box<str>>>,
    /// The values that a mapped dimension has without the condition.
    usual: u64,
}

/// The allowed values of each tested field, as bits.
type Combination = Vec<u64>;

/// The fields of a condition, with their combinations.
#[derive(Default, Debug)]
pub(super) struct Choices {
    fields: Vec<Tested>,
    kept: Vec<Combination>,
    filtered: Vec<Combination>,
}

impl Choices {
    /// The choices for the condition of a mapping. Fields with numbers and times of the mapping keep their values.
    pub(super) fn new(mapping: &Mapping, dimensions: &[String]) -> Self {
        let Some(condition) = &mapping.condition else { return Self::default() };
        let mut leaves = Vec::new();
        collect(condition, &mut leaves);
        let mut paths: Vec<&Path> = Vec::new();
        for path in leaves.iter().map(|leaf| place(leaf)) {
            let is_object = leaves.iter().any(|leaf| is_inside(place(leaf), path));
            if !paths.contains(&path) && !is_object && is_free(mapping, path) {
                paths.push(path);
            }
        }
        let fields: Vec<Tested> =
            paths.into_iter().map(|path| Tested::new(path, &leaves, mapping, dimensions)).collect();
        let kept = solve(&fields, condition, Want { is: true, or_unknown: false });
        let mut filtered = solve(&fields, condition, Want { is: false, or_unknown: true });
        // The other fields of a filtered record are those of a record that counts.
        for (at, combination) in filtered.iter_mut().enumerate() {
            if let Some(kept) = kept.get(at % kept.len().max(1)) {
                let untested =
                    combination.iter_mut().zip(kept).zip(&fields).filter(|((set, _), field)| **set == field.all());
                untested.for_each(|((set, kept), _)| *set = *kept);
            }
        }
        let usual = |combinations: Vec<Combination>| {
            let usual = |combination: Combination| {
                combination.into_iter().zip(&fields).map(|(set, field)| field.most_usual(set)).collect()
            };
            combinations.into_iter().map(usual).collect()
        };
        Self { kept: usual(kept), filtered: usual(filtered), fields }
    }

    /// The values of a field.
    pub(super) fn values(&self, field: usize) -> &[Sample] {
        &self.fields[field].values
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.fields.iter().map(|field| &field.path)
    }

    /// Chooses a value for each field; `is_kept` is whether the condition is true with them, if that is possible.
    pub(super) fn choose(&self, random: &mut Random, is_kept: bool, chosen: &mut Vec<usize>) {
        let combinations = if is_kept || self.filtered.is_empty() { &self.kept } else { &self.filtered };
        chosen.clear();
        if combinations.is_empty() {
            chosen.extend(self.fields.iter().map(|field| random.below(field.values.len() as u64) as usize));
            return;
        }
        let combination = random.one_of(combinations);
        chosen.extend(combination.iter().map(|set| {
            let skipped = random.below(u64::from(set.count_ones()));
            (0..skipped).fold(*set, |set, _| set & (set - 1)).trailing_zeros() as usize
        }));
    }

    /// The JSON of a chosen value; `None` for a missing field.
    pub(super) fn json(&self, field: usize, chosen: &[usize]) -> Option<&str> {
        self.fields[field].json[chosen[field]].as_deref()
    }
}

/// Whether the records can have any value at a path: no number or time of the mapping, and no object on the way to a field.
fn is_free(mapping: &Mapping, path: &Path) -> bool {
    let Mapping { format: _, id, timestamp, dimensions, quantity, value, refunds: _, sums, condition: _, explode } =
        mapping;
    let numbers = [quantity, value.field()].into_iter().chain(sums).map(|number| &number.path);
    let time = match timestamp {
        TimeField::Rfc3339(path) | TimeField::Number { path, .. } => Some(path),
        TimeField::RecordTime => None,
    };
    let mut others = numbers.chain(time).chain(explode).chain(id);
    let meets = |other: &Path, is_same_free: bool| {
        let shorter = other.names.len().min(path.names.len());
        let is_same = is_same_free && other.names.len() == path.names.len();
        other.level == path.level && other.names[..shorter] == path.names[..shorter] && !is_same
    };
    !others.any(|other| meets(other, false)) && !dimensions.iter().any(|dimension| meets(&dimension.path, true))
}

/// Whether `inner` is a field in the object at `outer`.
fn is_inside(inner: &Path, outer: &Path) -> bool {
    inner.names.len() > outer.names.len() && inner.names.starts_with(&outer.names)
}

impl Tested {
    fn new(path: &Path, leaves: &[&Condition<Path>], mapping: &Mapping, names: &[String]) -> Self {
        let mut usual = Vec::new();
        let dimension = mapping.dimensions.iter().zip(names).find(|(dimension, _)| dimension.path == *path);
        if let Some((dimension, name)) = dimension {
            usual = dimensions::values(name, &dimension.path);
        }
        let mut values = usual.clone();
        for leaf in leaves.iter().filter(|leaf| place(leaf) == path) {
            values.extend(samples(leaf));
        }
        values.extend([Sample::Text("other".into()), Sample::Missing]);
        // A purchase with such a dimension would be invalid.
        if dimension.is_some_and(|(dimension, _)| dimension.if_missing.is_none()) {
            values.retain(|value| !matches!(value, Sample::Missing | Sample::Null));
        }
        if dimension.is_some() {
            values.retain(|value| *value != Sample::Text("".into()));
        }
        let mut distinct: Vec<Sample> = Vec::new();
        for value in values {
            if distinct.len() < MAX_VALUES && !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        if matches!(mapping.format, Format::Avro | Format::Protobuf) {
            let is_dimension = dimension.is_some();
            let null = mapping.format == Format::Avro;
            keep_one_type(&mut distinct, &usual, is_dimension, null);
        }
        let json = distinct.iter().map(Sample::json).collect();
        let usual = distinct.iter().enumerate().filter(|(_, value)| usual.contains(value)).map(|(at, _)| 1 << at).sum();
        Self { path: path.clone(), values: distinct, json, usual }
    }

    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.values.len())
    }

    /// The usual values of a set if it has some, otherwise those that are not missing if it has some.
    fn most_usual(&self, set: u64) -> u64 {
        let present = self.values.iter().enumerate().filter(|(_, value)| !matches!(value, Sample::Missing));
        let present: u64 = present.map(|(at, _)| 1 << at).sum();
        [self.usual, present].into_iter().map(|better| set & better).find(|set| *set != 0).unwrap_or(set)
    }
}

/// Keeps the values of one type, which a schema can declare, and missing ones: the type of the first literal of the condition.
/// Protobuf has no null, and no dimension is a float.
fn keep_one_type(values: &mut Vec<Sample>, usual: &[Sample], is_dimension: bool, has_null: bool) {
    let is_literal = |value: &&Sample| matches!(value, Sample::Text(_) | Sample::Number(_));
    let is_other = |value: &&Sample| !usual.contains(value) && **value != Sample::Text("other".into());
    let is_value = |value: &&Sample| !matches!(value, Sample::Missing | Sample::Null);
    let first = values.iter().filter(is_literal).find(is_other).or_else(|| values.iter().find(is_value)).cloned();
    values.retain(|value| match (value, &first) {
        (Sample::Missing, _) => true,
        (Sample::Null, _) => has_null,
        (Sample::Number(number), Some(Sample::Number(_))) => !is_dimension || number.parse::<i64>().is_ok(),
        (value, Some(first)) => mem::discriminant(value) == mem::discriminant(first),
        (_, None) => false,
    });
}

/// The result that a condition must have.
#[derive(Clone, Copy, Debug)]
struct Want {
    is: bool,
    or_unknown: bool,
}

impl Want {
    const fn fits(self, result: Option<bool>) -> bool {
        match result {
            Some(is) => is == self.is,
            None => self.or_unknown,
        }
    }
}

/// Combinations for which a condition has the wanted result.
fn solve(fields: &[Tested], condition: &Condition<Path>, want: Want) -> Vec<Combination> {
    let either = |a, b| [solve(fields, a, want), solve(fields, b, want)].concat();
    let both = |a, b| product(&solve(fields, a, want), &solve(fields, b, want));
    let mut combinations = match condition {
        Condition::And(a, b) if want.is => both(a, b),
        Condition::Or(a, b) if !want.is => both(a, b),
        Condition::And(a, b) | Condition::Or(a, b) => either(a, b),
        Condition::Not(condition) => solve(fields, condition, Want { is: !want.is, ..want }),
        leaf => of_leaf(fields, leaf, want).into_iter().collect(),
    };
    combinations.truncate(MAX_COMBINATIONS);
    combinations
}

fn product(a: &[Combination], b: &[Combination]) -> Vec<Combination> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| a.iter().zip(b).map(|(a, b)| a & b).collect()));
    pairs.filter(|combination: &Combination| !combination.contains(&0)).take(MAX_COMBINATIONS).collect()
}

/// The values of the tested field that give the result. A field that keeps its values can have any result.
fn of_leaf(fields: &[Tested], leaf: &Condition<Path>, want: Want) -> Option<Combination> {
    let mut combination: Combination = fields.iter().map(Tested::all).collect();
    let Some(at) = fields.iter().position(|field| field.path == *place(leaf)) else {
        return (!want.or_unknown).then_some(combination);
    };
    let values = fields[at].values.iter().enumerate();
    let fitting = values.filter(|(_, value)| want.fits(leaf.is_true(&Only { place: place(leaf), value })));
    combination[at] = fitting.map(|(bit, _)| 1 << bit).sum();
    (combination[at] != 0).then_some(combination)
}

/// A record in which one field has a value.
struct Only<'a> {
    place: &'a Path,
    value: &'a Sample,
}

impl Operands<Path> for Only<'_> {
    fn with<R>(&self, place: &Path, read: impl FnOnce(&Operand<'_>) -> R) -> R {
        read(&if place == self.place { self.value.operand() } else { Operand::Object })
    }
}

/// The parts of a condition that are not combinations.
fn collect<'a>(condition: &'a Condition<Path>, leaves: &mut Vec<&'a Condition<Path>>) {
    match condition {
        Condition::And(a, b) | Condition::Or(a, b) => {
            collect(a, leaves);
            collect(b, leaves);
        }
        Condition::Not(condition) => collect(condition, leaves),
        leaf => leaves.push(leaf),
    }
}

/// The field that a leaf tests.
fn place(leaf: &Condition<Path>) -> &Path {
    match leaf {
        Condition::Has { field, .. } => field,
        Condition::Compare(at, ..) | Condition::In(at, _) | Condition::Text(at, ..) | Condition::IsTrue(at) => at,
        Condition::And(..) | Condition::Or(..) | Condition::Not(_) => unreachable!("leaves contain no combinations"),
    }
}

/// Values around the constants of a leaf.
fn samples(leaf: &Condition<Path>) -> Vec<Sample> {
    let text = |text: &str| Sample::Text(text.into());
    match leaf {
        Condition::Compare(_, comparison, literal) => around(literal, *comparison),
        Condition::In(_, literals) => literals.iter().flat_map(|literal| around(literal, Comparison::Equal)).collect(),
        Condition::Text(_, _, part) => vec![text(part), text(&format!("{part}-1")), text(&format!("1-{part}"))],
        Condition::Has { .. } | Condition::IsTrue(_) => vec![Sample::Bool(true), Sample::Bool(false)],
        Condition::And(..) | Condition::Or(..) | Condition::Not(_) => Vec::new(),
    }
}

fn around(literal: &Literal, comparison: Comparison) -> Vec<Sample> {
    let is_order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    match literal {
        Literal::Text(text) if is_order => {
            vec![Sample::Text(text.clone()), Sample::Text("".into()), Sample::Text(format!("{text}~").into())]
        }
        Literal::Text(text) => vec![Sample::Text(text.clone())],
        Literal::Number(number) => {
            let mut samples = vec![Sample::Number(number.clone())];
            if let Ok(number) = number.parse::<f64>() {
                let others = [1.0, -1.0, 0.5].map(|step| Sample::Number((number + step).to_string().into()));
                samples.extend(others);
            }
            samples
        }
        Literal::Bool(_) => vec![Sample::Bool(true), Sample::Bool(false)],
        Literal::Null => vec![Sample::Null],
    }
}
