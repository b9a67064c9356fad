//! Conditions on the fields of a record, with three results: true, false, and unknown (`None`).
//!
//! A comparison with a missing field, or with a value of another type, is unknown. `and` and `or` are known if one side decides.

mod parse;

use std::cmp::Ordering;

/// A condition. `P` is the place of a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition<P> {
    /// Both are true.
    And(Box<Self>, Box<Self>),
    /// One of them is true.
    Or(Box<Self>, Box<Self>),
    /// It is false.
    Not(Box<Self>),
    /// A field and a literal of the same type. An order of booleans and of null is unknown.
    Compare(P, Comparison, Literal),
    /// The field equals one of the literals.
    In(P, Vec<Literal>),
    /// The object has the field, which can be null. Unknown without the object.
    Has {
        /// The object.
        object: P,
        /// The field in it.
        field: P,
    },
    /// A string against a text.
    Text(P, TextTest, Box<str>),
    /// A boolean field.
    IsTrue(P),
}

/// How a field is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// How a string is compared with a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextTest {
    /// `startsWith`
    StartsWith,
    /// `endsWith`
    EndsWith,
    /// `contains`
    Contains,
}

/// A constant of a condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Literal {
    /// A string.
    Text(Box<str>),
    /// A number, as JSON writes it.
    Number(Box<str>),
    /// A boolean.
    Bool(bool),
    /// Null.
    Null,
}

/// The value of a field, as a condition sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand<'a> {
    /// The field, or an object on the way to it, is missing.
    Missing,
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, as JSON writes it.
    Number(&'a str),
    /// A string.
    Text(std::borrow::Cow<'a, str>),
    /// An object.
    Object,
    /// An array, or a string that is not Unicode.
    Other,
}

/// The fields of a record, for a condition.
pub trait Operands<P> {
    /// Reads the value at a place.
    fn with<R>(&self, place: &P, read: impl FnOnce(&Operand<'_>) -> R) -> R;
}

impl<P> Condition<P> {
    /// Whether the condition is true for a record; `None` if it is unknown.
    pub fn is_true(&self, record: &impl Operands<P>) -> Option<bool> {
        match self {
            Self::And(a, b) => match a.is_true(record) {
                Some(false) => Some(false),
                Some(true) => b.is_true(record),
                None => b.is_true(record).filter(|b| !b),
            },
            Self::Or(a, b) => match a.is_true(record) {
                Some(true) => Some(true),
                Some(false) => b.is_true(record),
                None => b.is_true(record).filter(|b| *b),
            },
            Self::Not(condition) => condition.is_true(record).map(|is| !is),
            Self::Compare(place, comparison, literal) => record.with(place, |value| comparison.of(value, literal)),
            Self::In(place, literals) => record.with(place, |value| is_in(value, literals)),
            Self::Has { object, field } => {
                let has = || record.with(field, |value| *value != Operand::Missing);
                record.with(object, |value| *value == Operand::Object).then(has)
            }
            Self::Text(place, test, part) => record.with(place, |value| match value {
                Operand::Text(text) => Some(test.of(text, part)),
                Operand::Missing
                | Operand::Null
                | Operand::Bool(_)
                | Operand::Number(_)
                | Operand::Object
                | Operand::Other => None,
            }),
            Self::IsTrue(place) => record.with(place, |value| match value {
                Operand::Bool(is) => Some(*is),
                Operand::Missing
                | Operand::Null
                | Operand::Number(_)
                | Operand::Text(_)
                | Operand::Object
                | Operand::Other => None,
            }),
        }
    }

    /// The places that the condition names.
    pub fn places(&self) -> Vec<&P> {
        match self {
            Self::And(a, b) | Self::Or(a, b) => [a.places(), b.places()].concat(),
            Self::Not(condition) => condition.places(),
            Self::Has { object, field } => vec![object, field],
            Self::Compare(at, ..) | Self::In(at, _) | Self::Text(at, ..) | Self::IsTrue(at) => vec![at],
        }
    }

    /// The same condition on other places.
    pub(crate) fn map<Q>(&self, place: &mut impl FnMut(&P) -> Q) -> Condition<Q> {
        match self {
            Self::And(a, b) => Condition::And(Box::new(a.map(place)), Box::new(b.map(place))),
            Self::Or(a, b) => Condition::Or(Box::new(a.map(place)), Box::new(b.map(place))),
            Self::Not(condition) => Condition::Not(Box::new(condition.map(place))),
            Self::Compare(at, comparison, literal) => Condition::Compare(place(at), *comparison, literal.clone()),
            Self::In(at, literals) => Condition::In(place(at), literals.clone()),
            Self::Has { object, field } => Condition::Has { object: place(object), field: place(field) },
            Self::Text(at, test, part) => Condition::Text(place(at), *test, part.clone()),
            Self::IsTrue(at) => Condition::IsTrue(place(at)),
        }
    }
}

fn is_in(value: &Operand<'_>, literals: &[Literal]) -> Option<bool> {
    let mut result = Some(false);
    for literal in literals {
        match Comparison::Equal.of(value, literal) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => result = None,
        }
    }
    result
}

impl Comparison {
    #[inline(always)]
    fn of(self, value: &Operand<'_>, literal: &Literal) -> Option<bool> {
        if let (Operand::Text(text), Literal::Text(literal)) = (value, literal)
            && let Some(is) = self.equality(**text == **literal)
        {
            // Most unequal texts have different lengths.
            return Some(is);
        }
        let order = match (value, literal) {
            (Operand::Text(text), Literal::Text(literal)) => (**text).cmp(literal),
            (Operand::Number(number), Literal::Number(literal)) => compare_numbers(number, literal),
            (Operand::Bool(is), Literal::Bool(literal)) => return self.equality(is == literal),
            (Operand::Missing, _) => return None,
            // Every value is null or not.
            (value, Literal::Null) => return self.equality(*value == Operand::Null),
            _ => return None,
        };
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }

    fn equality(self, is_equal: bool) -> Option<bool> {
        match self {
            Self::Equal => Some(is_equal),
            Self::NotEqual => Some(!is_equal),
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => None,
        }
    }
}

impl TextTest {
    fn of(self, text: &str, part: &str) -> bool {
        match self {
            Self::StartsWith => text.starts_with(part),
            Self::EndsWith => text.ends_with(part),
            Self::Contains => text.contains(part),
        }
    }
}

/// Compares two JSON numbers exactly.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return a.cmp(&b);
    }
    let (a, b) = (Number::new(a), Number::new(b));
    match (a.sign, b.sign) {
        (-1, -1) => b.compare_magnitudes(a),
        (1, 1) => a.compare_magnitudes(b),
        (a, b) => a.cmp(&b),
    }
}

/// A JSON number of at most eighteen digits and nothing else.
#[inline(always)]
fn whole(text: &str) -> Option<u64> {
    if text.len() > 18 {
        return None;
    }
    let mut value = 0;
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// A JSON number: ± 0.`digits` × 10^`magnitude`.
#[derive(Clone, Copy)]
struct Number<'a> {
    /// -1, 0 or 1.
    sign: i8,
    /// The digits of the mantissa from the first one that is not zero, with a point among them.
    digits: &'a str,
    magnitude: i64,
}

impl<'a> Number<'a> {
    fn new(text: &'a str) -> Self {
        let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
        let point = mantissa.find('.').unwrap_or(mantissa.len());
        let Some(first) = mantissa.find(|digit| matches!(digit, '1'..='9')) else {
            return Self { sign: 0, digits: "", magnitude: 0 };
        };
        // Behind the point, the first digit is one place further.
        let places = point as i64 - first as i64 + i64::from(first > point);
        let exponent = exponent.parse().unwrap_or(if exponent.is_empty() {
            0
        } else if exponent.starts_with('-') {
            i64::MIN
        } else {
            i64::MAX
        });
        Self { sign, digits: &mantissa[first..], magnitude: places.saturating_add(exponent) }
    }

    fn compare_magnitudes(self, other: Self) -> Ordering {
        let digits = |number: Self| number.digits.bytes().filter(|digit| *digit != b'.');
        let (mut a, mut b) = (digits(self), digits(other));
        // Zeros at the end have no meaning, so that the shorter text is filled up with them.
        let longest = self.digits.len().max(other.digits.len());
        self.magnitude.cmp(&other.magnitude).then_with(|| {
            (0..longest)
                .map(|_| a.next().unwrap_or(b'0').cmp(&b.next().unwrap_or(b'0')))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_exactly() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, order) in [
            ("1", "1.0", Equal),
            ("1", "1e0", Equal),
            ("100", "1e2", Equal),
            ("0.1", "1E-1", Equal),
            ("-0", "0.0e5", Equal),
            ("0.001", "0.01", Less),
            ("10", "9", Greater),
            ("-10", "-9", Less),
            ("-1", "0", Less),
            ("-1", "1", Less),
            ("0", "1e-99999999999999999999", Less),
            ("1e99999999999999999999", "2", Greater),
            ("-1e99999999999999999999", "2", Less),
            ("9007199254740993", "9007199254740992", Greater),
            ("19.99", "19.990000000000002", Less),
            ("12.50", "12.5", Equal),
            ("1205e-2", "12.05", Equal),
        ] {
            assert_eq!(compare_numbers(a, b), order, "{a} {b}");
            assert_eq!(compare_numbers(b, a), order.reverse(), "{b} {a}");
        }
    }
}
