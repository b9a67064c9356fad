//! A minimal processor for tests: engine and store, without a consumer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use retail_engine::{Engine, Record, Timestamp};
use retail_store::{Closed, Commit, DatabaseError, Idle, Store};

use crate::case::Case;
use crate::records::{Sent, at};

/// Owns partitions of a case, passes records from the test to the engine, and commits the batches.
pub struct Feeder {
    /// The store with its database session.
    pub store: Store,
    /// The engine.
    pub engine: Engine,
    epochs: BTreeMap<i32, i64>,
    name: &'static str,
}

impl Feeder {
    /// Creates a feeder without partitions. `name` is its name as an owner in the database.
    pub async fn new(case: &Case, name: &'static str) -> Self {
        let pipeline = &case.settings.pipeline;
        let store = Store::open(&case.settings.database, pipeline, name).await.unwrap();
        store.begin_partitions(&vec![0; pipeline.topic.new_partitions() as usize]).await.unwrap();
        Self { store, engine: Engine::new(pipeline.rules, true), epochs: BTreeMap::new(), name }
    }

    /// Claims partitions, and continues at their offsets in the database.
    pub async fn claim(&mut self, partitions: &[i32]) {
        for claimed in self.store.claim(partitions, self.name).await.unwrap() {
            self.epochs.insert(claimed.partition, claimed.epoch);
            self.engine.assign(claimed.partition, claimed.start);
        }
    }

    /// Processes records at the next offsets of their partitions.
    pub fn feed(&mut self, records: &[Sent]) {
        for record in records {
            let offset = self.engine.position(record.partition).unwrap();
            let timestamp = Some(Timestamp::from_secs(at(record.timestamp)));
            let record_ = Record { offset, timestamp, value: record.value.as_deref(), schema: None };
            self.engine.partition(record.partition).unwrap().record(&record_);
        }
    }

    /// Processes purchases of one price, at seconds since the beginning of 2025.
    pub fn purchases(&mut self, partition: i32, price: &str, seconds: &[i64]) {
        let sent = |seconds: &i64| Sent {
            partition,
            timestamp: *seconds,
            value: Some(crate::records::purchase("A", price, *seconds)),
        };
        self.feed(&seconds.iter().map(sent).collect::<Vec<_>>());
    }

    /// Processes one purchase for each group.
    pub fn groups(&mut self, partition: i32, groups: std::ops::Range<usize>, price: &str, seconds: i64) {
        let sent = |group: usize| Sent {
            partition,
            timestamp: seconds,
            value: Some(crate::records::purchase(&format!("{group:05}"), price, seconds)),
        };
        self.feed(&groups.map(sent).collect::<Vec<_>>());
    }

    /// Takes the batch since the last commit, with some partitions marked idle.
    pub fn take_commit(&mut self, idle: &[i32]) -> Commit {
        let now = Instant::now();
        self.take_commit_proven(idle, Idle { since: now.checked_sub(Duration::from_secs(60)).unwrap(), until: now })
    }

    /// Takes the batch since the last commit, with a given proof of idleness.
    pub fn take_commit_proven(&mut self, idle: &[i32], proof: Idle) -> Commit {
        let idle = idle.iter().map(|partition| (*partition, proof)).collect();
        Commit { batch: self.engine.take_batch(), epochs: self.epochs.clone(), idle, ..Commit::default() }
    }

    /// Commits the batch since the last commit, with some partitions marked idle. Returns the lateness floors.
    pub async fn commit(&mut self, idle: &[i32]) -> Result<Vec<(i32, Timestamp)>, DatabaseError> {
        let commit = self.take_commit(idle);
        self.store.commit(&commit).await
    }

    /// Closes the windows behind the watermark.
    pub async fn close(&mut self) -> Closed {
        self.store.close_windows(true).await.unwrap().unwrap()
    }
}
