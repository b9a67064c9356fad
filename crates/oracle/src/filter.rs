//! Evaluates a condition in CEL: parsed by the cel crate, evaluated here, with exact numbers and three results.

#![allow(clippy::wildcard_enum_match_arm, reason = "a condition contains a small part of CEL")]

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use crate::fields::{self, Fields};
use crate::purchase::exact_within;

/// Magnitude of the largest number that is compared exactly: that of the largest number of CEL.
const MAGNITUDE: i64 = 400;

#[derive(PartialEq, Debug)]
enum Value {
    Missing,
    Null,
    Bool(bool),
    Number(BigDecimal),
    Text(String),
    Object,
    Other,
}

/// A parsed condition.
#[derive(Clone, Debug)]
pub(crate) struct Filter(IdedExpr);

impl Filter {
    pub(crate) fn new(condition: &str) -> Self {
        Self(Program::compile(condition).expect("a mapping has valid conditions").expression().clone())
    }

    /// Whether the condition is true for a record; `None` if it is unknown.
    pub(crate) fn is_true(&self, record: &dyn Fields) -> Option<bool> {
        evaluate(&self.0, record)
    }

    /// The fields that the condition names.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        paths(&self.0)
    }
}

fn paths(condition: &IdedExpr) -> Vec<Vec<String>> {
    fn collect(expression: &IdedExpr, paths: &mut Vec<Vec<String>>) {
        match &expression.expr {
            Expr::Call(CallExpr { target, args, .. }) => {
                target.iter().for_each(|target| collect(target, paths));
                args.iter().for_each(|argument| collect(argument, paths));
            }
            Expr::Ident(_) | Expr::Select(_) => paths.extend(path(expression)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(condition, &mut found);
    found
}

fn path(expression: &IdedExpr) -> Option<Vec<String>> {
    match &expression.expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) => {
            let mut names = path(&select.operand)?;
            names.push(select.field.clone());
            Some(names)
        }
        _ => None,
    }
}

fn evaluate(expression: &IdedExpr, record: &dyn Fields) -> Option<bool> {
    match &expression.expr {
        Expr::Call(CallExpr { func_name, target, args }) => match (func_name.as_str(), args.as_slice()) {
            (operators::LOGICAL_NOT, [a]) => Some(!evaluate(a, record)?),
            (operators::LOGICAL_AND, [a, b]) => {
                let both = [evaluate(a, record), evaluate(b, record)];
                if both.contains(&Some(false)) { Some(false) } else { (!both.contains(&None)).then_some(true) }
            }
            (operators::LOGICAL_OR, [a, b]) => {
                let both = [evaluate(a, record), evaluate(b, record)];
                if both.contains(&Some(true)) { Some(true) } else { (!both.contains(&None)).then_some(false) }
            }
            (operators::IN, [a, list]) => {
                let Expr::List(list) = &list.expr else { panic!("not a list: {list:?}") };
                let results: Vec<_> =
                    list.elements.iter().map(|element| compare(operators::EQUALS, a, element, record)).collect();
                if results.contains(&Some(true)) { Some(true) } else { (!results.contains(&None)).then_some(false) }
            }
            (test @ ("startsWith" | "endsWith" | "contains"), [part]) => {
                let text = field_value(target.as_ref()?, record);
                let (Value::Text(text), Some(Value::Text(part))) = (text, literal(part)) else { return None };
                Some(match test {
                    "startsWith" => text.starts_with(&part),
                    "endsWith" => text.ends_with(&part),
                    _ => text.contains(&part),
                })
            }
            (operator, [a, b]) => compare(operator, a, b, record),
            (other, _) => panic!("no condition contains {other}"),
        },
        Expr::Select(select) if select.test => match field_value(&select.operand, record) {
            Value::Object => Some(record.find(&path(expression).expect("a path")) != fields::Value::Missing),
            _ => None,
        },
        _ => match field_value(expression, record) {
            Value::Bool(is) => Some(is),
            _ => None,
        },
    }
}

/// Compares a field with a literal, which can stand on either side.
fn compare(operator: &str, a: &IdedExpr, b: &IdedExpr, record: &dyn Fields) -> Option<bool> {
    let (field, literal, is_swapped) =
        if literal(a).is_some() { (b, literal(a)?, true) } else { (a, literal(b)?, false) };
    let order = match (field_value(field, record), literal) {
        (Value::Missing, _) => return None,
        (value, Value::Null) => {
            let is_null = value == Value::Null;
            return match operator {
                operators::EQUALS => Some(is_null),
                operators::NOT_EQUALS => Some(!is_null),
                _ => None,
            };
        }
        (Value::Bool(a), Value::Bool(b)) if [operators::EQUALS, operators::NOT_EQUALS].contains(&operator) => a.cmp(&b),
        (Value::Number(a), Value::Number(b)) => a.cmp(&b),
        (Value::Text(a), Value::Text(b)) => a.cmp(&b),
        _ => return None,
    };
    let order = if is_swapped { order.reverse() } else { order };
    Some(match operator {
        operators::EQUALS => order == Ordering::Equal,
        operators::NOT_EQUALS => order != Ordering::Equal,
        operators::LESS => order == Ordering::Less,
        operators::LESS_EQUALS => order != Ordering::Greater,
        operators::GREATER => order == Ordering::Greater,
        operators::GREATER_EQUALS => order != Ordering::Less,
        other => panic!("no condition contains {other}"),
    })
}

fn literal(expression: &IdedExpr) -> Option<Value> {
    match &expression.expr {
        Expr::Literal(literal) => Some(match literal {
            LiteralValue::Boolean(is) => Value::Bool(**is),
            LiteralValue::Double(number) => number_value(&number.to_string()),
            LiteralValue::Int(number) => number_value(&number.to_string()),
            LiteralValue::UInt(number) => number_value(&number.to_string()),
            LiteralValue::String(text) => Value::Text(text.inner().to_owned()),
            LiteralValue::Null => Value::Null,
            LiteralValue::Bytes(_) => panic!("no condition contains bytes"),
        }),
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::NEGATE => match literal(&args[0]) {
            Some(Value::Number(number)) => Some(Value::Number(-number)),
            _ => None,
        },
        _ => None,
    }
}

fn number_value(text: &str) -> Value {
    let bound = || {
        let bound = BigDecimal::new(1.into(), -MAGNITUDE);
        if text.starts_with('-') { -bound } else { bound }
    };
    Value::Number(exact_within(text, MAGNITUDE).unwrap_or_else(bound))
}

fn field_value(expression: &IdedExpr, record: &dyn Fields) -> Value {
    let Some(path) = path(expression) else { return Value::Missing };
    value(record.find(&path))
}

fn value(value: fields::Value) -> Value {
    match value {
        fields::Value::Missing => Value::Missing,
        fields::Value::Null => Value::Null,
        fields::Value::Bool(is) => Value::Bool(is),
        fields::Value::Number(number) | fields::Value::Float(number) => number_value(&number),
        fields::Value::Text(text) => Value::Text(text),
        fields::Value::Instant(_, encoded) => self::value(*encoded),
        fields::Value::Object => Value::Object,
        fields::Value::Array | fields::Value::Other => Value::Other,
    }
}
