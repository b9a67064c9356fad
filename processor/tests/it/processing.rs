//! Processing a topic without faults.

use std::time::{Duration, Instant};

use retail_testbed::{Case, Sent, at, purchase};

use crate::programs::{LIMIT, catch_up, produce, start, until, until_consumed};

#[tokio::test]
async fn every_purchase_is_counted_and_rows_are_exact() {
    let case = Case::shared().partitions(4).start().await;
    produce(&case, 50_000, 1).await;
    catch_up(&case).await;
    let report = case.assert_exact().await;
    assert_eq!(report.offsets, 50_000);
    assert!(report.rows > 100, "{report:?}");
    assert!((2000..4000).contains(&report.dead_letters), "{report:?}");
    assert_eq!(case.text("SELECT sum(consumed) FROM ledger WHERE balanced").await, "50000");
}

#[tokio::test]
async fn running_total_equals_window_function_over_history() {
    let case = Case::shared().partitions(3).spec("watermark: {delay: 5m}").start().await;
    for seed in 1..4 {
        produce(&case, 20_000, seed).await;
        catch_up(&case).await;
    }
    let wrong = "
        SELECT count(*) FROM (
            SELECT running_total, sum(total_amount) OVER (PARTITION BY category, payment_method ORDER BY window_start) AS history
            FROM retail
        ) rows WHERE running_total IS DISTINCT FROM history";
    assert_eq!(case.text(wrong).await, "0");
    assert_eq!(case.text("SELECT count(*) > 30 AND bool_or(final) AND bool_or(NOT final) FROM retail").await, "true");
}

#[tokio::test]
async fn delta_log_is_exact_and_stays_bounded() {
    let case = Case::shared().partitions(4).start().await;
    let _processor = start(&case, &["--workers", "2"]);
    for seed in 1..6 {
        produce(&case, 10_000, seed).await;
        until_consumed(&case, seed as i64 * 10_000).await;
    }
    case.assert_exact().await;
    let log = "
        SELECT count(*) > 0 AND sum(cardinality(groups)) < 10 * (SELECT count(*) FROM retail WHERE NOT final) FROM delta_log";
    until(&case, "the delta log was compacted", log).await;
}

#[tokio::test]
async fn values_are_exact_to_the_last_decimal() {
    let case = Case::shared().partitions(1).start().await;
    // 0.1 + 0.2, a binary 19.99, half a millionth rounded to even, and nearly a trillion.
    for price in ["0.1", "0.2", "19.990000000000002", "0.0000005", "0.0000015", "999999999999.999999"] {
        case.topic.purchases(0, &[("A", price, 0)]);
    }
    catch_up(&case).await;
    let row =
        case.text("SELECT concat_ws(' ', total_quantity, total_amount, running_total, avg_price) FROM retail").await;
    // 1000000000020.290001 / 6 = 166666666670.0483335
    assert_eq!(row, "6 1000000000020.290001 1000000000020.290001 166666666670.048334");
    case.assert_exact().await;
}

#[tokio::test]
async fn two_processors_share_partitions() {
    let case = Case::shared().partitions(4).start().await;
    let processors = [start(&case, &["--workers", "1"]), start(&case, &["--workers", "1"])];
    until(&case, "both have partitions", "SELECT count(DISTINCT owner) = 2 AND count(*) = 4 FROM partition_progress")
        .await;
    produce(&case, 20_000, 1).await;
    until_consumed(&case, 20_000).await;
    case.assert_exact().await;
    assert!(processors.iter().all(|processor| !processor.output().contains("fenced")));
}

#[tokio::test]
async fn rows_are_printed_as_table_at_each_trigger() {
    let case = Case::shared().spec("printRows: true").start().await;
    let processor = start(&case, &[]);
    case.topic.purchases(0, &[("Skincare", "1.50", 0)]);
    processor.says("1 rows changed by 1 events").await;
    processor.says("payment_method  avg_price  total_quantity  total_amount  running_total  timestamp").await;
    processor.says("2025-01-01 00:00–00:05  Skincare  COD                  1.50               1          1.50           1.50  20").await;
}

#[tokio::test]
async fn dropped_late_events_are_counted() {
    let case = Case::shared().partitions(1).spec("lateEvents: Drop").start().await;
    case.topic.purchases(0, &[("A", "1", 4000), ("A", "1", 0)]);
    catch_up(&case).await;
    assert_eq!(case.ledger().await, ["2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps"]);
    assert_eq!(case.text("SELECT count(*) FROM dead_letter").await, "0");
    let report = case.verify().await;
    assert_eq!((report.equal, report.dead_letters, report.dead_letters_deleted), (true, 0, 0));
}

#[tokio::test]
async fn idle_partition_holds_no_window_and_later_events_are_late() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s}").start().await;
    let _processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000)]);
    until(&case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    case.topic.purchases(1, &[("B", "1", 10), ("B", "1", 3900)]);
    until_consumed(&case, 4).await;
    assert_eq!(case.ledger().await[1], "2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps");
    case.assert_exact().await;
}

/// Repeatedly sends an invalid record to each of these partitions, and an event to partition 0, later each time, until `sql` is true.
async fn with_garbage_until(case: &Case, garbage: &[i32], sql: &str) {
    let mut active = 0;
    retail_testbed::eventually(sql, async || {
        for &partition in garbage {
            case.topic.send(&[Sent { partition, timestamp: 5000, value: Some(b"garbage".to_vec()) }]);
        }
        active += 1;
        case.topic.purchases(0, &[("A", "1", 4000 + active * 20)]);
        (case.try_text(sql).await.as_deref() == Some("true")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn partition_with_only_invalid_records_holds_no_window() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s}").start().await;
    let processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    with_garbage_until(&case, &[1], "SELECT count(*) >= 1 FROM final_rows").await;
    assert!(!processor.output().contains("fenced"), "{}", processor.output());
    // The events of a partition that was passed are judged by its floor.
    case.topic.purchases(1, &[("B", "1", 10), ("B", "1", 3900)]);
    until(&case, "both are judged", "SELECT applied = 1 AND late = 1 FROM ledger WHERE partition = 1").await;
    case.assert_exact().await;
}

#[tokio::test]
async fn valid_event_before_invalid_records_holds_no_window() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s}").start().await;
    let _processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    case.topic.purchases(1, &[("B", "1", 10)]);
    with_garbage_until(&case, &[1], "SELECT count(*) >= 2 FROM final_rows").await;
    case.assert_exact().await;
}

/// Between two triggers, the invalid records of both workers are uncommitted. Their partitions are idle nevertheless.
#[tokio::test]
async fn invalid_records_of_two_workers_hold_no_window() {
    let case = Case::shared().partitions(3).spec("trigger: 1h").spec("watermark: {idleTimeout: 1s}").start().await;
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000)]);
    catch_up(&case).await;
    // From now on, no partition is without records for as long as idleTimeout.
    with_garbage_until(&case, &[1, 2], "SELECT true").await;
    let mut processors = [start(&case, &["--workers", "1"]), start(&case, &["--workers", "2"])];
    with_garbage_until(&case, &[1, 2], "SELECT count(DISTINCT owner) = 3 FROM partition_progress").await;
    with_garbage_until(&case, &[1, 2], "SELECT count(*) >= 1 FROM final_rows").await;
    for processor in &mut processors {
        processor.signal("TERM");
        assert_eq!(processor.exit_code(LIMIT).await, 0);
        assert!(!processor.output().contains("fenced"), "{}", processor.output());
    }
    case.assert_exact().await;
}

const SECOND: Duration = Duration::from_secs(1);

/// Sends old, valid events to partition 1, until three seconds pass without an event in partition 2. Returns the longest pause
/// between two events, and the number of windows that were closed.
async fn closed_beside_valid_events() -> (Duration, String) {
    let case = Case::shared().partitions(3).spec("watermark: {idleTimeout: 1s}").start().await;
    let events = |seconds: [i64; 2]| {
        let sent = |(partition, seconds): (i32, i64)| Sent {
            partition,
            timestamp: seconds,
            value: Some(purchase("A", "1", seconds)),
        };
        case.topic.send(&[sent((0, seconds[0])), sent((1, seconds[1]))]);
    };
    events([0, 10]);
    let _processor = start(&case, &[]);
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let idle = "SELECT idle_until - idle_since > interval '3 s' FROM partition_progress WHERE partition = 2";
    retail_testbed::eventually("partition 2 is idle for long enough", async || {
        events([4000, 10]);
        longest = longest.max(last.elapsed());
        last = Instant::now();
        (case.try_text(idle).await.as_deref() == Some("true")).then_some(())
    })
    .await;
    let closed = case.text("SELECT count(*) FROM final_rows").await;
    longest = longest.max(last.elapsed());
    (longest, closed)
}

#[tokio::test]
async fn partition_with_valid_events_is_not_idle() {
    // A busy machine may pause the test for so long that the partition is idle.
    let closed = retail_testbed::eventually("no pause is as long as idleTimeout", async || {
        let (longest, closed) = closed_beside_valid_events().await;
        (longest < SECOND).then_some(closed)
    })
    .await;
    assert_eq!(closed, "0");
}

#[tokio::test]
async fn partition_with_lag_holds_windows_open() {
    let case = Case::shared().spec("watermark: {idleTimeout: 24h}").start().await;
    let _processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000), ("A", "1", 100_000)]);
    until_consumed(&case, 3).await;
    case.topic.purchases(1, &[("B", "1", 10)]);
    until_consumed(&case, 4).await;
    assert_eq!(case.retail().await[..2], ["0 300 A 1 1 1 open", "0 300 B 1 1 1 open"]);
    case.topic.purchases(1, &[("B", "1", 4000)]);
    until(&case, "the window is closed", "SELECT count(*) = 2 FROM final_rows").await;
    case.assert_exact().await;
}

#[tokio::test]
async fn windows_skipped_by_locked_close_are_closed_later() {
    let case = Case::shared().partitions(1).start().await;
    let _processor = start(&case, &["--workers", "1"]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    let other = case.client().await;
    other.batch_execute("BEGIN; SELECT FROM pipeline FOR UPDATE").await.unwrap();
    case.topic.purchases(0, &[("A", "1", 4000)]);
    until_consumed(&case, 2).await;
    other.batch_execute("ROLLBACK").await.unwrap();
    until(&case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    case.assert_exact().await;
}

#[tokio::test]
async fn all_partitions_idle_hold_keeps_watermark() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s, whenIdle: Hold}").start().await;
    let _processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until(&case, "both are idle", "SELECT count(*) = 2 AND bool_and(idle_until IS NOT NULL) FROM partition_progress")
        .await;
    // After the second confirmation, the effects of the first are complete.
    let confirmed = case.text("SELECT max(idle_until) FROM partition_progress").await;
    let again = format!("SELECT min(idle_until) > '{confirmed}' FROM partition_progress");
    until(&case, "both are idle still", &again).await;
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open"]);
}

#[tokio::test]
async fn all_partitions_idle_follow_clock_moves_watermark() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s, whenIdle: FollowClock}").start().await;
    let _processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until(&case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    case.topic.purchases(0, &[("A", "1", 1)]);
    until_consumed(&case, 2).await;
    assert_eq!(case.ledger().await[0], "2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps");
    case.assert_exact().await;
}

#[tokio::test]
async fn until_caught_up_without_records_ends_at_once() {
    let case = Case::shared().start().await;
    catch_up(&case).await;
    case.topic.purchases(1, &[("A", "1", 0)]);
    catch_up(&case).await;
    catch_up(&case).await;
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open"]);
}

/// Times of records are seconds after the beginning of 2025.
#[tokio::test]
async fn start_position_is_that_of_the_first_start() {
    for (position, first, all) in
        [("Latest", "0 = 0 applied", "1 = 1 applied"), ("2025-01-01T00:00:02Z", "2 = 2 applied", "3 = 3 applied")]
    {
        let case = Case::shared().partitions(1).start_position(position).start().await;
        case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 1), ("A", "1", 2), ("A", "1", 3)]);
        catch_up(&case).await;
        let ledger = case.ledger().await;
        assert!(ledger[0].starts_with(first), "{position}: {ledger:?}");
        case.topic.purchases(0, &[("A", "1", 4)]);
        catch_up(&case).await;
        let ledger = case.ledger().await;
        assert!(ledger[0].starts_with(all), "{position}: {ledger:?}");
        case.assert_exact().await;
    }
}

#[tokio::test]
async fn producer_clock_ahead_makes_no_other_event_late() {
    let case = Case::shared().partitions(1).start().await;
    // Event time half an hour ahead of the record's timestamp: allowed, but the watermark does not pass that timestamp.
    let value = |seconds| Some(purchase("A", "1", seconds));
    case.topic.send(&[
        Sent { partition: 0, timestamp: 3600, value: value(3600 + 1800) },
        Sent { partition: 0, timestamp: 3601, value: value(1) },
    ]);
    catch_up(&case).await;
    assert_eq!(case.ledger().await, ["2 = 2 applied + 0 late + 0 invalid + 0 future + 0 gaps"]);
    let observed =
        format!("SELECT extract(epoch FROM max_observed_time)::bigint = {} FROM partition_progress", at(3600));
    assert_eq!(case.text(&observed).await, "true");
}

/// Real producers write their clock into record and event: only a timestamp of the brokers limits a wrong one.
#[tokio::test]
async fn producer_with_a_clock_ahead_makes_no_punctual_event_late() {
    let now = retail_store::clock().as_micros() / 1_000_000 - at(0);
    let fifty_minutes = 50 * 60;
    for (timestamp_type, late) in [(None, 0), (Some("CreateTime"), 100)] {
        let case = Case::shared()
            .partitions(1)
            .timestamp_type(timestamp_type)
            .spec("window: 1m")
            .spec("watermark: {delay: 5m}")
            .start()
            .await;
        case.topic.purchases(0, &[("A", "1", now + fifty_minutes)]);
        case.topic.purchases(0, &vec![("B", "1", now); 100]);
        let mut processor = start(&case, &["--until-caught-up"]);
        assert_eq!(processor.exit_code(LIMIT).await, 0);
        let applied = 101 - late;
        assert_eq!(
            case.ledger().await,
            [format!("101 = {applied} applied + {late} late + 0 invalid + 0 future + 0 gaps")]
        );
        let warns = processor.output().contains("so one clock can close windows up to 1h early");
        assert_eq!(warns, timestamp_type.is_some(), "{}", processor.output());
        case.assert_exact().await;
    }
}

#[tokio::test]
async fn record_without_a_timestamp_moves_no_time() {
    let case = Case::shared().partitions(1).start().await;
    let year_2100 = 75 * 365 * 86_400;
    case.topic.purchases(0, &[("A", "1", 4000)]);
    case.topic.without_timestamp(0, &purchase("A", "1", year_2100));
    case.topic.without_timestamp(0, &purchase("A", "1", 400));
    case.topic.without_timestamp(0, &purchase("A", "1", 299));
    case.topic.purchases(0, &[("A", "1", 4001)]);
    catch_up(&case).await;
    assert_eq!(case.ledger().await, ["5 = 3 applied + 1 late + 1 invalid + 0 future + 0 gaps"]);
    let letter = "SELECT concat_ws(' ', reason, record_time IS NULL, date_part('year', event_time), amount) FROM dead_letter WHERE \"offset\" = 1";
    assert_eq!(case.text(letter).await, "no_record_time t 2099 1.000000");
    case.assert_exact().await;
}

/// A transaction with dead letters of 64 KiB each is at most one of them larger than 16 MiB. While Postgres is locked, the consumer
/// fetches far more.
#[tokio::test]
async fn batch_of_large_dead_letters_is_bounded() {
    let case = Case::shared().partitions(1).start().await;
    let large = "x".repeat(64 << 10);
    let records: Vec<Sent> =
        (0..800).map(|second| Sent { partition: 0, timestamp: second, value: Some(large.clone().into()) }).collect();
    case.topic.send(&records);
    let locked = case.client().await;
    locked.batch_execute("BEGIN; LOCK TABLE dead_letter IN SHARE MODE").await.unwrap();
    let _processor = start(&case, &["--workers", "1"]);
    let waits = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'",
        case.settings.pipeline.schema
    );
    until(&case, "a commit waits", &waits).await;
    locked.batch_execute("ROLLBACK").await.unwrap();
    until_consumed(&case, 800).await;
    let largest = "SELECT max(bytes) FROM (SELECT sum(octet_length(payload)) AS bytes FROM dead_letter GROUP BY xmin::text) AS commits";
    let largest: u64 = case.text(largest).await.parse().unwrap();
    assert!(largest <= (16 << 20) + (64 << 10), "{largest}");
}

#[tokio::test]
async fn signal_commits_before_the_trigger() {
    let case = Case::shared().spec("trigger: 1h").start().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    // The signal may arrive before the second batch was read: repeat until it arrives after that.
    retail_testbed::eventually("a signal finds a batch that waits", async || {
        let mut processor = start(&case, &["--workers", "1"]);
        until(&case, "the first batch is committed", "SELECT sum(consumed) > 0 FROM ledger").await;
        let before = case.text("SELECT sum(consumed) FROM ledger").await;
        produce(&case, 5000, 1).await;
        processor.signal("TERM");
        assert_eq!(processor.exit_code(LIMIT).await, 0);
        (case.text("SELECT sum(consumed) FROM ledger").await != before).then_some(())
    })
    .await;
    case.assert_exact().await;
}
