//! Records with repeated ids, batches that are abandoned, and workers that go on from a commit: the engine and the oracle agree.

use chrono::{DateTime, Duration};
use proptest::prelude::*;
use retail_engine::{
    Deduplication, Engine, Format, Mapping, Milestone, NumberField, Path, Recent, Record, Rules, Salt, Span, Start,
    TextField, TimeField, Timestamp, ValueField,
};
use retail_oracle::{Judge, OracleField, OracleMapping, OracleRecord};

/// 2025-01-01T00:00:00Z.
const BASE: i64 = 1_735_689_600;

const SALT: Salt = Salt(*b"0123456789abcdef");

fn path(text: &str) -> Path {
    Path::parse(text, false).unwrap()
}

fn mapping() -> Mapping {
    let number = |text| NumberField { path: path(text), if_missing: Some("1".into()), is_text: false, scale: 0 };
    Mapping {
        format: Format::Json,
        timestamp: TimeField::Number { path: path("at"), decimals: 3, is_text: false },
        id: Some(path("id")),
        dimensions: vec![TextField { path: path("shop"), if_missing: Some("web".into()) }],
        quantity: number("n"),
        value: ValueField::Price(number("price")),
        refunds: false,
        sums: Vec::new(),
        condition: None,
        explode: None,
    }
}

fn oracles_mapping() -> OracleMapping {
    let field = |path: &str, if_missing: Option<&str>| OracleField {
        path: path.to_owned(),
        if_missing: if_missing.map(str::to_owned),
        ..OracleField::default()
    };
    OracleMapping {
        format: "JSON".to_owned(),
        timestamp: field("at", None),
        unit: "Milliseconds".to_owned(),
        id: Some("id".to_owned()),
        dimensions: vec![field("shop", Some("web"))],
        quantity: field("n", Some("1")),
        price: Some(field("price", Some("1"))),
        amount: None,
        refunds: false,
        sums: Vec::new(),
        condition: None,
        explode: None,
    }
}

#[derive(Clone, Debug)]
struct Sent {
    value: String,
    record_millis: Option<i64>,
}

/// The id of a record, its distance in time from the one before, the lead of its event, and whether it has a timestamp.
fn sent() -> impl Strategy<Value = (String, i64, i64, bool)> {
    let id = prop_oneof![
        30 => (0..10_u8).prop_map(|id| format!("\"{id}\"")),
        3 => (0..10_u8).prop_map(|id| id.to_string()),
        1 => Just("null".to_owned()),
        1 => Just("\"\"".to_owned()),
        1 => Just("[]".to_owned()),
        1 => Just("\"\\u0031\"".to_owned()),
    ];
    let moves = prop_oneof![5 => Just(0), 5 => -3_000..3_000_i64, 5 => 0..20_000_i64, 1 => Just(4_000_000)];
    // Clocks that differ: some events are from the future, and some records have no time.
    let ahead = prop_oneof![8 => Just(0), 4 => -5_000..5_000_i64, 1 => Just(100_000)];
    (id, moves, ahead, prop::bool::weighted(0.95))
}

#[derive(Clone, Debug)]
enum Step {
    Send(String, i64, i64, bool),
    Take,
    Commit,
    /// The worker is fenced, and goes on from the commit.
    Fence,
    /// Another worker goes on from the commit.
    Claim,
    /// Another worker goes on, and the log lacks a share of the records that it must read again.
    Lose(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => sent().prop_map(|(id, moves, ahead, has_time)| Step::Send(id, moves, ahead, has_time)),
        4 => Just(Step::Take),
        4 => Just(Step::Commit),
        1 => Just(Step::Fence),
        1 => Just(Step::Claim),
        1 => any::<u8>().prop_map(Step::Lose),
    ]
}

/// The stored state of the partition.
#[derive(Clone, Default)]
struct Stored {
    next: i64,
    max_observed: Option<Timestamp>,
    milestones: Vec<Milestone>,
    /// The ids of earlier records do not count.
    from: i64,
}

struct Run {
    engine: Engine,
    judge: Judge,
    log: Vec<Sent>,
    /// The fate of each record by the oracle.
    fates: Vec<&'static str>,
    stored: Stored,
    in_flight: Option<Stored>,
    now: i64,
    within: u32,
    is_mapped: bool,
}

const RULES: Rules = Rules { window: Span::from_secs(60), delay: Span::from_secs(30), max_future: Span::from_secs(20) };

/// Without a mapping, records have the tutorial's fields.
fn engine(within: u32, is_mapped: bool) -> Engine {
    let deduplication = Deduplication { within: Span::from_secs(within), salt: SALT };
    let engine = if is_mapped { Engine::with_mapping(RULES, true, &mapping()) } else { Engine::new(RULES, true) };
    engine.deduplicating(deduplication)
}

impl Run {
    fn new(within: u32, is_mapped: bool) -> Self {
        let mut engine = engine(within, is_mapped);
        engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
        let mapping = is_mapped.then(oracles_mapping);
        let judge = Judge::new(Duration::seconds(60), Duration::seconds(30)).with_mapping(mapping);
        Self {
            engine,
            judge: judge.deduplicating(Some(Duration::seconds(within.into()))),
            log: Vec::new(),
            fates: Vec::new(),
            stored: Stored::default(),
            in_flight: None,
            now: BASE * 1000,
            within,
            is_mapped,
        }
    }

    /// Judges the records from an offset on. Those before the position have no fate.
    fn process(&mut self, from: usize) -> Result<(), TestCaseError> {
        for (offset, sent) in self.log.iter().enumerate().skip(from) {
            let record = Record {
                offset: offset as i64,
                timestamp: sent.record_millis.map(Timestamp::from_millis),
                value: Some(sent.value.as_bytes()),
                schema: None,
            };
            if let Some(fate) = self.engine.partition(0).unwrap().record(&record) {
                let name = if fate.reason().is_empty() { "applied" } else { fate.reason() };
                prop_assert_eq!(name, self.fates[offset], "record {}: {:?}", offset, sent);
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send(id, moves, ahead, has_time) => {
                self.now = (self.now + moves).max(BASE * 1000);
                let (time, id) = (self.now + ahead, if id.is_empty() { "7" } else { &id });
                let value = if self.is_mapped {
                    format!("{{\"id\": {id}, \"at\": {time}}}")
                } else {
                    format!(
                        "{{\"transaction_id\": {id}, \"category\": \"A\", \"quantity\": 1, \"price\": 2.5, \
                         \"payment_method\": \"COD\", \"ts\": {}.{:03}}}",
                        time / 1000,
                        time % 1000
                    )
                };
                let record_millis = has_time.then_some(self.now);
                let offset = self.log.len();
                let record = OracleRecord {
                    offset: offset as i64,
                    timestamp_millis: record_millis,
                    value: Some(value.as_bytes()),
                    schema: None,
                };
                let judged = self.judge.record(0, &record, DateTime::UNIX_EPOCH, Duration::seconds(20));
                self.fates.push(judged.fate);
                self.log.push(Sent { value, record_millis });
                self.process(offset)?;
            }
            Step::Take => self.take(),
            Step::Commit => self.commit(),
            Step::Fence => {
                self.engine.reset();
                self.go_on()?;
            }
            Step::Claim => {
                self.engine = engine(self.within, self.is_mapped);
                self.go_on()?;
            }
            Step::Lose(share) => {
                // The oracle has judged all records, so that all must be committed.
                self.commit();
                self.take();
                self.commit();
                let first =
                    self.stored.milestones.first().map_or(0, |milestone| milestone.offset).max(self.stored.from);
                self.stored.from = first + (self.stored.next - first) * i64::from(share) / 255;
                self.judge.forget_ids(0, self.stored.from);
                self.engine = engine(self.within, self.is_mapped);
                self.go_on()?;
            }
        }
        Ok(())
    }

    fn take(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        let batch = self.engine.take_batch();
        let progress = batch.partitions[0];
        let stored = || self.stored.milestones.clone();
        let milestones = batch.milestones.first().map_or_else(stored, |(_, milestones)| milestones.clone());
        let Stored { from, .. } = self.stored;
        self.in_flight = Some(Stored { next: progress.to, max_observed: progress.max_observed, milestones, from });
    }

    fn commit(&mut self) {
        if let Some(stored) = self.in_flight.take() {
            self.engine.committed();
            self.stored = stored;
        }
    }

    fn go_on(&mut self) -> Result<(), TestCaseError> {
        self.in_flight = None;
        let Stored { next, max_observed, milestones, from } = self.stored.clone();
        let recent = Recent { milestones, from, max_future: vec![(0, RULES.max_future)] };
        let start = Start { next_offset: next, max_observed, floor: Timestamp::EPOCH };
        let from = self.engine.assign_recent(0, start, recent);
        self.process(from as usize)
    }
}

proptest! {
    #[test]
    fn random_duplicates_agree_with_the_oracle(
        within in 1..120_u32,
        is_mapped in any::<bool>(),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut run = Run::new(within, is_mapped);
        for step in steps {
            run.step(step)?;
        }
        let ledger = run.judge.ledgers().get(&0).cloned().unwrap_or_default();
        prop_assert_eq!(run.fates.iter().filter(|fate| **fate == "duplicate").count() as i64, ledger.duplicate);
        run.take();
        run.commit();
        run.take();
        run.commit();
        let stored: Vec<_> = run.stored.milestones.iter().map(|Milestone { offset, step }| (*offset, *step)).collect();
        prop_assert_eq!(stored, run.judge.milestones(0));
    }
}

/// A worker that was fenced reads no id again; another one reads those that count.
#[test]
fn fenced_worker_reads_no_ids_again() {
    let mut run = Run::new(64, true);
    let send =
        |run: &mut Run, id: usize, moves: i64| run.step(Step::Send(format!("\"{id}\""), moves, 0, true)).unwrap();
    for id in 0..1000 {
        send(&mut run, id, 1000);
    }
    run.step(Step::Take).unwrap();
    run.step(Step::Commit).unwrap();
    send(&mut run, 990, 0);
    send(&mut run, 2000, 0);
    let from = |run: &mut Run| {
        let Stored { next, max_observed, milestones, from } = run.stored.clone();
        let start = Start { next_offset: next, max_observed, floor: Timestamp::EPOCH };
        run.engine.assign_recent(0, start, Recent { milestones, from, max_future: Vec::new() })
    };
    run.engine.reset();
    assert_eq!(from(&mut run), 1000);
    run.process(1000).unwrap();
    assert_eq!(run.fates[1000..], ["duplicate", "applied"]);
    run.engine = engine(64, true);
    assert_eq!(from(&mut run), 935, "64 steps of a second, and the one in progress");
    run.process(935).unwrap();
    let (_, ids, bytes) = run.engine.recent_ids().next().unwrap();
    assert!((65..=66).contains(&ids) && bytes > 0, "{ids} ids, {bytes} bytes");
}
