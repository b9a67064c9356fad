//! Closing in steps: bounded transactions, which other work does not wait for, and which continue after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use retail_connection::ErrorKind;
use retail_engine::{Batch, Counts, Money, Progress, Row, Sums, Timestamp};
use retail_store::{Commit, Store};
use retail_testbed::{Case, Feeder, at};

/// The dimensions of a group.
pub(crate) fn group_key(group: usize) -> Box<[Arc<str>]> {
    Box::new([format!("{group:06}").into(), "COD".into()])
}

/// A row of one event.
pub(crate) fn row(window: i64, group: usize) -> Row {
    let price = Money::from_millionths(group as i128 + 1);
    let sums = Sums { events: 1, price, quantity: 1, amount: price };
    let window_start = Timestamp::from_secs(at(window * 300));
    Row { window_start, dimensions: group_key(group), sums, more: Box::default() }
}

/// A commit of partition 0 from an offset, with these rows, that observes a time.
pub(crate) fn commit(epoch: i64, from: i64, rows: Vec<Row>, seconds: i64) -> Commit {
    let counts = Counts { applied: 1, ..Counts::default() };
    let max_observed = Some(Timestamp::from_secs(at(seconds)));
    let progress = Progress { partition: 0, from, to: from + 1, max_observed, floor: Timestamp::EPOCH, counts };
    let batch = Batch { rows, partitions: vec![progress], ..Batch::default() };
    Commit { batch, epochs: BTreeMap::from([(0, epoch)]), ..Commit::default() }
}

/// A store that owns partition 0, with its epoch.
pub(crate) async fn owner(case: &Case) -> (Store, i64) {
    let store = Store::open(&case.settings.database, &case.settings.pipeline, "owner").await.unwrap();
    store.begin_partitions(&vec![0; case.settings.pipeline.topic.new_partitions() as usize]).await.unwrap();
    let epoch = store.claim(&[0], "owner").await.unwrap()[0].epoch;
    (store, epoch)
}

#[tokio::test]
async fn large_window_closes_in_ranges_of_groups() {
    let case = Case::shared().partitions(1).start().await;
    let (mut store, epoch) = owner(&case).await;
    let groups = 25_100;
    store.commit(&commit(epoch, 0, (0..groups).map(|group| row(0, group)).collect(), 0)).await.unwrap();
    let later = [0, groups - 1].map(|group| row(1, group)).to_vec();
    store.commit(&commit(epoch, 1, later, 301)).await.unwrap();
    store.commit(&commit(epoch, 2, Vec::new(), 300 + 3600)).await.unwrap();
    let begun = store.begin_close(true, retail_store::clock()).await.unwrap().unwrap();
    assert_eq!(begun.closed_until, Timestamp::EPOCH);
    let step = store.close_step(true).await.unwrap().unwrap();
    assert_eq!((step.closed_rows, step.closing_until), (25_024, Timestamp::from_secs(at(300))));
    // The first groups of the window are final, the last ones are open, and all totals are right.
    assert_eq!(step.closed_until, Timestamp::from_secs(at(0)));
    let ends = "SELECT string_agg(concat_ws(' ', extract(epoch FROM window_start)::bigint - 1735689600, category,
                    trim_scale(running_total), final), ', ' ORDER BY window_start, category)
                FROM retail WHERE category IN ('000000', '025099')";
    assert_eq!(
        case.text(ends).await,
        "0 000000 0.000001 t, 0 025099 0.0251 f, 300 000000 0.000002 f, 300 025099 0.0502 f"
    );
    // The worker crashes here, and another one continues.
    drop(store);
    let (mut next_owner, _) = owner(&case).await;
    let closed = next_owner.close_windows(true).await.unwrap().unwrap();
    assert_eq!((closed.closed_rows, closed.closed_until), (76, Timestamp::from_secs(at(300))));
    assert_eq!(
        case.text(ends).await,
        "0 000000 0.000001 t, 0 025099 0.0251 t, 300 000000 0.000002 f, 300 025099 0.0502 f"
    );
    assert_eq!(case.text("SELECT count(*) FROM final_rows").await, groups.to_string());
}

#[tokio::test]
async fn windows_with_few_groups_close_together() {
    let case = Case::shared().partitions(1).start().await;
    let (mut store, epoch) = owner(&case).await;
    let rows = (0..500).flat_map(|window| [row(window, 0), row(window, 1)]).collect();
    store.commit(&commit(epoch, 0, rows, 500 * 300 + 3600)).await.unwrap();
    assert_eq!(store.close_windows(true).await.unwrap().unwrap().closed_rows, 1000);
    // One pack of each of 391 windows, and the others.
    let statements = "SELECT string_agg(n, ', ') FROM (
                          SELECT concat_ws(' ', count(DISTINCT window_start), count(*)) AS n FROM final_rows
                          GROUP BY closed_at ORDER BY closed_at) c";
    assert_eq!(case.text(statements).await, "391 782, 109 218");
    let wrong = "SELECT count(*) FROM (
                     SELECT running_total <> sum(total_amount) OVER (PARTITION BY category ORDER BY window_start) AS wrong
                     FROM retail) r WHERE wrong";
    assert_eq!(case.text(wrong).await, "0");
    let totals = "SELECT string_agg(trim_scale(total_amount)::text, ', ' ORDER BY category) FROM totals";
    assert_eq!(case.text(totals).await, "0.0005, 0.001");
}

#[tokio::test]
async fn begun_close_continues_after_a_crash() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1", &[10, 310, 4300]);
    feeder.commit(&[]).await.unwrap();
    assert!(feeder.store.begin_close(true, retail_store::clock()).await.unwrap().is_some());
    // The step is rolled back, as by a crash of worker or server.
    feeder.store.session().batch("BEGIN").await.unwrap();
    assert_eq!(feeder.store.close_step(true).await.unwrap().unwrap().closed_rows, 2);
    feeder.store.session().batch("ROLLBACK").await.unwrap();
    assert_eq!(case.text("SELECT count(*) FROM final_rows").await, "0");
    let mut another = Feeder::new(&case, "b").await;
    assert_eq!(another.close().await.closed_rows, 2);
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 final", "300 600 A 1 1 2 final", "4200 4500 A 1 1 3 open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_a_processor_waits_for_no_close() {
    let case = Case::shared().partitions(2).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.store.bind_topic("topic").await.unwrap();
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.purchases(1, "1", &[10, 4000]);
    feeder.commit(&[]).await.unwrap();
    feeder.store.begin_close(true, retail_store::clock()).await.unwrap();
    feeder.store.session().batch("BEGIN").await.unwrap();
    assert_eq!(feeder.store.close_step(true).await.unwrap().unwrap().closed_rows, 1);

    // Everything that a starting processor does, with one more partition, while the step is not committed.
    let starting = async {
        let mut starting = Feeder::new(&case, "b").await;
        assert_eq!(starting.store.bind_topic("topic").await.unwrap(), "topic");
        starting.claim(&[0, 1, 2]).await;
        // The added partition begins with the windows that are being closed.
        starting.purchases(2, "1", &[10, 310]);
        starting.commit(&[]).await.unwrap();
        assert_eq!(starting.store.close_windows(false).await.unwrap(), None);
    };
    tokio::time::timeout(Duration::from_secs(8), starting).await.expect("a lock has a limit of 10 seconds");
    feeder.store.session().batch("COMMIT").await.unwrap();
    assert_eq!(case.ledger().await[2], "2 = 1 applied + 1 late + 0 invalid + 0 future + 0 gaps");
}

/// Workers take each other's partitions, commit them in any order, and close: all lock the same rows at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn commits_claims_and_closes_never_deadlock() {
    let partitions: Vec<i32> = (0..16).collect();
    let case = Case::shared().partitions(16).spec("watermark: {delay: 0s, idleTimeout: 1h}").start().await;
    let mut workers = Vec::new();
    for worker in 0..6_usize {
        let mut feeder = Feeder::new(&case, "worker").await;
        let partitions = partitions.clone();
        workers.push(tokio::spawn(async move {
            let (mut done, mut fenced) = (0, 0);
            for round in 0..40 {
                feeder.engine.reset();
                feeder.claim(&partitions).await;
                // Only one partition advances, so that closing locks the others, which are idle.
                feeder.purchases(worker as i32, "1", &[round * 300]);
                let mut commit = feeder.take_commit(&partitions);
                commit.batch.partitions.rotate_left(worker * 3);
                if worker % 2 == 0 {
                    commit.batch.partitions.reverse();
                }
                match feeder.store.commit(&commit).await {
                    Ok(_) => done += 1,
                    Err(error) if error.kind == ErrorKind::Fenced => fenced += 1,
                    Err(error) => panic!("{error}"),
                }
                feeder.store.close_windows(false).await.unwrap();
            }
            (done, fenced)
        }));
    }
    let mut all = (0, 0);
    for worker in workers {
        let (done, fenced) = worker.await.unwrap();
        all = (all.0 + done, all.1 + fenced);
    }
    assert!(all.0 > 10 && all.1 > 10, "{all:?} commits were done and fenced");
}

/// A long transaction keeps the index entries of deleted rows: searching through them would make each close dearer.
#[tokio::test]
async fn close_is_cheap_beside_a_long_transaction() {
    let case = Case::shared().partitions(1).spec("watermark: {delay: 0s}").start().await;
    let (mut store, epoch) = owner(&case).await;
    let (reader, closer) = (case.client().await, case.client().await);
    // The buffers that a close reads: of one window with one group, and of nothing.
    let buffers = async |window: i64| -> [i64; 2] {
        let mut reads = [0; 2];
        for read in &mut reads {
            let identity = "SELECT id || ' ' || uid FROM pipeline";
            let explain = format!(
                "EXPLAIN (ANALYZE, BUFFERS, TIMING off)
                 SELECT FROM begin_close(({identity}), '1m', NULL, true), LATERAL close_step(({identity}), true)"
            );
            let rows = closer.query(&explain, &[]).await.unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let line = lines.iter().find(|line| line.contains("Buffers: shared hit=")).unwrap();
            *read = line.split("hit=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        }
        let closed = format!("SELECT count(*) FROM final_rows WHERE window_start = to_timestamp({})", at(window * 300));
        assert_eq!(case.text(&closed).await, "1");
        reads
    };
    let mut before = [0; 2];
    for window in 0..3 {
        store.commit(&commit(epoch, window, vec![row(window, 0)], (window + 1) * 300)).await.unwrap();
        before = buffers(window).await;
    }
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM retail").await.unwrap();
    for number in 3..7 {
        let rows = (0..20_000).map(|group| row(3, group)).collect();
        store.commit(&commit(epoch, number, rows, 4 * 300)).await.unwrap();
    }
    assert_eq!(store.close_windows(true).await.unwrap().unwrap().closed_rows, 20_000);
    let mut after = [0; 2];
    for window in 4..7 {
        store.commit(&commit(epoch, window + 3, vec![row(window, 0)], (window + 1) * 300)).await.unwrap();
        after = buffers(window).await;
    }
    reader.batch_execute("ROLLBACK").await.unwrap();
    assert!(after[0] < before[0] + 200 && after[1] < before[1] + 100, "{before:?} buffers before, {after:?} after");
}
