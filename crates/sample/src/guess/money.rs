//! Where the money of a purchase is: in the record or in the elements of an array; a price or an amount; and its quantity.

use crate::json::Json;
use crate::names::{Role, fit, is_cents, snake, words};
use crate::profile::{Array, Field, Profile};

/// The fields with the numbers of a purchase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Basis {
    /// The array whose elements are the purchases.
    pub(crate) array: Option<Vec<Box<str>>>,
    pub(crate) value: Number,
    pub(crate) is_price: bool,
    pub(crate) quantity: Option<Number>,
}

/// A field with a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Number {
    pub(crate) names: Vec<Box<str>>,
    pub(crate) is_text: bool,
    pub(crate) scale: i32,
    /// Whether some records or elements lack it.
    pub(crate) is_optional: bool,
    pub(crate) has_negatives: bool,
}

/// The best fields, and their worth.
struct Choice {
    basis: Basis,
    worth: u32,
}

/// Names of arrays whose elements are the purchases of an order.
const ITEMS: &[&str] = &[
    "items",
    "line_items",
    "lineitems",
    "lines",
    "order_lines",
    "order_items",
    "products",
    "positions",
    "articles",
    "basket",
    "cart",
    "cart_items",
    "entries",
];

/// The fields with money and quantity; `None` if no name says money.
pub(crate) fn basis(profile: &Profile) -> Option<Basis> {
    let of_arrays = profile.arrays.iter().filter_map(|array| of_array(profile, array));
    let of_record = choice(&profile.fields, profile.records, &|field| cents(field, profile)).map(|choice| {
        // A whole purchase in the record is worth as much as one in an array.
        let worth = choice.worth + u32::from(choice.basis.quantity.is_some() && choice.basis.is_price) * 60;
        Choice { worth, ..choice }
    });
    let all = of_record.into_iter().chain(of_arrays);
    all.reduce(|best, next| if next.worth > best.worth { next } else { best }).map(|choice| choice.basis)
}

fn of_array(profile: &Profile, array: &Array) -> Option<Choice> {
    let name = array.names.last().map(|name| snake(name)).unwrap_or_default();
    let is_items = ITEMS.contains(&name.as_str()) || name.ends_with("_items") || name.ends_with("_lines");
    let is_other = ["refund", "payment", "shipping", "discount", "tax", "fee", "tender", "return"];
    if is_other.iter().any(|other| name.contains(other)) {
        return None;
    }
    let choice = choice(&array.fields, array.elements, &|field| cents(field, profile))?;
    if !is_items && choice.basis.quantity.is_none() {
        return None;
    }
    let basis = Basis { array: Some(array.names.clone()), ..choice.basis };
    Some(Choice { basis, worth: choice.worth + if is_items { 70 } else { 30 } })
}

/// The best fields of one level.
fn choice(fields: &[Field], all: usize, cents: &dyn Fn(&Field) -> bool) -> Option<Choice> {
    let best = |role, can_be: fn(&Field) -> bool| {
        let scored = fields.iter().filter(|field| can_be(field)).map(|field| {
            let depth = u32::try_from(field.names.len()).unwrap_or(0);
            (fit(role, field.name(), field.parent()).saturating_sub(depth), field)
        });
        let scored: Vec<(u32, &Field)> = scored.filter(|(score, _)| *score >= 20).collect();
        // A name that only some records have is a mistake of their producer.
        let usual = scored.iter().map(|(_, field)| field.present).max().unwrap_or_default() / 4;
        let usual = scored.into_iter().filter(|(_, field)| field.present >= usual);
        usual.reduce(|best, next| if next.0 > best.0 { next } else { best })
    };
    let price = best(Role::Price, Field::is_numeric);
    let amount = best(Role::Amount, Field::is_numeric);
    let quantity = best(Role::Quantity, Field::is_integer);
    // A computed price has been rounded: 10.00 / 3.
    let is_computed = price.is_some_and(|(_, field)| field.decimals > 4);
    let (score, field, is_price) = match (price, amount) {
        (Some((_, price)), Some((score, amount))) if is_computed && price.names != amount.names => {
            (score, amount, false)
        }
        (Some((score, price)), Some((_, amount))) if quantity.is_some() && price.present * 10 >= amount.present * 9 => {
            (score, price, true)
        }
        (_, Some((score, amount))) => (score, amount, false),
        (Some((score, price)), None) => (score, price, true),
        (None, None) => return None,
    };
    let number = |field: &Field, scale| Number {
        names: field.names.clone(),
        is_text: field.numeric_texts > 0,
        scale,
        is_optional: field.present < all,
        has_negatives: field.negatives > 0,
    };
    let worth = score + quantity.map_or(0, |(score, _)| score / 2);
    let value = number(field, scale(field, cents(field)));
    let quantity = quantity.map(|(_, field)| number(field, 0));
    Some(Choice { basis: Basis { array: None, value, is_price, quantity }, worth })
}

/// The decimals of the unit of a field.
fn scale(field: &Field, is_cents: bool) -> i32 {
    let says_micros = field.names.iter().rev().take(2).any(|name| snake(name).ends_with("_micros"));
    match field.is_integer() {
        true if says_micros => 6,
        true if is_cents => 2,
        _ => 0,
    }
}

/// Whether an integer counts hundredths: by its name, or because its record is that of an interface which always does so.
fn cents(field: &Field, profile: &Profile) -> bool {
    if !field.is_integer() {
        return false;
    }
    let mut names = field.names.iter().rev().take(2).map(|name| words(name));
    let says_cents =
        names.any(|words| words.iter().any(|word| is_cents(word)) || words.last().is_some_and(|word| word == "money"));
    says_cents || is_stripe(profile)
}

/// Whether records are objects of Stripe: they say their kind, whether they are real, and count the smallest unit of a currency.
fn is_stripe(profile: &Profile) -> bool {
    let has =
        |name: &str| profile.fields.iter().any(|field| field.name() == name && field.present * 2 > profile.records);
    has("object") && has("livemode") && has("currency")
}

/// Whether quantities and amounts are negative in some records, in a way that the engine accepts.
pub(crate) fn has_refunds(basis: &Basis) -> bool {
    basis.value.has_negatives || basis.quantity.as_ref().is_some_and(|quantity| quantity.has_negatives)
}

/// Whether a record has the money of a basis.
pub(crate) fn has_money(basis: &Basis, record: Json<'_>) -> bool {
    match &basis.array {
        Some(array) => record.at(array).is_some_and(|array| !array.elements(1).is_empty()),
        None => record.at(&basis.value.names).is_some_and(Json::is_scalar),
    }
}
