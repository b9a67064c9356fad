//! The oracle of the trial on rounds whose result was computed by hand.

use retail_trial::oracle::{Verdict, judge};
use serde_json::{Value, json};

/// The beginning of 2025 in seconds.
const BEGIN: i64 = 1_735_689_600;

/// A time in microseconds, that many seconds after the beginning of 2025.
fn micros(seconds: i64) -> i64 {
    (BEGIN + seconds) * 1_000_000
}

fn events(condition: &str) -> Value {
    json!({
        "timestamp": {"field": "meta.time", "unit": "Milliseconds"},
        "transactionId": {"field": "order.id"},
        "dimensions": [{"name": "store", "field": "$.store.id"}, {"name": "sku", "field": "sku", "ifMissing": "B"}],
        "quantity": {"field": "pieces", "ifMissing": 1},
        "price": {"field": "price.cents", "scale": 2},
        "refunds": "Allow",
        "sums": [{"name": "discount", "field": "off", "scale": 2, "ifMissing": 0}],
        "where": condition,
        "explode": "order.items",
    })
}

/// An order with this id at that many seconds.
fn order(id: &str, seconds: i64, items: &str) -> String {
    let time = (BEGIN + seconds) * 1000;
    format!(
        r#"{{"meta":{{"kind":"sale","test":false,"time":{time}}},"store":{{"id":1}},"order":{{"id":{id},"items":{items}}}}}"#
    )
}

const ONE: &str = r#"[{"sku":"A","price":{"cents":100}}]"#;

/// Records and their fates. A record whose offset is missing is a gap. The flag is false for a record without a timestamp.
fn records() -> Vec<(i64, Option<String>, bool, &'static str)> {
    let two = r#"[{"sku":"A","pieces":2,"price":{"cents":1999},"off":150},{"price":{"cents":500}}]"#;
    let refund = r#"[{"sku":"A","pieces":-1,"price":{"cents":1999}}]"#;
    let half = r#"[{"sku":"A","price":{"cents":0.5}}]"#;
    let twenty = r#"[{"sku":"A","price":{"cents":1999}}]"#;
    let ten = r#"[{"sku":"A","price":{"cents":1e3}}]"#;
    let second = |part: &str| format!(r#"[{{"sku":"A","price":{{"cents":1}}}},{part}]"#);
    let valid = |id, seconds, items: &str, fate| (Some(order(id, seconds, items)), true, fate);
    let bad = |text: String, fate| (Some(text), true, fate);
    let one = |id| order(id, 300, ONE);
    let small = r#"{"price":{"cents":1}}"#;
    let mut list = vec![
        valid("\"a\"", 10, two, "applied"),
        valid("\"a\"", 10, two, "duplicate"),
        bad(one("\"b\"").replace("sale", "login"), "filtered"),
        bad(one("\"b\"").replace("\"test\":false,", ""), "filtered"),
        valid("\"b\"", 20, refund, "applied"),
        bad(order("\"c\"", 30, &second(r#"{"price":{"cents":"5"}}"#)), "bad_price"),
        valid("7", 30, half, "applied"),
        valid("\"7\"", 40, half, "duplicate"),
        valid("\"d\"", 3 * 3600, ONE, "future"),
        valid("\"d\"", 300, twenty, "applied"),
        // Observed time has moved by 290 seconds since the last record with this id.
        valid("\"a\"", 310, ten, "applied"),
        valid("\"e\"", 60, ONE, "late"),
        valid("\"e\"", 60, ONE, "duplicate"),
        bad(order("1", 300, "[]"), "bad_items"),
        bad(order("1", 300, "null"), "missing_field"),
        bad(order("1", 300, &format!("[{}{{}}]", "{},".repeat(1000))), "missing_field"),
        bad(order("1", 300, &format!("[{0}{1}]", format!("{small},").repeat(1000), small)), "bad_items"),
        bad(order("null", 300, ONE), "missing_field"),
        bad(order("1", 300, &second(r#"{"sku":"","price":{"cents":5}}"#)), "bad_key"),
        // The reason that is first in the documented order, although another item has it.
        bad(order("1", 300, r#"[{"sku":[],"price":{"cents":1}},{"pieces":0,"price":{"cents":5}}]"#), "bad_quantity"),
        bad(one("1").replace("\"time\":", "\"time\":-"), "bad_timestamp"),
        bad(one("1").replace("{\"id\":1}", "{\"id\":1,\"id\":1}"), "malformed_json"),
        (None, true, "empty"),
        (Some(order("\"z\"", 320, ONE)), false, "no_record_time"),
        // A record without a timestamp is not compared.
        (Some(order("\"a\"", 305, ONE)), false, "applied"),
    ];
    let after_gap = [
        valid("\"f\"", 310, ONE, "applied"),
        valid("\"g\"", 310, ONE, "applied"),
        valid("\"h\"", 374, ONE, "applied"),
        // 64 steps of a second, and then 65.
        valid("\"g\"", 374, ONE, "duplicate"),
        valid("\"k\"", 439, ONE, "applied"),
        valid("\"g\"", 439, ONE, "applied"),
        // The ids of records before this one do not count any more.
        valid("\"g\"", 439, ONE, "applied"),
    ];
    let offsets = (0..list.len() as i64).chain(list.len() as i64 + 1..);
    list.extend(after_gap);
    offsets.zip(list).map(|(offset, (value, has_time, fate))| (offset, value, has_time, fate)).collect()
}

fn row(start: i64, sku: &str, sums: (i64, i64, f64, f64, f64, f64)) -> Value {
    let (events, quantity, amount, average, running, discount) = sums;
    json!({"window_start": micros(start), "window_end": micros(start + 60), "dimensions": ["1", sku], "events": events,
        "avg_price": average, "total_quantity": quantity, "total_amount": amount, "sums": [discount],
        "running_total": running, "final": false})
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The tables that belong to the records.
fn tables() -> Vec<(&'static str, Value)> {
    let rule = |offset: i64| {
        json!({"partition": 0, "offset": offset, "lateness_floor": 0, "max_future": 3_600_000_000_i64,
        "keeps_late": true, "dedup_from": offset})
    };
    let mut tables = vec![
        ("spec", json!({"events": events("meta.kind in ['sale', 'refund'] && !meta.test"), "within": 64_000_000})),
        ("settings", json!({"window": 60_000_000, "delay": 120_000_000, "closed_until": 0})),
        ("fate_rules", rule(0)),
        ("fate_rules", rule(32)),
        (
            "partition_progress",
            json!({"partition": 0, "start_offset": 0, "next_offset": 33, "max_observed_time": micros(439), "applied": 12, "late": 1,
                "invalid": 12, "future": 1, "filtered": 2, "duplicate": 4, "gaps": 1, "letters": 14}),
        ),
        ("retail", row(0, "A", (3, 2, 19.995, 13.328_333, 19.995, 1.5))),
        ("retail", row(0, "B", (1, 1, 5.0, 5.0, 5.0, 0.0))),
        ("retail", row(300, "A", (5, 5, 32.99, 6.598, 52.985, 0.0))),
        ("retail", row(360, "A", (1, 1, 1.0, 1.0, 53.985, 0.0))),
        ("retail", row(420, "A", (3, 3, 3.0, 1.0, 56.985, 0.0))),
    ];
    for (offset, value, has_time, fate) in records() {
        let payload = value.as_deref().map(hexadecimal);
        let (event_time, missed_by) = match fate {
            "applied" | "duplicate" | "filtered" => (None, None),
            "future" => (Some(micros(3 * 3600)), None),
            "late" => (Some(micros(60)), Some(70_000_000)),
            "no_record_time" => (Some(micros(320)), None),
            _ => (None, None),
        };
        if !matches!(fate, "applied" | "duplicate" | "filtered") {
            let record_time = has_time.then_some(micros(3600));
            let letter = json!({"partition": 0, "offset": offset, "reason": fate, "event_time": event_time, "record_time": record_time,
                "dimensions": [null, null], "quantity": null, "amount": null, "missed_by": missed_by, "payload": payload});
            tables.push(("dead_letter", letter));
        }
        let millis = has_time.then_some((BEGIN + 3600) * 1000);
        tables.push(("records", json!({"partition": 0, "offset": offset, "timestamp_ms": millis, "value": payload})));
    }
    tables
}

/// A value of Avro: a varint of a whole number.
fn long(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [long(bytes.len() as i64), bytes.to_vec()].concat()
}

const AVRO: [&str; 2] = [
    r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"note","type":["null",{"type":"map","values":"string"}]},
        {"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"id","type":["null","string","double"]},
        {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
            {"name":"sku","type":{"type":"enum","name":"Sku","symbols":["A","B"]}},
            {"name":"store","type":["float","int"]},
            {"name":"pieces","type":"int"},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}}]}}}]}"#,
    r#"{"type":"record","name":"Order","fields":[
        {"name":"when","aliases":["time"],"type":"long"},
        {"name":"number","aliases":["id"],"type":"long"},
        {"name":"lines","aliases":["items"],"type":{"type":"array","items":{"type":"record","name":"Line","fields":[
            {"name":"article","aliases":["sku"],"type":"bytes"},
            {"name":"store","type":"string"},
            {"name":"pieces","type":"long"},
            {"name":"price","type":"double"},
            {"name":"off","type":"float"}]}}}]}"#,
];

/// Values and their fates.
fn avro_records() -> Vec<(Vec<u8>, &'static str)> {
    let framed = |id: u32, parts: &[&[u8]]| [&[0], &id.to_be_bytes()[..], &parts.concat()].concat();
    let time = |seconds: i64| long(micros(seconds) + 5);
    let id = |text: &str| [long(1), bytes(text.as_bytes())].concat();
    // Sku A of store 7, whose store is the second branch; the price has bytes that repeat its sign.
    let item = [long(0), long(1), long(7), long(2), bytes(&[0, 0, 0x4e, 0x15])].concat();
    let one = [&long(1), &item[..], &long(0)].concat();
    let two = [&long(-1), &long(item.len() as i64), &item[..], &long(1), &item, &long(0)].concat();
    let first = |seconds, number: &str, items: &[u8]| framed(3, &[&long(0), &time(seconds), &id(number), items]);
    let noted = [long(1), long(1), bytes(b"key"), bytes(&[0xff]), long(0)].concat();
    let of_float = [&long(0)[..], &long(0), &1.5_f32.to_le_bytes(), &long(2), &bytes(&[1])].concat();
    let line = |sku: &[u8], store: &[u8], price: f64| {
        [bytes(sku), bytes(store), long(3), price.to_le_bytes().to_vec(), 0.1_f32.to_le_bytes().to_vec()].concat()
    };
    let second = |seconds: i64, number: i64, line: &[u8]| {
        framed(4, &[&long((BEGIN + seconds) * 1000), &long(number), &long(1), line, &long(0)])
    };
    let whole = first(10, "x", &one);
    vec![
        (first(10, "x", &two), "applied"),
        (framed(3, &[&noted, &time(10), &id("5"), &one]), "applied"),
        // A number and its text are the same id.
        (second(20, 5, &line(b"A", b"7", 0.1)), "duplicate"),
        (second(20, 6, &line(b"A", b"7", 0.1)), "applied"),
        (second(20, 7, &line(b"A", b"7", f64::NAN)), "bad_price"),
        (second(20, 8, &line(&[0xff], b"7", 1.0)), "bad_key"),
        (second(20, 8, &line(b"A", &[0xff], 1.0)), "malformed_avro"),
        (first(20, "y", &long(0)), "bad_items"),
        (first(20, "y", &[&long(1), &of_float[..], &long(0)].concat()), "bad_key"),
        (framed(3, &[&long(0), &time(20), &long(0), &one]), "missing_field"),
        (framed(3, &[&long(0), &time(20), &long(2), &5_f64.to_le_bytes(), &one]), "bad_key"),
        (framed(3, &[&long(0), &long(-1), &id("y"), &one]), "bad_timestamp"),
        (whole[..whole.len() - 1].to_vec(), "malformed_avro"),
        ([&whole[..], &[0]].concat(), "malformed_avro"),
        (framed(3, &[&long(2)]), "malformed_avro"),
        (framed(3, &[&[0xff; 11]]), "malformed_avro"),
        (framed(5, &[&long(0)]), "unknown_schema"),
        (vec![0, 0, 0, 3], "no_schema_id"),
        (b"{}....".to_vec(), "no_schema_id"),
        (Vec::new(), "empty"),
    ]
}

#[test]
fn avro_of_two_writers_gives_the_result_by_hand() {
    let field = |name: &str| json!({"field": name});
    let events = json!({
        "format": {"type": "Avro", "registry": {"url": ""}},
        "timestamp": {"field": "time", "unit": "Milliseconds"}, "transactionId": field("id"), "explode": "items",
        "dimensions": [{"name": "store", "field": "store"}, {"name": "sku", "field": "sku"}],
        "quantity": field("pieces"), "price": field("price"), "refunds": "Allow",
        "sums": [{"name": "off", "field": "off", "ifMissing": 0}]});
    let records = avro_records();
    let count = records.len();
    let mut tables = vec![
        ("spec", json!({"events": events, "within": 64_000_000})),
        ("settings", json!({"window": 60_000_000, "delay": 120_000_000, "closed_until": 0})),
        (
            "fate_rules",
            json!({"partition": 0, "offset": 0, "lateness_floor": 0, "max_future": 3_600_000_000_i64, "keeps_late": true, "dedup_from": 0}),
        ),
        (
            "partition_progress",
            json!({"partition": 0, "start_offset": 0, "next_offset": count, "max_observed_time": micros(20), "applied": 3, "late": 0,
                "invalid": count - 4, "future": 0, "filtered": 0, "duplicate": 1, "gaps": 0, "letters": count - 4}),
        ),
        // Three items of two pieces for 19.989 each, and three pieces for 0.1.
        (
            "retail",
            json!({"window_start": micros(0), "window_end": micros(60), "dimensions": ["7", "A"], "events": 4, "avg_price": 15.01675,
                "total_quantity": 9, "total_amount": 120.234, "sums": [0.1], "running_total": 120.234, "final": false}),
        ),
    ];
    tables.extend([3, 4].into_iter().zip(AVRO).map(|(id, schema)| ("schemas", json!({"id": id, "schema": schema}))));
    for (offset, (value, fate)) in records.into_iter().enumerate() {
        let payload: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        if !matches!(fate, "applied" | "duplicate") {
            let letter = json!({"partition": 0, "offset": offset, "reason": fate, "event_time": null, "record_time": micros(3600),
                "dimensions": [null, null], "quantity": null, "amount": null, "missed_by": null, "payload": payload});
            tables.push(("dead_letter", letter));
        }
        let millis = (BEGIN + 3600) * 1000;
        tables.push(("records", json!({"partition": 0, "offset": offset, "timestamp_ms": millis, "value": payload})));
    }
    let found = verdict(&tables);
    assert_eq!(found.first, [""; 0]);
    assert_eq!((found.records, found.rows, found.duplicates), (count as u64, 1, 1));
}

fn verdict(tables: &[(&str, Value)]) -> Verdict {
    let lines = tables.iter().map(|(table, row)| json!({"table": table, "row": row}).to_string());
    judge(&lines.collect::<Vec<_>>().join("\n")).unwrap()
}

#[test]
fn nested_mapping_with_duplicates_gives_the_result_by_hand() {
    let found = verdict(&tables());
    assert_eq!(found.first, [""; 0]);
    assert_eq!((found.records, found.rows, found.letters, found.filtered, found.duplicates), (32, 5, 14, 2, 4));
}

/// Changes the last row of a table.
#[test]
fn each_changed_value_is_a_difference() {
    let changes = [
        ("partition_progress", "duplicate", json!(3), "duplicate"),
        ("partition_progress", "filtered", json!(3), "filtered"),
        ("partition_progress", "max_observed_time", json!(micros(440)), "max_observed_time"),
        ("retail", "sums", json!([1.49]), "row"),
        ("retail", "dimensions", json!(["1", "C"]), "row"),
        ("retail", "avg_price", json!(13.328_334), "row"),
        ("retail", "total_quantity", json!(4), "row"),
        ("dead_letter", "reason", json!("bad_key"), "dead letter"),
        ("dead_letter", "dimensions", json!(["1", "A"]), "dead letter"),
        ("fate_rules", "dedup_from", json!(0), "duplicate"),
        ("spec", "within", json!(62_720_000), "duplicate"),
    ];
    for (table, column, value, what) in changes {
        let mut changed = tables();
        let row = changed.iter_mut().rfind(|(name, _)| *name == table).unwrap();
        row.1[column] = value;
        let found = verdict(&changed);
        assert!(found.first.iter().any(|difference| difference.contains(what)), "{table}.{column}: {found:?}");
    }
}

#[test]
fn conditions_are_true_false_or_unknown() {
    let cases = [
        ("meta.kind == 'sale'", true),
        ("meta.kind != 'sale'", false),
        ("!(meta.kind == 7)", false),
        ("meta.kind == 7 || meta.time > 0", true),
        ("meta.kind == 7 && meta.time > 0", false),
        ("meta.none != null", false),
        ("meta.kind != null", true),
        ("has(meta.test) && !has(meta.none)", true),
        ("has(none.test) || !has(none.test)", false),
        ("meta.kind.startsWith('sa') && meta.kind.endsWith('e') && meta.kind.contains('al')", true),
        ("meta.kind < 'sb' && meta.kind >= \"sale\"", true),
        ("store.id in ['1', 2]", false),
        ("store.id in [2, 1.0]", true),
        ("store.id <= 1 && (meta.test || store.id > 0.5)", true),
        ("meta.test", false),
    ];
    for (condition, counts) in cases {
        let mut tables = tables();
        tables.retain(|(table, row)| *table != "records" || row["offset"] == 0);
        tables[0].1["events"] = events(condition);
        let found = verdict(&tables);
        assert_eq!((found.rows == 2, found.filtered == 0), (counts, counts), "{condition}: {found:?}");
    }
}
