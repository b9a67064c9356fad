//! docs/reference/fields.md: its tables, from the CRD.

use std::fmt::Write;

use retail_runtime::markdown::cell;
use serde_json::Value;

use super::page;

const DEFAULT: &str = "Default: ";

#[test]
fn page_of_fields_is_fresh() {
    page::compare_sections("docs/reference/fields.md", &[("fields".to_owned(), tables())]);
}

/// A section for each field of spec, and one for status.
fn tables() -> String {
    let crd: Value = serde_saphyr::from_str(&retail_api::crd::yaml()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let spec = &schema["spec"];
    let mut text = String::new();
    let mut scalars = Vec::new();
    for (name, field) in children(spec) {
        let required = is_required(spec, name);
        let path = format!("spec.{name}");
        if children(field).next().is_none() && children(&field["items"]).next().is_none() {
            scalars.push((path, field, required));
            continue;
        }
        write!(text, "\n## {path}\n\n{}\n\n", cell(&sentence(field))).unwrap();
        let mut rows = Vec::new();
        if !required && field["default"].is_null() {
            text.push_str("Optional.\n\n");
        }
        below(&path, field, &mut rows);
        table(&mut text, &rows);
    }
    text.push_str("\n## Other fields of spec\n\n");
    table(&mut text, &scalars);
    write!(text, "\n## status\n\n{} The operator writes it.\n\n", sentence(&schema["status"])).unwrap();
    let mut rows = Vec::new();
    below("status", &schema["status"], &mut rows);
    text.push_str("| Field | Description |\n|---|---|\n");
    for (path, field, _) in rows {
        writeln!(text, "| `{path}` | {} |", cell(&sentence(field))).unwrap();
    }
    text.push('\n');
    text
}

/// The fields below a field, at any depth, in the order of the CRD.
fn below<'a>(path: &str, schema: &'a Value, rows: &mut Vec<(String, &'a Value, bool)>) {
    let (path, schema) =
        if schema["items"].is_object() { (format!("{path}[]"), &schema["items"]) } else { (path.to_owned(), schema) };
    for (name, field) in children(schema) {
        let child = format!("{path}.{name}");
        rows.push((child.clone(), field, is_required(schema, name)));
        below(&child, field, rows);
    }
}

fn table(text: &mut String, rows: &[(String, &Value, bool)]) {
    text.push_str("| Field | Default | Description |\n|---|---|---|\n");
    for (path, field, required) in rows {
        let mut description = sentence(field);
        if let Some(values) = field["enum"].as_array() {
            let values: Vec<String> =
                values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
            write!(description, " One of {}.", values.join(", ")).unwrap();
        }
        writeln!(text, "| `{path}` | {} | {} |", cell(&default(field, *required)), cell(&description)).unwrap();
    }
}

fn children(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, field)| (name.as_str(), field))
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|required| required == name)
}

/// The default of a field; that of an object is in the rows of its fields.
fn default(field: &Value, required: bool) -> String {
    match &field["default"] {
        _ if required => "required".to_owned(),
        Value::Null => documented_default(field).unwrap_or("none").to_owned(),
        Value::Object(_) => "see below".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => format!("`{}`", field["default"]),
    }
}

/// A default that the programs derive, in words.
fn documented_default(field: &Value) -> Option<&str> {
    let sentence = sentences(field).find(|sentence| sentence.starts_with(DEFAULT))?;
    Some(sentence[DEFAULT.len()..].trim().trim_end_matches('.'))
}

/// The description, without the sentence on the default, which has a column of its own.
fn sentence(field: &Value) -> String {
    let other: Vec<&str> = sentences(field).filter(|sentence| !sentence.starts_with(DEFAULT)).collect();
    other.concat().trim().to_owned()
}

fn sentences(field: &Value) -> impl Iterator<Item = &str> {
    field["description"].as_str().unwrap_or_default().split_inclusive(". ")
}
