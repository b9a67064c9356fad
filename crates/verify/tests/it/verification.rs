//! Verification finds manual changes, down to one offset.

use retail_api::Layout;
use retail_store::MonthDrop;
use retail_testbed::{Case, CaseBuilder, Feeder, Sent, purchase};
use retail_verify::{Options, VerifyError};

/// A case with closed and open windows, late, invalid and future records, gaps and a raised floor, all consumed.
pub(crate) async fn consumed() -> Case {
    let case = Case::shared().start().await;
    let sent = |partition, timestamp, value: &[u8]| Sent { partition, timestamp, value: Some(value.to_vec()) };
    let mut records = vec![
        sent(0, 10, &purchase("A", "1.10", 10)),
        sent(0, 20, &purchase("B", "2.20", 20)),
        sent(0, 30, b"not a purchase"),
        sent(0, 40, &purchase("A", "1", 100_000)),
        sent(0, 4000, &purchase("A", "0.01", 4000)),
        sent(0, 4001, &purchase("A", "1", 299)),
    ];
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[1]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 2);
    feeder.claim(&[1]).await;
    records = vec![sent(1, 4002, &purchase("A", "1", 250)), sent(1, 4003, &purchase("C", "3", 4003))];
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await;
    case
}

#[tokio::test]
async fn processed_records_verify() {
    let case = consumed().await;
    let report = case.assert_exact().await;
    assert_eq!((report.partitions, report.offsets, report.rows, report.dead_letters), (2, 8, 4, 4));
}

#[tokio::test]
async fn names_of_dimensions_are_those_of_differences() {
    let mut case = Case::shared().partitions(1).build();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    case.settings.pipeline.layout = Layout::new(names(&["d2", "value"]), Vec::new()).unwrap();
    case.apply_topic().await;
    case.apply_schema().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let sent = |seconds| Sent { partition: 0, timestamp: 1, value: Some(purchase("A", "1", seconds)) };
    let records = [sent(0), sent(10_000)];
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    case.assert_exact().await;
    let changes = [
        (
            "UPDATE dead_letter SET d1 = 'B'",
            "UPDATE dead_letter SET d1 = 'A'",
            "dead_letter, partition 0, offset 1: d2 is B, expected A",
        ),
        (
            "UPDATE partition_progress SET filtered = 1, applied = applied - 1",
            "UPDATE partition_progress SET filtered = 0, applied = applied + 1",
            "ledger, partition 0: applied is 0, expected 1",
        ),
        (
            "UPDATE partition_progress SET filtered = 1",
            "UPDATE partition_progress SET filtered = 0",
            "ledger, partition 0: filtered is 1, expected 0",
        ),
        (
            "UPDATE partition_progress SET duplicate = 1",
            "UPDATE partition_progress SET duplicate = 0",
            "ledger, partition 0: duplicate is 1, expected 0",
        ),
    ];
    assert_found(&case, &changes).await;
}

/// Their running totals are read from sums of spans.
#[tokio::test]
async fn hundreds_of_open_windows_verify() {
    let case = Case::shared().partitions(1).spec("watermark: {delay: 24h}").start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let sent = |seconds: i64| Sent { partition: 0, timestamp: seconds, value: Some(purchase("A", "1", seconds)) };
    let records: Vec<Sent> = (0..300).map(|window| sent(window * 300)).collect();
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    assert!(feeder.close().await.closed_rows > 0);
    feeder.store.compact().await.unwrap();
    let report = case.assert_exact().await;
    assert_eq!(report.rows, 300);
    let client = case.client().await;
    for (change, undo, total) in [
        (
            "UPDATE group_totals SET totals[1] = totals[1] + 1000000",
            "UPDATE group_totals SET totals[1] = totals[1] - 1000000",
            "running_total is 13.000000, expected 12.000000",
        ),
        (
            "UPDATE span_sums SET amounts[1] = amounts[1] + 1000000 WHERE span_start = '2025-01-01 22:40Z'",
            "UPDATE span_sums SET amounts[1] = amounts[1] - 1000000 WHERE span_start = '2025-01-01 22:40Z'",
            "window 2025-01-02 00:00:00, A, COD: running_total is 290.000000, expected 289.000000",
        ),
    ] {
        client.batch_execute(change).await.unwrap();
        let difference = case.verify().await.difference.unwrap();
        assert!(difference.contains(total), "{difference}");
        client.batch_execute(undo).await.unwrap();
    }
    case.assert_exact().await;
}

/// A change by hand, the change that takes it back, and a part of the difference that verification reports.
pub(crate) type Change<'a> = (&'a str, &'a str, &'a str);

/// Expects that verification finds each change, and nothing after it was taken back.
pub(crate) async fn assert_found(case: &Case, changes: &[Change<'_>]) {
    let client = case.client().await;
    for (change, undo, said) in changes {
        client.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let report = case.verify().await;
        let difference = report.difference.unwrap_or_default();
        assert!(!report.equal && difference.contains(said), "{change}: {difference}");
        client.batch_execute(undo).await.unwrap_or_else(|error| panic!("{undo}: {error:?}"));
    }
    let report = case.verify().await;
    assert!(report.equal, "{report:?}");
}

#[tokio::test]
async fn manual_changes_are_reported_by_name() {
    let case = consumed().await;
    let changes = [
        (
            "UPDATE final_rows SET amount = amount + 0.000001 WHERE d1 = 'A'",
            "UPDATE final_rows SET amount = amount - 0.000001 WHERE d1 = 'A'",
            "retail, window 2025-01-01 00:00:00, A, COD: total_amount is 1.100001, expected 1.100000",
        ),
        (
            "UPDATE final_rows SET quantity = quantity + 1 WHERE d1 = 'B'",
            "UPDATE final_rows SET quantity = quantity - 1 WHERE d1 = 'B'",
            "total_quantity is 2, expected 1",
        ),
        (
            "UPDATE final_rows SET price_sum = price_sum + 0.0000001 WHERE d1 = 'B'",
            "UPDATE final_rows SET price_sum = price_sum - 0.0000001 WHERE d1 = 'B'",
            "price_sum is 2.2000001, expected 2.20",
        ),
        (
            "UPDATE group_totals SET totals[1] = totals[1] + 1000000",
            "UPDATE group_totals SET totals[1] = totals[1] - 1000000",
            "running_total is 2.110000, expected 1.110000",
        ),
        (
            "INSERT INTO final_rows SELECT window_start, 'Z', d2, 1, 1, 1, 1, 1, now() FROM final_rows WHERE d1 = 'B'",
            "DELETE FROM final_rows WHERE d1 = 'Z'",
            "Z, COD: unexpected row",
        ),
        (
            "UPDATE final_rows SET d1 = 'BB' WHERE d1 = 'B'",
            "UPDATE final_rows SET d1 = 'B' WHERE d1 = 'BB'",
            "B, COD: missing row",
        ),
        (
            "UPDATE partition_progress SET applied = applied + 1 WHERE partition = 0",
            "UPDATE partition_progress SET applied = applied - 1 WHERE partition = 0",
            "ledger, partition 0: applied is 4, expected 3",
        ),
        (
            "UPDATE partition_progress SET late = late - 1, applied = applied + 1 WHERE partition = 1",
            "UPDATE partition_progress SET late = late + 1, applied = applied - 1 WHERE partition = 1",
            "ledger, partition 1: applied is 2, expected 1",
        ),
        (
            "UPDATE partition_progress SET next_offset = next_offset - 1 WHERE partition = 1",
            "UPDATE partition_progress SET next_offset = next_offset + 1 WHERE partition = 1",
            "ledger, partition 1: applied is 1, expected 0",
        ),
        (
            "UPDATE pipeline SET closed_until = closed_until + interval '5 minutes', closing_until = closing_until + interval '5 minutes'",
            "UPDATE pipeline SET closed_until = closed_until - interval '5 minutes', closing_until = closing_until - interval '5 minutes'",
            "windows were closed that could still receive events from this partition",
        ),
        (
            "UPDATE dead_letter SET reason = 'late' WHERE reason = 'future'",
            "UPDATE dead_letter SET reason = 'future' WHERE partition = 0 AND \"offset\" = 3",
            "dead_letter, partition 0, offset 3: reason is late, expected future",
        ),
        (
            "UPDATE dead_letter SET missed_by = missed_by + interval '1 second' WHERE partition = 0 AND reason = 'late'",
            "UPDATE dead_letter SET missed_by = missed_by - interval '1 second' WHERE partition = 0 AND reason = 'late'",
            "dead_letter, partition 0, offset 5: missed_by is PT101S, expected PT100S",
        ),
        (
            "UPDATE dead_letter SET amount = amount + 1 WHERE reason = 'future'",
            "UPDATE dead_letter SET amount = amount - 1 WHERE reason = 'future'",
            "dead_letter, partition 0, offset 3: amount is 2.000000, expected 1",
        ),
        (
            "UPDATE dead_letter SET d2 = NULL WHERE reason = 'future'",
            "UPDATE dead_letter SET d2 = 'COD' WHERE reason = 'future'",
            "dead_letter, partition 0, offset 3: payment_method is null, expected COD",
        ),
        (
            "INSERT INTO dead_letter VALUES (0, 0, 'late')",
            "DELETE FROM dead_letter WHERE partition = 0 AND \"offset\" = 0; DELETE FROM dead_letter_log",
            "dead_letter, partition 0, offset 0: unexpected dead letter",
        ),
    ];
    assert_found(&case, &changes).await;
}

#[tokio::test]
async fn differences_in_the_delta_log_are_found() {
    let case = consumed().await;
    let changes = [
        (
            "UPDATE delta_log SET events[1] = events[1] + 1 WHERE groups = '{0}'",
            "UPDATE delta_log SET events[1] = events[1] - 1 WHERE groups = '{0}'",
            "avg_price is 0.005000, expected 0.010000",
        ),
        (
            "UPDATE delta_log SET quantities[1] = 2 WHERE groups[1] = 2",
            "UPDATE delta_log SET quantities[1] = 1 WHERE groups[1] = 2",
            "total_quantity is 2, expected 1",
        ),
        (
            "CREATE TABLE taken AS SELECT * FROM delta_log WHERE groups[1] = 2; DELETE FROM delta_log WHERE groups[1] = 2",
            "INSERT INTO delta_log OVERRIDING SYSTEM VALUE SELECT * FROM taken",
            "C, COD: missing row",
        ),
    ];
    assert_found(&case, &changes).await;
}

#[tokio::test]
async fn logged_deletions_of_dead_letters_verify() {
    let case = consumed().await;
    let client = case.client().await;
    client.batch_execute("DELETE FROM dead_letter WHERE reason = 'late'").await.unwrap();
    let report = case.verify().await;
    assert_eq!((report.equal, report.dead_letters, report.dead_letters_deleted), (true, 2, 2));
    client.batch_execute("TRUNCATE dead_letter").await.unwrap();
    let report = case.verify().await;
    assert_eq!((report.equal, report.dead_letters, report.dead_letters_deleted), (true, 0, 4));
}

#[tokio::test]
async fn months_dropped_by_retention_verify() {
    let spec = ["window: 24h", "watermark: {delay: 0s}", "retention: {finalRows: 31d}"];
    let case = spec.into_iter().fold(Case::shared().partitions(1), CaseBuilder::spec).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    // Two groups on each fifth day up to May 1.
    let sent = |category, day: i64| Sent {
        partition: 0,
        timestamp: day * 86_400,
        value: Some(purchase(category, "1", day * 86_400)),
    };
    let records: Vec<Sent> = (0..=120).step_by(5).flat_map(|day| [sent("A", day), sent("B", day)]).collect();
    case.topic.send(&records);
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    let closed_until = feeder.close().await.closed_until;
    let report = case.assert_exact().await;
    assert_eq!((report.rows, report.windows_dropped), (50, 0));
    while feeder.store.drop_month(closed_until).await.unwrap() != MonthDrop::NotDue {}
    // January and February have gone.
    let report = case.assert_exact().await;
    assert_eq!((report.rows, report.windows_dropped), (26, 12));
    let client = case.client().await;
    for (change, undo, said) in [
        (
            "CREATE TABLE taken AS SELECT * FROM final_rows WHERE window_start = '2025-03-02' AND d1 = 'B'; \
             DELETE FROM final_rows WHERE window_start = '2025-03-02' AND d1 = 'B'",
            "INSERT INTO final_rows TABLE taken",
            "retail, window 2025-03-02 00:00:00, B, COD: missing row",
        ),
        (
            "SELECT make_month(id || ' ' || uid, '2025-02-01') FROM pipeline; \
             INSERT INTO final_rows SELECT '2025-02-28', d1, d2, 1, 1, 1, 1, 1, now() FROM final_rows LIMIT 1",
            "DROP TABLE final_rows_2025_02",
            "retail, window 2025-02-28 00:00:00, A, COD: unexpected row",
        ),
        (
            "UPDATE group_totals SET totals[1] = totals[1] - 1000000",
            "UPDATE group_totals SET totals[1] = totals[1] + 1000000",
            "A, COD: running_total is 24.000000, expected 25.000000",
        ),
        (
            "UPDATE pipeline SET retained_from = '2025-02-01'",
            "UPDATE pipeline SET retained_from = '2025-03-01'",
            "retail, window 2025-02-05 00:00:00, A, COD: missing row",
        ),
        (
            "UPDATE pipeline SET retained_from = '2025-06-01'; DELETE FROM delta_log",
            "SELECT 1",
            "pipeline: retained_from is after closed_until, and only closed windows are dropped",
        ),
    ] {
        client.batch_execute(change).await.unwrap();
        let report = case.verify().await;
        let difference = report.difference.unwrap_or_default();
        assert!(!report.equal && difference.contains(said), "{change}: {difference}");
        client.batch_execute(undo).await.unwrap();
    }
}

#[tokio::test]
async fn deleted_records_and_topics_are_reported() {
    let case = consumed().await;
    case.topic.truncate(0, 2).await;
    let error = retail_verify::verify(&case.settings, Options::default(), |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::Truncated { partition: 0, log_start: 2, .. }), "{error}");

    case.client().await.batch_execute("UPDATE pipeline SET topic_id = 'another'").await.unwrap();
    let error = retail_verify::verify(&case.settings, Options::default(), |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::AnotherTopic { .. }), "{error}");
}

#[tokio::test]
async fn transactions_with_gaps_verify() {
    let case = Case::shared().partitions(1).start().await;
    let record = |seconds| Sent { partition: 0, timestamp: seconds, value: Some(purchase("A", "1", seconds)) };
    case.topic.transactions(&[
        (true, vec![record(1), record(2)]),
        (false, vec![record(3)]),
        (true, vec![record(4)]),
        (false, vec![record(5)]),
    ]);
    // 0 1 m 3 m 5 m 7 m: two records, a marker, an aborted record, a marker, a record, a marker, an aborted record, a marker.
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.feed(&[record(1), record(2)]);
    feeder.engine.partition(0).unwrap().skip_to(5);
    feeder.feed(&[record(4)]);
    feeder.engine.partition(0).unwrap().skip_to(9);
    feeder.commit(&[]).await.unwrap();
    case.assert_exact().await;
    assert_eq!(case.ledger().await, ["9 = 3 applied + 0 late + 0 invalid + 0 future + 6 gaps"]);
}
