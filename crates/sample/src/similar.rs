//! The field of a record that looks like a missing one: by its name, by a synonym, or by a typing error; and by its value.

use std::cell::OnceCell;

use crate::json::{Json, Kind};
use crate::names::{Role, fit_of_words, snake};
use crate::values::{excerpt, time_form};
use crate::wanted::Wanted;

/// Maximum depth of the objects that are searched.
const MAX_DEPTH: usize = 6;

/// Maximum number of values that are looked at.
const MAX_VALUES: usize = 256;

/// The values of a record in which a missing field is looked for.
pub(crate) struct Candidates<'a> {
    record: Option<Json<'a>>,
    found: OnceCell<Vec<Candidate<'a>>>,
}

/// A value, and its place in a record.
struct Candidate<'a> {
    path: String,
    /// The name, in lower case with underscores.
    name: String,
    /// The name of the object around the value, in the same form.
    parent: String,
    value: Json<'a>,
    is_in_array: bool,
}

impl<'a> Candidates<'a> {
    /// Nothing is read before the first call of [`Self::similar`], and nothing is similar without a record.
    pub(crate) const fn of(record: Option<Json<'a>>) -> Self {
        Self { record, found: OnceCell::new() }
    }

    /// The field that most likely is the wanted one, as `"qty": 2`.
    pub(crate) fn similar(&self, wanted: &Wanted) -> Option<String> {
        let candidates = self.found.get_or_init(|| {
            let mut found = Vec::new();
            if let Some(record) = self.record.filter(|record| record.kind() == Kind::Object) {
                collect(record, &mut Vec::new(), false, &mut found);
            }
            found
        });
        let own = Own {
            name: wanted.names.last().map(|name| snake(name)).unwrap_or_default(),
            whole: snake(&wanted.names.join(" ")),
        };
        let scored = candidates.iter().map(|candidate| {
            let score = likeness(wanted.role, &own, candidate);
            // A field of the record before one in an array, and the earlier one of two equal ones.
            (score.saturating_sub(if candidate.is_in_array { 5 } else { 0 }), candidate)
        });
        let suitable = scored.filter(|(score, candidate)| *score > 0 && suits(wanted.role, candidate.value));
        let best = suitable.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, candidate)| format!("\"{}\": {}", candidate.path, excerpt(candidate.value)))
    }
}

/// The words of a wanted field: of its name, and of its whole path.
struct Own {
    name: String,
    whole: String,
}

fn collect<'a>(object: Json<'a>, path: &mut Vec<String>, is_in_array: bool, found: &mut Vec<Candidate<'a>>) {
    if path.len() >= MAX_DEPTH {
        return;
    }
    for (name, value) in object.fields(MAX_VALUES) {
        if found.len() >= MAX_VALUES {
            return;
        }
        let parent = path.last().map(|parent| snake(parent)).unwrap_or_default();
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
                let name = snake(&name);
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
fn likeness(role: Role, own: &Own, candidate: &Candidate<'_>) -> u32 {
    let Candidate { name, parent, .. } = candidate;
    if *name == own.name {
        return 200;
    }
    let is_whole =
        own.name.strip_prefix(parent.as_str()).and_then(|rest| rest.strip_prefix('_')) == Some(name.as_str());
    if own.whole == *name || is_whole {
        return 190;
    }
    let synonym = match role {
        // A mapping reads a price or an amount: either can be there instead of the other.
        Role::Price | Role::Amount => {
            let other = if role == Role::Price { Role::Amount } else { Role::Price };
            let instead = fit_of_words(other, name, parent).saturating_sub(20);
            fit_of_words(role, name, parent).max(instead)
        }
        Role::Time | Role::Quantity | Role::Text | Role::Sum => fit_of_words(role, name, parent),
    };
    // `method` and `payment_method`.
    let is_part = |long: &str, short: &str| short.len() >= 4 && long.split('_').any(|word| word == short);
    let part = if is_part(&own.name, name) || is_part(name, &own.name) { 90 } else { 0 };
    synonym.max(typing_error(&own.name, name)).max(part)
}

/// How much a name looks like a mistyped other one.
fn typing_error(wanted: &str, name: &str) -> u32 {
    let (length, other) = (wanted.chars().count(), name.chars().count());
    if length.abs_diff(other) * 3 > length {
        return 0;
    }
    let distance = strsim::damerau_levenshtein(&shorter(name), &shorter(wanted));
    if distance * 3 <= length { 150 - 10 * u32::try_from(distance).unwrap_or(15).min(15) } else { 0 }
}

/// The beginning of a name, so that a comparison takes a bounded time.
fn shorter(name: &str) -> String {
    name.chars().take(64).collect()
}
