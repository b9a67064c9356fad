//! The meaning of each value: the inputs of a table about Spark's `from_json` (J1..J17), with our results, and the edge cases
//! of our own rules.

use retail_engine::{Decoder, Reason};

use crate::payloads::{BASE, purchase};

/// The result of the decoder for a payload, as text. It must be equal at the first time, and after the layout was learnt.
fn says(payload: &[u8]) -> String {
    let mut decoder = Decoder::default();
    let mut say = || match decoder.decode(Some(payload)) {
        Ok(event) => format!("{}×{} @{}", event.quantity, event.price, event.timestamp),
        Err(reason) => reason.to_string(),
    };
    let first = say();
    assert_eq!(first, say(), "{}", payload.escape_ascii());
    first
}

/// A purchase with one field replaced by `text`, or removed.
fn with(field: &str, text: Option<&str>) -> Vec<u8> {
    let base = BASE.to_string();
    let fields = [
        ("category", "\"c\""),
        ("payment_method", "\"m\""),
        ("quantity", "3"),
        ("price", "19.99"),
        ("timestamp", &base),
    ];
    let fields: Vec<String> = fields
        .into_iter()
        .filter_map(|(name, value)| if name == field { text.map(|text| (name, text)) } else { Some((name, value)) })
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

#[test]
fn j1_payload_without_an_object_is_counted_as_invalid() {
    for payload in [
        "{",
        "[]",
        "[{}]",
        "1",
        "\"{}\"",
        "null",
        "true",
        " ",
        "\n",
        "{}{}",
        "{},",
        "{\"a\":1,}",
        "{'a':1}",
        "\u{feff}{}",
    ] {
        assert_eq!(says(payload.as_bytes()), "malformed_json", "{payload:?}");
    }
    assert_eq!(Decoder::default().decode(None), Err(Reason::Empty));
    assert_eq!(says(b""), "empty");
    assert_eq!(says(b"{}"), "missing_field");
    assert_eq!(says(b" \t\r\n{ } "), "missing_field");
}

#[test]
fn j2_to_j5_timestamps() {
    for (text, expected) in [
        ("null", "bad_timestamp"),
        ("\"soon\"", "bad_timestamp"),
        ("13", "3×19990000 @1970-01-01T00:00:13Z"),
        ("13.5", "3×19990000 @1970-01-01T00:00:13.500Z"),
        ("1.3e1", "3×19990000 @1970-01-01T00:00:13Z"),
        ("\"13\"", "bad_timestamp"),
        ("\"2025-01-01 00:00:12\"", "bad_timestamp"),
        ("\"2025-01-01T00:00:12\"", "bad_timestamp"),
        ("\"2025-01-01 00:00:12Z\"", "3×19990000 @2025-01-01T00:00:12Z"),
        ("\"2025-01-01T00:00:12+07:00\"", "3×19990000 @2024-12-31T17:00:12Z"),
        ("\"2025-01-01T00:00:12+0700\"", "bad_timestamp"),
        ("\"2025-01-01T00:00:12.123456789Z\"", "3×19990000 @2025-01-01T00:00:12.123456Z"),
        ("\"2025-1-1 0:0:12\"", "bad_timestamp"),
        ("\"2025-01-01\"", "bad_timestamp"),
        ("\"2025-01-01T00:00:12\\u005a\"", "3×19990000 @2025-01-01T00:00:12Z"),
        ("-1", "bad_timestamp"),
        ("253402300799.999999", "3×19990000 @9999-12-31T23:59:59.999999Z"),
        ("253402300800", "bad_timestamp"),
        ("1e400", "bad_timestamp"),
    ] {
        assert_eq!(says(&with("timestamp", Some(text))), expected, "{text}");
    }
}

#[test]
fn j6_quantities_fit_a_postgres_integer() {
    for text in ["\"3\"", "1.5", "3.0", "3e0", "true", "null", "2147483648", "0", "-1", "-0", "99999999999999999999"] {
        assert_eq!(says(&with("quantity", Some(text))), "bad_quantity", "{text}");
    }
    assert_eq!(says(&with("quantity", Some("2147483647"))), "2147483647×19990000 @2025-01-01T00:00:00Z");
}

#[test]
fn j7_to_j9_prices_are_exact_numbers() {
    for (text, expected) in [
        ("\"12.5\"", "bad_price"),
        ("123.456", "3×123456000 @2025-01-01T00:00:00Z"),
        ("19.990000000000002", "3×19990000 @2025-01-01T00:00:00Z"),
        ("0", "3×0 @2025-01-01T00:00:00Z"),
        ("-0.0", "3×0 @2025-01-01T00:00:00Z"),
        ("-0.01", "bad_price"),
        ("\"NaN\"", "bad_price"),
        ("NaN", "malformed_json"),
        ("Infinity", "malformed_json"),
        ("1e400", "bad_price"),
        ("1e12", "bad_price"),
        ("999999999999.9999995", "3×1000000000000000000 @2025-01-01T00:00:00Z"),
        ("null", "bad_price"),
        ("{}", "bad_price"),
    ] {
        assert_eq!(says(&with("price", Some(text))), expected, "{text}");
    }
}

#[test]
fn j10_invalid_json_numbers_are_malformed() {
    for text in ["00012", "1.", ".5", "+1", "1e", "0x10", "1_000", "-"] {
        assert_eq!(says(&with("price", Some(text))), "malformed_json", "{text}");
    }
}

#[test]
fn j11_repeated_known_field_is_invalid() {
    let repeat = |field: &str| format!("{{\"{field}\":1,\"\\u{:04x}{}\":2}}", field.as_bytes()[0], &field[1..]);
    for field in [
        "category",
        "payment_method",
        "quantity",
        "price",
        "timestamp",
        "ts",
        "transaction_id",
        "customer_id",
        "brand",
        "product_name",
    ] {
        assert_eq!(says(repeat(field).as_bytes()), "malformed_json", "{field}");
    }
    assert_eq!(says(repeat("colour").as_bytes()), "missing_field");
}

#[test]
fn j12_unknown_fields_are_ignored() {
    for extra in ["1", "null", "[1, [2]]", "{\"price\": -1, \"price\": -2}", "\"\\ud800\"", "1e999"] {
        let mut payload = with("", None);
        payload.pop();
        payload.extend(format!(",\"extra\":{extra}}}").bytes());
        assert_eq!(says(&payload), "3×19990000 @2025-01-01T00:00:00Z", "{extra}");
    }
}

#[test]
fn j13_trailing_bytes_are_malformed() {
    let mut payload = with("", None);
    payload.extend(b" x");
    assert_eq!(says(&payload), "malformed_json");
}

#[test]
fn j14_to_j16_grouping_keys_are_strings_of_1_to_128_bytes() {
    let fits = format!("\"{}\"", "k".repeat(128));
    let too_long = format!("\"{}\"", "k".repeat(129));
    let too_many_bytes = format!("\"{}\"", "é".repeat(65));
    let escaped = format!("\"{}\"", "\\u006b".repeat(128));
    for field in ["category", "payment_method"] {
        for text in
            ["null", "123", "{\"a\":1}", "[]", "\"\"", "\"a\\u0000b\"", "\"\\ud800\"", &too_long, &too_many_bytes]
        {
            assert_eq!(says(&with(field, Some(text))), "bad_key", "{field} {text}");
        }
        for text in ["\" \"", "\"\\u0001\"", "\"Bath & Body\"", "\"\\ud83d\\ude00\"", &fits, &escaped] {
            assert_eq!(says(&with(field, Some(text))), "3×19990000 @2025-01-01T00:00:00Z", "{field} {text}");
        }
        assert_eq!(says(&with(field, None)), "missing_field");
    }
    let payload = with("category", Some("\"A\\/B \\u00e9\""));
    assert_eq!(Decoder::default().decode(Some(&payload)).unwrap().category, "A/B é");
}

#[test]
fn j17_field_names_are_case_sensitive() {
    let payload = String::from_utf8(with("", None)).unwrap().replace("price", "Price");
    assert_eq!(says(payload.as_bytes()), "missing_field");
}

#[test]
fn timestamp_wins_over_ts() {
    let both = |timestamp: &str, ts: &str| {
        let mut payload = with("timestamp", Some(timestamp));
        payload.pop();
        payload.extend(format!(",\"ts\":{ts}}}").bytes());
        says(&payload)
    };
    assert_eq!(both("1", "2"), "3×19990000 @1970-01-01T00:00:01Z");
    assert_eq!(both("1", "\"nonsense\""), "3×19990000 @1970-01-01T00:00:01Z");
    assert_eq!(both("null", "2"), "bad_timestamp");
}

#[test]
fn invalid_utf8_is_malformed_at_any_position() {
    for name in ["category", "brand", "elsewhere"] {
        let mut payload = purchase("c", "m", 1, "1", "1");
        payload.pop();
        payload.extend(format!(",\"{name}2\":\"").bytes());
        payload.extend([0xff, b'"', b'}']);
        assert_eq!(says(&payload), "malformed_json", "{name}");
    }
}

#[test]
fn first_reason_in_the_documented_order_is_reported() {
    let all_bad = r#"{"category":"","payment_method":"","quantity":0,"price":-1,"timestamp":"x"}"#;
    assert_eq!(says(all_bad.as_bytes()), "bad_timestamp");
    assert_eq!(says(all_bad.replace("\"x\"", "1").as_bytes()), "bad_price");
    assert_eq!(says(all_bad.replace("\"x\"", "1").replace("-1", "1").as_bytes()), "bad_quantity");
    assert_eq!(says(all_bad.replace("\"category\":\"\",", "").as_bytes()), "missing_field");
}
