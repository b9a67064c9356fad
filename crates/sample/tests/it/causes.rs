use retail_api::{EventMapping, Pipeline};
use retail_engine::Record;
use retail_sample::{Diagnosis, MAX_DETAIL, Reporter, reason_named};

const HEAD: &str = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: retail}\nspec:\n  \
    kafka: {bootstrapServers: \"kafka:9092\"}\n  topic: {name: t}\n  database: {host: db, name: db}\n";

fn mapping(events: &str) -> EventMapping {
    let yaml = format!("{HEAD}  events: {events}\n");
    Pipeline::parse(&yaml).unwrap_or_else(|problems| panic!("{problems}")).events.unwrap()
}

fn record(value: Option<&[u8]>) -> Record<'_> {
    Record { offset: 0, timestamp: None, value, schema: None }
}

/// Reason and causes of an invalid record.
fn causes(events: Option<&EventMapping>, value: &str) -> String {
    let report = Reporter::new(events).report(&record(Some(value.as_bytes())));
    format!("{}: {}", report.reason.unwrap_or(report.fate), report.notes.join(" | "))
}

const FLAT: &str = "{timestamp: {field: at, unit: Seconds}, dimensions: [{name: store, field: store.id}], \
    quantity: {field: qty}, price: {field: price}}";

#[test]
fn foreign_event_names_all_similar_fields() {
    let event = r#"{"eventTime": 1764349200000, "qty": 2, "amount": 39.98, "paymentMethod": "card", "productCategory": "Toys"}"#;
    assert_eq!(
        causes(None, event),
        "missing_field: timestamp missing; has \"eventTime\": 1764349200000 | quantity missing; has \"qty\": 2 | \
         price missing; has \"amount\": 39.98 | category missing; has \"productCategory\": \"Toys\" | \
         payment_method missing; has \"paymentMethod\": \"card\""
    );
}

#[test]
fn text_for_a_number_of_seconds_is_named() {
    let event = r#"{"at":"yesterday","store":{"id":"S1"},"qty":2,"price":19.99}"#;
    assert_eq!(causes(Some(&mapping(FLAT)), event), "bad_timestamp: at: \"yesterday\" is a string, not a number");
}

#[test]
fn causes_in_an_id_are_not_those_of_a_dimension() {
    let events = FLAT.replace("dimensions", "transactionId: {field: order.id}, dimensions");
    let yaml = format!("{HEAD}  events: {events}\n  deduplicate: {{within: 1h}}\n");
    let mapped = Pipeline::parse(&yaml).unwrap_or_else(|problems| panic!("{problems}")).events.unwrap();
    let with = |order: &str| format!(r#"{{"at":1764349200,"store":{{"id":"S1"}},"qty":2,"price":19.99{order}}}"#);
    let long = format!(r#","order":{{"id":"{}"}}"#, "a".repeat(1025));
    for (order, expected) in [
        ("", "missing_field: order.id missing, and deduplicate needs an id; has \"store.id\": \"S1\""),
        (
            r#","order":{"id":null}"#,
            "missing_field: order.id is null, and deduplicate needs an id; has \"store.id\": \"S1\"",
        ),
        (r#","order":{"id":""}"#, "bad_key: order.id: \"\" is empty, and deduplicate needs an id"),
        (r#","order":{"id":[7]}"#, "bad_key: order.id: […] is an array, and an id is a string, number or boolean"),
        (
            &*long,
            "bad_key: order.id: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa… has 1025 bytes, and an id has at most 1024",
        ),
    ] {
        assert_eq!(causes(Some(&mapped), &with(order)), expected);
    }
}

#[test]
fn tutorial_purchase_needs_an_id_with_deduplication() {
    let purchase = |id: &str| {
        format!(r#"{{{id}"category":"A","payment_method":"COD","quantity":1,"price":1,"timestamp":1764349200}}"#)
    };
    let detail = |needs_id, id, reason| {
        let diagnosis = if needs_id { Diagnosis::of_purchases_with_ids() } else { Diagnosis::new(None) };
        diagnosis.detail(Some(purchase(id).as_bytes()), None, reason_named(reason).unwrap(), true)
    };
    assert_eq!(detail(true, "", "missing_field"), "transaction_id missing, and deduplicate needs an id");
    assert_eq!(detail(false, "", "missing_field"), "the record is invalid: missing_field");
    let object = r#""transaction_id":{},"#;
    let expected = "transaction_id: {…} is an object, and an id is a string or number";
    assert_eq!(detail(true, object, "bad_key"), expected);
    let null = r#""transaction_id":null,"#;
    let expected = "transaction_id: null is null, and an id is a string or number";
    assert_eq!(detail(true, null, "bad_key"), expected);
}

/// One line for each sentence: the changed field of a valid record, and its cause.
#[test]
fn each_cause_has_its_sentence() {
    let flat = mapping(FLAT);
    let record = |change: (&str, &str)| {
        let fields = [("at", "1764349200"), ("store", r#"{"id": "S1"}"#), ("qty", "2"), ("price", "19.99")];
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| (name, if name == change.0 { change.1 } else { value }))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    };
    let text: String = [
        ("at", ""),
        ("at", "null"),
        ("at", "1764349200000"),
        ("at", "-5"),
        ("at", "\"1764349200\""),
        ("at", "\"2026-01-02T03:04:05Z\""),
        ("at", "\"2026-01-02T03:04:05\""),
        ("at", "\"soon\""),
        ("at", "{}"),
        ("store", ""),
        ("store", "\"S1\""),
        ("store", r#"{"id": ""}"#),
        ("store", r#"{"id": {"a": 1}}"#),
        ("store", r#"{"id": "a\u0000b"}"#),
        ("store", r#"{"ID": "S1"}"#),
        ("qty", "0"),
        ("qty", "-1"),
        ("qty", "2.0"),
        ("qty", "\"2\""),
        ("qty", "3000000000"),
        ("qty", "true"),
        ("price", "\"19.99\""),
        ("price", "\"19,99\""),
        ("price", "\"\""),
        ("price", "\"free\""),
        ("price", "-1"),
        ("price", "1000000000000"),
        ("price", "[]"),
    ]
    .into_iter()
    .map(|change| format!("{} {} => {}\n", change.0, change.1, causes(Some(&flat), &record(change))))
    .collect();
    insta::assert_snapshot!(text);
}

#[test]
fn times_of_the_tutorial_have_their_own_sentences() {
    let event =
        |time: &str| format!(r#"{{"category":"A","payment_method":"B","quantity":1,"price":1,"timestamp":{time}}}"#);
    let cause = |time: &str| causes(None, &event(time));
    assert_eq!(cause("1764349200000"), "bad_timestamp: timestamp: 1764349200000 looks like milliseconds");
    assert_eq!(
        cause("\"1764349200\""),
        "bad_timestamp: timestamp: \"1764349200\" is a number in a string (unit: Seconds, text: true)"
    );
    assert_eq!(
        cause("\"2026-01-02 03:04:05\""),
        "bad_timestamp: timestamp: \"2026-01-02 03:04:05\" has no offset, such as Z or +02:00"
    );
    assert_eq!(cause("null"), "bad_timestamp: timestamp: null is null, and not RFC 3339, such as 2026-01-02T03:04:05Z");
}

#[test]
fn malformed_records_say_where() {
    let flat = mapping(FLAT);
    assert_eq!(causes(Some(&flat), ""), "empty: the record has no value");
    assert_eq!(causes(Some(&flat), "[1]"), "malformed_json: an array, not a JSON object");
    assert_eq!(
        causes(Some(&flat), "{\"at\":1"),
        "malformed_json: not JSON: EOF while parsing an object at line 1 column 7"
    );
    assert_eq!(
        causes(Some(&flat), "\0\0\0\0\u{1}{\"at\":1}"),
        "malformed_json: begins with the id of schema 1: looks like JSONSchema; set format.type to JSONSchema"
    );
    assert_eq!(
        causes(Some(&flat), r#"{"x":1,"x":2,"at":1,"at":2}"#),
        "malformed_json: field \"at\" occurs twice in its object"
    );
    let not_utf8 = Reporter::new(Some(&flat)).report(&record(Some(b"{\"at\":\"\xff\"}")));
    assert_eq!(not_utf8.notes, ["the record is not UTF-8"]);
}

#[test]
fn causes_in_elements_have_their_number() {
    let exploded = mapping(
        "{timestamp: {field: at, unit: Seconds}, dimensions: [{name: store, field: $.store}], quantity: {field: qty}, \
         amount: {field: total}, explode: order.items}",
    );
    let cause = |items: &str| {
        causes(Some(&exploded), &format!(r#"{{"at":1764349200,"store":"S","order":{{"items":{items}}}}}"#))
    };
    assert_eq!(
        cause(r#"[{"qty":1,"total":2},{"quantity":2,"total":2}]"#),
        "missing_field: order.items[1].qty missing; has \"quantity\": 2"
    );
    assert_eq!(cause(r#"[{"qty":1,"total":"2"}]"#), "bad_price: order.items[0].total: \"2\" is a string (text: true)");
    assert_eq!(cause("[]"), "bad_items: order.items has no elements");
    assert_eq!(cause("{}"), "bad_items: order.items is an object, not an array");
    assert_eq!(cause("null"), "missing_field: order.items is null");
    let many = format!("[{}]", vec!["{\"qty\":1,\"total\":2}"; 1001].join(","));
    assert_eq!(cause(&many), "bad_items: order.items has 1001 elements, and at most 1000 are possible");
}

#[test]
fn negative_quantity_with_negative_amount_is_explained() {
    let refunds = mapping(
        "{timestamp: {field: at, unit: Seconds}, dimensions: [{name: store, field: store}], quantity: {field: qty}, \
         price: {field: price}, refunds: Allow}",
    );
    assert_eq!(
        causes(Some(&refunds), r#"{"at":1764349200,"store":"S","qty":-1,"price":-2}"#),
        "bad_quantity: qty: -1 does not fit the sign of the price or amount: both would be refunds"
    );
}

#[test]
fn valid_record_with_a_doubtful_value_has_a_note() {
    let mapping = mapping(
        "{timestamp: {field: at, unit: Milliseconds}, dimensions: [{name: store, field: store}], quantity: {field: qty}, \
         price: {field: price_cents}}",
    );
    let mut reporter = Reporter::new(Some(&mapping));
    let report = reporter.report(&record(Some(br#"{"at":1764349200,"store":"S","qty":1,"price_cents":1999}"#)));
    assert_eq!(report.fate, "applied");
    assert_eq!(report.notes, ["at: 1764349200 looks like seconds", "price_cents: 1999 looks like cents (scale: 2)"]);
    let line = reporter.line("line 1", &report);
    assert_eq!(
        line,
        "line 1: applied, 1970-01-21T10:05:49.200Z, store \"S\" 1 × 1999 = 1999: at: 1764349200 looks like seconds | \
         price_cents: 1999 looks like cents (scale: 2)"
    );
}

/// A record with a thousand names and long texts, with control characters.
#[test]
fn detail_of_a_hostile_record_is_one_bounded_line() {
    let fields: Vec<String> = (0..1000).map(|at| format!("\"pricé\\u001b[2J{at}\":\"\\n{}\"", "é".repeat(9))).collect();
    let record = format!("{{{}}}", fields.join(","));
    assert!(record.len() < 64 * 1024);
    let missing = reason_named("missing_field").unwrap();
    for diagnosis in [Diagnosis::new(None), Diagnosis::new(Some(&mapping(FLAT).mapping))] {
        let detail = diagnosis.detail(Some(record.as_bytes()), None, missing, true);
        assert!((1..=MAX_DETAIL).contains(&detail.len()), "{} bytes", detail.len());
        assert!(!detail.contains(char::is_control), "{detail:?}");
    }
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(
        Diagnosis::new(None).detail(Some(long.as_bytes()), None, missing, true),
        "not examined, because the record has 64 KiB or more"
    );
}
