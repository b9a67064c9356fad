//! The engine judges generated records.

use std::collections::BTreeMap;

use retail_api::Pipeline;
use retail_engine::{Batch, Engine, Fate, Record, SchemaId, SchemaText, Span, Start, Timestamp};

use super::MappedRecords;
use crate::purchases::{Faults, PurchaseProfile, Purchases};

/// The id of the schema of records.
const SCHEMA: u32 = 0x0102_0304;

const START: i64 = 1_735_689_600;

/// Nested orders in cents, with items.
const ORDERS: &str = "{timestamp: {field: meta.createdAt, unit: Milliseconds}, dimensions: [{name: store, field: $.store.id}, \
     {name: channel, field: $.channel, ifMissing: web}, {name: sku, field: sku}], quantity: {field: qty, ifMissing: 1}, \
     price: {field: unit_price_cents, scale: 2}, refunds: Allow, sums: [{name: discount, field: discount, scale: 3, ifMissing: 0}], \
     where: \"kind in ['order', 'return'] && meta.test == false\", explode: body.items}";

/// Amounts in strings, and names with dots and blanks.
const RECEIPTS: &str = "{timestamp: {field: '\"time.stamp\".\"at s\"', unit: Nanoseconds, text: true}, \
     dimensions: [{name: till, field: till.no}, {name: cashier, field: staff}], quantity: {field: pieces, text: true}, \
     amount: {field: total, text: true}, refunds: Allow, sums: [{name: tax, field: tax, scale: 12}]}";

/// The time of the record, and a condition on a dimension.
const RECORD_TIME: &str = "{timestamp: {unit: RecordTime}, dimensions: [{name: kind, field: kind}], \
     quantity: {field: q, ifMissing: 3}, amount: {field: a, scale: 1}, where: \"kind != 'kind 1'\"}";

fn pipeline(events: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail}}\nspec:\n  \
         kafka: {{bootstrapServers: \"kafka:9092\"}}\n  topic: {{name: retail}}\n  database: {{host: db, name: db}}\n  \
         events: {events}\n"
    );
    Pipeline::parse(&yaml).unwrap_or_else(|problems| panic!("{problems}"))
}

fn purchases(events: &str, faults: Faults) -> (Purchases, Engine) {
    let pipeline = pipeline(events);
    let hour = Span::from_secs(3600);
    let profile = PurchaseProfile { seed: 7, run: 0, max_delay: hour, too_late: Span::from_secs(3900), faults };
    let mapping = pipeline.events.unwrap();
    let mut engine = Engine::with_mapping(pipeline.rules, true, &mapping.mapping);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    if let Some((kind, text)) = MappedRecords::schema(&mapping).unwrap() {
        let schema = SchemaText { kind, text, references: Vec::new() };
        engine.learn_schema(SchemaId::Number(SCHEMA), Some(&schema));
    }
    (Purchases::new(profile, Some(&mapping), SCHEMA), engine)
}

/// The number of records of each fate or reason, and the batch. One record arrives each second.
fn judged(events: &str, faults: Faults, n: i64) -> (BTreeMap<&'static str, i64>, Batch) {
    let (mut purchases, mut engine) = purchases(events, faults);
    let mut fates = BTreeMap::new();
    for offset in 0..n {
        let arrival = Timestamp::from_secs(START + offset);
        let purchase = purchases.next(arrival);
        let timestamp = Some(purchase.timestamp.unwrap_or(arrival));
        let record = Record { offset, timestamp, value: Some(purchase.value), schema: None };
        let fate = engine.partition(0).unwrap().record(&record).unwrap();
        let name = match fate {
            Fate::Applied => "applied",
            Fate::Filtered => "filtered",
            fate @ (Fate::Late | Fate::Future | Fate::Duplicate | Fate::Invalid(_)) => fate.reason(),
        };
        *fates.entry(name).or_default() += 1;
    }
    (fates, engine.take_batch())
}

fn first(events: &str, faults: Faults) -> String {
    let (mut purchases, _) = purchases(events, faults);
    String::from_utf8(purchases.next(Timestamp::from_secs(START)).value.to_vec()).unwrap()
}

#[test]
fn records_have_the_mapped_paths_and_units() {
    assert_eq!(
        first(ORDERS, Faults::default()),
        "{\"transaction_id\": \"bbdbdf06-2e10-4409-9cf3-305d746a1ca7\", \"meta\": {\"createdAt\": 1735688980382, \"test\": false}, \
         \"store\": {\"id\": 3}, \"body\": {\"items\": [{\"sku\": \"SKU-023\", \"qty\": 5, \"unit_price_cents\": 1780, \
         \"discount\": 4220}]}, \"kind\": \"order\"}"
    );
    assert_eq!(
        first(RECEIPTS, Faults::default()),
        "{\"transaction_id\": \"12c2b9fd-d9c1-41ed-9d3e-e9ebb9571239\", \"time.stamp\": {\"at s\": \"1735688980382924000\"}, \
         \"till\": {\"no\": 1}, \"staff\": \"cashier 4\", \"pieces\": \"10\", \"total\": \"105.20\", \"tax\": 560000000000}"
    );
}

#[test]
fn records_without_faults_count_or_are_filtered() {
    let (orders, batch) = judged(ORDERS, Faults::default(), 3000);
    assert!((200..400).contains(&orders["filtered"]), "{orders:?}");
    assert_eq!(orders["applied"] + orders["filtered"], 3000, "{orders:?}");
    let events: i64 = batch.rows.iter().map(|row| row.sums.events).sum();
    assert!((2..4).contains(&(events / orders["applied"])), "{events}");
    let (receipts, batch) = judged(RECEIPTS, Faults::default(), 3000);
    assert_eq!(receipts, BTreeMap::from([("applied", 3000)]));
    let refunded = batch.rows.iter().filter(|row| row.sums.quantity < 0).count();
    assert!(refunded > 10, "{refunded}");
    let (record_time, _) = judged(RECORD_TIME, Faults { future: 20, ..Faults::default() }, 3000);
    assert_eq!(record_time["applied"] + record_time["filtered"], 3000, "{record_time:?}");
    assert!((200..400).contains(&record_time["filtered"]), "{record_time:?}");
}

#[test]
fn faults_have_their_share_and_every_reason() {
    let faults = Faults { too_late: 10, malformed: 30, future: 10, duplicated: 10 };
    let (orders, _) = judged(ORDERS, faults, 10_000);
    assert!((900..1250).contains(&orders["late"]) && (900..1250).contains(&orders["future"]), "{orders:?}");
    let reasons: Vec<&str> = orders.keys().copied().collect();
    assert_eq!(
        reasons,
        [
            "applied",
            "bad_items",
            "bad_key",
            "bad_price",
            "bad_quantity",
            "bad_timestamp",
            "empty",
            "filtered",
            "future",
            "late",
            "malformed_json",
            "missing_field"
        ]
    );
    let invalid = 10_000 - orders["applied"] - orders["filtered"] - orders["late"] - orders["future"];
    assert!((2800..3700).contains(&invalid), "{orders:?}");
    let (record_time, _) = judged(RECORD_TIME, Faults { malformed: 100, ..Faults::default() }, 1000);
    assert!(!record_time.contains_key("applied") && !record_time.contains_key("filtered"), "{record_time:?}");
}

#[test]
fn conditions_are_true_for_most_records_and_not_for_all() {
    for condition in [
        "kind == 'sale'",
        "'sale' != kind",
        "kind in ['a', 'b'] && !(paid || n in [1, 2])",
        "n > 1 && n < 2.5 && n != 2",
        "n <= -3 || n >= 1e3",
        "name > 'm' && name.startsWith('n') && name.endsWith('1')",
        "has(meta.sent) && !has(meta.test)",
        "has(a.meta) && a.meta.state != null && a.meta.state.contains('o')",
        "gone == null",
        "paid && a.b.c == true || !(has(a.d) && a.d >= 'x')",
        "qty > 0 && price_cents >= 0 && kind == 'sale'",
        "country == 'SG'",
        "store in ['x', 'y']",
        "store != 1",
    ] {
        let events = format!(
            "{{timestamp: {{field: time}}, dimensions: [{{name: store, field: store}}, {{name: country, field: country}}], \
             quantity: {{field: qty}}, price: {{field: price_cents, scale: 2}}, where: \"{condition}\"}}"
        );
        let (fates, _) = judged(&events, Faults::default(), 500);
        assert_eq!(fates.values().sum::<i64>(), fates["applied"] + fates["filtered"], "{condition}: {fates:?}");
        assert!((20..100).contains(&fates["filtered"]), "{condition}: {fates:?}");
    }
}

/// `events` in another format.
fn in_format(format: &str, events: &str) -> String {
    let registry = if format == "JSONSchema" { "" } else { ", registry: {url: \"http://registry:8081\"}" };
    format!("{{format: {{type: {format}{registry}}}, {}", events.strip_prefix('{').unwrap())
}

/// Names that schemas allow, and each unit of time and money.
const TYPED: [&str; 4] = [
    ORDERS,
    "{timestamp: {field: at.micros, unit: Microseconds}, transactionId: {field: meta.id}, \
     dimensions: [{name: till, field: till.no}, {name: cashier, field: staff, ifMissing: none}], quantity: {field: pieces, text: true}, \
     amount: {field: total, text: true}, refunds: Allow, sums: [{name: tax, field: tax, scale: 12}, {name: tip, field: a_b.c}, \
     {name: fee, field: a.b_c, ifMissing: 0}]}",
    RECORD_TIME,
    "{timestamp: {field: time}, dimensions: [{name: store, field: store}], quantity: {field: qty}, price: {field: price}, \
     where: \"n >= 1.5 && flag != true\"}",
];

#[test]
fn each_format_has_the_rows_of_json_for_a_seed() {
    let faults = Faults { too_late: 10, malformed: 0, future: 10, duplicated: 10 };
    for events in TYPED {
        let (fates, batch) = judged(events, faults, 2000);
        assert!(fates["applied"] > 1000 && batch.rows.len() > 20, "{events}: {fates:?}");
        for format in ["JSONSchema", "Avro", "Protobuf"] {
            let (same, same_batch) = judged(&in_format(format, events), faults, 2000);
            assert_eq!(same, fates, "{format}: {events}");
            assert_eq!(same_batch.rows, batch.rows, "{format}: {events}");
        }
    }
}

#[test]
fn faults_of_each_format_have_their_reasons() {
    let faults = Faults { malformed: 100, ..Faults::default() };
    let reasons = |format, events| judged(&in_format(format, events), faults, 1000).0.into_keys().collect::<Vec<_>>();
    let typed = ["bad_items", "bad_key", "bad_quantity", "bad_timestamp", "empty"];
    assert_eq!(reasons("Avro", ORDERS), [&typed[..], &["malformed_avro", "no_schema_id"]].concat());
    let protobuf = reasons("Protobuf", ORDERS);
    assert_eq!(protobuf, [&typed[..], &["malformed_protobuf", "no_schema_id"]].concat());
    assert_eq!(
        reasons("JSONSchema", ORDERS),
        [&typed[..2], &["bad_price"], &typed[2..], &["malformed_json", "missing_field", "no_schema_id"]].concat()
    );
}

#[test]
fn schema_has_the_types_of_the_mapping() {
    let schema = |format: &str, events: &str| {
        let pipeline = pipeline(&in_format(format, events));
        MappedRecords::schema(&pipeline.events.unwrap())
    };
    let (_, avro) = schema("Avro", ORDERS).unwrap().unwrap();
    for field in [
        r#"{"name":"createdAt","type":{"logicalType":"timestamp-millis","type":"long"}}"#,
        r#"{"default":null,"name":"channel","type":["null","string"]}"#,
        r#"{"default":null,"name":"test","type":["null","boolean"]}"#,
        r#""name":"items","namespace":"retail.Event.body","type":"record""#,
    ] {
        assert!(avro.contains(field), "{field}: {avro}");
    }
    let (_, prices) = schema("Avro", TYPED[3]).unwrap().unwrap();
    let price = r#"{"name":"price","type":{"logicalType":"decimal","precision":18,"scale":2,"type":"bytes"}}"#;
    assert!(prices.contains(price), "{prices}");
    let (_, protobuf) = schema("Protobuf", ORDERS).unwrap().unwrap();
    let expected = "syntax = \"proto3\";

message Event {
  string transaction_id = 1;
  Event_meta meta = 2;
  Event_store store = 3;
  optional string channel = 4;
  Event_body body = 5;
  optional string kind = 6;
}

message Event_meta {
  int64 createdAt = 1;
  optional bool test = 2;
}

message Event_store {
  int64 id = 1;
}

message Event_body {
  repeated Event_body_items items = 1;
}

message Event_body_items {
  string sku = 1;
  optional int32 qty = 2;
  int64 unit_price_cents = 3;
  optional int64 discount = 4;
}
";
    assert_eq!(protobuf, expected);
    let refused = schema("Avro", RECEIPTS).unwrap_err();
    assert!(refused.contains("\"time.stamp\" in Avro: names have letters"), "{refused}");
    assert_eq!(schema("JSONSchema", RECEIPTS), Ok(None));
}
