//! Bad and extreme input of mapped records: each has a fate, and takes bounded memory.

use allocation_counter::measure;
use retail_engine::{
    Condition, Engine, Fate, Format, Mapping, NumberField, Path, Record, Rules, Span, Start, TextField, TimeField,
    Timestamp, ValueField,
};

const TIME: i64 = 1_735_689_600;

fn path(text: &str, is_exploded: bool) -> Path {
    Path::parse(text, is_exploded).unwrap()
}

fn number(text: &str, is_exploded: bool, scale: u8) -> NumberField {
    NumberField { path: path(text, is_exploded), if_missing: None, is_text: false, scale }
}

/// Flat records with `t`, `k`, `q` and cents in `p.cents`; or with `items` that have `k`, `q` and `p.cents`.
fn mapping(explode: Option<&str>) -> Mapping {
    let is_exploded = explode.is_some();
    Mapping {
        format: Format::Json,
        timestamp: TimeField::Number { path: path("t", false), decimals: 0, is_text: false },
        dimensions: vec![TextField { path: path("k", is_exploded), if_missing: None }],
        quantity: number("q", is_exploded, 0),
        value: ValueField::Price(number("p.cents", is_exploded, 2)),
        refunds: false,
        sums: Vec::new(),
        condition: None,
        explode: explode.map(|text| path(text, false)),
        id: None,
    }
}

fn engine(mapping: &Mapping) -> Engine {
    let hour = Span::from_secs(3600);
    let rules = Rules { window: Span::from_secs(300), delay: hour, max_future: hour };
    let mut engine = Engine::with_mapping(rules, true, mapping);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    engine
}

/// The fate of a record, and the sums of its row: pieces and amount.
fn judged(mapping: &Mapping, value: &str) -> String {
    let mut engine = engine(mapping);
    let timestamp = Some(Timestamp::from_secs(TIME));
    let record = Record { offset: 0, timestamp, value: Some(value.as_bytes()), schema: None };
    let fate = engine.partition(0).unwrap().record(&record).unwrap();
    let sums: String =
        engine.take_batch().rows.iter().map(|row| format!(" {}x{}", row.sums.quantity, row.sums.amount)).collect();
    format!("{}{sums}", fate.reason())
}

fn flat(rest: &str) -> String {
    format!(r#"{{"t":{TIME},"k":"A",{rest}}}"#)
}

#[test]
fn extreme_values_have_a_fate() {
    let flat_mapping = mapping(None);
    let depth = 100_000;
    let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let many: String = (0..10_000).map(|at| format!("\"name{at}\":{at},")).collect();
    let megabyte = "x".repeat(1 << 20);
    for (fields, expected) in [
        (r#""q":2,"p":{"cents":1999}"#.to_owned(), "applied 2x39.980000"),
        // A tenth of a millionth more than half is rounded up; half is rounded to even.
        (r#""q":1,"p":{"cents":0.00005}"#.to_owned(), "applied 1x0.000000"),
        (r#""q":1,"p":{"cents":0.00015}"#.to_owned(), "applied 1x0.000002"),
        (r#""q":1,"p":{"cents":0.000051}"#.to_owned(), "applied 1x0.000001"),
        (r#""q":1,"p":{"cents":99999999999999}"#.to_owned(), "applied 1x999999999999.990000"),
        (r#""q":1,"p":{"cents":1e14}"#.to_owned(), "bad_price"),
        (r#""q":1,"p":{"cents":99999999999999999999}"#.to_owned(), "bad_price"),
        (r#""q":1,"p":{"cents":-1e-300}"#.to_owned(), "bad_price"),
        (r#""q":9223372036854775808,"p":{"cents":1}"#.to_owned(), "bad_quantity"),
        (r#""q":1.0,"p":{"cents":1}"#.to_owned(), "bad_quantity"),
        (r#""q":"1","p":{"cents":1}"#.to_owned(), "bad_quantity"),
        (r#""q":1,"p":[{"cents":1}]"#.to_owned(), "missing_field"),
        (r#""q":1,"p":5"#.to_owned(), "missing_field"),
        (r#""q":1,"p":null"#.to_owned(), "missing_field"),
        (r#""q":1,"p":{"cents":{"cents":1}}"#.to_owned(), "bad_price"),
        (r#""q":1,"p":{"cents":1,"x":2,"x":3},"y":1,"y":2"#.to_owned(), "applied 1x0.010000"),
        (r#""q":1,"p":{"cents":1,"cents":1}"#.to_owned(), "malformed_json"),
        (r#""q":1,"p":1,"p":{"cents":1}"#.to_owned(), "malformed_json"),
        (r#""q":1,"p":{"c\u0065nts":1,"cents":1}"#.to_owned(), "malformed_json"),
        (r#""q":1,"p":{"cents":1},"other":[[["#.to_owned(), "malformed_json"),
        (format!(r#"{many}"q":1,"p":{{"cents":1}}"#), "applied 1x0.010000"),
        (format!(r#""other":{deep},"q":1,"p":{{"other":{deep},"cents":1}}"#), "applied 1x0.010000"),
        (format!(r#""other":"{megabyte}","q":1,"p":{{"cents":1}}"#), "applied 1x0.010000"),
    ] {
        assert_eq!(judged(&flat_mapping, &flat(&fields)), expected, "{}", &fields[..fields.len().min(100)]);
    }
    let key = format!(r#"{{"t":{TIME},"k":"{megabyte}","q":1,"p":{{"cents":1}}}}"#);
    assert_eq!(judged(&flat_mapping, &key), "bad_key");
}

#[test]
fn exploded_arrays_have_one_fate() {
    let mapping = mapping(Some("a.items"));
    let record = |items: &str| format!(r#"{{"t":{TIME},"a":{{"items":{items}}}}}"#);
    let item = |quantity: &str| format!(r#"{{"k":"A","q":{quantity},"p":{{"cents":100}}}}"#);
    let items = |count: usize| format!("[{}]", vec![item("1"); count].join(","));
    for (items, expected) in [
        (items(1), "applied 1x1.000000"),
        (items(1000), "applied 1000x1000.000000"),
        (items(1001), "bad_items"),
        ("[]".to_owned(), "bad_items"),
        ("{}".to_owned(), "bad_items"),
        ("null".to_owned(), "missing_field"),
        (format!("[{},1]", item("1")), "missing_field"),
        (format!("[{},{}]", item("1"), item("0")), "bad_quantity"),
        // The first reason in the documented order, and not the first one in the array.
        (format!("[{},{}]", item("0"), item("1").replace("100", "-1")), "bad_price"),
        (format!("[{},{}]", item("1"), item("1").replace("\"q\"", "\"k\"")), "malformed_json"),
    ] {
        assert_eq!(judged(&mapping, &record(&items)), expected, "{}", &items[..items.len().min(100)]);
    }
    assert_eq!(judged(&mapping, &format!(r#"{{"t":{TIME},"a":[{{"items":[]}}]}}"#)), "missing_field");
}

#[test]
fn filtered_records_move_no_time() {
    let condition = Condition::parse("k == 'A'").unwrap();
    let mut engine = engine(&Mapping { condition: Some(condition), ..mapping(None) });
    let mut offsets = 0..;
    let mut judge = |key: &str, time: i64| {
        let value = format!(r#"{{"t":{time},"k":"{key}","q":1,"p":{{"cents":1}}}}"#);
        let timestamp = Some(Timestamp::from_secs(time));
        let record = Record { offset: offsets.next().unwrap(), timestamp, value: Some(value.as_bytes()), schema: None };
        engine.partition(0).unwrap().record(&record).unwrap()
    };
    assert_eq!(judge("A", TIME), Fate::Applied);
    assert_eq!(judge("B", TIME + 86_400), Fate::Filtered);
    assert_eq!(judge("A", TIME), Fate::Applied, "the filtered record is a day later, and closes no window");
    assert_eq!(engine.start_without_valid(0), None);
    let batch = engine.take_batch();
    assert_eq!((batch.partitions[0].counts.filtered, batch.dead_letters.len()), (1, 0));
}

#[test]
fn mapped_record_of_many_items_takes_bounded_memory() {
    let mapping = mapping(Some("items"));
    let mut engine = engine(&mapping);
    let item = r#"{"k":"A","q":2,"p":{"cents":1999}}"#;
    let value = format!(r#"{{"t":{TIME},"note":"{}","items":[{}]}}"#, "x".repeat(5000), vec![item; 50].join(","));
    let timestamp = Some(Timestamp::from_secs(TIME));
    let mut offset = 0;
    let mut judge = || {
        let record = Record { offset, timestamp, value: Some(value.as_bytes()), schema: None };
        offset += 1;
        assert_eq!(engine.partition(0).unwrap().record(&record), Some(Fate::Applied));
    };
    judge();
    let memory = measure(|| (0..100).for_each(|_| judge()));
    // serde_json needs a stack for the brackets of values that it passes over: two allocations for any number of items.
    assert!(memory.count_total <= 200 && memory.bytes_max < 1024, "{memory:?}");
}
