//! `retail explain` and `retail what-if`: words, JSON and exit codes, after a real processor.

use std::os::unix::process::CommandExt;

use retail_testbed::{Case, Postgres, Sent, at};
use serde_json::{Value, json};

use crate::RETAIL;

/// Exit code, standard output, standard error.
fn retail(case: &Case, arguments: &[&str]) -> (i32, String, String) {
    let output = case.command(RETAIL).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn in_json(case: &Case, arguments: &[&str]) -> (i32, Value) {
    let (code, said, error) = retail(case, &[arguments, &["--json"]].concat());
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}")))
}

fn catch_up(case: &Case) {
    let mut processor = case.command(RETAIL);
    let ended = processor.arg0("retail-processor").args(["--until-caught-up", "--workers", "1"]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

/// An order with two items, of which the second is free.
fn order(kind: &str, id: &str, seconds: i64) -> Vec<u8> {
    let time = at(seconds);
    format!(
        r#"{{"kind":"{kind}","id":"{id}","time":{time},"items":[{{"sku":"a","pieces":2,"price":1.5}},{{"sku":"b","pieces":1,"price":0}}]}}"#
    )
    .into_bytes()
}

/// Orders of one partition: items, a condition, ids, an aborted transaction, and a processor that has read them.
#[tokio::test]
async fn fates_of_own_events_are_explained_after_a_processor() {
    let case = Case::shared()
        .partitions(1)
        .spec("watermark: {delay: 10m}")
        .spec("deduplicate: {within: 64m}")
        .spec("events:")
        .spec("  timestamp: {field: time, unit: Seconds}")
        .spec("  transactionId: {field: id}")
        .spec("  dimensions: [{name: sku, field: sku}]")
        .spec("  quantity: {field: pieces}")
        .spec("  price: {field: price}")
        .spec("  where: \"kind == 'sale'\"")
        .spec("  explode: items")
        .start()
        .await;
    let sent = |timestamp: i64, value: Vec<u8>| Sent { partition: 0, timestamp, value: Some(value) };
    case.topic.send(&[
        sent(0, order("sale", "o1", 0)),
        sent(10, order("login", "o2", 10)),
        sent(20, order("sale", "o1", 0)),
        sent(1000, order("sale", "o3", 1000)),
        sent(1001, order("sale", "o4", 299)),
        sent(1002, order("sale", "o5", 4603)),
        sent(1003, br#"{"kind":"sale","id":"o6","time":1,"items":[{"sku":"a","qty":2,"price":1}]}"#.to_vec()),
    ]);
    case.topic.transactions(&[(false, vec![sent(1004, order("sale", "o7", 1004))])]);
    catch_up(&case);
    case.assert_exact().await;

    let fates: Vec<String> = (0..8)
        .map(|offset| {
            let (code, explained) = in_json(&case, &["explain", "--offset", &format!("0:{offset}")]);
            assert_eq!((code, &explained["contradiction"]), (0, &Value::Null), "{explained}");
            explained["fate"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(fates, ["applied", "filtered", "duplicate", "applied", "late", "future", "invalid", "gap"]);

    let (_, late) = in_json(&case, &["explain", "--offset", "0:4"]);
    assert_eq!(late["window"], json!({"start": "2025-01-01T00:00:00Z", "end": "2025-01-01T00:05:00Z"}));
    assert_eq!(late["observedBefore"], json!({"time": "2025-01-01T00:16:40Z", "offset": 3}));
    let facts = ["partition", "offset", "reason", "delay", "missedBy", "countedByDelay"].map(|name| late[name].clone());
    assert_eq!(json!(facts), json!([0, 4, null, "10m", "1m40s", "11m41s"]));
    assert_eq!(late["record"]["purchases"][0]["dimensions"], json!({"sku": "a"}));
    let words = |offset: &str| retail(&case, &["explain", "--offset", offset]).1;
    assert_eq!(
        words("0:4"),
        "partition 0 offset 4: late\nThe event of 2025-01-01T00:04:59Z belongs to the window 2025-01-01T00:00:00Z to \
         2025-01-01T00:05:00Z. Partition 0 had read 2025-01-01T00:16:40Z at offset 3 before it, so with the delay of 10m windows that end \
         at or before 2025-01-01T00:06:40Z were final for this partition. It missed by 1m40s. A delay of 11m41s would have counted it.\n\
         contents: 2025-01-01T00:04:59Z, sku \"a\" 2 × 1.5 = 3, sku \"b\" 1 × 0 = 0\n"
    );
    assert!(words("0:1").contains("spec.events.where is not true for the record: kind == 'sale'"), "{}", words("0:1"));
    assert!(
        words("0:2").contains("The record at offset 0 of partition 0 has the same transaction id \"o1\""),
        "{}",
        words("0:2")
    );
    assert!(words("0:5").contains("is 1h1s after 2025-01-01T00:16:42Z"), "{}", words("0:5"));
    assert!(
        words("0:6")
            .starts_with("partition 0 offset 6: invalid, missing_field\nitems[0].pieces missing; has \"qty\": 2"),
        "{}",
        words("0:6")
    );

    let (code, letters) = in_json(&case, &["dead-letters", "--limit", "2"]);
    let seen: Vec<_> = letters["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| json!([letter["offset"], letter["reason"]]))
        .collect();
    assert_eq!((code, json!(seen)), (0, json!([[6, "missing_field"], [5, "future"]])), "{letters}");
    let reasons: Vec<_> = letters["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| json!([reason["reason"], reason["number"]]))
        .collect();
    assert_eq!(json!(reasons), json!([["future", 1], ["late", 1], ["missing_field", 1]]));
    let (_, late) = in_json(&case, &["dead-letters", "--reason", "late", "--payloads"]);
    let letter = &late["letters"][0];
    assert_eq!(
        (&letter["missedBySeconds"], &letter["eventTime"]),
        (&json!(100.0), &json!("2025-01-01T00:04:59Z")),
        "{late}"
    );
    assert!(letter["payload"].as_str().unwrap().contains("\"o4\"") && late["letters"].get(1).is_none(), "{late}");
    let (_, text, _) = retail(&case, &["dead-letters"]);
    assert!(
        text.starts_with(
            "3 dead letters, by reason:\n  future         1\n  late           1\n  missing_field  1  items[0].pieces"
        ),
        "{text}"
    );
    assert!(
        text.contains("0:4     late           2025-01-01T00:04:59Z  missed its window by ") && !text.contains("o4"),
        "{text}"
    );
    let (_, none, _) = retail(&case, &["dead-letters", "--reason", "empty"]);
    assert!(none.ends_with("none of them has the reason empty\n"), "{none}");

    let (code, row) = in_json(&case, &["explain", "--row", "2025-01-01 00:00:00+00", "a"]);
    assert_eq!(
        (code, &row["state"], &row["events"], &row["amount"]),
        (0, &json!("final"), &json!(1), &json!("3")),
        "{row}"
    );
    assert_eq!(
        row["partitions"],
        json!([{"partition": 0, "records": 1, "events": 1, "firstOffset": 0, "lastOffset": 0, "amount": "3"}])
    );
    assert_eq!(
        (&row["closed"]["watermark"], &row["dimensions"]),
        (&json!("2025-01-01T00:06:40Z"), &json!({"sku": "a"}))
    );
    let (code, open, _) = retail(&case, &["explain", "--row", "2025-01-01T00:15:00Z", "b"]);
    assert!(code == 0 && open.starts_with("2025-01-01T00:15:00Z to 2025-01-01T00:20:00Z, b: open\n"), "{open}");
    assert!(
        open.contains("Partition 0 holds it: its newest event is 2025-01-01T00:16:40Z")
            || open.contains("All partitions are idle"),
        "{open}"
    );
    let (code, none, _) = retail(&case, &["explain", "--row", "2025-01-01T00:15:00Z", "z"]);
    assert!(code == 1 && none.contains(", z: no row\n"), "{none}");

    let (code, answers) = in_json(&case, &["what-if", "--delay", "5m,15m", "--max-late", "20%"]);
    let brief: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            let names = ["delay", "late", "lateAmount", "today", "least", "estimate"];
            json!(names.map(|name| answer[name].clone()))
        })
        .collect();
    assert_eq!(
        (code, json!(brief)),
        (
            0,
            json!([
                ["5m", 1, "3", false, false, false],
                ["10m", 1, "3", true, false, false],
                ["11m41s", 0, "0", false, true, false],
                ["15m", 0, "0", false, false, false]
            ])
        )
    );
    assert_eq!(answers[0]["lateShare"], json!(1.0 / 3.0));
    let (code, text, error) = retail(&case, &["what-if"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(text.starts_with("3 events, with the amount 9\n\nDELAY  LATE EVENTS"), "{text}");
    assert!(text.contains("\n10m    1            3            33 %   10m            today\n"), "{text}");
    assert!(text.ends_with("\nToday's delay is exact, and equals the ledger.\n"), "{text}");

    only_reads(&case).await;

    // A duplicate of a record before both decisions to close.
    case.topic.send(&[sent(2000, order("sale", "o8", 2000))]);
    catch_up(&case);
    assert_eq!(case.text("SELECT count(*) FROM closes").await, "2");
    case.topic.send(&[sent(2001, order("sale", "o3", 2001))]);
    catch_up(&case);
    let offset = case.text("SELECT next_offset - 1 FROM partition_progress").await;
    let (code, duplicate) = in_json(&case, &["explain", "--offset", &format!("0:{offset}")]);
    assert_eq!(
        (code, &duplicate["fate"], &duplicate["duplicateOf"]),
        (0, &json!("duplicate"), &json!(3)),
        "{duplicate}"
    );
    // The state at the second decision is enough for today's delay, but the ids of all records are read.
    let (_, recent) = in_json(&case, &["what-if", "--last", "0s", "--delay", "10m"]);
    assert_eq!((&recent[0]["late"], &recent[0]["lateShare"]), (&json!(0), &json!(0.0)), "{recent}");
    let (_, recent, _) = retail(&case, &["what-if", "--last", "0s"]);
    assert!(recent.starts_with("0 events processed since about "), "{recent}");

    let change = "UPDATE partition_progress SET late = late + 1, applied = applied - 1";
    case.client().await.batch_execute(change).await.unwrap();
    let (code, _, error) = retail(&case, &["what-if"]);
    assert!(
        code == 1 && error.starts_with("DIFFERENT: 1 events are late by the topic, but 2 by the ledger"),
        "{error}"
    );
}

/// Both commands need no other right in Postgres than SELECT, and join no consumer group.
async fn only_reads(case: &Case) {
    let schema = &case.settings.pipeline.schema;
    let role = format!("{schema}_reader");
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let create = format!(
        "CREATE ROLE \"{role}\" LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\";
         GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{role}\""
    );
    superuser.batch_execute(&create).await.unwrap();
    let reader = case.with_database(&case.database_url().replace("retail:retail@", &format!("{role}:secret@")));
    for arguments in [
        &["explain", "--offset", "0:4"][..],
        &["explain", "--row", "2025-01-01T00:15:00Z", "b"],
        &["what-if", "--last", "24h"],
    ] {
        let [(code, said, error), expected] = [&reader, case].map(|case| retail(case, arguments));
        assert_eq!((code, said), (0, expected.1), "{arguments:?}: {error}");
    }
    let drop = format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
    superuser.batch_execute(&drop).await.unwrap();
}

#[tokio::test]
async fn questions_without_an_answer_name_the_reason() {
    let case = Case::shared().partitions(1).build();
    let misuse = [
        (&["explain"][..], "--offset <PARTITION:OFFSET>"),
        (&["explain", "--offset", "7"], "write it as PARTITION:OFFSET"),
        (&["explain", "--offset", "0:1", "--row", "2025-01-01", "A"], "cannot be used with"),
        (&["explain", "--row", "2025-01-01T00:00:00Z", "A"], "2 values: category, payment_method"),
        (&["explain", "--row", "yesterday", "A", "B"], "\"yesterday\" is not the start of a window"),
        (&["what-if", "--delay", "5"], "write it as 5m"),
        (&["what-if", "--delay", "200h"], "a delay is at most 168h"),
        (&["what-if", "--max-late", "0.1"], "write it as 0.1%"),
    ];
    for (arguments, said) in misuse {
        let (code, out, error) = retail(&case, arguments);
        assert!((code, out.as_str()) == (2, "") && error.contains(said), "{arguments:?}: {error}");
    }
    let (code, _, error) = retail(&case, &["explain", "--offset", "0:0"]);
    assert!(code == 1 && error.contains("retail apply-topic"), "{error}");
    case.apply_topic().await;
    case.apply_schema().await;
    let (code, _, error) = retail(&case, &["explain", "--offset", "0:0"]);
    assert!(code == 1 && error.contains("ends before offset 0: it has no record at offset 0 yet"), "{error}");
    let (code, text, _) = retail(&case, &["what-if", "--delay", "5m"]);
    assert!(code == 0 && text.starts_with("0 events, with the amount 0\n"), "{text}");
    let (code, row, _) = retail(&case, &["explain", "--row", "2025-01-01T00:00:00Z", "A", "B"]);
    assert!(code == 1 && row.contains("No event of this group was applied yet"), "{row}");
}
