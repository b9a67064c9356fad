//! Generates valid and invalid records.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The start of 2025, in Unix seconds; all generated event times are close to it.
pub(crate) const BASE: i64 = 1_735_689_600;

/// A valid purchase.
pub(crate) fn purchase(category: &str, payment_method: &str, quantity: i64, price: &str, time: &str) -> Vec<u8> {
    format!(
        r#"{{"transaction_id": "t", "customer_id": "7", "category": "{category}", "brand": "b", "product_name": "p", "quantity": {quantity}, "price": {price}, "payment_method": "{payment_method}", "timestamp": {time}}}"#
    )
    .into_bytes()
}

/// Event times within a few hours, so that windows open and close, and events are late.
pub(crate) fn seconds() -> impl Strategy<Value = String> {
    (0..4 * 3600_i64, prop_oneof![Just(String::new()), "\\.[0-9]{1,9}"])
        .prop_map(|(seconds, fraction)| format!("{}{fraction}", BASE + seconds))
}

/// A plain purchase at a random time.
pub(crate) fn good() -> impl Strategy<Value = Vec<u8>> {
    let category = select(vec!["Skincare", "Makeup", "Hair Care", "Bath & Body", "Łódź", "日本"]);
    let payment_method = select(vec!["COD", "Credit Card"]);
    let price = prop_oneof!["[0-9]\\.[0-9]{1,8}", "[1-9][0-9]{0,6}", "[1-9]e-[1-8]"];
    (category, payment_method, 1..100_i64, price, seconds()).prop_map(
        |(category, payment_method, quantity, price, time)| purchase(category, payment_method, quantity, &price, &time),
    )
}

/// A name and a field with this name, valid or invalid.
fn field() -> impl Strategy<Value = (&'static str, String)> {
    let name = select(vec![
        "category",
        "payment_method",
        "quantity",
        "price",
        "timestamp",
        "ts",
        "brand",
        "customer_id",
        "extra",
        "cat\\u0065gory",
        "pric\\u0065",
        "x\\ud800y",
        "",
    ]);
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,4})?";
    let small = "([1-9][0-9]{0,11})(\\.[0-9]{1,8})?";
    let time = "(19[67]|20[02]|999)[0-9]-(0[1-9]|1[0-3])-(0[1-9]|[12][0-9]|3[01])[Tt _]([01][0-9]|2[0-4]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{0,11})?([Zz]|[+-][01][0-9]:[0-6][0-9]|)";
    let string = prop_oneof![
        "[a-z]{0,3}",
        "(é|日|\\\\n|\\\\u0000|\\\\u00e9|\\\\ud83d\\\\ude00|\\\\ud800|\\\\/|\\\\x|\u{1}){1,3}",
        Just("k".repeat(128)),
        Just("k".repeat(129)),
        time,
    ]
    .prop_map(|text| format!("\"{text}\""));
    let nested = select(vec![
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[1, {\"category\": \"inner\"}]",
        "{\"price\": [1e5, \"\\\"\"]}",
        "nul",
        "01",
        "1.",
        ".5",
        "+1",
        "NaN",
    ])
    .prop_map(str::to_owned);
    let value = prop_oneof![6 => string, 4 => number, 6 => small, 1 => nested];
    let any = (name, value).prop_map(|(name, value)| (name, format!("\"{name}\": {value}")));
    let well_timed =
        (select(vec!["timestamp", "ts"]), rfc3339()).prop_map(|(name, time)| (name, format!("\"{name}\": \"{time}\"")));
    prop_oneof![4 => any, 1 => well_timed]
}

/// Mostly valid times, in all formats.
fn rfc3339() -> impl Strategy<Value = String> {
    "(197|202|999)[0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
}

/// Objects of several fields, some of them purchases. A field usually replaces the valid one with its name.
fn assembled() -> impl Strategy<Value = Vec<u8>> {
    let good = [
        ("category", "\"category\":\"c\"".to_owned()),
        ("payment_method", "\"payment_method\":\"m\"".to_owned()),
        ("quantity", "\"quantity\":2".to_owned()),
        ("price", "\"price\":1.5".to_owned()),
        ("timestamp", format!("\"timestamp\":{BASE}")),
    ];
    let fields = prop::collection::vec((field(), prop::bool::weighted(0.1)), 0..3)
        .prop_map(move |others| {
            let mut fields = good.to_vec();
            for ((name, field), repeat) in others {
                if !repeat {
                    fields.retain(|(other, _)| *other != name && !(name == "ts" && *other == "timestamp"));
                }
                fields.push((name, field));
            }
            fields.into_iter().map(|(_, field)| field).collect::<Vec<_>>()
        })
        .prop_shuffle();
    let around = |odd: Vec<&'static str>| prop_oneof![15 => Just(""), 1 => select(odd)];
    let comma = select(vec![",", " , ", ",\n\t"]);
    (fields, comma, around(vec![" ", "\u{feff}", "x"]), around(vec![" \r\n", "}", "{}"]))
        .prop_map(|(fields, comma, before, after)| format!("{before}{{{}}}{after}", fields.join(comma)).into_bytes())
}

/// A valid payload with some bytes changed, removed or repeated.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let mutation = (any::<Index>(), 0..4_u8, any::<u8>());
    (good(), prop::collection::vec(mutation, 1..4)).prop_map(|(mut payload, mutations)| {
        for (at, kind, byte) in mutations {
            let at = at.index(payload.len().max(1)).min(payload.len().saturating_sub(1));
            match kind {
                _ if payload.is_empty() => payload.push(byte),
                0 => payload[at] = byte,
                1 => drop(payload.remove(at)),
                2 => payload.insert(at, byte),
                _ => payload.truncate(at),
            }
        }
        payload
    })
}

/// Any record value, mostly valid.
pub(crate) fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        12 => good().prop_map(Some),
        1 => hostile(),
    ]
}

/// Any record value, mostly invalid.
pub(crate) fn hostile() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        8 => assembled().prop_map(Some),
        4 => mutated().prop_map(Some),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        1 => Just(None),
    ]
}
