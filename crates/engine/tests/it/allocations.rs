//! Judging an event does not allocate, with any decoder.

use allocation_counter::measure;
use retail_engine::{Counts, Engine, Readers, Record, Rules, SchemaId, SchemaKind, SchemaText, Span, Start, Timestamp};

use crate::mapped_judge::{engines_mapping, items};
use crate::payloads::{BASE, purchase};

const EVENTS: i64 = 1000;

/// One valid purchase per second.
fn purchases(begin: i64) -> impl Iterator<Item = String> {
    (0..EVENTS).map(move |i| {
        let category =
            ["Skincare", "Makeup", "Bath & Body", "Łódź", "a category of more than sixteen bytes"][i as usize % 5];
        let method = ["COD", "Credit Card", "PayPal"][i as usize % 3];
        let time = format!("{}.{i:06}", begin + i);
        String::from_utf8(purchase(category, method, 1 + i % 99, &format!("{}.{:02}", i % 7, i % 100), &time)).unwrap()
    })
}

/// The number of allocations for judging the values when their groups exist, and the resulting counts.
fn allocations(values: impl IntoIterator<Item = String>) -> (u64, Counts) {
    let (count, _, counts) = allocations_in(Engine::new(rules(), false), values);
    (count, counts)
}

fn rules() -> Rules {
    let hour = Span::from_secs(3600);
    Rules { window: Span::from_secs(300), delay: hour, max_future: hour }
}

/// As [`allocations`], in this engine, and with the readers of mapped records.
fn allocations_in<V: AsRef<[u8]>>(
    mut engine: Engine,
    values: impl IntoIterator<Item = V>,
) -> (u64, Option<Readers>, Counts) {
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let values: Vec<V> = values.into_iter().collect();
    let timestamp = Some(Timestamp::from_secs(BASE + EVENTS));
    let mut offsets = 0..;
    let mut judge = || {
        let mut feed = engine.partition(0).unwrap();
        for value in &values {
            feed.record(&Record {
                offset: offsets.next().unwrap(),
                timestamp,
                value: Some(value.as_ref()),
                schema: None,
            });
        }
    };
    judge();
    let allocations = measure(&mut judge);
    (allocations.count_total, engine.readers(), engine.take_batch().partitions[0].counts)
}

#[test]
fn events_do_not_allocate_with_any_decoder() {
    let all = Counts { applied: 2 * EVENTS, ..Counts::default() };
    let compact = |purchase: String| purchase.replace(": ", ":");
    let with_escapes = |purchase: String| purchase.replace(r#""brand": "b""#, r#""brand": "\"\u00e9\"""#);
    assert_eq!(allocations(purchases(BASE)), (0, all), "by layout");
    let in_turns =
        purchases(BASE).enumerate().map(|(i, purchase)| if i % 2 == 0 { purchase } else { compact(purchase) });
    assert_eq!(allocations(in_turns), (0, all), "by layout and by the scanner");
    assert_eq!(allocations(purchases(BASE).map(with_escapes)), (0, all), "by serde_json");
}

#[test]
fn mapped_records_do_not_allocate_with_the_fast_readers() {
    let order = |(at, items): (i64, usize)| {
        let item = r#"{"sku":{"category":"Makeup"},"qty":2,"cents":1999}"#;
        let items = vec![item; items].join(",");
        format!(r#"{{"created":{},"order":{{"items":[{items}]}},"payment":{{"method":"COD"}}}}"#, BASE + at)
    };
    let all = Counts { applied: 2 * EVENTS, ..Counts::default() };
    let engine = || Engine::with_mapping(rules(), false, &engines_mapping(&items()));
    let (allocated, readers, counts) = allocations_in(engine(), (0..EVENTS).map(|at| order((at, 3))));
    assert_eq!((allocated, counts), (0, all));
    assert_eq!(readers, Some(Readers { line: 1999, graph: 0, slow: 1 }));
    let (allocated, readers, counts) = allocations_in(engine(), (0..EVENTS).map(|at| order((at, 1 + at as usize % 5))));
    assert_eq!((allocated, counts), (0, all));
    assert!(readers.is_some_and(|readers| readers.graph > 1900 && readers.slow < 10), "{readers:?}");
}

#[test]
fn dropped_late_events_do_not_allocate_dead_letters_do() {
    let late = purchases(BASE - 3 * 3600);
    let (allocated, counts) = allocations(purchases(BASE).zip(late).flat_map(|(purchase, late)| [purchase, late]));
    assert_eq!((allocated, counts), (0, Counts { applied: 2 * EVENTS, late: 2 * EVENTS, ..Counts::default() }));
    let (allocated, counts) = allocations((0..EVENTS).map(|_| "{}".to_owned()));
    assert_eq!(counts, Counts { invalid: 2 * EVENTS, ..Counts::default() });
    assert!(allocated >= EVENTS as u64, "{allocated}: does the counter count?");
}

#[test]
fn avro_records_do_not_allocate() {
    let item = r#"{"type": "record", "name": "Item", "fields": [{"name": "kind", "type": {"type": "enum", "name": "Kind",
        "symbols": ["sale", "refund"]}}, {"name": "qty", "type": "int"}, {"name": "price", "type": "double"},
        {"name": "next", "type": ["null", "Item"]}]}"#;
    let schema = format!(
        r#"{{"type": "record", "name": "Order", "fields": [{{"name": "labels", "type": {{"type": "map", "values": "string"}}}},
            {{"name": "at", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}}, {{"name": "shop", "type": ["null", "long"]}},
            {{"name": "items", "type": {{"type": "array", "items": {item}}}}}]}}"#
    );
    let parsed = apache_avro::Schema::parse_str(&schema).unwrap();
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&parsed).build().unwrap();
    let order = |at: i64| {
        use apache_avro::types::Value;
        let record = |fields: Vec<(&str, Value)>| {
            Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        let item = |price: f64, next: Value| {
            record(vec![
                ("kind", Value::Enum(0, "sale".to_owned())),
                // A refund, and a price that is not short, are read by their texts.
                ("qty", Value::Int(-2)),
                ("price", Value::Double(price)),
                ("next", next),
            ])
        };
        let next = Value::Union(1, Box::new(item(1.0, Value::Union(0, Box::new(Value::Null)))));
        let labels = std::iter::once(("channel".to_owned(), Value::String("Łódź".to_owned()))).collect();
        let order = record(vec![
            ("labels", Value::Map(labels)),
            ("at", Value::TimestampMillis((BASE + at) * 1000)),
            ("shop", Value::Union(1, Box::new(Value::Long(7)))),
            ("items", Value::Array(vec![item(19.99, next.clone()), item(0.1 + 0.2, next)])),
        ]);
        [&[0, 0, 0, 0, 1], &writer.write_value_to_vec(order).unwrap()[..]].concat()
    };
    let field = |path: &str| retail_oracle::OracleField { path: path.to_owned(), ..Default::default() };
    let mapping = retail_oracle::OracleMapping {
        format: "Avro".to_owned(),
        timestamp: field("at"),
        dimensions: vec![field("$.labels.channel"), field("kind"), field("$.shop")],
        quantity: field("qty"),
        price: Some(field("price")),
        refunds: true,
        sums: Vec::new(),
        condition: Some("shop < 100 && labels.channel != 'test'".to_owned()),
        explode: Some("items".to_owned()),
        ..items()
    };
    let mut engine = Engine::with_mapping(rules(), false, &engines_mapping(&mapping));
    let schema = SchemaText { kind: SchemaKind::Avro, text: schema, references: Vec::new() };
    engine.learn_schema(SchemaId::Number(1), Some(&schema));
    let (allocated, _, counts) = allocations_in(engine, (0..EVENTS).map(order));
    assert_eq!((allocated, counts), (0, Counts { applied: 2 * EVENTS, ..Counts::default() }));
}
