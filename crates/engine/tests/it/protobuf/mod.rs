//! Protobuf records: the engine and the oracle agree.

mod fixtures;
mod random;
mod values;
mod wire;

use chrono::{DateTime, Duration};
use retail_engine::{
    Batch, Engine, Fate, Record, Reference, Rules, SchemaId, SchemaKind, SchemaText, Span, Start, Timestamp,
};
use retail_oracle::{Oracle, OracleField, OracleMapping, OracleRecord, OracleSchema, OracleSchemaId};

use crate::mapped_judge::engines_mapping;

const WINDOW: u32 = 300;
const HOUR: u32 = 3600;

/// A record timestamp later than all event times.
const APPENDED: i64 = 300_000_000_000_000;

fn field(path: &str) -> OracleField {
    OracleField { path: path.to_owned(), ..OracleField::default() }
}

fn scaled(path: &str, scale: u32) -> OracleField {
    OracleField { scale, ..field(path) }
}

fn or(path: &str, if_missing: &str) -> OracleField {
    OracleField { if_missing: Some(if_missing.to_owned()), ..field(path) }
}

/// A mapping with these dimensions, a quantity and a price, of records without an event time.
fn mapping(dimensions: &[&str], quantity: &str, price: OracleField) -> OracleMapping {
    OracleMapping {
        format: "Protobuf".to_owned(),
        timestamp: field("no_field"),
        unit: "RecordTime".to_owned(),
        id: None,
        dimensions: dimensions.iter().map(|path| field(path)).collect(),
        quantity: field(quantity),
        price: Some(price),
        amount: None,
        refunds: true,
        sums: Vec::new(),
        condition: None,
        explode: None,
    }
}

/// A schema and its references.
#[derive(Clone, Debug)]
struct Schema {
    text: String,
    references: Vec<(String, String)>,
}

impl Schema {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), references: Vec::new() }
    }

    fn engines(&self) -> SchemaText {
        let references = self.references.iter();
        let references = references.map(|(name, text)| Reference { name: name.clone(), text: text.clone() });
        SchemaText { kind: SchemaKind::Protobuf, text: self.text.clone(), references: references.collect() }
    }

    fn oracles(&self) -> OracleSchema {
        let Self { text, references } = self.clone();
        OracleSchema { kind: "PROTOBUF".to_owned(), text, references }
    }
}

/// A value with the id of its schema and message indexes.
fn framed(id: u32, indexes: &[u8], body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], indexes, body].concat()
}

/// Passes the same records to an engine and to oracles. Schemas have the numbers from 1 on.
struct Judges {
    engine: Engine,
    oracle: Oracle,
}

impl Judges {
    fn new(mapping: &OracleMapping, schemas: &[Schema]) -> Self {
        let span = Span::from_secs;
        let rules = Rules { window: span(WINDOW), delay: span(HOUR), max_future: span(HOUR) };
        let mut engine = Engine::with_mapping(rules, true, &engines_mapping(mapping));
        let seconds = |seconds: u32| Duration::seconds(seconds.into());
        let mut oracle = Oracle::new(seconds(WINDOW), seconds(HOUR)).with_mapping(Some(mapping.clone()));
        for (number, schema) in (1..).zip(schemas) {
            engine.learn_schema(SchemaId::Number(number), Some(&schema.engines()));
            oracle.learn_schema(OracleSchemaId::Number(number), Some(schema.oracles()));
        }
        Self { engine, oracle }
    }

    /// The fate of a record by the engine, and its rows as text.
    fn engine_says(&mut self, value: &[u8], record_time: i64) -> (Fate, String) {
        self.engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
        let timestamp = Some(Timestamp::from_millis(record_time));
        let record = Record { offset: 0, timestamp, value: Some(value), schema: None };
        let fate = self.engine.partition(0).unwrap().record(&record).unwrap();
        (fate, rows_of_engine(&self.engine.take_batch()))
    }

    /// Passes a record to both, and returns its fate, with the rows of an applied one.
    ///
    /// # Panics
    ///
    /// If the results differ.
    fn ask_at(&mut self, value: &[u8], record_time: i64) -> String {
        let (fate, engine) = self.engine_says(value, record_time);
        let mut oracle = self.oracle.clone();
        let record = OracleRecord { offset: 0, timestamp_millis: Some(record_time), value: Some(value), schema: None };
        let hour = Duration::seconds(HOUR.into());
        let expected = oracle.record(0, &record, DateTime::UNIX_EPOCH, hour);
        let of_oracle = format!("{expected}{}", rows_of_oracle(&oracle));
        let of_engine = format!("{}{engine}", fate.reason());
        assert_eq!(of_engine, of_oracle, "{}", value.escape_ascii());
        of_engine
    }

    /// As [`Self::ask_at`], for a record that is later than all event times.
    fn ask(&mut self, value: &[u8]) -> String {
        self.ask_at(value, APPENDED)
    }
}

fn rows_of_engine(batch: &Batch) -> String {
    let rows = batch.rows.iter().map(|row| {
        let (at, sums) = (row.window_start.as_micros() / 1_000_000, row.sums);
        let more: Vec<_> = row.more.iter().map(ToString::to_string).collect();
        format!(" {at} {:?} {} {} {} {more:?}", row.dimensions, sums.quantity, sums.price, sums.amount)
    });
    rows.collect()
}

fn rows_of_oracle(oracle: &Oracle) -> String {
    let rows = oracle.rows().into_iter().map(|row| {
        let more: Vec<_> = row.more.iter().map(|sum| format!("{sum:.6}")).collect();
        format!(
            " {} {:?} {} {:.6} {:.6} {more:?}",
            row.window_start.timestamp(),
            row.dimensions,
            row.total_quantity,
            row.price_sum,
            row.total_amount
        )
    });
    rows.collect()
}
