//! Engine and oracle on any body and any schema: the fuzzer of Avro.

use retail_oracle::{OracleField, OracleMapping};

use crate::mapped_judge::MappedJudge;

/// The schemas of bodies.
pub(crate) const SCHEMAS: [&str; 3] = [
    r#"{"type": "record", "name": "Sale", "fields": [
        {"name": "id", "type": "string"}, {"name": "d", "type": ["null", "string", "bytes", "long"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "x", "type": "double"},
        {"name": "qty", "type": "int"}, {"name": "flag", "type": "boolean"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 2}},
        {"name": "tags", "type": {"type": "array", "items": {"type": "array", "items": "null"}}}]}"#,
    r#"{"type": "record", "name": "Order", "fields": [
        {"name": "at", "type": "string"}, {"name": "labels", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
            {"name": "qty", "type": "long"}, {"name": "price", "type": "float"},
            {"name": "more", "type": {"type": "map", "values": "Item"}}]}}}]}"#,
    r#"{"type": "record", "name": "List", "fields": [
        {"name": "d", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}, {"name": "qty", "type": "int"},
        {"name": "price", "type": {"type": "fixed", "name": "F", "size": 3, "logicalType": "decimal", "precision": 5}},
        {"name": "next", "type": ["null", "List"]}]}"#,
];

fn field(path: &str) -> OracleField {
    OracleField { path: path.to_owned(), is_text: true, ..OracleField::default() }
}

fn mapping(schema: usize) -> OracleMapping {
    let (unit, dimension, condition, explode) = match schema {
        0 => ("Seconds", "d", Some("id != 'test' || flag"), None),
        1 => ("RFC3339", "$.labels.shop", None, Some("items")),
        _ => ("RecordTime", "d", Some("!has(next.next) || next.next.qty > 3"), None),
    };
    OracleMapping {
        format: "Avro".to_owned(),
        timestamp: field("at"),
        unit: unit.to_owned(),
        id: None,
        dimensions: vec![OracleField { if_missing: Some("none".to_owned()), ..field(dimension) }],
        quantity: field("qty"),
        price: Some(field("price")),
        amount: None,
        refunds: true,
        sums: Vec::new(),
        condition: condition.map(str::to_owned),
        explode: explode.map(str::to_owned),
    }
}

/// The first byte selects a mapping and its schema. From 128 on, the schema follows, up to a byte that is invalid in UTF-8.
///
/// # Panics
///
/// If the results differ.
pub(crate) fn compare(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let number = usize::from(first % 128) % SCHEMAS.len();
    let (schema, body) = match rest.iter().position(|byte| *byte == 0xff).filter(|_| *first >= 128) {
        Some(end) => (std::str::from_utf8(&rest[..end]).unwrap_or_default(), &rest[end + 1..]),
        None => (SCHEMAS[number], rest),
    };
    let mut judge = MappedJudge::new(mapping(number));
    judge.learn_avro(0, schema, &[]);
    judge.ask(&[&[0; 5], body].concat());
}
