//! Which records of a mixed topic are purchases: a condition on a field that tells them from the others.

use std::collections::BTreeSet;

use retail_connection::text::visible;
use retail_engine::{Condition, Path};

use super::money::{Basis, has_money};
use crate::json::{Json, Kind};
use crate::names::{snake, words};

/// Most values that a condition lists.
const MAX_VALUES: usize = 8;

/// A condition on a field of the records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selection {
    pub(crate) condition: String,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) values: BTreeSet<String>,
}

impl Selection {
    pub(crate) fn selects(&self, record: Json<'_>) -> bool {
        record.at(&self.names).and_then(Json::text).is_some_and(|text| self.values.contains(&text))
    }
}

/// Names of fields with the kind of a record.
const KINDS: &[&str] =
    &["op", "event", "event_name", "event_type", "type", "kind", "action", "record_type", "message_type", "name"];

/// The rows of a table that Debezium reports: insertions count, updates would count a row again.
pub(crate) fn debezium(records: &[Json<'_>]) -> Option<Selection> {
    let names = |prefix: &[&str], name: &str| -> Vec<Box<str>> {
        prefix.iter().copied().chain([name]).map(Box::from).collect()
    };
    for prefix in [&[][..], &["payload"]] {
        let [op, after, source] = ["op", "after", "source"].map(|name| names(prefix, name));
        let is_change = |record: &&Json<'_>| {
            let is_op = record
                .at(&op)
                .and_then(Json::text)
                .is_some_and(|op| matches!(op.as_str(), "c" | "r" | "u" | "d" | "t"));
            is_op && (record.at(&after).is_some() || record.at(&source).is_some())
        };
        if records.iter().filter(is_change).count() * 10 >= records.len() * 8 {
            let values: BTreeSet<String> = ["c", "r"].map(str::to_owned).into();
            let condition = condition(&op, &values)?;
            return Some(Selection { condition, names: op, values });
        }
    }
    None
}

/// The field that tells the records with money from those without.
pub(crate) fn selection(records: &[Json<'_>], basis: &Basis) -> Option<Selection> {
    let (with, without): (Vec<Json<'_>>, Vec<Json<'_>>) = records.iter().partition(|record| has_money(basis, **record));
    if with.is_empty() || without.is_empty() {
        return None;
    }
    let candidates = texts(with[0]);
    let mut found: Vec<(usize, Selection)> = Vec::new();
    for names in candidates {
        let values = |records: &[Json<'_>]| -> Vec<Option<String>> {
            records.iter().map(|record| record.at(&names).and_then(Json::text)).collect()
        };
        let Some(selected) = values(&with).into_iter().collect::<Option<BTreeSet<String>>>() else { continue };
        let is_apart = values(&without).into_iter().flatten().all(|value| !selected.contains(&value));
        if !is_apart || selected.len() > MAX_VALUES {
            continue;
        }
        let rank = names.last().and_then(|name| KINDS.iter().position(|kind| *kind == snake(name)));
        // A field without such a name needs few values: otherwise it is apart by chance.
        let Some(rank) = rank.or((selected.len() * 4 <= with.len() && selected.len() <= 2).then_some(KINDS.len()))
        else {
            continue;
        };
        if let Some(condition) = condition(&names, &selected) {
            found.push((rank * 8 + names.len(), Selection { condition, names, values: selected }));
        }
    }
    found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, selection)| selection)
}

/// Words of events that are a purchase, and of events before and after one.
const PURCHASE: &[&str] = &[
    "purchase",
    "purchased",
    "sale",
    "sold",
    "completed",
    "placed",
    "paid",
    "succeeded",
    "captured",
    "settled",
    "receipt",
    "order",
    "payment",
    "charge",
    "transaction",
];
const OTHER: &[&str] = &[
    "view",
    "viewed",
    "views",
    "cart",
    "begin",
    "started",
    "abandoned",
    "impression",
    "click",
    "clicked",
    "select",
    "selected",
    "search",
    "searched",
    "wishlist",
    "add",
    "added",
    "remove",
    "removed",
    "update",
    "updated",
    "failed",
    "cancelled",
    "canceled",
    "declined",
    "expired",
    "shipped",
    "delivered",
    "quote",
    "quoted",
    "login",
];

/// The kinds of records that are purchases, if there are others with the same fields, such as items in a cart: they would count a
/// purchase several times.
pub(crate) fn purchases(records: &[Json<'_>]) -> Option<Selection> {
    let has = |value: &str, list: &[&str]| words(value).iter().any(|word| list.contains(&word.as_str()));
    let paths = texts(*records.first()?);
    let is_kind = |names: &Vec<Box<str>>| names.last().is_some_and(|name| KINDS.contains(&snake(name).as_str()));
    let mut kinds: Vec<Vec<Box<str>>> = paths.into_iter().filter(is_kind).collect();
    kinds.sort_by_key(Vec::len);
    kinds.into_iter().find_map(|names| {
        let values: Option<BTreeSet<String>> =
            records.iter().map(|record| record.at(&names).and_then(Json::text)).collect();
        let (others, purchases): (BTreeSet<String>, BTreeSet<String>) =
            values?.into_iter().partition(|value| has(value, OTHER));
        let is_clear = !others.is_empty() && purchases.iter().any(|value| has(value, PURCHASE));
        let condition = condition(&names, &purchases).filter(|_| is_clear && purchases.len() <= MAX_VALUES)?;
        Some(Selection { condition, names, values: purchases })
    })
}

/// The paths of the strings of a record, without those in arrays.
fn texts(record: Json<'_>) -> Vec<Vec<Box<str>>> {
    let mut paths = Vec::new();
    let mut open: Vec<(Vec<Box<str>>, Json<'_>)> = vec![(Vec::new(), record)];
    while let Some((path, object)) = open.pop() {
        for (name, value) in object.fields(256) {
            let mut path = path.clone();
            path.push(name.into());
            match value.kind() {
                Kind::Object if path.len() < 4 => open.push((path, value)),
                Kind::Text if paths.len() < 256 => paths.push(path),
                Kind::Null | Kind::Bool | Kind::Number | Kind::Text | Kind::Array | Kind::Object => {}
            }
        }
    }
    paths
}

/// The condition in CEL; `None` if the subset of CEL cannot express it.
fn condition(names: &[Box<str>], values: &BTreeSet<String>) -> Option<String> {
    let path = names.join(".");
    let quoted: Option<Vec<String>> = values
        .iter()
        .map(|value| (!value.contains(['\'', '\\']) && visible(value) == **value).then(|| format!("'{value}'")))
        .collect();
    let quoted = quoted?;
    let condition = match quoted.as_slice() {
        [only] => format!("{path} == {only}"),
        several => format!("{path} in [{}]", several.join(", ")),
    };
    let parsed: Condition<Path> = Condition::parse(&condition).ok()?;
    let is_path = |place: &&Path| place.names.iter().map(|name| &**name).eq(names.iter().map(|name| &**name));
    (condition.len() <= 1024 && parsed.places().iter().all(is_path)).then_some(condition)
}
