//! The fields of many records: how often each occurs, and what its values look like.

use std::collections::{BTreeMap, BTreeSet};

use retail_api::events::Unit;
use retail_connection::text::visible;

use crate::json::{Json, Kind};
use crate::values::{TimeForm, time_form, unit_name};

/// Bounds of a profile: depth of objects, fields, distinct values of a field, and elements of an array.
const MAX_DEPTH: usize = 6;
const MAX_FIELDS: usize = 512;
const MAX_VALUES: usize = 64;
const MAX_ELEMENTS: usize = 50;

/// The fields of records, and of the elements of their arrays.
#[derive(Default, Debug)]
pub(crate) struct Profile {
    /// Number of records.
    pub(crate) records: usize,
    pub(crate) fields: Vec<Field>,
    pub(crate) arrays: Vec<Array>,
}

/// An array of objects.
#[derive(Default, Debug)]
pub(crate) struct Array {
    pub(crate) names: Vec<Box<str>>,
    /// Number of records in which it has elements.
    pub(crate) present: usize,
    pub(crate) elements: usize,
    pub(crate) fields: Vec<Field>,
}

/// A field that has no fields of its own.
#[derive(Default, Debug)]
pub(crate) struct Field {
    pub(crate) names: Vec<Box<str>>,
    /// Number of values that are not null.
    pub(crate) present: usize,
    pub(crate) numbers: usize,
    /// Strings that contain a number.
    pub(crate) numeric_texts: usize,
    pub(crate) texts: usize,
    pub(crate) bools: usize,
    /// Arrays and objects.
    pub(crate) others: usize,
    /// Numbers written without a point, also in strings.
    pub(crate) integers: usize,
    pub(crate) negatives: usize,
    pub(crate) zeros: usize,
    /// Largest number of decimals.
    pub(crate) decimals: usize,
    /// Texts that cannot be the value of a dimension.
    pub(crate) bad_texts: usize,
    pub(crate) values: BTreeSet<String>,
    pub(crate) has_more_values: bool,
    /// Number of values that are a time, by unit and whether it is in a string.
    pub(crate) times: BTreeMap<(&'static str, bool), (Unit, usize)>,
    pub(crate) times_without_offset: usize,
}

impl Profile {
    pub(crate) fn of(records: &[Json<'_>]) -> Self {
        let mut profile = Self { records: records.len(), ..Self::default() };
        for record in records {
            walk(*record, &mut Vec::new(), &mut |names, value| profile.add(names, value));
        }
        profile
    }

    fn add(&mut self, names: &[Box<str>], value: Json<'_>) {
        let elements = if value.kind() == Kind::Array { value.elements(MAX_ELEMENTS) } else { Vec::new() };
        if elements.first().is_none_or(|first| first.kind() != Kind::Object) {
            return add(&mut self.fields, names, value);
        }
        let at = self.arrays.iter().position(|array| array.names == names).unwrap_or_else(|| {
            self.arrays.push(Array { names: names.to_vec(), ..Array::default() });
            self.arrays.len() - 1
        });
        let array = &mut self.arrays[at];
        array.present += 1;
        array.elements += elements.len();
        for element in elements {
            walk(element, &mut Vec::new(), &mut |names, value| add(&mut array.fields, names, value));
        }
    }
}

fn add(fields: &mut Vec<Field>, names: &[Box<str>], value: Json<'_>) {
    let at = match fields.iter().position(|field| field.names == names) {
        Some(at) => at,
        None if fields.len() == MAX_FIELDS => return,
        None => {
            fields.push(Field { names: names.to_vec(), ..Field::default() });
            fields.len() - 1
        }
    };
    fields[at].add(value);
}

/// Calls `each` for all values of an object that are not objects.
fn walk<'a>(object: Json<'a>, path: &mut Vec<Box<str>>, each: &mut impl FnMut(&[Box<str>], Json<'a>)) {
    for (name, value) in object.fields(MAX_FIELDS) {
        // The grammar of paths cannot express these, or a terminal cannot show them.
        if name.is_empty() || name.contains('"') || name.len() > 64 || visible(&name) != name {
            continue;
        }
        path.push(name.into());
        if value.kind() == Kind::Object && path.len() < MAX_DEPTH {
            walk(value, path, each);
        } else {
            each(path, value);
        }
        path.pop();
    }
}

impl Field {
    /// The name of the field.
    pub(crate) fn name(&self) -> &str {
        self.names.last().map_or("", |name| name)
    }

    /// The name of the object around the field.
    pub(crate) fn parent(&self) -> &str {
        self.names.iter().rev().nth(1).map_or("", |name| name)
    }

    /// Whether all values are numbers, in strings too.
    pub(crate) const fn is_numeric(&self) -> bool {
        self.present > 0 && self.numbers + self.numeric_texts == self.present
    }

    /// Whether all values are integers, in strings too.
    pub(crate) const fn is_integer(&self) -> bool {
        self.is_numeric() && self.integers == self.present
    }

    /// Whether all values can be those of a dimension.
    pub(crate) const fn is_dimension(&self) -> bool {
        self.present > 0 && self.others == 0 && self.bad_texts == 0
    }

    /// The unit of all values, and whether they are strings with numbers.
    pub(crate) fn time(&self) -> Option<(Unit, bool)> {
        let mut times = self.times.iter();
        let (((_, is_text), (unit, count)), None) = (times.next()?, times.next()) else { return None };
        (*count == self.present).then_some((*unit, *is_text))
    }

    fn add(&mut self, value: Json<'_>) {
        if value.kind() == Kind::Null {
            return;
        }
        self.present += 1;
        match time_form(value) {
            Some(TimeForm::Valid { unit, is_text }) => {
                self.times.entry((unit_name(unit), is_text)).or_insert((unit, 0)).1 += 1;
            }
            Some(TimeForm::WithoutOffset) => self.times_without_offset += 1,
            None => {}
        }
        let Some(shown) = value.shown() else {
            self.others += 1;
            return;
        };
        match (value.kind(), value.number()) {
            (Kind::Bool, _) => self.bools += 1,
            (Kind::Number, Some(number)) => {
                self.numbers += 1;
                self.add_number(number, &shown);
            }
            (_, Some(number)) => {
                self.numeric_texts += 1;
                self.add_number(number, &shown);
            }
            (_, None) => self.texts += 1,
        }
        self.bad_texts += usize::from(!(1..=128).contains(&shown.len()) || shown.contains('\0'));
        if self.values.len() < MAX_VALUES {
            self.values.insert(shown);
        } else {
            self.has_more_values |= !self.values.contains(&shown);
        }
    }

    fn add_number(&mut self, number: f64, text: &str) {
        self.integers += usize::from(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'));
        self.negatives += usize::from(number < 0.0);
        self.zeros += usize::from(number == 0.0);
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.trim_end_matches('0').len());
        self.decimals = self.decimals.max(decimals);
    }
}
