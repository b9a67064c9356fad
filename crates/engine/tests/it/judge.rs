//! Passes the same records to engine and oracle, and compares the results.

use chrono::DateTime;
use retail_engine::{Engine, Fate, Record, Rules, Span, Start, Timestamp};
use retail_oracle::{Oracle, OracleRecord};

const WINDOW: u32 = 300;
const DELAY: u32 = 3600;
const MAX_FUTURE: u32 = 3600;

/// A record timestamp later than all event times, in milliseconds: such a record is judged by its value alone.
pub(crate) const APPENDED: i64 = 300_000_000_000_000;

/// An engine that remembers the layout of earlier records, and an oracle.
pub(crate) struct Judge {
    engine: Engine,
}

impl Default for Judge {
    fn default() -> Self {
        let rules = Rules {
            window: Span::from_secs(WINDOW),
            delay: Span::from_secs(DELAY),
            max_future: Span::from_secs(MAX_FUTURE),
        };
        Self { engine: Engine::new(rules, true) }
    }
}

impl Judge {
    /// Passes a record to both.
    ///
    /// # Panics
    ///
    /// If the results differ.
    pub(crate) fn ask(&mut self, value: Option<&[u8]>, timestamp_millis: Option<i64>) -> String {
        let (engine, oracle) = (self.engine_says(value, timestamp_millis), oracle_says(value, timestamp_millis));
        assert_eq!(engine, oracle, "{}", value.unwrap_or_default().escape_ascii());
        oracle
    }

    /// The result of the engine for one record, as text: its fate or reason, and the added row.
    fn engine_says(&mut self, value: Option<&[u8]>, timestamp_millis: Option<i64>) -> String {
        let engine = &mut self.engine;
        engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
        let record = Record { offset: 0, timestamp: timestamp_millis.map(Timestamp::from_millis), value, schema: None };
        let fate = engine.partition(0).unwrap().record(&record).unwrap();
        let batch = engine.take_batch();
        let observed = batch.partitions[0].max_observed.map(Timestamp::as_micros);
        match fate {
            Fate::Applied => {
                let row = &batch.rows[0];
                let (start, quantity, amount) = (row.window_start.as_micros(), row.sums.quantity, row.sums.amount);
                format!(
                    "{start} {} {} {quantity} {} {amount} {observed:?}",
                    row.dimensions[0], row.dimensions[1], row.sums.price
                )
            }
            Fate::Late | Fate::Future | Fate::Filtered | Fate::Duplicate | Fate::Invalid(_) => {
                format!("{} {observed:?}", batch.dead_letters[0].reason)
            }
        }
    }
}

fn oracle_says(value: Option<&[u8]>, timestamp_millis: Option<i64>) -> String {
    let seconds = |seconds: u32| chrono::Duration::seconds(seconds.into());
    let mut oracle = Oracle::new(seconds(WINDOW), seconds(DELAY));
    oracle.start(0, 0);
    let record = OracleRecord { offset: 0, timestamp_millis, value, schema: None };
    let fate = oracle.record(0, &record, DateTime::UNIX_EPOCH, seconds(MAX_FUTURE));
    let observed = oracle.ledgers()[&0].max_observed.map(|time| time.timestamp_micros());
    match fate {
        "applied" => {
            let row = &oracle.rows()[0];
            let (start, quantity, amount) =
                (row.window_start.timestamp_micros(), &row.total_quantity, &row.total_amount);
            let price = &row.avg_price;
            format!(
                "{start} {} {} {quantity} {price:.6} {amount:.6} {observed:?}",
                row.dimensions[0], row.dimensions[1]
            )
        }
        reason => format!("{reason} {observed:?}"),
    }
}
