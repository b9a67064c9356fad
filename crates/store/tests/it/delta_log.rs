//! The delta log receives commits that change many groups of a window, and does not affect readers.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_store::Outcome;
use retail_testbed::Feeder;
use retail_testbed::{Case, Sent, at, purchase};

/// A feeder that appends everything to the delta log.
async fn appending(case: &Case, name: &'static str) -> Feeder {
    Feeder::new(case, name).await.appending_from(1)
}

/// Number of deltas in the delta log.
async fn deltas(case: &Case) -> i64 {
    case.text("SELECT coalesce(sum(deltas), 0) FROM delta_log").await.parse().unwrap()
}

/// All rows of `retail`, without their timestamps.
async fn rows(case: &Case) -> Vec<String> {
    let rows = "
        SELECT concat_ws(' ', window_start, window_end, category, payment_method, avg_price, total_quantity, total_amount,
                         running_total, final)
        FROM retail ORDER BY window_start, category, payment_method";
    case.query(rows).await.iter().map(|row| row.get(0)).collect()
}

/// All rows of `retail`.
const EVERYTHING: &str =
    "SELECT string_agg(r::text, ' ' ORDER BY r.window_start, r.category, r.payment_method) FROM retail r";

#[tokio::test]
async fn window_with_many_changed_groups_goes_to_the_delta_log() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await.appending_from(3);
    feeder.claim(&[0]).await;
    feeder.groups(0, 0..2, "1", 10);
    feeder.groups(0, 0..3, "2", 310);
    let commit = feeder.take_commit(&[]);
    assert!(feeder.store.appends(&commit));
    feeder.store.commit(&commit).await.unwrap();
    assert_eq!(case.text("SELECT array_agg(category) FROM retail_open").await, "{00000,00001}");
    assert_eq!(
        case.text("SELECT (deltas, categories, amounts) FROM delta_log").await,
        r#"(3,"{00000,00001,00002}","{2.000000,2.000000,2.000000}")"#
    );
    // The same groups again, in reverse order.
    feeder.groups(0, 0..3, "4", 10);
    feeder.groups(0, 0..1, "8", 310);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(
        case.retail().await,
        [
            "0 300 00000 2 5 5 open",
            "0 300 00001 2 5 5 open",
            "0 300 00002 1 4 4 open",
            "300 600 00000 2 10 15 open",
            "300 600 00001 1 2 7 open",
            "300 600 00002 1 2 6 open",
        ]
    );
    feeder.groups(0, 0..2, "1", 310);
    let commit = feeder.take_commit(&[]);
    assert!(!feeder.store.appends(&commit));
}

#[tokio::test]
async fn append_commits_with_offsets_and_dead_letters() {
    let case = Case::shared().start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "0.10", &[10, 20, 310]);
    feeder.feed(&[Sent { partition: 1, timestamp: 0, value: Some(b"{".to_vec()) }]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.retail().await, ["0 300 A 2 0.2 0.2 open", "300 600 A 1 0.1 0.3 open"]);
    assert_eq!(case.ledger().await[1], "1 = 0 applied + 0 late + 1 invalid + 0 future + 0 gaps");
    assert_eq!(case.text("SELECT count(*) FROM dead_letter").await, "1");
    assert_eq!((case.text("SELECT count(*) FROM retail_open").await.as_str(), deltas(&case).await), ("0", 2));
}

#[tokio::test]
async fn fenced_append_is_rolled_back() {
    let case = Case::shared().start().await;
    let mut zombie = appending(&case, "zombie").await;
    zombie.claim(&[0, 1]).await;
    zombie.groups(0, 0..50, "1", 10);
    zombie.groups(1, 0..50, "1", 10);
    zombie.feed(&[Sent { partition: 0, timestamp: 0, value: None }]);
    let mut heir = appending(&case, "heir").await;
    heir.claim(&[1]).await;

    // The former owner still owns partition 0, but its part is rolled back, too.
    let commit = zombie.take_commit(&[]);
    assert_eq!(zombie.store.commit(&commit).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(zombie.store.outcome(&commit).await.unwrap(), Outcome::Fenced);
    assert_eq!((deltas(&case).await, case.retail().await.len()), (0, 0));
    assert_eq!(case.text("SELECT count(*) FROM dead_letter").await, "0");
    assert_eq!(case.text("SELECT sum(consumed) FROM ledger").await, "0");
}

#[tokio::test]
async fn failed_append_is_rolled_back() {
    let case = Case::shared().start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0]).await;
    let client = case.client().await;
    client
        .batch_execute("ALTER TABLE delta_log ADD CONSTRAINT small CHECK (window_start = '2025-01-01')")
        .await
        .unwrap();
    feeder.groups(0, 0..50, "1", 10);
    feeder.groups(0, 0..50, "1", 310);
    let commit = feeder.take_commit(&[]);
    assert_eq!(feeder.store.commit(&commit).await.unwrap_err().kind, ErrorKind::Other);
    assert_eq!((deltas(&case).await, case.text("SELECT sum(consumed) FROM ledger").await.as_str()), (0, "0"));
    client.batch_execute("ALTER TABLE delta_log DROP CONSTRAINT small").await.unwrap();
    assert_eq!(feeder.store.outcome(&commit).await.unwrap(), Outcome::NotCommitted);
    feeder.store.commit(&commit).await.unwrap();
    assert_eq!((deltas(&case).await, case.text("SELECT sum(consumed) FROM ledger").await.as_str()), (100, "100"));
}

#[tokio::test]
async fn repeated_append_counts_once() {
    let case = Case::shared().start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1", &[10]);
    let commit = feeder.take_commit(&[]);
    assert_eq!(feeder.store.outcome(&commit).await.unwrap(), Outcome::NotCommitted);
    feeder.store.commit(&commit).await.unwrap();
    assert_eq!(feeder.store.outcome(&commit).await.unwrap(), Outcome::Committed);
    assert_eq!(feeder.store.commit(&commit).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_do_not_wait() {
    let case = Case::shared().start().await;
    let (mut a, mut b) = (appending(&case, "a").await, appending(&case, "b").await);
    a.claim(&[0]).await;
    b.claim(&[1]).await;
    for round in 0..5 {
        a.groups(0, 0..20, "1", round);
        b.groups(1, 10..30, "1", round);
        // One transaction stays open while the other begins and ends.
        a.store.session().batch("BEGIN").await.unwrap();
        a.commit(&[]).await.unwrap();
        b.commit(&[]).await.unwrap();
        b.store.compact_delta_log().await.unwrap();
        a.store.session().batch("COMMIT").await.unwrap();
    }
    assert_eq!(
        case.text("SELECT array_agg(DISTINCT (category BETWEEN '00010' AND '00019', total_quantity)) FROM retail")
            .await,
        r#"{"(f,5)","(t,10)"}"#
    );
    assert_eq!(case.text("SELECT count(*) FROM retail").await, "30");
}

#[tokio::test]
async fn closing_includes_the_delta_log() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await.appending_from(2);
    feeder.claim(&[0]).await;
    feeder.groups(0, 0..2, "1", 10);
    feeder.groups(0, 0..2, "1", 310);
    feeder.commit(&[]).await.unwrap();
    feeder.groups(0, 1..2, "2", 20);
    feeder.groups(0, 0..2, "2", 620);
    feeder.groups(0, 0..1, "2", 4000);
    feeder.commit(&[]).await.unwrap();
    let closed = feeder.close().await;
    assert_eq!((closed.closed_until, closed.closed_rows), (Timestamp::from_secs(at(300)), 2));
    // Two windows with rows in the delta log, and one with rows in retail_open.
    assert_eq!(closed.open_windows, 3);
    assert_eq!(
        case.retail().await,
        [
            "0 300 00000 1 1 1 final",
            "0 300 00001 2 3 3 final",
            "300 600 00000 1 1 2 open",
            "300 600 00001 1 1 4 open",
            "600 900 00000 1 2 4 open",
            "600 900 00001 1 2 6 open",
            "3900 4200 00000 1 2 6 open",
        ]
    );
    assert_eq!(
        case.text("SELECT array_agg(window_start ORDER BY 1) FROM delta_log").await,
        r#"{"2025-01-01 00:05:00+00","2025-01-01 00:10:00+00"}"#
    );
}

#[tokio::test]
async fn compaction_does_not_change_the_rows() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0]).await;
    for round in 0..5 {
        feeder.groups(0, round..10, "0.01", 10);
        feeder.groups(0, 0..2, "1", 310);
        feeder.commit(&[]).await.unwrap();
    }
    let before = case.text(EVERYTHING).await;
    assert_eq!(deltas(&case).await, 50);
    assert_eq!(feeder.store.compact_delta_log().await.unwrap(), 10, "40 deltas for 10 groups are not merged");
    assert_eq!((deltas(&case).await, case.text(EVERYTHING).await), (42, before));
    feeder.groups(0, 0..1, "0.01", 20);
    feeder.commit(&[]).await.unwrap();
    let before = case.text(EVERYTHING).await;
    assert_eq!(feeder.store.compact_delta_log().await.unwrap(), 41);
    assert_eq!((deltas(&case).await, case.text(EVERYTHING).await), (12, before.clone()));
    // Merged deltas are merged again.
    for round in 0..31 {
        feeder.groups(0, round % 10..round % 10 + 1, "0.01", 20);
        feeder.commit(&[]).await.unwrap();
    }
    let before = case.text(EVERYTHING).await;
    assert_eq!(feeder.store.compact_delta_log().await.unwrap(), 41);
    assert_eq!((deltas(&case).await, case.text(EVERYTHING).await), (12, before));
    feeder.groups(0, 0..1, "1", 4000);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 10);
    assert_eq!(case.text("SELECT sum(total_quantity) FROM retail_final").await, "72");
}

#[tokio::test]
async fn delta_log_has_at_most_four_deltas_per_group() {
    let case = Case::shared().start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0]).await;
    for round in 0..60 {
        feeder.groups(0, (round * 7) % 40..(round * 7) % 40 + 10, "1", 10);
        feeder.commit(&[]).await.unwrap();
        feeder.store.compact_delta_log().await.unwrap();
        assert!(deltas(&case).await <= 4 * 50);
    }
    assert_eq!(case.text("SELECT sum(total_quantity) FROM retail").await, "600");
}

#[tokio::test]
async fn large_windows_are_packed_into_several_rows() {
    let case = Case::shared().start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0]).await;
    for _ in 0..5 {
        feeder.groups(0, 0..5000, "0.000001", 10);
        feeder.commit(&[]).await.unwrap();
    }
    assert_eq!(case.text("SELECT array_agg(deltas ORDER BY id) FROM delta_log WHERE id <= 2").await, "{4096,904}");
    let before = case.text(EVERYTHING).await;
    assert_eq!(feeder.store.compact_delta_log().await.unwrap(), 25_000);
    assert_eq!(case.text("SELECT array_agg(deltas ORDER BY deltas) FROM delta_log").await, "{904,4096}");
    assert_eq!(case.text(EVERYTHING).await, before);
    assert_eq!(
        case.text("SELECT (count(*), min(total_amount), max(total_amount)) FROM retail").await,
        "(5000,0.000005,0.000005)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_excludes_closing_and_survives_a_crash() {
    let case = Case::shared().start().await;
    let mut feeder = appending(&case, "a").await;
    feeder.claim(&[0]).await;
    for _ in 0..5 {
        feeder.groups(0, 0..10, "1", 10);
        feeder.commit(&[]).await.unwrap();
    }
    let before = case.text(EVERYTHING).await;
    let dies = Feeder::new(&case, "dies").await;
    dies.store.session().batch("BEGIN").await.unwrap();
    assert_eq!(dies.store.compact_delta_log().await.unwrap(), 50);
    assert_eq!(feeder.store.compact_delta_log().await.unwrap(), 0);
    assert_eq!(feeder.store.close_windows(false).await.unwrap(), None);
    // Readers and commits do not wait.
    assert_eq!(case.text(EVERYTHING).await, before);
    feeder.groups(0, 0..10, "1", 20);
    feeder.commit(&[]).await.unwrap();
    let before = case.text(EVERYTHING).await;
    drop(dies);
    let merged = retail_testbed::eventually("the delta log can be compacted", async || {
        Some(feeder.store.compact_delta_log().await.unwrap()).filter(|merged| *merged > 0)
    })
    .await;
    assert_eq!((merged, case.text(EVERYTHING).await), (60, before));
}

/// One step of a run.
#[derive(Clone, Debug)]
enum Step {
    /// Purchases: group, price in cents, seconds.
    Commit(Vec<(u8, u16, u16)>),
    Close,
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let purchase = (0..12_u8, 0..1000_u16, 0..600_u16);
    let step = prop_oneof![
        6 => prop::collection::vec(purchase, 1..30).prop_map(Step::Commit),
        1 => Just(Step::Close),
        2 => Just(Step::Compact),
    ];
    prop::collection::vec(step, 150)
}

#[tokio::test]
async fn rows_do_not_depend_on_the_path_of_deltas() {
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(5),
        failure_persistence: None,
        ..Default::default()
    });
    let steps = steps().new_tree(&mut runner).unwrap().current();
    let mut pipelines = Vec::new();
    for delta_log_from in [usize::MAX, 1, 6] {
        let case = Case::shared().partitions(1).spec("watermark: {delay: 15m}").start().await;
        let mut feeder = Feeder::new(&case, "a").await.appending_from(delta_log_from);
        feeder.claim(&[0]).await;
        pipelines.push((case, feeder));
    }
    let (mut closed, mut merged) = ([0; 3], [0; 3]);
    for (number, step) in steps.iter().enumerate() {
        let mut seen = Vec::new();
        for (at_, (case, feeder)) in pipelines.iter_mut().enumerate() {
            match step {
                Step::Commit(purchases) => {
                    let sent = |(group, cents, seconds): &(u8, u16, u16)| {
                        // Event time advances with the steps.
                        let seconds = number as i64 * 60 + i64::from(*seconds);
                        let price = format!("{}.{:02}", cents / 100, cents % 100);
                        let value = Some(purchase(&format!("{group:02}"), &price, seconds));
                        Sent { partition: 0, timestamp: seconds, value }
                    };
                    feeder.feed(&purchases.iter().map(sent).collect::<Vec<_>>());
                    feeder.commit(&[]).await.unwrap();
                }
                Step::Close => closed[at_] += feeder.close().await.closed_rows,
                Step::Compact => merged[at_] += feeder.store.compact_delta_log().await.unwrap(),
            }
            seen.push(rows(case).await);
        }
        assert!(seen.iter().all(|rows| *rows == seen[0]), "step {number}, {step:?}: {seen:?}");
    }
    assert!(closed[0] > 100 && closed.iter().all(|rows| *rows == closed[0]), "{closed:?}");
    assert!(merged[0] == 0 && merged[1] > 100 && merged[2] > 0, "{merged:?}");
}
