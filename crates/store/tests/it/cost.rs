//! Measures the CPU time of Postgres for a commit by the number of changed groups, and for compacting and closing afterwards.

use retail_engine::{Money, Row, Sums, Timestamp};
use retail_store::{Commit, Store, provision};
use retail_testbed::{Case, Postgres, at};

use crate::steps;

/// Number of commits that change all groups of a window before it closes.
const COMMITS: i64 = 10;

/// Number of measurements.
const ROUNDS: usize = 5;

/// The cost of one window: milliseconds of CPU time of the session's server process, and bytes of the write-ahead log.
#[derive(Clone, Copy, Default, Debug)]
struct Cost {
    /// The first commit.
    new: f64,
    /// The median of the other commits.
    again: f64,
    wal: f64,
    /// All compactions.
    compact: f64,
    /// Reading all rows of `retail` once, before the last compaction.
    read: f64,
    close: f64,
    /// Number of rows that were closed.
    rows: i64,
}

/// The groups that each commit changes.
#[derive(Clone, Copy, Debug)]
enum Groups {
    /// The same groups in each commit.
    Same(usize),
    /// Random groups of 50,000.
    Random(usize),
}

/// A pipeline with one partition and generated batches.
struct Bench {
    case: Case,
    store: Store,
    /// The server process of the session.
    pid: i32,
    epoch: i64,
    offset: i64,
}

impl Bench {
    async fn new(postgres: &Postgres) -> Self {
        let case = Case::on("127.0.0.1:1", &postgres.url()).partitions(1).build();
        case.apply_schema().await;
        let (store, epoch) = steps::owner(&case).await;
        let pid = store.session().query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        Self { case, store, pid, epoch, offset: 0 }
    }

    /// A batch that changes groups of a window, each by one event.
    fn batch(&mut self, window: i64, groups: Groups) -> Commit {
        let row = |group: usize| {
            let hash = hash(group as u64 * 7919 + self.offset as u64);
            let (quantity, price) = (1 + (hash >> 8) as i64 % 9, i128::from(hash >> 16) % 100_000 * 10_000);
            let sums = Sums {
                events: 1,
                price: Money::from_millionths(price),
                quantity,
                amount: Money::from_millionths(price * i128::from(quantity)),
            };
            let payment_method: &str = ["COD", "Credit Card", "Net Banking", "UPI"][group % 4];
            let window_start = Timestamp::from_secs(at(window * 300));
            let dimensions = Box::new([format!("category {:05}", group / 4).into(), payment_method.into()]);
            Row { window_start, dimensions, sums, more: Box::default() }
        };
        let rows = match groups {
            Groups::Same(count) => (0..count).map(row).collect(),
            Groups::Random(count) => {
                let first = self.offset as u64 * 1_000_003;
                let groups: std::collections::BTreeSet<usize> =
                    (first..).map(|number| (hash(number) % 50_000) as usize).take(count).collect();
                groups.into_iter().map(row).collect()
            }
        };
        self.moved(rows, window * 300)
    }

    fn moved(&mut self, rows: Vec<Row>, seconds: i64) -> Commit {
        let commit = steps::commit(self.epoch, self.offset, rows, seconds);
        self.offset += 1;
        commit
    }

    /// The end of the write-ahead log.
    async fn wal(&self) -> i64 {
        let end = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        self.store.session().query_one(end, &[]).await.unwrap().get(0)
    }

    /// CPU time of the server process of the session so far, in milliseconds.
    fn cpu(&self) -> f64 {
        let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).unwrap();
        schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
    }

    /// Measures one window, from its first commit until it is closed.
    async fn window(&mut self, window: i64, groups: Groups) -> Cost {
        let mut cost = Cost::default();
        let mut again = Vec::new();
        let mut changed = 0;
        for number in 0..COMMITS {
            let commit = self.batch(window, groups);
            let (wal, cpu) = (self.wal().await, self.cpu());
            self.store.commit(&commit).await.unwrap();
            let took = self.cpu() - cpu;
            if number == 0 {
                cost.new = took;
            } else {
                again.push(took);
                changed += self.wal().await - wal;
            }
            if number + 1 == COMMITS {
                let read =
                    "SELECT count(*), sum(total_amount), max(running_total) FROM {schema}.retail WHERE NOT final";
                let cpu = self.cpu();
                self.store.session().query(read, &[]).await.unwrap();
                cost.read = self.cpu() - cpu;
            }
            let cpu = self.cpu();
            while self.store.compact().await.unwrap() > 0 {}
            cost.compact += self.cpu() - cpu;
        }
        cost.wal = changed as f64 / again.len() as f64;
        cost.again = median(again);
        let passed = self.moved(Vec::new(), window * 300 + 300 + 3600);
        self.store.commit(&passed).await.unwrap();
        let cpu = self.cpu();
        cost.rows = self.store.close_windows(true).await.unwrap().unwrap().closed_rows;
        cost.close = self.cpu() - cpu;
        cost
    }
}

/// Mixes the bits of a number.
fn hash(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test]
#[ignore = "measures; nothing fails on a time"]
async fn commits_by_the_number_of_changed_groups() {
    let postgres = Postgres::private();
    println!("CPU milliseconds of Postgres, least and median of {ROUNDS}; compaction for each of {COMMITS} commits");
    println!(
        "| changed groups | first commit | another commit | its WAL, kB | compaction | reading all | closing | closing, µs a row |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let same = [1, 72, 100, 1000, 10_000, 50_000].map(Groups::Same);
    for groups in same.into_iter().chain([100, 10_000].map(Groups::Random)) {
        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            costs.push(measured(&postgres, groups).await);
        }
        let of = |part: fn(&Cost) -> f64| {
            let values: Vec<f64> = costs.iter().map(part).collect();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            format!("{least:.1} {:.1}", median(values))
        };
        let wal = median(costs.iter().map(|cost| cost.wal / 1e3).collect());
        println!(
            "| {groups:?} | {} | {} | {wal:.1} | {} | {} | {} | {} |",
            of(|cost| cost.new),
            of(|cost| cost.again),
            of(|cost| cost.compact / COMMITS as f64),
            of(|cost| cost.read),
            of(|cost| cost.close),
            of(|cost| cost.close * 1e3 / cost.rows as f64),
        );
    }
}

/// The second window of a new pipeline, when tables and statements are cached.
async fn measured(postgres: &Postgres, groups: Groups) -> Cost {
    let mut bench = Bench::new(postgres).await;
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
