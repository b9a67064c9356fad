//! The delta log receives the sums of open windows, and how they are packed does not affect readers.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_store::Outcome;
use retail_testbed::Feeder;
use retail_testbed::{Case, Sent, at, purchase};

/// Number of deltas in the delta log.
async fn deltas(case: &Case) -> i64 {
    case.text("SELECT coalesce(sum(cardinality(groups)), 0) FROM delta_log").await.parse().unwrap()
}

/// Compacts every window and bucket that is due, for all sessions that appended to them. Returns the number of merged deltas.
async fn compact_all(case: &Case) -> i64 {
    let compact = "
        SELECT merged FROM (SELECT array_agg(window_start) AS windows, array_agg(bucket) AS buckets FROM (
            SELECT DISTINCT window_start, bucket FROM delta_log) k) k, pipeline p,
            LATERAL compact(p.id || ' ' || p.uid, k.windows, k.buckets, false)";
    case.text(compact).await.parse().unwrap()
}

/// The view that reads all open rows at once contains the open rows of `retail`.
pub(crate) async fn assert_open_rows_agree(case: &Case) {
    let agree = "
        SELECT (SELECT count(*) FROM retail WHERE NOT final) = (SELECT count(*) FROM retail_open_all)
               AND NOT EXISTS (SELECT * FROM retail WHERE NOT final EXCEPT ALL SELECT * FROM retail_open_all)";
    assert_eq!(case.text(agree).await, "true");
}

/// All rows of `retail`, without their timestamps.
async fn rows(case: &Case) -> Vec<String> {
    assert_open_rows_agree(case).await;
    let rows = "
        SELECT concat_ws(' ', window_start, window_end, category, payment_method, avg_price, total_quantity, total_amount,
                         running_total, final, events)
        FROM retail ORDER BY window_start, category, payment_method";
    case.query(rows).await.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn commit_appends_one_row_per_window_and_bucket() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.groups(0, 0..66, "1", 10);
    feeder.groups(0, 0..2, "2", 310);
    feeder.groups(0, 4..7, "2", 310);
    feeder.commit(&[]).await.unwrap();
    let packs = case
        .query(
            "SELECT concat_ws(' ', extract(epoch FROM window_start)::bigint - 1735689600, bucket, dense, cardinality(groups),
                              groups[1], events[cardinality(groups)], amounts[1:5])
             FROM delta_log ORDER BY window_start, bucket",
        )
        .await;
    assert_eq!(
        packs.iter().map(|row| row.get(0)).collect::<Vec<String>>(),
        [
            "0 0 t 64 0 1 {1000000,1000000,1000000,1000000,1000000}",
            "0 1 t 2 64 1 {1000000,1000000}",
            "300 0 t 7 0 1 {2000000,2000000,0,0,2000000}",
        ]
    );
    // Groups keep their ids, also for another session; a few groups of a bucket are not filled up with zeros.
    let mut another = Feeder::new(&case, "b").await;
    another.claim(&[1]).await;
    another.groups(1, 64..67, "4", 10);
    another.groups(1, 30..31, "8", 310);
    another.commit(&[]).await.unwrap();
    let sparse = "SELECT (groups, dense) FROM delta_log WHERE groups = '{30}'";
    assert_eq!(case.text(sparse).await, "({30},f)");
    assert_eq!(case.text("SELECT (count(*), max(id)) FROM groups").await, "(67,66)");
    let sums = "SELECT array_agg(trim_scale(total_amount) ORDER BY category) FROM retail WHERE category >= '00064'";
    assert_eq!(case.text(sums).await, "{5,5,4}");
    let running = "
        SELECT array_agg(trim_scale(running_total) ORDER BY window_start) FROM retail WHERE category = '00030'";
    assert_eq!(case.text(running).await, "{1,9}");
}

#[tokio::test]
async fn append_commits_with_offsets_and_dead_letters() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "0.10", &[10, 20, 310]);
    feeder.feed(&[Sent { partition: 1, timestamp: 0, value: Some(b"{".to_vec()) }]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(case.retail().await, ["0 300 A 2 0.2 0.2 open", "300 600 A 1 0.1 0.3 open"]);
    assert_eq!(case.ledger().await[1], "1 = 0 applied + 0 late + 1 invalid + 0 future + 0 gaps");
    assert_eq!(case.text("SELECT count(*) FROM dead_letter").await, "1");
    assert_eq!(deltas(&case).await, 2);
}

#[tokio::test]
async fn fenced_append_is_rolled_back() {
    let case = Case::shared().start().await;
    let mut zombie = Feeder::new(&case, "zombie").await;
    zombie.claim(&[0, 1]).await;
    zombie.groups(0, 0..50, "1", 10);
    zombie.groups(1, 0..50, "1", 10);
    zombie.feed(&[Sent { partition: 0, timestamp: 0, value: None }]);
    let mut heir = Feeder::new(&case, "heir").await;
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
    let mut feeder = Feeder::new(&case, "a").await;
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
    let mut feeder = Feeder::new(&case, "a").await;
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
    let (mut a, mut b) = (Feeder::new(&case, "a").await, Feeder::new(&case, "b").await);
    a.claim(&[0]).await;
    b.claim(&[1]).await;
    // The groups are new only once.
    a.groups(0, 0..30, "0", 1000);
    a.commit(&[]).await.unwrap();
    for round in 0..5 {
        a.groups(0, 0..20, "1", round);
        b.groups(1, 10..30, "1", round);
        // One transaction stays open while the other begins and ends.
        a.store.session().batch("BEGIN").await.unwrap();
        a.commit(&[]).await.unwrap();
        b.commit(&[]).await.unwrap();
        b.store.compact().await.unwrap();
        a.store.session().batch("COMMIT").await.unwrap();
    }
    assert_eq!(
        case.text("SELECT array_agg(DISTINCT (category BETWEEN '00010' AND '00019', total_quantity)) FROM retail WHERE total_amount > 0")
            .await,
        r#"{"(f,5)","(t,10)"}"#
    );
    assert_eq!(case.text("SELECT count(*) FROM retail").await, "60");
}

#[tokio::test]
async fn closing_includes_the_delta_log() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
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
        r#"{"2025-01-01 00:05:00+00","2025-01-01 00:10:00+00","2025-01-01 01:05:00+00"}"#
    );
}

#[tokio::test]
async fn compaction_does_not_change_the_rows() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    for round in 0..4 {
        feeder.groups(0, round..10, "0.01", 10);
        feeder.groups(0, 0..2, "1", 310);
        feeder.commit(&[]).await.unwrap();
    }
    assert_eq!(feeder.store.compact().await.unwrap(), 0, "four rows are not merged");
    for round in 4..8 {
        feeder.groups(0, round..10, "0.01", 10);
        feeder.groups(0, 0..2, "1", 310);
        feeder.commit(&[]).await.unwrap();
    }
    let (before, stored) = (rows(&case).await, deltas(&case).await);
    assert_eq!(feeder.store.compact().await.unwrap(), stored);
    assert_eq!((deltas(&case).await, rows(&case).await), (12, before));
    assert_eq!(case.text("SELECT array_agg(dense) FROM delta_log").await, "{t,t}");
    // Merged deltas are merged again, with those of a window that closes.
    for round in 0..31 {
        feeder.groups(0, round % 10..round % 10 + 1, "0.01", 20);
        feeder.commit(&[]).await.unwrap();
    }
    let before = rows(&case).await;
    assert!(feeder.store.compact().await.unwrap() > 40);
    assert_eq!((deltas(&case).await, rows(&case).await), (12, before));
    feeder.groups(0, 0..1, "1", 4000);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(feeder.close().await.closed_rows, 10);
    assert_eq!(
        case.text("SELECT sum(quantity) FROM final_rows").await,
        (10 + 9 + 8 + 7 + 6 + 5 + 4 + 3 + 31).to_string()
    );
}

#[tokio::test]
async fn rows_of_a_bucket_are_bounded_by_compaction() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let mut most = 0;
    for round in 0..150 {
        // One random group of a bucket in each commit.
        let group = (round * 37 + 11) % 64;
        feeder.groups(0, group..group + 1, "1", 10);
        feeder.commit(&[]).await.unwrap();
        feeder.store.compact().await.unwrap();
        most = most.max(case.text("SELECT count(*) FROM delta_log").await.parse::<i64>().unwrap());
    }
    // 64 groups and 23 of one group, and up to three commits that were not looked at.
    assert!((5..=30).contains(&most), "{most}");
    assert_eq!(case.text("SELECT sum(total_quantity) FROM retail").await, "150");
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_excludes_closing_and_survives_a_crash() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    for _ in 0..5 {
        feeder.groups(0, 0..10, "1", 10);
        feeder.commit(&[]).await.unwrap();
    }
    let before = rows(&case).await;
    let dies = case.client().await;
    dies.batch_execute("BEGIN").await.unwrap();
    let compact = "SELECT merged FROM pipeline p, compact(p.id || ' ' || p.uid, '{2025-01-01}', '{0}', false)";
    assert_eq!(dies.query_one(compact, &[]).await.unwrap().get::<_, i64>(0), 50);
    assert_eq!(feeder.store.compact().await.unwrap(), 0);
    assert_eq!(feeder.store.close_windows(false).await.unwrap(), None);
    // Readers and commits do not wait.
    assert_eq!(rows(&case).await, before);
    feeder.groups(0, 0..10, "1", 20);
    feeder.commit(&[]).await.unwrap();
    let before = rows(&case).await;
    drop(dies);
    let merged = retail_testbed::eventually("the delta log can be compacted", async || {
        Some(feeder.store.compact().await.unwrap()).filter(|merged| *merged > 0)
    })
    .await;
    assert_eq!((merged, rows(&case).await), (60, before));
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
    let purchase = (0..120_u8, 0..1000_u16, 0..600_u16);
    let step = prop_oneof![
        6 => prop::collection::vec(purchase, 1..60).prop_map(Step::Commit),
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
    for _ in 0..2 {
        let case = Case::shared().partitions(1).spec("watermark: {delay: 15m}").start().await;
        let mut feeder = Feeder::new(&case, "a").await;
        feeder.claim(&[0]).await;
        pipelines.push((case, feeder));
    }
    let (mut closed, mut merged) = ([0; 2], 0);
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
                Step::Compact if at_ == 1 => merged += compact_all(case).await,
                Step::Compact => {}
            }
            seen.push(rows(case).await);
        }
        assert!(seen.iter().all(|rows| *rows == seen[0]), "step {number}, {step:?}: {seen:?}");
    }
    assert!(closed[0] > 100 && closed[1] == closed[0], "{closed:?}");
    assert!(merged > 100, "{merged}");
}
