//! Parses conditions: the cel crate parses the text, and the supported part of CEL becomes a [`Condition`].

use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::{Comparison, Condition, Literal, TextTest};
use crate::mapping::{Level, Path};

/// What conditions may contain, for messages about anything else.
const SUPPORTED: &str = "a condition compares fields with constants (==, !=, <, <=, >, >=, in), tests them (has, startsWith, \
     endsWith, contains, or a boolean field), and combines that with &&, || and !";

impl Condition<Path> {
    /// Parses the text of a condition. The error is a sentence about the unsupported part.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The parser takes `!!a` for `!a`, and `--1` for `-1`.
        if let Some(sign) = repeated_sign(text) {
            return Err(format!("{sign}{sign} is not supported: use {sign} once, or parentheses"));
        }
        let program = Program::compile(text).map_err(|errors| {
            let error = errors.errors.first();
            error.map_or_else(
                || "cannot be parsed".to_owned(),
                |error| format!("cannot be parsed: column {}: {}", error.pos.1, error.msg),
            )
        })?;
        condition(program.expression())
    }
}

/// `!` or `-`, if it follows itself outside of a string.
fn repeated_sign(text: &str) -> Option<char> {
    let (mut quote, mut before, mut is_escaped) = (None, ' ', false);
    for letter in text.chars() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if letter == '\\' => is_escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter.is_whitespace() => continue,
            None if matches!(letter, '!' | '-') && letter == before => return Some(letter),
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            None => {}
        }
        before = letter;
    }
    None
}

fn condition(expression: &IdedExpr) -> Result<Condition<Path>, String> {
    match &expression.expr {
        Expr::Call(CallExpr { func_name, target, args }) => call(func_name, target.as_deref(), args),
        Expr::Select(SelectExpr { operand, field, test: true }) => {
            let (object, mut names) = (path(operand)?, path(operand)?.names);
            names.push(field.as_str().into());
            Ok(Condition::Has { object, field: Path { level: Level::Record, names } })
        }
        Expr::Ident(_) | Expr::Select(_) => Ok(Condition::IsTrue(path(expression)?)),
        Expr::Literal(_) => Err(format!("a constant alone is not supported: {SUPPORTED}")),
        Expr::Comprehension(_) => {
            Err(format!("macros such as all, exists, map and filter are not supported: {SUPPORTED}"))
        }
        Expr::List(_) => Err(format!("a list is supported only after in: {SUPPORTED}")),
        Expr::Map(_) | Expr::Struct(_) => Err(format!("maps and objects are not supported: {SUPPORTED}")),
        Expr::Unspecified => Err(format!("an empty expression is not supported: {SUPPORTED}")),
    }
}

fn call(name: &str, target: Option<&IdedExpr>, args: &[IdedExpr]) -> Result<Condition<Path>, String> {
    let both = |a, b| Ok((Box::new(condition(a)?), Box::new(condition(b)?)));
    match (name, target, args) {
        (operators::LOGICAL_NOT, None, [a]) => Ok(Condition::Not(Box::new(condition(a)?))),
        (operators::LOGICAL_AND, None, [a, b]) => both(a, b).map(|(a, b)| Condition::And(a, b)),
        (operators::LOGICAL_OR, None, [a, b]) => both(a, b).map(|(a, b)| Condition::Or(a, b)),
        (operators::IN, None, [field, list]) => is_in(field, list),
        ("startsWith", Some(field), [part]) => text_test(field, TextTest::StartsWith, part, name),
        ("endsWith", Some(field), [part]) => text_test(field, TextTest::EndsWith, part, name),
        ("contains", Some(field), [part]) => text_test(field, TextTest::Contains, part, name),
        (operators::EQUALS, None, [a, b]) => compare(a, Comparison::Equal, b),
        (operators::NOT_EQUALS, None, [a, b]) => compare(a, Comparison::NotEqual, b),
        (operators::LESS, None, [a, b]) => compare(a, Comparison::Less, b),
        (operators::LESS_EQUALS, None, [a, b]) => compare(a, Comparison::LessOrEqual, b),
        (operators::GREATER, None, [a, b]) => compare(a, Comparison::Greater, b),
        (operators::GREATER_EQUALS, None, [a, b]) => compare(a, Comparison::GreaterOrEqual, b),
        _ => Err(format!("{} is not supported: {SUPPORTED}", in_words(name))),
    }
}

/// The name of a function or operator as users write it.
fn in_words(name: &str) -> String {
    match name {
        operators::CONDITIONAL => "?:".to_owned(),
        operators::INDEX | operators::OPT_INDEX => "[ ]".to_owned(),
        operators::NEGATE => "- before a field".to_owned(),
        name => name.trim_matches('_').trim_start_matches('@').to_owned(),
    }
}

fn compare(a: &IdedExpr, comparison: Comparison, b: &IdedExpr) -> Result<Condition<Path>, String> {
    let (field, comparison, constant) = match (literal(a)?, literal(b)?) {
        (None, Some(constant)) => (a, comparison, constant),
        (Some(constant), None) => (b, comparison.swapped(), constant),
        (None, None) => {
            let fields = path(a).and(path(b));
            return Err(fields
                .err()
                .unwrap_or_else(|| format!("a comparison of two fields is not supported: {SUPPORTED}")));
        }
        (Some(_), Some(_)) => return Err(format!("a comparison of two constants is not supported: {SUPPORTED}")),
    };
    let is_order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    if is_order && matches!(constant, Literal::Bool(_) | Literal::Null) {
        return Err("booleans and null have no order: use == or !=".to_owned());
    }
    Ok(Condition::Compare(path(field)?, comparison, constant))
}

fn is_in(field: &IdedExpr, list: &IdedExpr) -> Result<Condition<Path>, String> {
    let Expr::List(list) = &list.expr else {
        return Err("in needs a list of constants, such as ['a', 'b']".to_owned());
    };
    let constant = |element| literal(element)?.ok_or_else(|| "a list after in contains constants only".to_owned());
    let constants = list.elements.iter().map(constant).collect::<Result<Vec<_>, String>>()?;
    if constants.is_empty() || !list.optional_indices.is_empty() {
        return Err("a list after in needs at least one constant".to_owned());
    }
    Ok(Condition::In(path(field)?, constants))
}

fn text_test(field: &IdedExpr, test: TextTest, part: &IdedExpr, name: &str) -> Result<Condition<Path>, String> {
    match literal(part)? {
        Some(Literal::Text(part)) => Ok(Condition::Text(path(field)?, test, part)),
        _ => Err(format!("{name} needs a string constant")),
    }
}

/// The constant of an expression; `None` if it is not a constant.
#[allow(clippy::wildcard_enum_match_arm, reason = "all other expressions are not supported")]
fn literal(expression: &IdedExpr) -> Result<Option<Literal>, String> {
    let constant = match &expression.expr {
        Expr::Literal(constant) => constant,
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::NEGATE => {
            return Ok(match args.first().map(literal).transpose()?.flatten() {
                Some(Literal::Number(number)) => Some(Literal::Number(format!("-{number}").into())),
                _ => None,
            });
        }
        _ => return Ok(None),
    };
    Ok(Some(match constant {
        LiteralValue::Boolean(is) => Literal::Bool(*is.inner()),
        LiteralValue::Int(number) => Literal::Number(number.inner().to_string().into()),
        LiteralValue::UInt(number) => Literal::Number(number.inner().to_string().into()),
        // Without an exponent, and with the digits of the text: the parser refuses infinity.
        LiteralValue::Double(number) => Literal::Number(number.inner().to_string().into()),
        LiteralValue::String(text) => Literal::Text(text.inner().into()),
        LiteralValue::Null => Literal::Null,
        LiteralValue::Bytes(_) => return Err("bytes are not supported: use a string".to_owned()),
    }))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "all other expressions are not supported")]
fn path(expression: &IdedExpr) -> Result<Path, String> {
    let names = match &expression.expr {
        Expr::Ident(name) => vec![name.as_str().into()],
        Expr::Select(SelectExpr { operand, field, test: false }) => {
            let mut names = path(operand)?.names;
            names.push(field.as_str().into());
            names
        }
        Expr::Call(CallExpr { func_name, .. }) => {
            return Err(format!("{} is not supported: {SUPPORTED}", in_words(func_name)));
        }
        _ => return Err(format!("a test needs a field: {SUPPORTED}")),
    };
    Ok(Path { level: Level::Record, names })
}

impl Comparison {
    /// The comparison with its sides swapped.
    const fn swapped(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_conditions_are_refused_with_their_part() {
        for (text, part) in [
            ("kind ==", "cannot be parsed: column "),
            ("", "cannot be parsed"),
            ("!!paid", "!! is not supported"),
            ("paid && ! !paid", "!! is not supported"),
            ("n > - -1", "-- is not supported"),
            ("size(items) > 0", "size is not supported"),
            ("kind.matches('a.*')", "matches is not supported"),
            ("items.all(i, i.q > 0)", "macros such as all"),
            ("a + 1 == 2", "+ is not supported"),
            ("a ? b : c", "?: is not supported"),
            ("a['b'] == 1", "[ ] is not supported"),
            ("a == b", "two fields"),
            ("1 == 1", "two constants"),
            ("a < true", "have no order"),
            ("a in b", "in needs a list"),
            ("a in []", "at least one constant"),
            ("a in [b]", "constants only"),
            ("a.startsWith(b)", "startsWith needs a string constant"),
            ("a == b'x'", "bytes are not supported"),
            ("a == 1e999", "invalid double literal"),
            ("true", "a constant alone"),
            ("timestamp(a) > timestamp('2020-01-01T00:00:00Z')", "timestamp is not supported"),
        ] {
            let refused = Condition::parse(text).expect_err(text);
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }

    #[test]
    fn signs_in_strings_are_not_repeated_signs() {
        for text in ["kind != '!!'", r#"kind == "--\"--""#, "a != -1", "!(!a)"] {
            assert!(Condition::parse(text).is_ok(), "{text}: {:?}", Condition::parse(text));
        }
    }
}
