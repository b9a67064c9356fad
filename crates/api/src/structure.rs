//! Structural validation against the OpenAPI schema of the CRD: types, bounds, patterns and names.
//!
//! Kubernetes defines structural schemas as a small subset of OpenAPI; this module implements the parts that our CRD uses.
//! kube's evaluator checks the CEL rules.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use crate::problem::Problem;
use crate::quantity;
use crate::yaml::{Content, Node};

/// Adds to `problems` each violation of `schema` in `node`. `path` is the path of the node, such as `spec.topic`.
pub(crate) fn check(schema: &Value, node: &Node, path: &str, problems: &mut Vec<Problem>) {
    let mut problem = |message: String| problems.push(Problem::new(node.position, path, message));
    if node.is_null() {
        // The API server replaces a null by the default, if there is one.
        if schema["nullable"] != true && schema["default"].is_null() {
            problem(format!("must be {}, but is empty", type_in_words(schema)));
        }
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        if !matches!(&node.content, Content::Scalar(value) if value.is_i64() || value.is_string()) {
            problem("must be a whole number or a string".to_owned());
        } else if let Some(text) = node.as_str() {
            check_string(schema, text, &mut problem);
        }
        return;
    }
    match (schema["type"].as_str(), &node.content) {
        (Some("object"), Content::Map(entries)) => check_object(schema, node, entries, path, problems),
        (Some("array"), Content::List(nodes)) => {
            let (least, most) = (schema["minItems"].as_u64(), schema["maxItems"].as_u64());
            let count = nodes.len() as u64;
            if least.is_some_and(|least| count < least) || most.is_some_and(|most| count > most) {
                problem(format!(
                    "must have {} elements",
                    range_in_words(least.map(|n| n as f64), most.map(|n| n as f64))
                ));
            }
            for (i, node) in nodes.iter().enumerate() {
                check(&schema["items"], node, &format!("{path}[{i}]"), problems);
            }
        }
        (Some("string"), Content::Scalar(Value::String(text))) => check_string(schema, text, &mut problem),
        (Some("integer"), Content::Scalar(Value::Number(number))) if number.is_i64() || number.is_u64() => {
            let (minimum, maximum) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            let number = number.as_f64().unwrap_or(f64::INFINITY);
            if minimum.is_some_and(|minimum| number < minimum) || maximum.is_some_and(|maximum| number > maximum) {
                problem(format!("must be {}", range_in_words(minimum, maximum)));
            }
        }
        (Some("boolean"), Content::Scalar(Value::Bool(_))) => {}
        (None, _) => {}
        (Some("string"), Content::Scalar(Value::Number(number))) if is_duration(schema) => {
            problem(format!("must be a duration with its unit: write {number}s instead of {number}"));
        }
        (Some("string"), Content::Scalar(value)) => {
            problem(format!("must be a string: write \"{value}\" instead of {value}"));
        }
        _ => problem(format!("must be {}", type_in_words(schema))),
    }
}

fn check_object(
    schema: &Value,
    node: &Node,
    entries: &[(String, crate::yaml::Position, Node)],
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let properties = schema["properties"].as_object();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if node.get(name).is_none() {
            problems.push(Problem::new(node.position, &join(path, name), "is required".to_owned()));
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && entries.len() as u64 > most
    {
        problems.push(Problem::new(node.position, path, format!("must have at most {most} entries")));
    }
    for (name, position, child) in entries {
        let path = join(path, name);
        if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
            check(schema, child, &path, problems);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], child, &path, problems);
        } else if let Some(properties) = properties
            && schema["x-kubernetes-preserve-unknown-fields"] != true
        {
            problems.push(Problem::new(*position, &path, unknown(name, properties.keys())));
        }
    }
}

fn check_string(schema: &Value, text: &str, problem: &mut impl FnMut(String)) {
    let length = text.chars().count() as u64;
    if let Some(allowed) = schema["enum"].as_array() {
        if !allowed.iter().any(|allowed| allowed == text) {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            problem(format!("must be {}, not \"{text}\"", allowed.join(" or ")));
        }
    } else if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        problem("must not be empty".to_owned());
    } else if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        problem(format!("must have at most {most} characters"));
    } else if let Some(pattern) = schema["pattern"].as_str()
        && !matches(pattern, text)
    {
        problem(format!("must be {}, not \"{text}\"", pattern_in_words(pattern)));
    }
}

/// Whether a text matches a pattern of the schema. Each pattern is compiled once.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).expect("a test compiles every pattern of the CRD"));
        regex.is_match(text)
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance * 3 <= known.len())
        .min();
    match nearest {
        Some((_, nearest)) => format!("unknown field: did you mean {nearest}?"),
        None => "unknown field".to_owned(),
    }
}

fn type_in_words(schema: &Value) -> &'static str {
    match schema["type"].as_str() {
        Some("object") => "a mapping",
        Some("array") => "a list",
        Some("integer") => "a whole number",
        Some("boolean") => "true or false",
        _ => "a string",
    }
}

fn range_in_words(minimum: Option<f64>, maximum: Option<f64>) -> String {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) => format!("{minimum} to {maximum}"),
        (Some(minimum), None) => format!("at least {minimum}"),
        (None, Some(maximum)) => format!("at most {maximum}"),
        (None, None) => "a whole number".to_owned(),
    }
}

fn is_duration(schema: &Value) -> bool {
    schema["pattern"].as_str().is_some_and(|pattern| pattern_in_words(pattern).starts_with("a duration"))
}

fn pattern_in_words(pattern: &str) -> String {
    if pattern.contains("ms|h|m|s") {
        "a duration such as 5m, 1h30m or 500ms".to_owned()
    } else if pattern.contains("[hms]") {
        "a duration of whole seconds such as 5m or 1h30m".to_owned()
    } else if pattern == "^[0-9]{1,4}d$" {
        "a number of days such as 400d".to_owned()
    } else if pattern == "^[1-9][0-9]{0,5}[MG]i$" {
        "a size such as 500Mi or 1Gi".to_owned()
    } else if pattern.starts_with(r"^(\$\.)?") {
        "names of fields joined by dots, such as store.id".to_owned()
    } else if pattern == quantity::PATTERN {
        "a quantity such as 500m or 2Gi".to_owned()
    } else if pattern == "^[a-z_][a-z0-9_]*$" {
        "lower-case letters, digits and '_', and not begin with a digit".to_owned()
    } else if pattern.contains(":[0-9]{1,5}(,") {
        "host:port, or several separated by commas".to_owned()
    } else if pattern == "^[a-zA-Z0-9._-]+$" {
        "letters, digits, '.', '_' and '-'".to_owned()
    } else if pattern == "^[a-z0-9_]+$" {
        "lower-case letters, digits and '_'".to_owned()
    } else {
        format!("a string that matches {pattern}")
    }
}
