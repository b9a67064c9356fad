//! The dimensions, the event time and the id of the purchases.

use std::collections::BTreeSet;

use retail_api::Layout;
use retail_api::events::{Dimension, Timestamp, Unit};

use super::money::Basis;
use crate::names::{Role, dimension_fit, fit, snake, words};
use crate::profile::{Field, Profile};
use crate::yaml::path_text;

/// Number of dimensions that a proposal has at most.
const MAX_DIMENSIONS: usize = 4;

/// The event time, and why it is the time of the record if it is.
pub(crate) fn timestamp(profile: &Profile) -> (Timestamp, Option<String>) {
    let scored = profile.fields.iter().filter_map(|field| {
        let (unit, is_text) = field.time()?;
        let by_name = fit(Role::Time, field.name(), field.parent());
        // Numbers of such a size are also the numbers of articles: only a name makes them times.
        let score = if by_name == 0 && unit == Unit::Rfc3339 { 5 } else { by_name };
        let missing = if field.present < profile.records { 50 } else { 0 };
        let depth = u32::try_from(field.names.len()).unwrap_or(0);
        let score = (score * 2).saturating_sub(missing + depth);
        (score > 0).then_some((score, field, unit, is_text))
    });
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    if let Some((_, field, unit, is_text)) = best {
        return (Timestamp { field: Some(path_text(&field.names, false)), unit, text: is_text }, None);
    }
    let without_offset = profile.fields.iter().filter(|field| field.times_without_offset > 0);
    let without_offset = without_offset.max_by_key(|field| fit(Role::Time, field.name(), field.parent()));
    let why = match without_offset {
        Some(field) => {
            format!("the event time is that of the Kafka record: {} has no offset, such as Z", field.names.join("."))
        }
        None => "the event time is that of the Kafka record: no field looks like a time".to_owned(),
    };
    (Timestamp { field: None, unit: Unit::RecordTime, text: false }, Some(why))
}

/// The fields by which purchases are grouped, the best ones first, without those that a condition makes constant.
pub(crate) fn dimensions(profile: &Profile, basis: &Basis, constant: &[&[Box<str>]]) -> Vec<Dimension> {
    let elements = basis.array.as_ref().and_then(|names| profile.arrays.iter().find(|array| array.names == *names));
    let is_exploded = elements.is_some();
    let of_record = profile.fields.iter().filter(|field| !constant.contains(&&*field.names));
    let of_record = of_record.map(|field| Candidate { field, all: profile.records, is_of_record: is_exploded });
    let of_elements = elements.into_iter().flat_map(|array| {
        array.fields.iter().map(|field| Candidate { field, all: array.elements, is_of_record: false })
    });
    let mut scored: Vec<(u32, Candidate<'_>)> = of_elements
        .chain(of_record)
        .filter(|candidate| candidate.field.names != basis.value.names || candidate.is_of_record)
        .filter_map(|candidate| Some((candidate.score()?, candidate)))
        .collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    // Without a name that says a dimension, one that has few values is better than none.
    let least = if scored.first().is_some_and(|(score, _)| *score >= GOOD) { GOOD } else { 1 };
    let most = if least == GOOD { MAX_DIMENSIONS } else { 1 };
    let mut names = BTreeSet::new();
    let mut taken: Vec<&Field> = Vec::new();
    let chosen = scored.into_iter().filter(|(score, _)| *score >= least).filter_map(|(_, candidate)| {
        // The currency of each of several amounts is one dimension.
        let is_same = |other: &&Field| {
            snake(other.name()) == snake(candidate.field.name()) && other.values == candidate.field.values
        };
        if taken.iter().any(is_same) {
            return None;
        }
        taken.push(candidate.field);
        let name = column(candidate.field, &names)?;
        names.insert(name.clone());
        let if_missing = (candidate.field.present < candidate.all).then(|| "unknown".to_owned());
        Some(Dimension { name, field: path_text(&candidate.field.names, candidate.is_of_record), if_missing })
    });
    let chosen: Vec<Dimension> = chosen.take(most).collect();
    if chosen.is_empty() { vec![one_value(profile)] } else { chosen }
}

/// Score from which a name says a dimension.
const GOOD: u32 = 25;

/// A dimension with one value, for records without a field that could be one.
fn one_value(profile: &Profile) -> Dimension {
    let is_free =
        |name: &&str| profile.fields.iter().all(|field| field.names.first().is_none_or(|first| **first != **name));
    let name = ["source", "kind", "topic", "origin"].into_iter().find(is_free).unwrap_or("retail_source");
    Dimension { name: name.to_owned(), field: name.to_owned(), if_missing: Some("all".to_owned()) }
}

/// A field that could be a dimension.
struct Candidate<'a> {
    field: &'a Field,
    /// Number of records or elements.
    all: usize,
    /// Whether it is a field of the record, next to an exploded array.
    is_of_record: bool,
}

impl Candidate<'_> {
    fn score(&self) -> Option<u32> {
        let Self { field, all, .. } = self;
        let distinct = field.values.len();
        let is_unique = field.has_more_values || (distinct > 5 && distinct * 3 > field.present * 2);
        if !field.is_dimension()
            || field.present * 2 < *all
            || is_unique
            || field.decimals > 0
            || !field.times.is_empty()
        {
            return None;
        }
        let depth = 3 * u32::try_from(field.names.len().saturating_sub(1)).unwrap_or(0);
        let constant = if distinct == 1 { 35 } else { 0 };
        let by_name = dimension_fit(field.name(), field.parent());
        if by_name == 0 {
            return (field.texts == field.present && distinct <= 20).then_some(1);
        }
        Some(by_name.saturating_sub(depth + constant).max(1))
    }
}

/// Names that say nothing without the object around them.
const GENERIC: &[&str] =
    &["type", "kind", "id", "name", "code", "key", "value", "status", "state", "method", "source", "category", "label"];

/// Objects that only hold the fields of the event.
const HOLDERS: &[&str] =
    &["data", "payload", "after", "properties", "attributes", "body", "record", "event", "object", "detail", "message"];

/// The name of a column for a field; `None` if SQL refuses every one.
fn column(field: &Field, taken: &BTreeSet<String>) -> Option<String> {
    let (name, parent) = (snake(field.name()), snake(field.parent()));
    let is_held = parent.is_empty() || HOLDERS.contains(&parent.as_str());
    let whole = if is_held { format!("{name}_value") } else { format!("{parent}_{name}") };
    let is_generic = GENERIC.contains(&name.as_str()) && !is_held;
    let candidates = if is_generic { [whole.clone(), name] } else { [name, whole] };
    candidates
        .into_iter()
        .map(|name| name.chars().take(40).collect::<String>())
        .find(|name| !taken.contains(name) && Layout::new(vec![name.clone()], Vec::new()).is_ok())
}

/// A warning about records of purchases that failed.
pub(crate) fn failures(profile: &Profile) -> Option<String> {
    const FAILURES: &[&str] = &["failed", "cancelled", "canceled", "declined", "voided", "expired", "refused", "error"];
    let is_status = |field: &&Field| matches!(words(field.name()).last().map(String::as_str), Some("status" | "state"));
    let mut statuses = profile.fields.iter().filter(is_status);
    statuses.find_map(|field| {
        let failure = field.values.iter().find(|value| FAILURES.contains(&value.to_lowercase().as_str()))?;
        let path = field.names.join(".");
        Some(format!("{path}: some records are \"{failure}\"; where: \"{path} != '{failure}'\" filters them"))
    })
}

/// The field with an id of its own for each record.
pub(crate) fn transaction_id(profile: &Profile) -> Option<String> {
    const IDS: &[&str] = &[
        "transaction_id",
        "order_id",
        "payment_id",
        "charge_id",
        "receipt_id",
        "receipt_no",
        "message_id",
        "event_id",
        "id",
    ];
    let is_unique = |field: &&Field| {
        let is_whole =
            field.is_dimension() && field.present == profile.records && field.bools == 0 && field.decimals == 0;
        is_whole && (field.values.len() == field.present || field.has_more_values)
    };
    let rank = |field: &Field| IDS.iter().position(|id| *id == snake(field.name()));
    let ids = profile.fields.iter().filter(is_unique).filter_map(|field| Some((rank(field)?, field)));
    ids.min_by_key(|(rank, field)| (*rank, field.names.len())).map(|(_, field)| path_text(&field.names, false))
}
