//! Measures the cost of a commit in Postgres by the number of changed groups, and of compacting and closing afterwards.

use std::collections::BTreeMap;
use std::time::Instant;

use retail_engine::{Batch, Counts, Money, Progress, Row, Sums, Timestamp};
use retail_store::provision;
use retail_store::{Commit, Store};
use retail_testbed::{Case, Postgres, at};

/// Number of commits that change all groups of a window before it closes.
const COMMITS: i64 = 10;

/// Number of measurements.
const ROUNDS: usize = 5;

/// The cost of one window, in milliseconds and in bytes of the write-ahead log.
#[derive(Clone, Copy, Default, Debug)]
struct Cost {
    /// The first commit, which inserts the rows.
    new: f64,
    /// The median of the other commits, which update them.
    again: f64,
    wal: f64,
    /// All compactions.
    compact: f64,
    /// Reading all rows of `retail` once, before the last compaction.
    read: f64,
    close: f64,
    /// Commits, compactions and the close.
    all: f64,
}

/// A pipeline with one partition and generated batches.
struct Bench {
    case: Case,
    store: Store,
    epoch: i64,
    offset: i64,
}

impl Bench {
    async fn new(postgres: &Postgres, delta_log_from: usize) -> Self {
        let case = Case::on("127.0.0.1:1", &postgres.url()).partitions(1).build();
        case.apply_schema().await;
        let store = Store::open(&case.settings.database, &case.settings.pipeline, "cost").await.unwrap();
        let store = store.with_delta_log_from(delta_log_from);
        store.begin_partitions(&[0]).await.unwrap();
        let epoch = store.claim(&[0], "cost").await.unwrap()[0].epoch;
        Self { case, store, epoch, offset: 0 }
    }

    /// A batch that changes a number of groups of a window, each by one event.
    fn batch(&mut self, window: i64, groups: usize) -> Commit {
        let row = |group: usize| {
            let hash =
                (group as i64 * 7919 + self.offset).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64).unsigned_abs();
            let (quantity, price) = (1 + (hash >> 8) as i64 % 9, i128::from(hash >> 16) % 100_000 * 10_000);
            let sums = Sums {
                events: 1,
                price: Money::from_millionths(price),
                quantity,
                amount: Money::from_millionths(price * i128::from(quantity)),
            };
            let payment_method = ["COD", "Credit Card", "Net Banking", "UPI"][group % 4].into();
            let window_start = Timestamp::from_secs(at(window * 300));
            Row { window_start, category: format!("category {:05}", group / 4).into(), payment_method, sums }
        };
        let rows = (0..groups).map(row).collect();
        self.moved(rows, at(window * 300))
    }

    fn moved(&mut self, rows: Vec<Row>, time: i64) -> Commit {
        let (from, to) = (self.offset, self.offset + 1);
        self.offset = to;
        let counts = Counts { applied: 1, ..Counts::default() };
        let max_observed = Some(Timestamp::from_secs(time));
        let progress = Progress { partition: 0, from, to, max_observed, floor: Timestamp::EPOCH, counts };
        let batch = Batch { rows, partitions: vec![progress], ..Batch::default() };
        Commit { batch, epochs: BTreeMap::from([(0, self.epoch)]), idle: BTreeMap::new() }
    }

    /// The end of the write-ahead log.
    async fn wal(&self) -> i64 {
        let end = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        self.store.session().query_one(end, &[]).await.unwrap().get(0)
    }

    /// Measures one window, from its first commit until it is closed.
    async fn window(&mut self, window: i64, groups: usize) -> Cost {
        let mut cost = Cost::default();
        let mut again = Vec::new();
        let mut changed = 0;
        for number in 0..COMMITS {
            let commit = self.batch(window, groups);
            let wal = self.wal().await;
            let took = millis(async || self.store.commit(&commit).await.unwrap()).await;
            if number == 0 {
                cost.new = took;
            } else {
                again.push(took);
                changed += self.wal().await - wal;
            }
            if number + 1 == COMMITS {
                let read =
                    "SELECT count(*), sum(total_amount), max(running_total) FROM {schema}.retail WHERE NOT final";
                cost.read = millis(async || self.store.session().query(read, &[]).await.unwrap()).await;
            }
            if self.store.appends(&commit) {
                cost.compact += millis(async || self.store.compact_delta_log().await.unwrap()).await;
            }
        }
        cost.wal = changed as f64 / again.len() as f64;
        cost.all = cost.new + again.iter().sum::<f64>() + cost.compact;
        cost.again = median(again);
        let passed = self.moved(Vec::new(), at(window * 300 + 300 + 3600));
        self.store.commit(&passed).await.unwrap();
        let begun = Instant::now();
        let closed = self.store.close_windows(true).await.unwrap().unwrap();
        cost.close = begun.elapsed().as_secs_f64() * 1e3;
        assert_eq!(closed.closed_rows, groups as i64);
        cost.all += cost.close;
        cost
    }
}

async fn millis<T>(work: impl AsyncFnOnce() -> T) -> f64 {
    let begun = Instant::now();
    work().await;
    begun.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test]
#[ignore = "measures; nothing fails on a time"]
async fn commits_by_the_number_of_changed_groups() {
    let postgres = Postgres::private();
    println!("milliseconds, least and median of {ROUNDS}; compaction and all of it for each of {COMMITS} commits");
    println!(
        "| changed groups | way | first commit | another commit | its WAL, kB | compaction | reading all | closing | all of it |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for groups in [100, 300, 1000, 3000, 10_000, 20_000, 50_000, 100_000] {
        let mut ways = [("rows", usize::MAX, Vec::new()), ("delta log", 1, Vec::new())];
        for _ in 0..ROUNDS {
            for (_, delta_log_from, costs) in &mut ways {
                costs.push(measured(&postgres, *delta_log_from, groups).await);
            }
        }
        for (way, _, costs) in ways {
            let of = |part: fn(&Cost) -> f64| {
                let values: Vec<f64> = costs.iter().map(part).collect();
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                format!("{least:.1} {:.1}", median(values))
            };
            let wal = median(costs.iter().map(|cost| cost.wal / 1e3).collect());
            println!(
                "| {groups} | {way} | {} | {} | {wal:.0} | {} | {} | {} | {} |",
                of(|cost| cost.new),
                of(|cost| cost.again),
                of(|cost| cost.compact / COMMITS as f64),
                of(|cost| cost.read),
                of(|cost| cost.close),
                of(|cost| cost.all / COMMITS as f64),
            );
        }
    }
}

/// The second window of a new pipeline, when tables and statements are cached.
async fn measured(postgres: &Postgres, delta_log_from: usize, groups: usize) -> Cost {
    let mut bench = Bench::new(postgres, delta_log_from).await;
    bench.window(0, groups).await;
    let superuser = bench.case.client_at(&postgres.superuser_url()).await;
    for quiet in ["VACUUM ANALYZE", "CHECKPOINT"] {
        superuser.batch_execute(quiet).await.unwrap();
    }
    let cost = bench.window(1, groups).await;
    let settings = &bench.case.settings;
    provision::drop(&settings.database, &settings.pipeline.uid).await.unwrap();
    cost
}
