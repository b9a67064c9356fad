//! Verification finds changes that no sum shows: times, payloads, floors, missing rows.

use retail_testbed::{Case, Feeder, Sent, purchase};

use crate::verification::{assert_found, consumed};

#[tokio::test]
async fn changes_of_closed_groups_and_times_are_named() {
    let case = consumed().await;
    let changes = [
        // B has no open row.
        (
            "UPDATE final_rows SET running_total = running_total + 1 WHERE d1 = 'B'",
            "UPDATE final_rows SET running_total = running_total - 1 WHERE d1 = 'B'",
            "retail, window 2025-01-01 00:00:00, B, COD: running_total is 3.200000, expected 2.200000",
        ),
        (
            "UPDATE group_totals SET totals[2] = totals[2] + 1",
            "UPDATE group_totals SET totals[2] = totals[2] - 1",
            "totals, B, COD: total_amount is 2.200001, expected 2.200000",
        ),
        // The same average.
        (
            "UPDATE final_rows SET events = 2, price_sum = 4.4 WHERE d1 = 'B'",
            "UPDATE final_rows SET events = 1, price_sum = 2.2 WHERE d1 = 'B'",
            "retail, window 2025-01-01 00:00:00, B, COD: events is 2, expected 1",
        ),
        (
            "INSERT INTO final_rows SELECT window_start, 'Z', d2, 0, 0, 0, 0, 0, closed_at FROM final_rows WHERE d1 = 'B'",
            "DELETE FROM final_rows WHERE d1 = 'Z'",
            "Z, COD: unexpected row",
        ),
        (
            "UPDATE final_rows SET closed_at = closed_at - interval '1 day' WHERE d1 = 'B'",
            "UPDATE final_rows SET closed_at = closed_at + interval '1 day' WHERE d1 = 'B'",
            "retail, window 2025-01-01 00:00:00, B, COD: closed_at is",
        ),
        (
            "UPDATE final_rows SET closed_at = closed_at + interval '1 day' WHERE d1 = 'B'",
            "UPDATE final_rows SET closed_at = closed_at - interval '1 day' WHERE d1 = 'B'",
            "retail, window 2025-01-01 00:00:00, B, COD: closed_at is",
        ),
        (
            "UPDATE dead_letter SET payload = 'other' WHERE reason = 'malformed_json'",
            "UPDATE dead_letter SET payload = 'not a purchase' WHERE reason = 'malformed_json'",
            "dead_letter, partition 0, offset 2: SHA-256 of the payload is",
        ),
        (
            "UPDATE dead_letter SET event_time = event_time + interval '1 microsecond' WHERE reason = 'future'",
            "UPDATE dead_letter SET event_time = event_time - interval '1 microsecond' WHERE reason = 'future'",
            "dead_letter, partition 0, offset 3: event_time is 2025-01-02 03:46:40.000001 UTC, expected 2025-01-02 03:46:40 UTC",
        ),
        (
            "UPDATE dead_letter SET record_time = NULL WHERE reason = 'future'",
            "UPDATE dead_letter SET record_time = '2025-01-01 00:00:40' WHERE reason = 'future'",
            "dead_letter, partition 0, offset 3: record_time is null, expected 2025-01-01 00:00:40 UTC",
        ),
        (
            "UPDATE dead_letter SET d1 = 'B' WHERE reason = 'future'",
            "UPDATE dead_letter SET d1 = 'A' WHERE reason = 'future'",
            "dead_letter, partition 0, offset 3: category is B, expected A",
        ),
    ];
    assert_found(&case, &changes).await;
}

#[tokio::test]
async fn dead_letters_deleted_without_a_log_are_named() {
    let case = consumed().await;
    let secretly = |statement: &str| {
        format!(
            "ALTER TABLE dead_letter DISABLE TRIGGER USER; {statement}; ALTER TABLE dead_letter ENABLE TRIGGER USER"
        )
    };
    case.client().await.batch_execute("CREATE TABLE saved AS SELECT * FROM dead_letter").await.unwrap();
    let restore = "INSERT INTO dead_letter SELECT * FROM saved ON CONFLICT DO NOTHING; DELETE FROM dead_letter_log";
    let one = secretly("DELETE FROM dead_letter WHERE partition = 0 AND \"offset\" = 2");
    let all = secretly("TRUNCATE dead_letter");
    let mixed = format!("{one}; DELETE FROM dead_letter WHERE partition = 0");
    let changes: [(&str, &str, &str); 6] = [
        (&one, restore, "dead_letter, partition 0, offset 2: missing dead letter, and no deletion is logged"),
        (&all, restore, "dead_letter, partition 0, offset 2: missing dead letter, and no deletion is logged"),
        (
            &mixed,
            restore,
            "dead_letter, partition 0, offset 2: missing dead letter, one of 3, but 2 deletions are logged",
        ),
        (
            "DELETE FROM dead_letter; UPDATE dead_letter_log SET digest = digest + 1 WHERE partition = 1",
            restore,
            "dead_letter, partition 1: 1 dead letters, 1 of them deleted as dead_letter_log says, are not those of the records",
        ),
        (
            "INSERT INTO dead_letter_log OVERRIDING SYSTEM VALUE SELECT 100, 0, now(), 'x', 1, 1, 1, 1, 1, 1",
            "DELETE FROM dead_letter_log",
            "dead_letter_log, partition 0: 1 deletions, but no dead letter is missing",
        ),
        (
            "ALTER TABLE dead_letter DISABLE TRIGGER log_deleted",
            "ALTER TABLE dead_letter ENABLE TRIGGER log_deleted",
            "schema: views, functions or triggers differ",
        ),
    ];
    assert_found(&case, &changes.map(|(change, undo, said)| (change, undo, said))).await;
}

#[tokio::test]
async fn floors_without_a_decision_are_named() {
    let case = consumed().await;
    let floor = "2025-01-01 00:05:00";
    let changes = [
        (
            "UPDATE closes SET idle_since = '{NULL, NULL}'",
            "UPDATE closes SET idle_since = ARRAY[NULL, closed_at - interval '1 minute']",
            "closes, closed_until 2025-01-01 00:05:00, partition 1: windows were closed past the partition, which had no proof of idleness",
        ),
        (
            "UPDATE closes SET closed_until = '2025-01-01 00:04:00'",
            "UPDATE closes SET closed_until = '2025-01-01 00:05:00'",
            "retail, window 2025-01-01 00:00:00, A, COD: no decision to close its window is in table closes",
        ),
        (
            "INSERT INTO fate_rules SELECT 0, 1, '2025-01-01', max_future, keeps_late FROM fate_rules WHERE partition = 1 AND \"offset\" = 0",
            "DELETE FROM fate_rules WHERE partition = 0 AND \"offset\" = 1",
            "ledger, partition 0: lateness_floor is 1970-01-01 00:00:00 UTC, expected 2025-01-01 00:00:00 UTC",
        ),
        (
            "INSERT INTO fate_rules SELECT 0, 1, '2025-01-01', max_future, keeps_late FROM fate_rules WHERE partition = 1 AND \"offset\" = 0;
             UPDATE partition_progress SET lateness_floor = '2025-01-01' WHERE partition = 0",
            "DELETE FROM fate_rules WHERE partition = 0 AND \"offset\" = 1;
             UPDATE partition_progress SET lateness_floor = 'epoch' WHERE partition = 0",
            "fate_rules, partition 0, offset 1: no decision to close has set the floor 2025-01-01 00:00:00",
        ),
    ];
    assert_eq!(case.text("SELECT closed_until FROM closes").await, format!("{floor}+00"));
    assert_found(&case, &changes).await;
}

/// The brokers set the timestamps, so that a proof of idleness can be checked.
#[tokio::test]
async fn valid_event_within_an_idle_proof_is_named() {
    let case = Case::shared().timestamp_type(Some("LogAppendTime")).start().await;
    let sent = |partition, seconds| Sent { partition, timestamp: seconds, value: Some(purchase("A", "1", seconds)) };
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    let records = [sent(0, 0), sent(0, 4000), sent(1, 4000)];
    case.topic.send(&records);
    feeder.feed(&records[..2]);
    feeder.commit(&[1]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 1);
    feeder.claim(&[1]).await;
    feeder.feed(&records[2..]);
    feeder.commit(&[]).await.unwrap();
    let report = case.assert_exact().await;
    assert_eq!(report.trusted, [""; 0]);
    let changes = [(
        "UPDATE closes SET idle_until[2] = idle_until[2] + interval '1 minute'",
        "UPDATE closes SET idle_until[2] = idle_until[2] - interval '1 minute'",
        "but the valid event at offset 0 was appended at",
    )];
    assert_found(&case, &changes).await;
}

#[tokio::test]
async fn floors_of_topics_with_times_of_producers_are_trusted() {
    let case = consumed().await;
    let report = case.assert_exact().await;
    assert_eq!(
        report.trusted,
        ["the proofs of idleness of partitions 1: producers set the timestamps of their records (CreateTime)"]
    );
}

#[tokio::test]
async fn partition_with_records_and_without_a_row_is_named() {
    let case = Case::shared().partitions(2).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let records = [Sent { partition: 0, timestamp: 0, value: Some(purchase("A", "1", 0)) }];
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    // Without records, nothing was missed.
    case.client().await.batch_execute("DELETE FROM partition_progress WHERE partition = 1").await.unwrap();
    case.assert_exact().await;
    case.topic.purchases(1, &[("A", "1", 0)]);
    let difference = case.verify().await.difference.unwrap();
    assert!(difference.starts_with("partition_progress: no row for partition 1, which has records"), "{difference}");
}

/// Microseconds of a span of 8,000 years do not fit the floating point of an interval's multiplication.
#[tokio::test]
async fn lateness_of_eight_millennia_is_exact() {
    let case = Case::shared()
        .partitions(1)
        .topic_config("message.timestamp.after.max.ms: \"9223372036854775807\"")
        .start()
        .await;
    let event = |time: &str| {
        format!(r#"{{"category":"A","payment_method":"COD","quantity":1,"price":1,"timestamp":"{time}"}}"#).into_bytes()
    };
    let sent = |time: &str| Sent { partition: 0, timestamp: 251_666_608_800, value: Some(event(time)) };
    let records = [sent("9999-12-31T23:00:00.123457Z"), sent("1970-01-01T00:00:00Z")];
    case.topic.send(&records);
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.ledger().await, ["2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps"]);
    case.assert_exact().await;
}
