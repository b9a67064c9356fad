//! Windows close at the right time, with the right rows, and exactly once.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use retail_connection::ErrorKind;
use retail_engine::{Clocks, Mark, Span, Timestamp, watermark};
use retail_store::{Idle, Outcome};
use retail_testbed::Feeder;
use retail_testbed::{Case, Sent, at};

#[tokio::test]
async fn window_closes_when_every_partition_has_passed_it() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(feeder.close().await.watermark, None, "partition 1 has no event yet");
    feeder.purchases(1, "2", &[20, 3899]);
    feeder.commit(&[]).await.unwrap();
    let closed = feeder.close().await;
    assert_eq!(
        (closed.watermark, closed.closed_rows, closed.open_windows),
        (Some(Timestamp::from_secs(at(299))), 0, 3)
    );
    feeder.purchases(1, "2", &[3900]);
    feeder.commit(&[]).await.unwrap();
    let closed = feeder.close().await;
    assert_eq!((closed.closed_until, closed.closed_rows, closed.open_windows), (Timestamp::from_secs(at(300)), 1, 2));
    assert_eq!(case.retail().await[0], "0 300 A 2 3 3 final");
    assert_eq!(feeder.close().await.closed_rows, 0);
}

#[tokio::test]
async fn idle_partition_is_passed_and_its_events_are_late() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    assert_eq!(feeder.commit(&[1]).await.unwrap().len(), 2);
    assert_eq!(feeder.close().await.closed_until, Timestamp::from_secs(at(300)));
    assert_eq!(
        case.text("SELECT lateness_floor FROM partition_progress WHERE partition = 1").await,
        "2025-01-01 00:05:00+00"
    );
    // The next confirmation returns the floor, by which later events are judged.
    for (partition, floor) in feeder.commit(&[1]).await.unwrap() {
        feeder.engine.raise_floor(partition, floor);
    }
    feeder.purchases(1, "1", &[299, 300]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.ledger().await[1], "2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps");
    assert_eq!(case.text("SELECT array_agg((\"offset\", extract(epoch FROM lateness_floor)::bigint - 1735689600)) FROM fate_rules WHERE partition = 1").await, r#"{"(0,300)"}"#);
}

#[tokio::test]
async fn idle_floor_race_closing_first_fences_the_commit() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.commit(&[1]).await.unwrap();
    // Partition 1 becomes active; its worker has judged records without the floor that is being raised.
    feeder.purchases(1, "1", &[20]);
    let judged_too_early = feeder.take_commit(&[]);
    assert_eq!(feeder.close().await.closed_rows, 1);
    let error = feeder.store.commit(&judged_too_early).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced);
    feeder.engine.reset();
    feeder.claim(&[0, 1]).await;
    feeder.purchases(1, "1", &[20]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.ledger().await[1], "1 = 0 applied + 1 late + 0 invalid + 0 future + 0 gaps");
}

#[tokio::test]
async fn close_past_invalid_records_fences_no_batch() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.commit(&[1]).await.unwrap();
    // A stream of invalid records does not end the idleness of partition 1, and no floor concerns it.
    let invalid = |timestamp| Sent { partition: 1, timestamp, value: Some(b"{}".to_vec()) };
    feeder.feed(&[invalid(1), invalid(2)]);
    let commit = feeder.take_commit(&[]);
    feeder.feed(&[invalid(3)]);
    assert_eq!(feeder.close().await.closed_rows, 1);
    assert_eq!(feeder.store.outcome(&commit).await.unwrap(), Outcome::NotCommitted);
    for (partition, floor) in feeder.store.commit(&commit).await.unwrap() {
        feeder.engine.raise_floor(partition, floor);
    }
    // The worker judges the next event by the raised floor, although the batch has an invalid record already.
    feeder.purchases(1, "1", &[20]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.ledger().await[1], "4 = 0 applied + 1 late + 3 invalid + 0 future + 0 gaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_floor_race_commit_first_cancels_the_closing() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.commit(&[1]).await.unwrap();
    feeder.purchases(1, "1", &[20]);
    feeder.store.session().batch("BEGIN").await.unwrap();
    feeder.commit(&[]).await.unwrap();

    let mut closer = Feeder::new(&case, "closer").await;
    let closing = tokio::spawn(async move { closer.close().await });
    retail_testbed::eventually("the closing waits for the commit", async || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closer' AND wait_event_type = 'Lock'";
        (case.text(waiting).await != "0").then_some(())
    })
    .await;
    feeder.store.session().batch("COMMIT").await.unwrap();
    assert_eq!(closing.await.unwrap().closed_rows, 0, "the partition has become active");
    assert_eq!(case.retail().await[0], "0 300 A 2 2 2 open");
}

#[tokio::test]
async fn added_partition_starts_with_the_closed_windows() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.purchases(1, "1", &[10, 4000]);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await;
    feeder.claim(&[2]).await;
    feeder.purchases(2, "1", &[10, 310]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.ledger().await[2], "2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_closing_closes_once() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1", &(0..50).map(|window| window * 300).collect::<Vec<_>>());
    feeder.commit(&[]).await.unwrap();
    let mut closings = Vec::new();
    for _ in 0..8 {
        let mut closer = Feeder::new(&case, "closer").await;
        closings.push(tokio::spawn(async move { closer.store.close_windows(false).await.unwrap() }));
    }
    let mut rows = 0;
    for closing in closings {
        rows += closing.await.unwrap().map_or(0, |closed| closed.closed_rows);
    }
    assert_eq!(rows, 37);
    assert_eq!(case.text("SELECT count(*) FROM final_rows").await, "37");
}

#[tokio::test]
async fn running_totals_equal_a_window_function_over_the_history() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    for round in 0..40_i64 {
        let seconds: Vec<i64> = (0..30).map(|i| round * 400 + (i * 7919 + round * 104_729) % 3600).collect();
        feeder.purchases(0, &format!("{}.{:02}", round % 7, round), &seconds);
        feeder.commit(&[]).await.unwrap();
        feeder.close().await;
        let wrong = "
            SELECT count(*) FROM (
                SELECT running_total <> sum(total_amount) OVER (PARTITION BY category, payment_method ORDER BY window_start) AS wrong
                FROM retail) r WHERE wrong";
        assert_eq!(case.text(wrong).await, "0", "round {round}");
    }
    assert!(
        case.text("SELECT count(*) FILTER (WHERE final) > 20 AND count(*) FILTER (WHERE NOT final) > 5 FROM retail")
            .await
            == "true"
    );
}

#[tokio::test]
async fn all_idle_watermark_holds_or_follows_the_clock() {
    for (when_idle, closes) in [("Hold", false), ("FollowClock", true)] {
        let case = Case::shared().spec(&format!("watermark: {{whenIdle: {when_idle}}}")).start().await;
        let mut feeder = Feeder::new(&case, "a").await;
        feeder.claim(&[0, 1]).await;
        feeder.purchases(0, "1", &[10, 20]);
        feeder.commit(&[0, 1]).await.unwrap();
        let closed = feeder.close().await;
        let follows_the_clock = closed.watermark > Some(Timestamp::from_secs(at(20)));
        assert_eq!((follows_the_clock, closed.closed_rows), (closes, i64::from(closes)), "{when_idle}");
    }
}

#[tokio::test]
async fn windows_passed_by_all_close_while_all_are_idle() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1, 2]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.purchases(1, "1", &[10, 5000]);
    // No close between the last commit and the proofs of idleness, because closing was slow. Partition 2 is empty.
    feeder.commit(&[0, 1, 2]).await.unwrap();
    let closed = feeder.close().await;
    assert_eq!((closed.watermark, closed.closed_rows), (Some(Timestamp::from_secs(at(400))), 1));
    let floors = "SELECT string_agg(extract(epoch FROM lateness_floor)::bigint - $1 || '', ' ' ORDER BY partition) FROM partition_progress";
    let floors = floors.replace("$1", &at(0).to_string());
    assert_eq!(case.text(&floors).await, format!("{} {} 300", -at(0), -at(0)));
}

#[tokio::test]
async fn follow_clock_holds_while_two_clocks_disagree() {
    let case = Case::shared().spec("watermark: {whenIdle: FollowClock}").start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    // A window that is open for half an hour, unless a clock jumps.
    let recently = retail_store::clock().as_micros() / 1_000_000 - at(0) - 1800;
    feeder.purchases(0, "1", &[recently]);
    feeder.commit(&[0, 1]).await.unwrap();
    let ten_years = Span::from_secs(10 * 365 * 86_400);
    let clock = retail_store::clock();
    // The server is ten years ahead of the worker, then the worker of the server.
    for (clock, sign) in [(clock.minus(ten_years), -1), (clock.plus(ten_years), 1)] {
        let closed = feeder.store.begin_close(true, clock).await.unwrap().unwrap();
        let of_all_partitions = Timestamp::from_secs(at(recently) - 3600);
        assert_eq!((closed.watermark, closed.held_by), (Some(of_all_partitions), None));
        let differ = closed.clock_ahead.unwrap() - sign * ten_years.as_micros();
        assert!(differ.abs() < 30_000_000, "{closed:?}");
        assert!(closed.closing_until <= of_all_partitions);
    }
    // Within 30 seconds, the watermark follows the earlier clock.
    let clock = retail_store::clock().minus(Span::from_secs(20));
    let closed = feeder.store.begin_close(true, clock).await.unwrap().unwrap();
    assert_eq!((closed.watermark, closed.clock_ahead), (Some(clock.minus(Span::from_secs(3600))), None));
    assert_eq!(
        case.retail().await,
        [format!("{0} {1} A 1 1 1 open", recently / 300 * 300, recently / 300 * 300 + 300)]
    );
}

#[tokio::test]
async fn clock_jump_does_not_make_partitions_idle() {
    // Workers measure idleness with a monotonic clock; the store only checks that the proof is recent. If the clock of the
    // store jumps in either direction, the proof looks stale, and windows stay open until the next one.
    for jump in ["- interval '1 year'", "+ interval '1 year'"] {
        let case = Case::shared().start().await;
        let mut feeder = Feeder::new(&case, "a").await;
        feeder.claim(&[0, 1]).await;
        feeder.purchases(0, "1", &[10, 4000]);
        feeder.commit(&[1]).await.unwrap();
        let jumped = format!("UPDATE partition_progress SET idle_until = idle_until {jump}");
        case.client().await.batch_execute(&jumped).await.unwrap();
        assert_eq!(feeder.close().await.watermark, None, "{jump}");
        feeder.commit(&[1]).await.unwrap();
        assert_eq!(feeder.close().await.closed_rows, 1, "{jump}");
    }
}

#[tokio::test]
async fn stale_proof_of_idleness_closes_no_window() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    // Postgres was unreachable for longer than idleTimeout after the batch was taken: partition 1 may have new records.
    let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    let commit = feeder.take_commit_proven(&[1], Idle { since: ago(200), until: ago(100) });
    feeder.store.commit(&commit).await.unwrap();
    assert_eq!(feeder.close().await.watermark, None);
    assert_eq!(case.text("SELECT lateness_floor = 'epoch' FROM partition_progress WHERE partition = 1").await, "true");
}

/// The rule exists in SQL and in Rust: both must agree on any state.
#[tokio::test(flavor = "multi_thread")]
async fn sql_watermark_equals_the_engines() {
    let case = Case::shared().start().await;
    let client = case.client().await;
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    });
    let partition = (prop::option::of(0..100_000_i64), prop::option::of(-200..100_i64));
    let states = prop::collection::vec(partition, 1..6);
    for _ in 0..300 {
        let state = states.new_tree(&mut runner).unwrap().current();
        client.batch_execute("DELETE FROM partition_progress").await.unwrap();
        let mut marks = Vec::new();
        for (partition, (max_observed, confirmed)) in state.iter().enumerate() {
            let insert = "
                INSERT INTO partition_progress (partition, start_offset, next_offset, lateness_floor, max_future, max_observed_time, idle_until)
                VALUES ($1, 0, 0, 'epoch', '1h', to_timestamp($2::bigint), clock_timestamp() + $3::bigint * interval '1 second')";
            client.execute(insert, &[&(partition as i32), &max_observed.map(at), confirmed]).await.unwrap();
            // The timeout is a minute; confirmations close to it would depend on the speed of the test.
            let idle = confirmed.is_some_and(|seconds| (-60..=0).contains(&seconds));
            marks.push(Mark { max_observed: max_observed.map(|seconds| Timestamp::from_secs(at(seconds))), idle });
        }
        if state.iter().any(|(_, confirmed)| confirmed.is_some_and(|s| (-70..-50).contains(&s) || (0..10).contains(&s)))
        {
            continue;
        }
        // Seconds by which the worker is ahead. Differences close to 30 would depend on the speed of the test.
        for ahead in [None, Some(0), Some(20), Some(-20), Some(50), Some(-50)] {
            let row = client
                .query_one(
                    "SELECT (extract(epoch FROM w.watermark) * 1000000)::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, w.held_by
                     FROM watermark('1 min', statement_timestamp() + $1::bigint * interval '1 second') w",
                    &[&ahead],
                )
                .await
                .unwrap();
            let (sql, now, held_by): (Option<i64>, i64, Option<i32>) = (row.get(0), row.get(1), row.get(2));
            let clocks = ahead.map(|ahead| Clocks {
                worker: Timestamp::from_micros(now + ahead * 1_000_000),
                server: Timestamp::from_micros(now),
            });
            let expected = watermark(&marks, Span::from_secs(3600), clocks).map(Timestamp::as_micros);
            let active = marks.iter().enumerate().filter(|(_, mark)| !mark.idle);
            let holder = active.min_by_key(|(_, mark)| mark.max_observed).map(|(partition, _)| partition as i32);
            assert_eq!(held_by, holder, "{state:?}");
            assert_eq!(sql, expected, "{state:?} {ahead:?}");
        }
    }
}
