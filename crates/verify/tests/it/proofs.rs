//! Verification continues from recorded proofs when the topic no longer has all records.

use retail_store::MonthDrop;
use retail_testbed::{Case, Feeder, Sent, purchase};
use retail_verify::{Options, Report, VerifyError};

use crate::verification::{assert_found, consumed};

const RECORD: Options = Options { full: false, record: true };

async fn record(case: &Case) -> Report {
    let report = case.verify_with(RECORD).await;
    assert!(report.equal, "{report:?}");
    report
}

/// Processes records of partitions 0 and 1 after those of [`consumed`], and closes windows.
async fn continued(case: &Case, seconds: i64) {
    let sent =
        |partition, seconds, event: i64| Sent { partition, timestamp: seconds, value: Some(purchase("A", "1", event)) };
    let records = [
        sent(0, seconds, seconds),
        sent(1, seconds, seconds),
        sent(0, seconds, seconds - 5),
        // Late.
        sent(1, seconds, 0),
    ];
    case.topic.send(&records);
    let mut feeder = Feeder::new(case, "b").await;
    feeder.claim(&[0, 1]).await;
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    assert!(feeder.close().await.closed_rows > 0);
}

/// Deletes all records that proofs cover.
async fn truncate(case: &Case) {
    for row in case.query("SELECT partition, next_offset FROM partition_progress").await {
        case.topic.truncate(row.get(0), row.get(1)).await;
    }
}

/// The first half was verified, and is no longer in the topic.
async fn halved() -> Case {
    let case = consumed().await;
    let report = record(&case).await;
    assert_eq!((report.from_proof, report.proof.unwrap().number), (None, 1));
    truncate(&case).await;
    continued(&case, 8000).await;
    case
}

#[tokio::test]
async fn topic_without_its_first_half_verifies_from_a_proof() {
    let case = halved().await;
    let report = case.assert_exact().await;
    assert_eq!((report.from_proof, report.offsets, report.dead_letters), (Some(1), 4, 5));
    let error =
        retail_verify::verify(&case.settings, Options { full: true, record: false }, |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::Truncated { partition: 0, start_offset: 0, .. }), "{error}");
    // The chain goes on, also over records that two proofs cover.
    let second = record(&case).await.proof.unwrap();
    truncate(&case).await;
    continued(&case, 12_000).await;
    let report = record(&case).await;
    assert_eq!((report.from_proof, report.offsets), (Some(2), 4));
    let hashes = "SELECT string_agg(number || ' ' || hash, ', ' ORDER BY number) FROM proof WHERE number > 1";
    let third = report.proof.unwrap();
    assert_eq!(case.text(hashes).await, format!("2 {}, 3 {}", second.hash, third.hash));
    assert_eq!(case.verify().await.proof.unwrap(), third);
}

#[tokio::test]
async fn changes_in_the_deleted_half_are_found() {
    let case = halved().await;
    let old = "windows from 2025-01-01 00:00:00 to 2025-01-02 00:00:00";
    case.client().await.batch_execute("CREATE TABLE saved AS SELECT * FROM dead_letter").await.unwrap();
    let restore = "INSERT INTO dead_letter SELECT * FROM saved ON CONFLICT DO NOTHING; DELETE FROM dead_letter_log";
    let columns =
        |columns: &str| format!("final_rows, {old}: 2 rows, and proof 1 has 2; they were changed after it ({columns})");
    let (amount, quantity, price_sum, running, closed_at) = (
        columns("total_amount"),
        columns("total_quantity"),
        columns("price_sum"),
        columns("running_total"),
        columns("closed_at"),
    );
    let letters = "dead_letter, partition 0: 3 dead letters, 0 of them deleted as dead_letter_log says, are not those of the records and of proof 1";
    let changes: [(&str, &str, &str); 12] = [
        (
            "UPDATE final_rows SET amount = amount + 0.000001 WHERE d1 = 'B'",
            "UPDATE final_rows SET amount = amount - 0.000001 WHERE d1 = 'B'",
            &amount,
        ),
        (
            "UPDATE final_rows SET quantity = quantity + 1 WHERE d1 = 'B'",
            "UPDATE final_rows SET quantity = quantity - 1 WHERE d1 = 'B'",
            &quantity,
        ),
        (
            "UPDATE final_rows SET price_sum = price_sum + 0.000001 WHERE d1 = 'B'",
            "UPDATE final_rows SET price_sum = price_sum - 0.000001 WHERE d1 = 'B'",
            &price_sum,
        ),
        (
            "UPDATE final_rows SET running_total = running_total + 0.000001 WHERE d1 = 'B'",
            "UPDATE final_rows SET running_total = running_total - 0.000001 WHERE d1 = 'B'",
            &running,
        ),
        (
            "UPDATE final_rows SET closed_at = closed_at + interval '1 microsecond' WHERE d1 = 'B'",
            "UPDATE final_rows SET closed_at = closed_at - interval '1 microsecond' WHERE d1 = 'B'",
            &closed_at,
        ),
        (
            "CREATE TABLE old AS SELECT * FROM final_rows WHERE d1 = 'B'; DELETE FROM final_rows WHERE d1 = 'B'",
            "INSERT INTO final_rows SELECT * FROM old",
            "final_rows, windows from 2025-01-01 00:00:00 to 2025-01-02 00:00:00: 1 rows, and proof 1 has 2",
        ),
        (
            "UPDATE group_totals SET totals[2] = totals[2] + 1",
            "UPDATE group_totals SET totals[2] = totals[2] - 1",
            "totals, B, COD: total_amount is 2.200001, expected 2.200000",
        ),
        // The row was open when the proof was recorded.
        (
            "UPDATE final_rows SET amount = amount + 1 WHERE d1 = 'C'",
            "UPDATE final_rows SET amount = amount - 1 WHERE d1 = 'C'",
            "retail, windows from 2025-01-01 01:05:00 to 2025-01-01 01:10:00: the rows are not the sums of the records (total_amount)",
        ),
        (
            "UPDATE dead_letter SET payload = 'other' WHERE reason = 'malformed_json'",
            "UPDATE dead_letter SET payload = 'not a purchase' WHERE reason = 'malformed_json'",
            letters,
        ),
        (
            "ALTER TABLE dead_letter DISABLE TRIGGER USER; DELETE FROM dead_letter WHERE reason = 'future'; ALTER TABLE dead_letter ENABLE TRIGGER USER",
            restore,
            "dead_letter, partition 0: 2 dead letters, 0 of them deleted",
        ),
        (
            "UPDATE partition_progress SET applied = applied + 1, gaps = gaps - 1 WHERE partition = 0",
            "UPDATE partition_progress SET applied = applied - 1, gaps = gaps + 1 WHERE partition = 0",
            "ledger, partition 0: applied is 6, expected 5",
        ),
        (
            "UPDATE proof SET content = replace(content, '\"trusted\":false', '\"trusted\":true')",
            "UPDATE proof SET content = replace(content, '\"trusted\":true', '\"trusted\":false')",
            "proof 1: its content does not have its hash",
        ),
    ];
    assert_found(&case, &changes).await;
    // Logged deletions are known.
    case.client().await.batch_execute("DELETE FROM dead_letter WHERE partition = 0").await.unwrap();
    let report = case.verify().await;
    assert_eq!((report.equal, report.dead_letters, report.dead_letters_deleted), (true, 2, 3));
}

#[tokio::test]
async fn deleted_proof_breaks_the_chain() {
    let case = consumed().await;
    record(&case).await;
    record(&case).await;
    case.client().await.batch_execute("DELETE FROM proof WHERE number = 1").await.unwrap();
    let difference = case.verify().await.difference.unwrap();
    assert_eq!(difference, "proof 2: it does not contain the hash of the previous proof, which was changed or deleted");
}

#[tokio::test]
async fn first_proof_without_the_whole_topic_is_trusted() {
    let case = consumed().await;
    case.topic.truncate(0, 2).await;
    let error = retail_verify::verify(&case.settings, Options::default(), |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::Truncated { partition: 0, start_offset: 0, log_start: 2, .. }), "{error}");
    let trusts = "the contents at the first proof: the topic did not have all processed records then";
    assert_eq!(record(&case).await.trusted, [trusts]);
    continued(&case, 8000).await;
    // Later proofs depend on it.
    for _ in 0..2 {
        let report = record(&case).await;
        assert_eq!((&*report.trusted[0], report.dead_letters), (trusts, 5));
    }
    let changes = [(
        "UPDATE final_rows SET amount = amount + 1 WHERE d1 = 'B'",
        "UPDATE final_rows SET amount = amount - 1 WHERE d1 = 'B'",
        "they were changed after it (total_amount)",
    )];
    assert_found(&case, &changes).await;
}

#[tokio::test]
async fn proof_is_recorded_only_without_a_difference() {
    let case = consumed().await;
    case.client().await.batch_execute("UPDATE final_rows SET amount = amount + 1").await.unwrap();
    let report = case.verify_with(RECORD).await;
    assert_eq!((report.equal, report.proof), (false, None));
    assert_eq!(case.text("SELECT count(*) FROM proof").await, "0");
}

/// Windows of a day; January is dropped after the first proof, February after the second. Group Z has rows in January only.
#[tokio::test]
async fn months_dropped_after_a_proof_verify() {
    const DAY: i64 = 86_400;
    let builder = Case::shared().partitions(1).spec("window: 24h").spec("watermark: {delay: 0s}");
    let case = builder.spec("retention: {finalRows: 31d}").start().await;
    let process = async |days: &[i64]| {
        let sent = |day: &i64| {
            let category = if *day == 1 { "Z" } else { "A" };
            Sent { partition: 0, timestamp: day * DAY, value: Some(purchase(category, "1", day * DAY)) }
        };
        let records: Vec<Sent> = days.iter().map(sent).collect();
        case.topic.send(&records);
        let mut feeder = Feeder::new(&case, "a").await;
        feeder.claim(&[0]).await;
        feeder.feed(&records);
        feeder.commit(&[]).await.unwrap();
        let closed_until = feeder.close().await.closed_until;
        (feeder, closed_until)
    };
    process(&[0, 1, 31]).await;
    record(&case).await;
    truncate(&case).await;
    let (mut feeder, closed_until) = process(&[40, 70]).await;
    assert!(matches!(feeder.store.drop_month(closed_until).await.unwrap(), MonthDrop::Dropped(_)));
    let report = record(&case).await;
    assert_eq!((report.from_proof, report.windows_dropped, report.rows), (Some(1), 2, 3));
    truncate(&case).await;
    let (mut feeder, closed_until) = process(&[150]).await;
    assert!(matches!(feeder.store.drop_month(closed_until).await.unwrap(), MonthDrop::Dropped(_)));
    let report = record(&case).await;
    assert_eq!((report.from_proof, report.windows_dropped, report.rows), (Some(2), 4, 2));
    let changes = [
        (
            "UPDATE group_totals SET totals[2] = totals[2] + 1",
            "UPDATE group_totals SET totals[2] = totals[2] - 1",
            "group_totals: the total of a group is not the sum of all its closed windows, dropped ones included",
        ),
        (
            "UPDATE group_totals SET totals[1] = totals[1] + 1; UPDATE final_rows SET running_total = running_total + 0.000001",
            "UPDATE group_totals SET totals[1] = totals[1] - 1; UPDATE final_rows SET running_total = running_total - 0.000001",
            "they were changed after it (running_total)",
        ),
        (
            "UPDATE pipeline SET retained_from = '2025-04-01'",
            "UPDATE pipeline SET retained_from = '2025-03-01'",
            "retail, window 2025-03-12 00:00:00, A, COD: unexpected row",
        ),
    ];
    assert_found(&case, &changes).await;
}

/// Rules of records that Kafka has deleted are deleted; a rule of another record is missed.
#[tokio::test]
async fn forgotten_rules_are_no_difference() {
    let case = Case::shared().partitions(2).start().await;
    for round in 1..=4_i64 {
        // Partition 1 is idle when the windows of partition 0 close: each time its floor rises.
        let mut feeder = Feeder::new(&case, "a").await;
        feeder.claim(&[0, 1]).await;
        let sent =
            |partition, seconds: i64| Sent { partition, timestamp: seconds, value: Some(purchase("A", "1", seconds)) };
        let records = [sent(1, round * 1000 - 900), sent(0, round * 1000)];
        case.topic.send(&records);
        feeder.feed(&records);
        feeder.commit(&[1]).await.unwrap();
        feeder.close().await;
    }
    let offsets = "SELECT string_agg(\"offset\"::text, ' ' ORDER BY \"offset\") FROM fate_rules WHERE partition = 1";
    assert_eq!(case.text(offsets).await, "0 1 2 3 4");
    case.assert_exact().await;
    let mut feeder = Feeder::new(&case, "b").await;
    assert_eq!(feeder.store.forget_rules(&[0, 0]).await.unwrap(), 0, "the topic has all records");
    record(&case).await;

    case.topic.truncate(1, 3).await;
    assert_eq!(feeder.store.forget_rules(&[0, 3]).await.unwrap(), 3);
    assert_eq!(case.text(offsets).await, "3 4");
    case.assert_exact().await;
    let punctual = [Sent { partition: 1, timestamp: 4500, value: Some(purchase("A", "1", 4500)) }];
    case.topic.send(&punctual);
    feeder.claim(&[0, 1]).await;
    feeder.feed(&punctual);
    feeder.commit(&[]).await.unwrap();
    case.assert_exact().await;
    let deleted = (
        "CREATE TABLE rules AS SELECT * FROM fate_rules; DELETE FROM fate_rules WHERE partition = 1 AND \"offset\" = 3;
         UPDATE fate_rules SET \"offset\" = 5 WHERE partition = 1",
        "DELETE FROM fate_rules; INSERT INTO fate_rules SELECT * FROM rules",
        "partition 1, offset 4: fate_rules has no rule for the record",
    );
    assert_found(&case, &[deleted]).await;
}

#[tokio::test]
async fn verification_without_a_proof_is_stored_until_the_next_proof() {
    let case = consumed().await;
    let stored = async || {
        let rows = "SELECT string_agg(outcome || ': ' || detail, '; ' ORDER BY outcome) FROM failed_verification f
                    WHERE ended_at > coalesce((SELECT max(recorded_at) FROM proof), '-infinity')";
        case.text(rows).await
    };
    let damage = "UPDATE partition_progress SET applied = applied + 1 WHERE partition = 0";
    let repair = "UPDATE partition_progress SET applied = applied - 1 WHERE partition = 0";
    case.client().await.batch_execute(damage).await.unwrap();
    // Without --record, the command only reads.
    assert!(!case.verify().await.equal);
    assert_eq!(stored().await, "NULL");
    let report = case.verify_with(RECORD).await;
    let difference = format!("different: {}", report.difference.unwrap());
    assert_eq!((report.proof, stored().await), (None, difference.clone()));
    // One that cannot be completed does not hide the difference.
    let topic_id = case.text("SELECT topic_id FROM pipeline").await;
    case.client().await.batch_execute("UPDATE pipeline SET topic_id = 'another'").await.unwrap();
    let error = retail_verify::verify(&case.settings, RECORD, |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::AnotherTopic { .. }), "{error}");
    assert_eq!(stored().await, format!("{difference}; incomplete: {error}"));
    let restore = format!("UPDATE pipeline SET topic_id = nullif('{topic_id}', 'NULL'); {repair}");
    case.client().await.batch_execute(&restore).await.unwrap();
    record(&case).await;
    assert_eq!(stored().await, "NULL");
}
