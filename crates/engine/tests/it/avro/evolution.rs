//! Schemas that change: each record is read by the schema of its writer.

use apache_avro::types::Value;
use retail_oracle::{OracleField, OracleMapping};

use super::{encoded, field, framed, mapping, record};
use crate::mapped_judge::MappedJudge;

/// The fates and rows of one record for each schema, which are in one topic.
fn rows(mapping: OracleMapping, records: &[(&str, Vec<(&str, Value)>)]) -> Vec<String> {
    let mut judge = MappedJudge::new(mapping);
    let values: Vec<Vec<u8>> = (1..)
        .zip(records)
        .map(|(id, (fields, values))| {
            let schema = record(fields);
            judge.learn_avro(id, &schema, &[]);
            let fields = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            // apache-avro refuses the name of one field as the alias of another.
            let schema = schema.replace(r#""aliases": ["d"], "#, "");
            framed(id, &encoded(&schema, Value::Record(fields)))
        })
        .collect();
    // Each schema after each other one.
    for _ in 0..2 {
        values.iter().for_each(|value| drop(judge.ask(value)));
    }
    let row = |value: &Vec<u8>| {
        let (fate, results) = judge.engine_says(value, None);
        let row = results.split_once("[\\\"").and_then(|(_, rest)| rest.split("\",\n").next());
        row.map_or(fate, |row| row.replace("\\\"", ""))
    };
    values.iter().map(row).collect()
}

#[test]
fn each_record_is_read_by_the_schema_of_its_writer() {
    let text = |text: &str| Value::String(text.to_owned());
    let base = r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "int"}, {"name": "price", "type": "long"}"#;
    let base_values = || vec![("d", text("a")), ("qty", Value::Int(2)), ("price", Value::Long(3))];
    let expected = "a] 1 2 3.000000 6.000000 []";
    let of_base = OracleMapping {
        dimensions: vec![OracleField { if_missing: Some("none".to_owned()), ..field("d") }],
        ..mapping("d")
    };
    /// Fields of the schema, values, and the purchase.
    type Version<'a> = (&'a str, Vec<(&'a str, Value)>, &'a str);
    let versions: &[Version<'_>] = &[
        (base, base_values(), expected),
        (
            // Fields are added before, between and after.
            r#"{"name": "new", "type": {"type": "array", "items": "string"}}, {"name": "d", "type": "string"},
               {"name": "more", "type": "double", "default": 1.0}, {"name": "price", "type": "long"},
               {"name": "qty", "type": "int"}, {"name": "last", "type": ["null", "string"], "default": null}"#,
            vec![
                ("new", Value::Array(vec![text("x"), text("y")])),
                ("d", text("a")),
                ("more", Value::Double(0.5)),
                ("price", Value::Long(3)),
                ("qty", Value::Int(2)),
                ("last", Value::Union(1, Box::new(text("z")))),
            ],
            expected,
        ),
        (
            // A field is removed: its default would belong to a reader's schema.
            r#"{"name": "qty", "type": "int"}, {"name": "price", "type": "long"}"#,
            vec![("qty", Value::Int(2)), ("price", Value::Long(3))],
            "none] 1 2 3.000000 6.000000 []",
        ),
        (
            r#"{"name": "d", "type": "string"}, {"name": "price", "type": "long"}"#,
            vec![("d", text("a")), ("price", Value::Long(3))],
            "missing_field",
        ),
        (
            // Renamed, with the old name as alias.
            r#"{"name": "kind", "aliases": ["x", "d"], "type": "string"}, {"name": "quantity", "aliases": ["qty"], "type": "int"},
               {"name": "price", "type": "long"}"#,
            vec![("kind", text("a")), ("quantity", Value::Int(2)), ("price", Value::Long(3))],
            expected,
        ),
        (
            // A name takes precedence over an alias.
            r#"{"name": "other", "aliases": ["d"], "type": "string"}, {"name": "d", "type": "string"}, {"name": "qty", "type": "int"},
               {"name": "price", "type": "long"}"#,
            vec![("other", text("b")), ("d", text("a")), ("qty", Value::Int(2)), ("price", Value::Long(3))],
            expected,
        ),
        (
            // Promoted: int to long, long to double, string to bytes.
            r#"{"name": "d", "type": "bytes"}, {"name": "qty", "type": "long"}, {"name": "price", "type": "double"}"#,
            vec![("d", Value::Bytes(b"a".to_vec())), ("qty", Value::Long(2)), ("price", Value::Double(3.0))],
            expected,
        ),
        (
            // The order of a union, and a new branch.
            r#"{"name": "d", "type": ["string", "int", "null"]}, {"name": "qty", "type": ["null", "int"]}, {"name": "price", "type": "long"}"#,
            vec![
                ("d", Value::Union(0, Box::new(text("a")))),
                ("qty", Value::Union(1, Box::new(Value::Int(2)))),
                ("price", Value::Long(3)),
            ],
            expected,
        ),
        (
            // A decimal with its own scale.
            r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "int"},
               {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 4}}"#,
            vec![("d", text("a")), ("qty", Value::Int(2)), ("price", Value::Decimal(vec![0x75, 0x30].into()))],
            expected,
        ),
        (
            // Another type.
            r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "string"}, {"name": "price", "type": "long"}"#,
            vec![("d", text("a")), ("qty", text("2")), ("price", Value::Long(3))],
            "bad_quantity",
        ),
    ];
    let records: Vec<_> = versions.iter().map(|(fields, values, _)| (*fields, values.clone())).collect();
    let expected: Vec<_> = versions.iter().map(|(_, _, expected)| *expected).collect();
    assert_eq!(rows(of_base, &records), expected);
}

#[test]
fn field_with_two_names_of_the_mapping_is_read_for_both() {
    let schema = r#"{"name": "new", "aliases": ["old"], "type": {"type": "record", "name": "R", "fields": [
        {"name": "a", "type": "string"}, {"name": "b", "type": "int"}]}}, {"name": "price", "type": "long"}"#;
    let inner = vec![("a".to_owned(), Value::String("x".to_owned())), ("b".to_owned(), Value::Int(4))];
    let mapping = OracleMapping {
        dimensions: vec![field("old.a"), field("new.a"), field("old.b")],
        quantity: field("new.b"),
        ..mapping("")
    };
    let values = vec![("new", Value::Record(inner)), ("price", Value::Long(3))];
    assert_eq!(rows(mapping, &[(schema, values)]), ["x, x, 4] 1 4 3.000000 12.000000 []"]);
}
