//! Commits of different shapes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use retail_engine::{Batch, Counts, Money, Progress, Sums, Timestamp};
use retail_store::{Commit, Store};

use super::load::{OPEN_HOURS, window};
use super::meter::Meter;
use super::{APPLICATION, Loaded, Row};
use crate::report::grouped;
use crate::setup::PARTITIONS;

/// Runs of each shape.
const RUNS: usize = 6;

pub(super) const GROUPS_PER_CATEGORY: usize = 10;

/// In the order of their bytes, as the rows of a batch are.
const PAYMENT_METHODS: [&str; GROUPS_PER_CATEGORY] =
    ["card", "cash", "cheque", "crypto", "giftcard", "invoice", "points", "transfer", "voucher", "wallet"];

/// Groups of each window of the commit with many windows.
pub(super) const FEW_GROUPS: usize = 100;

/// Makes the batches of a worker that owns all partitions.
pub(super) struct Batches {
    epochs: BTreeMap<i32, i64>,
    /// The next offset of every partition.
    offset: i64,
    newest: Option<Timestamp>,
}

impl Batches {
    /// Claims all partitions.
    pub(super) async fn claim(store: &Store) -> Result<Self> {
        store.begin_partitions(&[0; PARTITIONS as usize]).await?;
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        let claimed = store.claim(&partitions, APPLICATION).await?;
        let epochs = claimed.iter().map(|claimed| (claimed.partition, claimed.epoch)).collect();
        Ok(Self { epochs, offset: 0, newest: None })
    }

    /// Returns the next offset.
    pub(super) const fn offset(&self) -> i64 {
        self.offset
    }

    /// Returns the next batch, with these rows and one record of each partition at `newest`.
    pub(super) fn next(&mut self, rows: Vec<retail_engine::Row>, newest: Option<Timestamp>) -> Commit {
        self.newest = newest.or(self.newest);
        let (from, to) = (self.offset, self.offset + 1);
        self.offset = to;
        let counts = Counts { applied: 1, ..Counts::default() };
        let progress =
            |partition| Progress { partition, from, to, max_observed: self.newest, floor: Timestamp::EPOCH, counts };
        let batch = Batch { rows, partitions: (0..PARTITIONS).map(progress).collect(), ..Batch::default() };
        Commit { batch, epochs: self.epochs.clone(), ..Commit::default() }
    }
}

/// Returns the rows of a batch: these groups in each window. `salt` makes the sums of batches different.
pub(super) fn rows(
    windows: impl IntoIterator<Item = Timestamp>,
    groups: &(impl IntoIterator<Item = usize> + Clone),
    salt: i64,
) -> Vec<retail_engine::Row> {
    let row = |window_start: Timestamp, group: usize| {
        let number = (group as i64).wrapping_mul(61).wrapping_add(salt * 13 + window_start.as_micros() / 3_600_000_000);
        let quantity = 3 + number % 7;
        let price = i128::from(number % 9973 + 100) * 10_000;
        let sums = Sums {
            events: 3,
            price: Money::from_millionths(price * 3),
            quantity,
            amount: Money::from_millionths(price * i128::from(quantity)),
        };
        let category = format!("category-{:04}", group / GROUPS_PER_CATEGORY).into();
        let dimensions = Box::new([category, PAYMENT_METHODS[group % GROUPS_PER_CATEGORY].into()]);
        retail_engine::Row { window_start, dimensions, sums, more: Box::default() }
    };
    windows.into_iter().flat_map(|window| groups.clone().into_iter().map(move |group| row(window, group))).collect()
}

/// Distinct groups in random order of appearance.
fn random(among: usize, count: usize, seed: u64) -> BTreeSet<usize> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut groups = BTreeSet::new();
    while groups.len() < count {
        groups.insert((random.next_u64() % among as u64) as usize);
    }
    groups
}

/// Measures commits.
pub(super) async fn run(loaded: &mut Loaded) -> Result<Vec<Row>> {
    let newest = window(OPEN_HOURS - 1);
    let all = loaded.size.open_groups();
    let windows = loaded.size.many_windows();
    // Newer than the loaded ones.
    let later = || (0..windows).map(|hour| window(OPEN_HOURS + hour));
    let mut measured = Vec::new();
    measured.push(
        shape(loaded, "a commit of 1 window × 72 groups", "as before", |salt| rows([newest], &(0..72), salt)).await?,
    );
    let name = format!("a commit of 1 window × {} groups", grouped(all as u64));
    measured.push(shape(loaded, &name, "", |salt| rows([newest], &(0..all), salt)).await?);
    for count in [100, all / 5] {
        let name = format!("a commit of 1 window × {} random groups of {}", grouped(count as u64), grouped(all as u64));
        let sparse = |salt: i64| rows([newest], &random(all, count, salt.unsigned_abs()), salt);
        measured.push(shape(loaded, &name, "", sparse).await?);
    }
    let name = format!("a commit of {} windows × {FEW_GROUPS} groups", grouped(windows.unsigned_abs()));
    measured.push(shape(loaded, &name, "50", |salt| rows(later(), &(0..FEW_GROUPS), salt)).await?);
    Ok(measured)
}

/// Measures commits of one shape. Closing and compaction between them are not part of the figures.
async fn shape(
    loaded: &mut Loaded,
    name: &str,
    aim: &str,
    rows: impl Fn(i64) -> Vec<retail_engine::Row>,
) -> Result<Row> {
    tracing::info!("{name}");
    let Loaded { case, store, batches, .. } = loaded;
    let meter = Meter::of(APPLICATION, case.session().await?).await?;
    let (mut costs, mut changed) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let rows = rows(batches.offset());
        changed = rows.len() as u64;
        let commit = batches.next(rows, None);
        costs.push(meter.measure(async { Ok(store.commit(&commit).await?) }).await?.0);
        // Compaction depends on the number of open windows, which closing counts.
        store.close_windows(true).await?;
        while store.compact().await? > 0 {}
    }
    Row::new(name, changed, aim, &costs)
}
