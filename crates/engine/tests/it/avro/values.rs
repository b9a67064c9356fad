//! What each type of Avro means for each kind of field.

use apache_avro::Decimal;
use apache_avro::types::Value;
use retail_oracle::{OracleField, OracleMapping};

use super::{encoded, field, judge, mapping, outcome, record};

const NUMBERS: &str = r#"{"name": "qty", "type": "int"}, {"name": "price", "type": "double"}"#;

fn sale(more: Vec<(&str, Value)>) -> Value {
    let numbers = [("qty", Value::Int(2)), ("price", Value::Double(1.5))];
    Value::Record(more.into_iter().chain(numbers).map(|(name, value)| (name.to_owned(), value)).collect())
}

fn decimal(digits: &str) -> Value {
    let digits: bigdecimal::num_bigint::BigInt = digits.parse().unwrap();
    Value::Decimal(Decimal::from(digits.to_signed_bytes_be()))
}

/// The dimension of a record in which it has this type and value, or the fate.
fn dimension(of_type: &str, value: Value) -> String {
    let schema = record(&format!(r#"{{"name": "d", "type": {of_type}}}, {NUMBERS}"#));
    let body = encoded(&schema, sale(vec![("d", value)]));
    outcome(&mut judge(mapping("d"), &schema), &body)
}

#[test]
fn dimensions_are_texts_of_values() {
    let text = |text: &str| Value::String(text.to_owned());
    let bytes = r#"{"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 2}"#;
    let fixed = r#"{"type": "fixed", "name": "F", "size": 12, "logicalType": "decimal", "precision": 20, "scale": 3}"#;
    let union = r#"["null", "string", "long", {"type": "map", "values": "int"}]"#;
    let in_union = |branch, value| Value::Union(branch, Box::new(value));
    let long = |logical: &str| format!(r#"{{"type": "long", "logicalType": "{logical}"}}"#);
    for (of_type, value, expected) in [
        ("\"string\"", text("Łódź"), "Łódź"),
        ("\"string\"", text(""), "bad_key"),
        ("\"string\"", text("a\0"), "bad_key"),
        ("\"string\"", text("eight and\0"), "bad_key"),
        ("\"string\"", text("ei\0ght and"), "bad_key"),
        ("\"string\"", text(&"x".repeat(129)), "bad_key"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, Value::Enum(1, "B".to_owned()), "B"),
        ("\"bytes\"", Value::Bytes(b"shop".to_vec()), "shop"),
        ("\"bytes\"", Value::Bytes(b"\xff".to_vec()), "bad_key"),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, Value::Fixed(2, b"ab".to_vec()), "bad_key"),
        ("\"boolean\"", Value::Boolean(true), "true"),
        ("\"int\"", Value::Int(-7), "-7"),
        ("\"long\"", Value::Long(i64::MIN), "-9223372036854775808"),
        ("\"float\"", Value::Float(1.0), "bad_key"),
        ("\"double\"", Value::Double(1.0), "bad_key"),
        ("\"null\"", Value::Null, "missing_field"),
        (bytes, decimal("1999"), "19.99"),
        (bytes, decimal("-1990"), "-19.9"),
        (bytes, decimal("1900"), "19"),
        (bytes, decimal("0"), "0"),
        (bytes, decimal("1234567890123456789012345678901234567890"), "12345678901234567890123456789012345678.9"),
        (bytes, decimal("-1234567890123456789012345678901234567891"), "-12345678901234567890123456789012345678.91"),
        (fixed, Value::Decimal(Decimal::from(vec![0; 11].into_iter().chain([5]).collect::<Vec<u8>>())), "0.005"),
        (union, in_union(0, Value::Null), "missing_field"),
        (union, in_union(1, text("a")), "a"),
        (union, in_union(2, Value::Long(5)), "5"),
        (union, in_union(3, Value::Map(std::iter::empty().collect())), "bad_key"),
        (r#"{"type": "array", "items": "string"}"#, Value::Array(vec![text("a")]), "bad_key"),
        (&long("timestamp-micros"), Value::TimestampMicros(1_000_000), "1000000"),
        (r#"{"type": "int", "logicalType": "date"}"#, Value::Date(20_000), "20000"),
    ] {
        assert_eq!(dimension(of_type, value.clone()), expected, "{of_type} {value:?}");
    }
}

#[test]
fn numbers_are_read_as_in_json() {
    let schema = |quantity: &str, price: &str| {
        record(&format!(
            r#"{{"name": "d", "type": "string"}}, {{"name": "qty", "type": {quantity}}}, {{"name": "price", "type": {price}}}"#
        ))
    };
    let decimal_type = r#"{"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 2}"#;
    let sale = |quantity: Value, price: Value| {
        let fields = [("d", Value::String("a".to_owned())), ("qty", quantity), ("price", price)];
        Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).to_vec())
    };
    let text = |text: &str| Value::String(text.to_owned());
    let one = || Value::Int(1);
    for (types, quantity, price, scale, is_text, expected) in [
        (["\"int\"", "\"double\""], one(), Value::Double(19.99), 0, false, "1 19.990000"),
        (["\"int\"", "\"double\""], one(), Value::Double(0.1 + 0.2), 0, false, "1 0.300000"),
        (["\"int\"", "\"double\""], one(), Value::Double(1999.0), 2, false, "1 19.990000"),
        (["\"int\"", "\"float\""], one(), Value::Float(0.1), 0, false, "1 0.100000"),
        (["\"int\"", "\"double\""], one(), Value::Double(f64::NAN), 0, false, "bad_price"),
        (["\"int\"", "\"double\""], one(), Value::Double(f64::INFINITY), 0, false, "bad_price"),
        (["\"int\"", "\"double\""], one(), Value::Double(1e300), 0, false, "bad_price"),
        (["\"int\"", "\"double\""], one(), Value::Double(-1.25), 0, false, "1 1.250000"),
        (["\"int\"", "\"long\""], one(), Value::Long(1999), 2, false, "1 19.990000"),
        (["\"int\"", "\"long\""], one(), Value::Long(0), 2, false, "1 0.000000"),
        (["\"int\"", "\"long\""], one(), Value::Long(i64::MIN), 2, false, "bad_price"),
        (["\"int\"", decimal_type], one(), decimal("1999"), 0, false, "1 19.990000"),
        (["\"int\"", decimal_type], one(), decimal("1999"), 5, false, "1 0.000200"),
        (["\"int\"", decimal_type], one(), decimal("99999999999999"), 0, false, "1 999999999999.990000"),
        (["\"int\"", decimal_type], one(), decimal("100000000000000"), 0, false, "bad_price"),
        (
            ["\"int\"", decimal_type],
            one(),
            decimal("1234567890123456789012345678901"),
            18,
            false,
            "1 12345678901.234568",
        ),
        (["\"int\"", "\"string\""], one(), text("2.5"), 0, true, "1 2.500000"),
        (["\"int\"", "\"string\""], one(), text("2.5"), 0, false, "bad_price"),
        (["\"int\"", "\"boolean\""], one(), Value::Boolean(true), 0, true, "bad_price"),
        (["\"double\"", "\"int\""], Value::Double(3.0), one(), 0, false, "3 1.000000"),
        (["\"double\"", "\"int\""], Value::Double(3.5), one(), 0, false, "bad_quantity"),
        ([decimal_type, "\"int\""], decimal("300"), one(), 0, false, "3 1.000000"),
        ([decimal_type, "\"int\""], decimal("-301"), one(), 0, false, "bad_quantity"),
        (["\"long\"", "\"int\""], Value::Long(-3), one(), 0, false, "-3 1.000000"),
        (["\"long\"", "\"int\""], Value::Long(1 << 31), one(), 0, false, "bad_quantity"),
        (["\"long\"", "\"int\""], Value::Long(0), one(), 0, false, "bad_quantity"),
    ] {
        let schema = schema(types[0], types[1]);
        let body = encoded(&schema, sale(quantity.clone(), price.clone()));
        let price_field = OracleField { scale, is_text, ..field("price") };
        let mapping = OracleMapping { price: Some(price_field), ..mapping("d") };
        let mut judge = judge(mapping, &schema);
        let value = super::framed(1, &body);
        let fate = judge.ask(&value);
        let results = judge.engine_says(&value, None).1;
        // The row: events, quantity, price.
        let sums = results.split_once("] 1 ").map(|(_, sums)| sums.split(' ').take(2).collect::<Vec<_>>().join(" "));
        assert_eq!(sums.unwrap_or(fate), expected, "{types:?} {quantity:?} {price:?} {scale}");
    }
}

#[test]
fn event_times_follow_the_schema_and_else_the_unit() {
    let long = |logical: &str| format!(r#"{{"type": "long", "logicalType": "{logical}"}}"#);
    let at = 1_735_688_980_i64;
    let text = |text: &str| Value::String(text.to_owned());
    for (of_type, value, unit, is_text, expected) in [
        (long("timestamp-millis"), Value::TimestampMillis(at * 1000), "Seconds", false, Some(at * 1_000_000)),
        (
            long("timestamp-micros"),
            Value::TimestampMicros(at * 1_000_000 + 7),
            "RFC3339",
            false,
            Some(at * 1_000_000 + 7),
        ),
        (
            long("timestamp-nanos"),
            Value::TimestampNanos(at * 1_000_000_000 + 7999),
            "Milliseconds",
            false,
            Some(at * 1_000_000 + 7),
        ),
        (long("timestamp-nanos"), Value::TimestampNanos(-1), "Milliseconds", false, None),
        (long("timestamp-millis"), Value::TimestampMillis(i64::MAX), "Milliseconds", false, None),
        (long("local-timestamp-millis"), Value::LocalTimestampMillis(at * 1000), "Milliseconds", false, None),
        (r#"{"type": "int", "logicalType": "date"}"#.to_owned(), Value::Date(20_000), "Seconds", false, None),
        ("\"long\"".to_owned(), Value::Long(at), "Seconds", false, Some(at * 1_000_000)),
        ("\"long\"".to_owned(), Value::Long(at), "RFC3339", false, None),
        ("\"double\"".to_owned(), Value::Double(1_735_688_980.25), "Seconds", false, Some(at * 1_000_000 + 250_000)),
        ("\"string\"".to_owned(), text("2024-12-31T23:49:40Z"), "RFC3339", false, Some(at * 1_000_000)),
        ("\"string\"".to_owned(), text("1735688980"), "Seconds", true, Some(at * 1_000_000)),
        ("\"string\"".to_owned(), text("1735688980"), "Seconds", false, None),
    ] {
        let schema =
            record(&format!(r#"{{"name": "d", "type": "string"}}, {{"name": "at", "type": {of_type}}}, {NUMBERS}"#));
        let body = encoded(&schema, sale(vec![("d", text("a")), ("at", value.clone())]));
        let timestamp = OracleField { is_text, ..field("at") };
        let mut judge = judge(OracleMapping { timestamp, unit: unit.to_owned(), ..mapping("d") }, &schema);
        let fate = judge.ask(&super::framed(1, &body));
        let observed = judge.engine_says(&super::framed(1, &body), None).1;
        match expected {
            None => assert_eq!(fate, "bad_timestamp", "{of_type} {value:?} {unit}"),
            Some(micros) => {
                assert!(
                    observed.starts_with(&format!("applied Some({micros})")),
                    "{of_type} {value:?} {unit}: {observed}"
                );
            }
        }
    }
}

#[test]
fn conditions_compare_values_exactly() {
    let schema = record(&format!(
        r#"{{"name": "d", "type": "string"}}, {{"name": "l", "type": "long"}}, {{"name": "f", "type": "double"}},
           {{"name": "c", "type": {{"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 2}}}},
           {{"name": "o", "type": ["null", {{"type": "map", "values": "boolean"}}]}},
           {{"name": "t", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}}, {NUMBERS}"#
    ));
    let value = |paid: Option<bool>| {
        let map = |paid| Value::Map([("paid".to_owned(), Value::Boolean(paid))].into_iter().collect());
        let map = paid.map_or(Value::Union(0, Box::new(Value::Null)), |paid| Value::Union(1, Box::new(map(paid))));
        sale(vec![
            ("d", Value::String("sale".to_owned())),
            ("l", Value::Long(i64::MAX)),
            ("f", Value::Double(0.1)),
            ("c", decimal("123456789012345678901234567890199")),
            ("o", map),
            ("t", Value::TimestampMillis(5)),
        ])
    };
    let paid = encoded(&schema, value(Some(true)));
    let none = encoded(&schema, value(None));
    for (condition, expected) in [
        ("d in ['sale', 'refund'] && d.startsWith('sa')", ["sale", "sale"]),
        ("l == 9223372036854775807", ["sale", "sale"]),
        ("l > 9223372036854775806", ["sale", "sale"]),
        ("f == 0.1", ["sale", "sale"]),
        ("f < 0.1", ["filtered", "filtered"]),
        ("c > 1234567890123456789", ["sale", "sale"]),
        ("t == 5", ["sale", "sale"]),
        ("o == null", ["filtered", "sale"]),
        ("has(o.paid)", ["sale", "filtered"]),
        ("o.paid", ["sale", "filtered"]),
        ("!o.paid", ["filtered", "filtered"]),
        ("o.missing == null", ["filtered", "filtered"]),
    ] {
        let mapping = OracleMapping { condition: Some(condition.to_owned()), ..mapping("d") };
        let mut judge = judge(mapping, &schema);
        assert_eq!([&paid, &none].map(|body| outcome(&mut judge, body)), expected, "{condition}");
    }
}
