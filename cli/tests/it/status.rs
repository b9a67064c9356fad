//! `retail status` on real servers.

use std::process::Output;

use retail_testbed::{Case, Feeder, Sent, purchase};
use serde_json::{Value, json};

use crate::RETAIL;

fn status(case: &Case, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = case.command(RETAIL).arg("status").args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn in_json(case: &Case) -> (i32, Value) {
    let (code, said, error) = status(case, &["--json"]);
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}")))
}

/// Sends purchases and processes them.
async fn process(case: &Case, feeder: &mut Feeder, partition: i32, seconds: &[i64]) {
    let sent = |seconds: &i64| Sent { partition, timestamp: *seconds, value: Some(purchase("A", "1", *seconds)) };
    let records: Vec<Sent> = seconds.iter().map(sent).collect();
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_schema_exits_1_with_the_command_that_helps() {
    let case = Case::shared().partitions(1).build();
    case.apply_topic().await;
    let (code, said, error) = status(&case, &[]);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(error.contains("is not set up in postgres") && error.contains("run `retail apply-schema`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_reports_watermark_lag_fates_and_partitions() {
    let case = Case::shared().partitions(2).start().await;
    let (code, unclaimed) = in_json(&case);
    assert_eq!((code, &unclaimed["ready"], &unclaimed["watermark"]), (1, &json!(false), &Value::Null));
    assert_eq!(unclaimed["problems"], json!(["no processor has read partitions [0, 1] yet: check that one runs"]));

    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    process(&case, &mut feeder, 0, &[10, 4000]).await;
    process(&case, &mut feeder, 1, &[20, 4300, 100]).await;
    case.topic.purchases(1, &[("A", "1", 4400), ("A", "1", 4500)]);
    let (code, seen) = in_json(&case);
    assert_eq!((code, &seen["ready"], &seen["problems"]), (0, &json!(true), &json!([])));
    // Partition 0 is behind: 4000 s minus the delay of an hour.
    assert_eq!(seen["watermark"], "2025-01-01T00:06:40Z");
    assert_eq!(seen["closedUntil"], "2025-01-01T00:05:00Z");
    assert_eq!((&seen["openWindows"], &seen["nextClose"]), (&json!(2), &json!("2025-01-01T01:10:00Z")));
    assert_eq!(seen["lag"], 2);
    assert_eq!(
        seen["fates"],
        json!({"applied": 4, "late": 1, "invalid": 0, "future": 0, "filtered": 0, "duplicate": 0, "gaps": 0})
    );
    let [first, second] = [0, 1].map(|partition: usize| &seen["partitions"][partition]);
    assert_eq!((&first["lag"], &first["state"], &first["holdsWatermark"]), (&json!(0), &json!("active"), &json!(true)));
    assert_eq!((&second["lag"], &second["holdsWatermark"]), (&json!(2), &json!(false)));
    assert_eq!(second["newestEvent"], "2025-01-01T01:11:40Z");
    assert_eq!(seen["proof"], Value::Null);
    assert_eq!(
        seen["hold"],
        json!({
            "partition": 0, "since": null, "why": "its newest event is 5m before those of the other partitions",
            "until": "it shows a newer event, or is idle after 1m without one"
        })
    );

    let (code, text, _) = status(&case, &[]);
    assert_eq!(code, 0);
    let facts = [
        "watermark     2025-01-01T00:06:40Z, 1h behind the newest event of partition 0, which is ",
        "held by       partition 0: its newest event is 5m before those of the other partitions; until it shows a newer event, or",
        "the next one closes when the watermark reaches 2025-01-01T01:10:00Z, by an event of 2025-01-01T02:10:00Z in partition 0\n",
        "final up to   2025-01-01T00:05:00Z\n",
        "not processed 2 records\n",
        "records       4 applied, 1 late (20 %), 0 invalid, 0 future\n",
        "active, HOLDS THE WATERMARK",
    ];
    facts.iter().for_each(|fact| assert!(text.contains(fact), "{fact} is not in\n{text}"));

    let client = case.client().await;
    // A minute of processing, a hold that a processor has recorded, and records that are not purchases.
    let later = "
        UPDATE closes SET closed_at = (SELECT max(committed_at) FROM partition_progress) - interval '2 minutes', next_offsets = ARRAY[0, 1];
        INSERT INTO watermark_hold (since, mark, reason, partition, detail)
        VALUES ('2025-01-01T02:00:00Z', 'm', 'silence', 0, 'partition 0 is silent');
        INSERT INTO dead_letter (partition, \"offset\", reason)
        SELECT 0, n, CASE n % 3 WHEN 0 THEN 'late' WHEN 1 THEN 'empty' ELSE 'bad_price' END FROM generate_series(100, 106) n";
    client.batch_execute(later).await.unwrap();
    let (_, seen) = in_json(&case);
    assert_eq!(
        seen["rate"],
        json!({"processed": 4.0 / 120.0, "seconds": 120.0}),
        "4 of the 5 offsets came after the close"
    );
    assert_eq!(seen["rejected"], json!({"empty": 3, "bad_price": 2}));
    let hold = &seen["hold"];
    assert_eq!((&hold["since"], &hold["why"]), (&json!("2025-01-01T02:00:00Z"), &json!("partition 0 is silent")));

    client.batch_execute("DELETE FROM watermark_hold").await.unwrap();
    client.batch_execute("UPDATE partition_progress SET committed_at = now() - interval '10 minutes'").await.unwrap();
    let (code, stopped) = in_json(&case);
    let problem = stopped["problems"][0].as_str().unwrap();
    assert_eq!((code, stopped["problems"].as_array().unwrap().len()), (1, 1));
    assert!(
        problem.starts_with("partition 1: 2 records are not processed, and its last commit was 10m ago by "),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_kafka_shows_the_rows_and_the_error() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    process(&case, &mut feeder, 0, &[10, 4000]).await;
    case.client()
        .await
        .batch_execute("UPDATE pipeline SET close_failure = 'no space', close_failed_at = now(), rejection = 'all', rejected_since = now()")
        .await
        .unwrap();
    let output = case
        .command(RETAIL)
        .args(["status", "--json"])
        .env("RETAIL_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .output()
        .unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &seen["lag"], &seen["closedUntil"]),
        (Some(1), &Value::Null, &json!("2025-01-01T00:05:00Z"))
    );
    let problems: Vec<&str> = seen["problems"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(problems[0].contains("cannot reach Kafka at 127.0.0.1:1"), "{problems:?}");
    assert!(
        problems[1].starts_with("closing windows failed at ") && problems[1].ends_with(": no space"),
        "{problems:?}"
    );
    assert!(problems[2].starts_with("more than half of the records are invalid since "), "{problems:?}");
}
