//! A model of the store: the protocol of the Postgres store as a plain value.
//!
//! One row per partition with an epoch. A batch is accepted only if epoch, offset and floor equal those that its worker
//! read. Sums are added. The watermark closes windows, whose rows never change again.

use std::collections::BTreeMap;
use std::sync::Arc;

use retail_engine::{Batch, Counts, DeadLetter, Mark, Money, Span, Start, Sums, Timestamp, watermark};

type Key = (Timestamp, Box<[Arc<str>]>);

/// One row of `partition_progress`.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) epoch: u64,
    pub(crate) start_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) max_observed: Option<Timestamp>,
    pub(crate) counts: Counts,
    /// The floors, by the offset from which they apply.
    pub(crate) floors: Vec<(i64, Timestamp)>,
}

impl Stored {
    fn new(start_offset: i64, floor: Timestamp) -> Self {
        Self {
            epoch: 0,
            start_offset,
            next_offset: start_offset,
            max_observed: None,
            counts: Counts::default(),
            floors: vec![(start_offset, floor)],
        }
    }

    pub(crate) fn floor(&self) -> Timestamp {
        self.floors.last().unwrap().1
    }

    /// The floor that applies at `offset`.
    pub(crate) fn floor_at(&self, offset: i64) -> Timestamp {
        self.floors.iter().rev().find(|(from, _)| *from <= offset).unwrap().1
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) window: Span,
    pub(crate) delay: Span,
    pub(crate) partitions: Vec<Stored>,
    pub(crate) closed_until: Timestamp,
    open: BTreeMap<Key, Sums>,
    closed: BTreeMap<Key, (Sums, Money)>,
    running: BTreeMap<Box<[Arc<str>]>, Money>,
    pub(crate) dead_letters: BTreeMap<(i32, i64), DeadLetter>,
}

/// The store refused a batch: another worker owns a partition, or a floor was raised.
#[derive(Debug)]
pub(crate) struct Fenced;

impl Store {
    pub(crate) fn new(window: Span, delay: Span, start_offsets: &[i64]) -> Self {
        Self {
            window,
            delay,
            partitions: start_offsets.iter().map(|start| Stored::new(*start, Timestamp::EPOCH)).collect(),
            closed_until: Timestamp::EPOCH,
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
            running: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
        }
    }

    /// Adds a partition to the topic. Closed windows are closed for it, too.
    pub(crate) fn add_partition(&mut self) {
        self.partitions.push(Stored::new(0, self.closed_until));
    }

    /// Raises the epoch, which fences the former owner, and returns the state from which to continue.
    pub(crate) fn claim(&mut self, partition: usize) -> (u64, Start) {
        let stored = &mut self.partitions[partition];
        stored.epoch += 1;
        let start = Start { next_offset: stored.next_offset, max_observed: stored.max_observed, floor: stored.floor() };
        (stored.epoch, start)
    }

    pub(crate) fn commit(&mut self, batch: &Batch, epochs: &BTreeMap<i32, u64>) -> Result<(), Fenced> {
        for progress in batch.partitions.iter().filter(|progress| progress.moved()) {
            let stored = &self.partitions[progress.partition as usize];
            let is_same = (stored.epoch, stored.next_offset) == (epochs[&progress.partition], progress.from);
            // Without an applied or late event, no record was judged by the floor.
            if !is_same || (stored.floor() != progress.floor && progress.counts.has_valid()) {
                return Err(Fenced);
            }
        }
        for progress in &batch.partitions {
            let stored = &mut self.partitions[progress.partition as usize];
            stored.next_offset = stored.next_offset.max(progress.to);
            stored.max_observed = stored.max_observed.max(progress.max_observed);
            stored.counts += progress.counts;
        }
        for row in &batch.rows {
            assert!(row.window_start.plus(self.window) > self.closed_until, "a closed window got {row:?}");
            let key = (row.window_start, row.dimensions.clone());
            let sums = self.open.entry(key).or_default();
            sums.events += row.sums.events;
            sums.price += row.sums.price;
            sums.quantity += row.sums.quantity;
            sums.amount += row.sums.amount;
        }
        for letter in &batch.dead_letters {
            let before = self.dead_letters.insert((letter.partition, letter.offset), letter.clone());
            assert_eq!(before, None, "a dead letter came twice");
        }
        Ok(())
    }

    /// Closes the windows that the watermark has passed. `idle` contains the partitions that are considered idle.
    pub(crate) fn close_windows(&mut self, idle: &[bool]) {
        let marks: Vec<Mark> = self
            .partitions
            .iter()
            .zip(idle)
            .map(|(stored, idle)| Mark { max_observed: stored.max_observed, idle: *idle })
            .collect();
        let Some(watermark) = watermark(&marks, self.delay, None) else {
            return;
        };
        let until = watermark.floor(self.window);
        if until <= self.closed_until {
            return;
        }
        for stored in &mut self.partitions {
            let behind = stored.max_observed.is_none_or(|max_observed| max_observed.minus(self.delay) < until);
            if behind && stored.floor() < until {
                stored.floors.push((stored.next_offset, until));
            }
        }
        let later = self.open.split_off(&(
            until.minus(self.window).plus(Span::from(std::time::Duration::from_micros(1))),
            Box::default(),
        ));
        for ((start, dimensions), sums) in std::mem::replace(&mut self.open, later) {
            let running = self.running.entry(dimensions.clone()).or_default();
            *running += sums.amount;
            self.closed.insert((start, dimensions), (sums, *running));
        }
        self.closed_until = until;
    }

    /// The rows for readers: final rows of closed windows, and open rows with the present running totals.
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut running = self.running.clone();
        let open = self.open.iter().map(|(key, sums)| {
            let running = running.entry(key.1.clone()).or_default();
            *running += sums.amount;
            (key, (sums, *running))
        });
        self.closed
            .iter()
            .map(|(key, (sums, running))| (key, (sums, *running)))
            .chain(open)
            .map(|((start, dimensions), (sums, running))| {
                let (micros, group) = (start.as_micros(), dimensions.join(" "));
                format!("{micros} {group} {} {} {running}", sums.quantity, sums.amount)
            })
            .collect()
    }
}
