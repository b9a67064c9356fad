//! Whole streams: workers poll, commit, crash, are fenced and hand over partitions in any order, while windows close and
//! partitions are added. The resulting rows equal those of the oracle.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration};
use proptest::prelude::*;
use proptest::sample::Index;
use retail_engine::{Batch, DeadLetter, Engine, Fate, Record, Rules, Span, Timestamp};
use retail_oracle::{Oracle, OracleDeadLetter, OracleRecord};

use crate::cases;
use crate::model::{Fenced, Store};
use crate::payloads::{self, BASE};

const WINDOW: u32 = 300;
const DELAY: u32 = 3600;
const MAX_FUTURE: u32 = 3600;
const HOUR_MILLIS: i64 = 3_600_000;
const WORKERS: usize = 3;

/// One record of a topic, with the number of missing offsets before it.
#[derive(Clone, Debug)]
struct Stored {
    gap: i64,
    timestamp_millis: Option<i64>,
    value: Option<Vec<u8>>,
}

fn as_record(offset: i64, record: &Stored) -> Record<'_> {
    let timestamp = record.timestamp_millis.map(Timestamp::from_millis);
    Record { offset, timestamp, value: record.value.as_deref(), schema: None }
}

/// The records of one partition with their offsets.
type Log = Vec<(i64, Stored)>;

/// One step of a run.
#[derive(Clone, Debug)]
enum Step {
    /// A worker reads records of one of its partitions, up to a number.
    Poll { worker: usize, partition: Index, records: usize },
    /// A worker takes its batch and sends it, and continues to read.
    Cut { worker: usize },
    /// The store accepts or refuses the batch that a worker has sent.
    Commit { worker: usize },
    /// A worker confirms that its partitions are idle, and learns their floors.
    Confirm { worker: usize },
    /// A worker restarts, and claims its partitions again.
    Crash { worker: usize },
    /// Another worker claims a partition, without the knowledge of the former owner.
    Steal { partition: Index, worker: usize },
    /// A worker closes windows; some partitions are considered idle, rightly or not.
    Close { idle: Vec<bool> },
    /// A partition is added to the topic.
    Grow,
}

fn record() -> impl Strategy<Value = Stored> {
    let gap = prop_oneof![20 => Just(0_i64), 1 => 1..5_i64];
    let timestamp = prop_oneof![
        1 => Just(None),
        6 => (0..5 * HOUR_MILLIS).prop_map(|millis| Some(BASE * 1000 + millis)),
    ];
    (gap, timestamp, payloads::value()).prop_map(|(gap, timestamp_millis, value)| Stored {
        gap,
        timestamp_millis,
        value,
    })
}

fn log() -> impl Strategy<Value = Log> {
    prop::collection::vec(record(), 0..60).prop_map(|records| {
        let mut next = 0;
        records
            .into_iter()
            .map(|record| {
                let offset = next + record.gap;
                next = offset + 1;
                (offset, record)
            })
            .collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0..WORKERS;
    prop_oneof![
        12 => (worker(), any::<Index>(), 1..20_usize)
            .prop_map(|(worker, partition, records)| Step::Poll { worker, partition, records }),
        5 => worker().prop_map(|worker| Step::Cut { worker }),
        5 => worker().prop_map(|worker| Step::Commit { worker }),
        2 => worker().prop_map(|worker| Step::Confirm { worker }),
        1 => worker().prop_map(|worker| Step::Crash { worker }),
        1 => (any::<Index>(), worker()).prop_map(|(partition, worker)| Step::Steal { partition, worker }),
        3 => prop::collection::vec(any::<bool>(), 8).prop_map(|idle| Step::Close { idle }),
        1 => Just(Step::Grow),
    ]
}

/// A worker as in the processor: an engine, the partitions that it assumes to own, and a sent batch.
struct Worker {
    engine: Engine,
    epochs: BTreeMap<i32, u64>,
    in_flight: Option<Batch>,
}

impl Worker {
    fn new() -> Self {
        let rules = Rules {
            window: Span::from_secs(WINDOW),
            delay: Span::from_secs(DELAY),
            max_future: Span::from_secs(MAX_FUTURE),
        };
        Self { engine: Engine::new(rules, true), epochs: BTreeMap::new(), in_flight: None }
    }

    fn claim(&mut self, store: &mut Store, partition: i32) {
        let (epoch, start) = store.claim(partition as usize);
        self.epochs.insert(partition, epoch);
        self.engine.assign(partition, start);
    }

    fn poll(&mut self, partition: i32, log: &Log, records: usize) {
        let position = self.engine.position(partition).unwrap();
        // Kafka may deliver records from before the position: they were judged already and must not count.
        let from = log.partition_point(|(offset, _)| *offset < position).saturating_sub(1);
        let mut feed = self.engine.partition(partition).unwrap();
        for (offset, record) in log[from..].iter().take(records + 1) {
            feed.record(&as_record(*offset, record));
        }
    }

    fn cut(&mut self) {
        if self.in_flight.is_none() && self.engine.has_uncommitted() {
            self.in_flight = Some(self.engine.take_batch());
        }
    }

    fn commit(&mut self, store: &mut Store) {
        let Some(batch) = self.in_flight.take() else { return };
        match store.commit(&batch, &self.epochs) {
            Ok(()) => self.learn_floors(store),
            Err(Fenced) => self.restart(store),
        }
    }

    /// Takes over the present floors of its partitions, as after a commit or a confirmation of idleness.
    fn learn_floors(&mut self, store: &Store) {
        for (partition, epoch) in &self.epochs {
            let stored = &store.partitions[*partition as usize];
            if stored.epoch == *epoch && self.in_flight.is_none() {
                self.engine.raise_floor(*partition, stored.floor());
            }
        }
    }

    /// Drops everything, and reads the state of its partitions, without those that other workers have claimed.
    fn restart(&mut self, store: &mut Store) {
        self.in_flight = None;
        self.engine.reset();
        for (partition, epoch) in std::mem::take(&mut self.epochs) {
            if store.partitions[partition as usize].epoch == epoch {
                self.claim(store, partition);
            }
        }
    }
}

fn run(logs: &mut Vec<Log>, steps: &[Step]) -> Store {
    let starts: Vec<i64> = logs.iter().map(|log| log.first().map_or(0, |(offset, _)| offset / 2)).collect();
    let mut store = Store::new(Span::from_secs(WINDOW), Span::from_secs(DELAY), &starts);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::new()).collect();
    for partition in 0..logs.len() {
        workers[partition % WORKERS].claim(&mut store, partition as i32);
    }
    for step in steps {
        match step {
            Step::Poll { worker, partition, records } => {
                let worker = &mut workers[*worker];
                if !worker.epochs.is_empty() {
                    let owned: Vec<i32> = worker.epochs.keys().copied().collect();
                    let partition = *partition.get(&owned);
                    worker.poll(partition, &logs[partition as usize], *records);
                }
            }
            Step::Cut { worker } => workers[*worker].cut(),
            Step::Commit { worker } => workers[*worker].commit(&mut store),
            Step::Confirm { worker } => workers[*worker].learn_floors(&store),
            Step::Crash { worker } => workers[*worker].restart(&mut store),
            Step::Steal { partition, worker } => {
                let partition = partition.index(logs.len()) as i32;
                let worker = &mut workers[*worker];
                // As in a rebalance, it claims nothing while it has uncommitted records.
                if worker.in_flight.is_none() && !worker.engine.has_uncommitted() {
                    worker.claim(&mut store, partition);
                }
            }
            Step::Close { idle } => store.close_windows(&idle[..logs.len()]),
            Step::Grow if logs.len() < 6 => {
                let log = logs[0].iter().map(|(offset, record)| (*offset, record.clone())).collect();
                logs.push(log);
                store.add_partition();
                workers[0].in_flight = None;
                workers[0].restart(&mut store);
                workers[0].claim(&mut store, logs.len() as i32 - 1);
            }
            Step::Grow => {}
        }
    }
    // The remaining workers finish.
    let mut last = Worker::new();
    for (partition, log) in logs.iter().enumerate() {
        last.claim(&mut store, partition as i32);
        last.poll(partition as i32, log, log.len());
        last.cut();
        last.commit(&mut store);
    }
    store
}

/// The result of the oracle for the same logs, with the floors that the store has recorded.
fn oracle(logs: &[Log], store: &Store) -> Oracle {
    let seconds = |seconds: u32| Duration::seconds(seconds.into());
    let mut oracle = Oracle::new(seconds(WINDOW), seconds(DELAY));
    for (partition, (log, stored)) in logs.iter().zip(&store.partitions).enumerate() {
        oracle.start(partition as i32, stored.start_offset);
        for (offset, record) in log.iter().filter(|(offset, _)| *offset >= stored.start_offset) {
            let floor = DateTime::from_timestamp_micros(stored.floor_at(*offset).as_micros()).unwrap();
            let record = OracleRecord {
                offset: *offset,
                timestamp_millis: record.timestamp_millis,
                value: record.value.as_deref(),
                schema: None,
            };
            oracle.record(partition as i32, &record, floor, seconds(MAX_FUTURE));
        }
    }
    oracle
}

/// A dead letter of the engine, as text.
fn letter(letter: &DeadLetter) -> String {
    let purchase = letter.purchase.as_ref().map(|p| format!("{} {} {}", p.dimensions.join(" "), p.quantity, p.amount));
    let missed_by = letter.missed_by.map(Span::as_micros);
    format!("{} {} {} {purchase:?} {missed_by:?}", letter.partition, letter.offset, letter.reason)
}

/// A dead letter of the oracle, as text.
fn oracle_letter((partition, offset): (i32, i64), letter: &OracleDeadLetter) -> String {
    let purchase =
        letter.purchase.as_ref().map(|p| format!("{} {} {:.6}", p.dimensions.join(" "), p.quantity, p.amount));
    let missed_by = letter.missed_by.map(|time| time.num_microseconds().unwrap());
    format!("{partition} {offset} {} {purchase:?} {missed_by:?}", letter.reason)
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_split_restart_and_handover_gives_the_oracles_rows(
        mut logs in prop::collection::vec(log(), 1..4),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let store = run(&mut logs, &steps);
        let oracle = oracle(&logs, &store);

        let expected: Vec<String> = oracle
            .rows()
            .iter()
            .map(|row| format!(
                "{} {} {} {} {:.6} {:.6}",
                row.window_start.timestamp_micros(), row.dimensions[0], row.dimensions[1],
                row.total_quantity, row.total_amount, row.running_total,
            ))
            .collect();
        prop_assert_eq!(store.rows(), expected);

        let letters: Vec<String> = store.dead_letters.values().map(letter).collect();
        let expected: Vec<String> =
            oracle.dead_letters().iter().map(|(at, letter)| oracle_letter(*at, letter)).collect();
        prop_assert_eq!(letters, expected);

        for (partition, stored) in store.partitions.iter().enumerate() {
            let ledger = &oracle.ledgers()[&(partition as i32)];
            let counts = stored.counts;
            prop_assert_eq!(
                (counts.applied, counts.late, counts.invalid, counts.future, counts.filtered, counts.duplicate, counts.gaps),
                (ledger.applied, ledger.late, ledger.invalid, ledger.future, 0, 0, ledger.gaps)
            );
            prop_assert_eq!(counts.total(), stored.next_offset - stored.start_offset, "every offset has one fate");
            prop_assert_eq!(
                stored.max_observed.map(Timestamp::as_micros),
                ledger.max_observed.map(|time| time.timestamp_micros())
            );
        }
    }

    /// If record timestamps do not run backwards, an event that is appended at most `delay` after its event time is never
    /// late, independent of the clocks of producers.
    #[test]
    fn event_appended_within_the_delay_is_never_late(
        steps in prop::collection::vec((0..600_000_i64, -3 * HOUR_MILLIS..2 * HOUR_MILLIS), 1..200),
    ) {
        let mut worker = Worker::new();
        let mut store = Store::new(Span::from_secs(WINDOW), Span::from_secs(DELAY), &[0]);
        worker.claim(&mut store, 0);
        let mut now = BASE * 1000;
        for (offset, (elapsed, skew)) in steps.into_iter().enumerate() {
            now += elapsed;
            let event = now + skew;
            let value = payloads::purchase("c", "m", 1, "1", &format!("{}.{:03}", event / 1000, event % 1000));
            let timestamp = Some(Timestamp::from_millis(now));
            let fate = worker.engine.partition(0).unwrap().record(&Record { offset: offset as i64, timestamp, value: Some(&value), schema: None });
            if now - event <= i64::from(DELAY) * 1000 {
                prop_assert_ne!(fate, Some(Fate::Late));
            }
        }
    }

    /// Records without a timestamp move no time: the other records have the same fates without them.
    #[test]
    fn records_without_a_timestamp_change_no_other_fate(log in log()) {
        let fates = |log: &[(i64, Stored)]| -> BTreeMap<i64, Fate> {
            let mut worker = Worker::new();
            worker.claim(&mut Store::new(Span::from_secs(WINDOW), Span::from_secs(DELAY), &[0]), 0);
            let mut input = worker.engine.partition(0).unwrap();
            log.iter().map(|(offset, record)| (*offset, input.record(&as_record(*offset, record)).unwrap())).collect()
        };
        let timed: Log = log.iter().filter(|(_, record)| record.timestamp_millis.is_some()).cloned().collect();
        let all = fates(&log);
        for (offset, fate) in fates(&timed) {
            prop_assert_eq!(all[&offset], fate, "offset {}", offset);
        }
    }
}
