//! Topics of other events than the tutorial's: `spec.events`.

use retail_testbed::{Case, Sent, at};

use crate::programs::{LIMIT, catch_up, start, until, until_consumed};

/// Sends records to partition 0, one per second from the beginning of 2025.
fn send(case: &Case, values: &[String]) {
    let records: Vec<Sent> = (0..)
        .zip(values)
        .map(|(timestamp, value)| Sent { partition: 0, timestamp, value: Some(value.clone().into_bytes()) })
        .collect();
    case.topic.send(&records);
}

async fn rows(case: &Case, columns: &str) -> Vec<String> {
    let sql = format!("SELECT concat_ws(' ', {columns}) FROM retail ORDER BY 1");
    case.query(&sql).await.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn nested_orders_in_cents_become_exact_rows() {
    let case = Case::shared()
        .partitions(1)
        .spec("events:")
        .spec("  timestamp: {field: meta.createdAt, unit: Milliseconds, text: true}")
        .spec("  dimensions: [{name: store, field: '\"shop.v2\".id'}, {name: channel, field: channel, ifMissing: web}, {name: vip, field: vip}]")
        .spec("  quantity: {field: qty, ifMissing: 1, text: true}")
        .spec("  price: {field: unit_price_cents, scale: 2}")
        .spec("  sums: [{name: discount, field: discount, scale: 2, ifMissing: 0}]")
        .spec("  where: \"kind in ['sale', 'gift'] && !has(meta.test)\"")
        .start()
        .await;
    let order = |millis: i64, rest: &str| {
        let time = at(0) * 1000 + millis;
        format!(
            r#"{{"kind":"sale","meta":{{"createdAt":"{time}","tags":[{{"kind":1}}]}},"shop.v2":{{"id":7}},"vip":true,{rest}}}"#
        )
    };
    send(
        &case,
        &[
            order(1, r#""qty":"2","unit_price_cents":1999,"discount":150"#),
            order(2, r#""unit_price_cents":1,"channel":null"#),
            order(3, r#""qty":3,"unit_price_cents":0.125,"channel":"app""#),
            order(4, r#""unit_price_cents":5"#).replace("sale", "login"),
            order(5, r#""unit_price_cents":5"#).replace("tags", "test"),
            order(6, r#""qty":2"#),
            order(7, r#""qty":"two","unit_price_cents":5"#),
            order(8, r#""unit_price_cents":5,"kind":"sale""#),
            "not json".to_owned(),
        ],
    );
    catch_up(&case).await;
    let columns = "store, channel, vip, total_quantity, total_amount, avg_price, events, discount";
    assert_eq!(
        rows(&case, columns).await,
        ["7 app true 3 0.003750 0.001250 1 0.000000", "7 web true 3 39.990000 10.000000 2 1.500000"]
    );
    let reasons = "SELECT string_agg(reason, ' ' ORDER BY \"offset\") FROM dead_letter";
    assert_eq!(case.text(reasons).await, "missing_field bad_quantity malformed_json malformed_json");
    let ledger = "SELECT concat_ws(' ', applied, filtered, invalid, balanced) FROM ledger";
    assert_eq!(case.text(ledger).await, "3 2 4 t");
    let report = case.assert_exact().await;
    assert_eq!((report.rows, report.dead_letters), (2, 4));
}

#[tokio::test]
async fn items_of_an_order_are_purchases_and_refunds_subtract() {
    let case = Case::shared()
        .partitions(1)
        .spec("events:")
        .spec("  timestamp: {unit: RecordTime}")
        .spec("  dimensions: [{name: sku, field: sku}, {name: store, field: $.store}]")
        .spec("  quantity: {field: pieces}")
        .spec("  amount: {field: total, text: true}")
        .spec("  refunds: Allow")
        .spec("  explode: order.items")
        .start()
        .await;
    let order = |items: &str| format!(r#"{{"store":"S","order":{{"items":[{items}]}}}}"#);
    send(
        &case,
        &[
            order(r#"{"sku":"a","pieces":3,"total":"10.00"},{"sku":"b","pieces":1,"total":1}"#),
            order(r#"{"sku":"a","pieces":-1,"total":-3.33}"#),
            order(r#"{"sku":"a","pieces":1,"total":1},{"sku":"b","pieces":1}"#),
            order(""),
            order(r#"{"sku":"b","pieces":-1,"total":5}"#),
        ],
    );
    catch_up(&case).await;
    // 10 / 3 and 3.33 / 1 are the prices of a; the refund takes back a piece and its amount.
    let columns = "sku, store, total_quantity, total_amount, avg_price, events";
    assert_eq!(rows(&case, columns).await, ["a S 2 6.670000 3.331667 2", "b S 1 1.000000 1.000000 1"]);
    let letters = "SELECT string_agg(concat_ws(' ', reason, quantity), ', ' ORDER BY \"offset\") FROM dead_letter";
    assert_eq!(case.text(letters).await, "missing_field, bad_items, bad_quantity");
    case.assert_exact().await;
}

/// Events that are nearly those of the tutorial.
#[tokio::test]
async fn foreign_records_are_explained_in_log_and_dead_letters() {
    let case = Case::shared().partitions(1).start().await;
    let event = |time: &str, rest: &str| {
        format!(r#"{{"category":"A","payment_method":"B","price":1,"timestamp":{time},{rest}}}"#)
    };
    let seconds = at(0).to_string();
    send(
        &case,
        &[
            event(&seconds, r#""qty":2"#),
            event(&seconds, r#""pieces":3"#),
            event(&(at(0) * 1000).to_string(), r#""quantity":2"#),
            event(&seconds, r#""quantity":2"#),
            "[1]".to_owned(),
            event(&at(9_000).to_string(), r#""quantity":2"#),
        ],
    );
    let mut processor = start(&case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    let details = "SELECT string_agg(concat_ws(': ', reason, detail), E'\\n' ORDER BY \"offset\") FROM dead_letter";
    let expected = [
        "missing_field: quantity missing; has \"qty\": 2".to_owned(),
        "missing_field: quantity missing; has \"pieces\": 3".to_owned(),
        format!("bad_timestamp: timestamp: {} looks like milliseconds", at(0) * 1000),
        "malformed_json: an array, not a JSON object".to_owned(),
        "future".to_owned(),
    ];
    assert_eq!(case.text(details).await, expected.join("\n"));
    let output = processor.output();
    let warnings: Vec<&str> =
        output.lines().filter_map(|line| Some(line.split_once("the first record with the reason ")?.1)).collect();
    let expected = [
        "missing_field is at partition 0, offset 0: quantity missing; has \"qty\": 2".to_owned(),
        format!("bad_timestamp is at partition 0, offset 2: timestamp: {} looks like milliseconds", at(0) * 1000),
        "malformed_json is at partition 0, offset 4: an array, not a JSON object".to_owned(),
        "future is at partition 0, offset 5".to_owned(),
    ];
    assert_eq!(warnings, expected, "{output}");
    let report = case.assert_exact().await;
    assert_eq!((report.rows, report.dead_letters), (1, 5));
}

/// The share of invalid records is known after a minute.
#[tokio::test]
async fn topic_of_invalid_records_is_recorded_as_rejected() {
    let case = Case::shared().partitions(1).start().await;
    let processor = start(&case, &[]);
    until_consumed(&case, 0).await;
    send(&case, &[r#"{"category":"A","payment_method":"B","price":1,"qty":2,"timestamp":1}"#.to_owned()]);
    until(
        &case,
        "most records are invalid",
        "SELECT rejection IS NOT NULL AND rejected_since IS NOT NULL FROM pipeline",
    )
    .await;
    let newest = "partition 0, offset 0: missing_field: quantity missing; has \"qty\": 2";
    assert_eq!(case.text("SELECT rejection FROM pipeline").await, newest);
    processor
        .says(&format!("more than half of the records of the last minute are invalid; the newest: {newest}"))
        .await;
}
