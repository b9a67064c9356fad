//! The field of a record that looks like a missing one: by its name, by a synonym, or by a typing error; and by its value.

use crate::json::{Json, Kind};
use crate::names::{Role, fit, snake};
use crate::values::{excerpt, time_form};
use crate::wanted::Wanted;

/// Maximum depth of the objects that are searched.
const MAX_DEPTH: usize = 6;

/// Maximum number of values that are looked at.
const MAX_VALUES: usize = 256;

/// A value, and its place in a record.
struct Candidate<'a> {
    path: String,
    name: String,
    parent: String,
    value: Json<'a>,
    is_in_array: bool,
}

/// The field that most likely is the wanted one, as `"qty": 2`.
pub(crate) fn similar(wanted: &Wanted, record: Json<'_>) -> Option<String> {
    let mut candidates = Vec::new();
    collect(record, &mut Vec::new(), false, &mut candidates);
    let scored = candidates.iter().filter(|candidate| suits(wanted.role, candidate.value)).map(|candidate| {
        let score = likeness(wanted, candidate);
        // A field of the record before one in an array, and the earlier one of two equal ones.
        (score.saturating_sub(if candidate.is_in_array { 5 } else { 0 }), candidate)
    });
    let best = scored.filter(|(score, _)| *score > 0).reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, candidate)| format!("\"{}\": {}", candidate.path, excerpt(candidate.value)))
}

fn collect<'a>(object: Json<'a>, path: &mut Vec<String>, is_in_array: bool, found: &mut Vec<Candidate<'a>>) {
    if path.len() >= MAX_DEPTH {
        return;
    }
    for (name, value) in object.fields(MAX_VALUES) {
        if found.len() >= MAX_VALUES {
            return;
        }
        let parent = path.last().map(|parent| parent.trim_end_matches("[]").to_owned()).unwrap_or_default();
        path.push(name.clone());
        match value.kind() {
            Kind::Object => collect(value, path, is_in_array, found),
            Kind::Array => {
                if let Some(first) = value.elements(1).first().filter(|first| first.kind() == Kind::Object) {
                    path.pop();
                    path.push(format!("{name}[]"));
                    collect(*first, path, true, found);
                }
            }
            Kind::Bool | Kind::Number | Kind::Text => {
                found.push(Candidate { path: path.join("."), name, parent, value, is_in_array });
            }
            Kind::Null => {}
        }
        path.pop();
    }
}

/// Whether a value can have a role.
fn suits(role: Role, value: Json<'_>) -> bool {
    match role {
        Role::Time => time_form(value).is_some(),
        Role::Quantity => value.number().is_some_and(|number| number.fract() == 0.0),
        Role::Price | Role::Amount | Role::Sum => value.number().is_some(),
        Role::Text => value.shown().is_some_and(|text| (1..=128).contains(&text.len())),
    }
}

/// How much a field looks like the wanted one: 0 is not at all.
fn likeness(wanted: &Wanted, candidate: &Candidate<'_>) -> u32 {
    let wanted_name = wanted.names.last().map(|name| snake(name)).unwrap_or_default();
    let name = snake(&candidate.name);
    if name == wanted_name {
        return 200;
    }
    let whole = snake(&format!("{} {}", candidate.parent, candidate.name));
    if whole == wanted_name || snake(&wanted.names.join(" ")) == name {
        return 190;
    }
    let synonym = match wanted.role {
        // A mapping reads a price or an amount: either can be there instead of the other.
        Role::Price | Role::Amount => {
            let same = fit(wanted.role, &candidate.name, &candidate.parent);
            let other = if wanted.role == Role::Price { Role::Amount } else { Role::Price };
            same.max(fit(other, &candidate.name, &candidate.parent).saturating_sub(20))
        }
        role => fit(role, &candidate.name, &candidate.parent),
    };
    let distance = strsim::damerau_levenshtein(&shorter(&name), &shorter(&wanted_name));
    let is_near = distance * 3 <= wanted_name.chars().count();
    let typing_error = if is_near { 150 - 10 * u32::try_from(distance).unwrap_or(0) } else { 0 };
    // `method` and `payment_method`.
    let is_part = |long: &str, short: &str| short.len() >= 4 && long.split('_').any(|word| word == short);
    let part = if is_part(&wanted_name, &name) || is_part(&name, &wanted_name) { 90 } else { 0 };
    synonym.max(typing_error).max(part)
}

/// The beginning of a name, so that a comparison takes a bounded time.
fn shorter(name: &str) -> String {
    name.chars().take(64).collect()
}
