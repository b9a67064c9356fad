//! Many open windows: running totals are read from sums of spans, and are equal to those of all rows.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use retail_engine::{Money, Row};
use retail_store::Store;
use retail_testbed::{Case, eventually};

use crate::delta_log::assert_open_rows_agree;
use crate::plans::most_rows;
use crate::steps::{commit, owner, row};

/// Delay of the watermark of a case, in seconds.
const DELAY: i64 = 3600;

/// Random batches for one pipeline, and the sums that its rows must have.
struct Model {
    case: Case,
    store: Store,
    epoch: i64,
    offset: i64,
    random: Xoshiro256PlusPlus,
    /// Number of closed windows.
    closed: i64,
    /// The last observed time: the end of the last closed window, and the delay.
    observed: i64,
    /// Millionths by window and group.
    amounts: BTreeMap<(i64, usize), i128>,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let case = Case::shared().partitions(1).start().await;
        let (store, epoch) = owner(&case).await;
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { case, store, epoch, offset: 0, random, closed: 0, observed: 0, amounts: BTreeMap::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound as u64) as usize
    }

    async fn commit(&mut self, rows: Vec<Row>) {
        self.store.commit(&commit(self.epoch, self.offset, rows, self.observed)).await.unwrap();
        self.offset += 1;
    }

    /// Commits random groups of 100, in some windows of those that may be open.
    async fn add(&mut self, windows: usize, count: usize) {
        let mut added = BTreeMap::new();
        for _ in 0..count {
            let key = (self.closed + self.below(windows) as i64, self.below(100));
            let mut row = row(key.0, key.1);
            // Some sums of few rows exceed a bigint.
            let large = if self.below(20) == 0 { i128::from(i64::MAX) } else { 1_000_000 };
            let amount = i128::from(self.random.next_u64() >> 1) % large;
            row.sums.amount = Money::from_millionths(if self.below(3) == 0 { -amount } else { amount });
            added.insert(key, row);
        }
        for (key, row) in &added {
            *self.amounts.entry(*key).or_default() += row.sums.amount.as_millionths();
        }
        self.commit(added.into_values().collect()).await;
    }

    /// Closes some windows.
    async fn close(&mut self, windows: i64) {
        self.closed += windows;
        self.observed = self.closed * 300 + DELAY;
        self.commit(Vec::new()).await;
        self.store.close_windows(true).await.unwrap().unwrap();
    }

    async fn compact(&mut self) {
        // Closes nothing, but counts the open windows.
        self.store.close_windows(true).await.unwrap().unwrap();
        self.store.compact().await.unwrap();
    }

    async fn step(&mut self, windows: usize) {
        match self.below(8) {
            0 => {
                let closing = self.below(16) as i64;
                self.close(closing).await;
            }
            1 | 2 => self.compact().await,
            _ => self.add(windows, 40).await,
        }
    }

    /// Compares all rows of `retail` with the model.
    async fn assert_exact(&self) {
        let rows = "
            SELECT concat_ws(' ', (extract(epoch FROM window_start)::bigint - 1735689600) / 300, category::integer,
                             trunc(total_amount * 1000000), trunc(running_total * 1000000), final)
            FROM retail ORDER BY window_start, category";
        let rows: Vec<String> = self.case.query(rows).await.iter().map(|row| row.get(0)).collect();
        let mut running = BTreeMap::<usize, i128>::new();
        let expected = self.amounts.iter().map(|((window, group), amount)| {
            let total = running.entry(*group).or_default();
            *total += amount;
            format!("{window} {group} {amount} {total} {}", if *window < self.closed { 't' } else { 'f' })
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    async fn spans(&self) -> i64 {
        self.case.text("SELECT count(*) FROM span_sums").await.parse().unwrap()
    }
}

#[tokio::test]
async fn rows_agree_at_every_moment_over_a_hundred_windows() {
    let mut model = Model::new(1).await;
    let mut with_spans = 0;
    for _ in 0..60 {
        model.step(100).await;
        assert_open_rows_agree(&model.case).await;
        with_spans += i64::from(model.spans().await > 0);
    }
    model.assert_exact().await;
    assert!(with_spans > 30 && model.closed > 32, "{with_spans} {}", model.closed);
}

#[tokio::test]
async fn rows_agree_over_more_than_a_thousand_windows() {
    let mut model = Model::new(2).await;
    model.add(1100, 3000).await;
    for _ in 0..30 {
        model.step(1100).await;
    }
    model.compact().await;
    assert!(model.store.close_windows(true).await.unwrap().unwrap().open_windows > 1000);
    assert!(model.spans().await > 130, "two buckets have about 69 spans each");
    assert_open_rows_agree(&model.case).await;
    model.close(500).await;
    model.assert_exact().await;
    assert!(model.spans().await < 90);
    model.close(700).await;
    assert_eq!(model.spans().await, 0);
}

/// A range of the groups of a window is closed: the other ones are read from the same spans.
#[tokio::test]
async fn rows_agree_between_the_steps_of_a_close() {
    let mut model = Model::new(3).await;
    let groups = 25_100;
    model.commit((0..groups).map(|group| row(20, group)).collect()).await;
    let ends = (20..90).flat_map(|window| [row(window, 0), row(window, groups - 1)]).collect();
    model.commit(ends).await;
    model.compact().await;
    assert_eq!(model.spans().await, 2 * 5);
    model.observed = 21 * 300 + DELAY;
    model.commit(Vec::new()).await;
    model.store.begin_close(true, retail_store::clock()).await.unwrap().unwrap();
    let step = model.store.close_step(true).await.unwrap().unwrap();
    assert!(step.closed_until < step.closing_until);
    assert_open_rows_agree(&model.case).await;
    model.store.close_step(true).await.unwrap().unwrap();
    assert_open_rows_agree(&model.case).await;
}

/// The commit is visible to the second statement of the compaction only.
#[tokio::test(flavor = "multi_thread")]
async fn commit_during_a_compaction_into_spans_is_counted() {
    let mut model = Model::new(4).await;
    let rows = || (0..70).map(|window| row(window, 0)).collect::<Vec<_>>();
    for _ in 0..5 {
        model.commit(rows()).await;
    }
    let (client, compacting) = (model.case.client().await, model.case.client().await);
    client
        .batch_execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END';
             CREATE TRIGGER wait AFTER INSERT ON span_sums EXECUTE FUNCTION wait();
             SELECT pg_advisory_lock(4711)",
        )
        .await
        .unwrap();
    let compaction = tokio::spawn(async move {
        let compact = "
            SELECT merged FROM pipeline p, compact(p.id || ' ' || p.uid, ARRAY(SELECT DISTINCT window_start FROM delta_log),
                                                   array_fill(0, '{70}'), true)";
        compacting.query_one(compact, &[]).await.unwrap().get::<_, i64>(0)
    });
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted";
    eventually("the compaction waits", async || (model.case.text(waiting).await == "1").then_some(())).await;
    model.commit(rows()).await;
    client.batch_execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
    assert_eq!(compaction.await.unwrap(), 5 * 70);
    let rows = "SELECT string_agg(DISTINCT concat_ws(' ', in_span, events[1]), ', ') FROM delta_log";
    assert_eq!(model.case.text(rows).await, "f 1, t 5");
    assert_open_rows_agree(&model.case).await;
}

#[tokio::test]
async fn running_total_of_many_windows_reads_few_rows() {
    let mut model = Model::new(5).await;
    for group in 0..3 {
        model.commit((0..1000).map(|window| row(window, group)).collect()).await;
    }
    let newest = "SELECT running_total FROM retail WHERE window_start = '2025-01-04 11:15Z' AND category = '000001'";
    assert!(most_rows(&model.case, newest).await >= 3 * 999);
    model.compact().await;
    for analyzed in [false, true] {
        if analyzed {
            model.case.client().await.batch_execute("ANALYZE").await.unwrap();
        }
        // Three rows of each of up to 15 windows in the first and in the last span, and 61 spans.
        let rows = most_rows(&model.case, newest).await;
        assert!(rows <= 160, "a node returns {rows} rows (analyzed: {analyzed})");
    }
}
