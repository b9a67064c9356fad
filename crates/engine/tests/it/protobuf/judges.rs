//! Passes the same Protobuf records to an engine and to oracles, and compares the results.

use chrono::{DateTime, Duration};
use retail_engine::{
    Batch, Engine, Fate, Record, Reference, Rules, SchemaId, SchemaKind, SchemaText, Span, Start, Timestamp,
};
use retail_oracle::{Oracle, OracleField, OracleMapping, OracleRecord, OracleSchema, OracleSchemaId};

use crate::mapped_judge::engines_mapping;

/// A schema with most kinds of fields. It uses files that are not registered.
pub(crate) const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/money.proto";
import "confluent/meta.proto";
option java_package = "com.example";
option (confluent.file_meta).doc = "orders";
message Order {
  option (confluent.message_meta).doc = "an order";
  string k = 1 [(confluent.field_meta).tags = "PII"];
  int32 q = 2 [deprecated = true];
  int64 cents = 3;
  google.protobuf.Timestamp at = 4;
  Store store = 5;
  oneof pay { string card = 6; Store cash = 7; }
  map<string, Store> stores = 8;
  repeated Line lines = 9;
  repeated sint32 numbers = 10;
  optional string note = 11;
  double price = 12;
  bytes raw = 13;
  Kind kind = 14;
  google.protobuf.StringValue coupon = 15;
  google.protobuf.Int64Value pieces = 16;
  uint64 large = 17;
  map<int32, int64> fees = 18;
  google.type.Money money = 19;
  bool paid = 20;
  int64 millis = 21;
  oneof order { Lines a = 22; Lines b = 23; }
  message Lines { repeated Line lines = 1; }
  message Line { string k = 1; int32 q = 2; int64 cents = 3; }
}
message Store { string id = 1; Store inner = 2; string city = 3; }
enum Kind { option allow_alias = true; SALE = 0; SOLD = 0; REFUND = -2; OTHER = 300; ALSO = 300; }
"#;

const WINDOW: u32 = 300;
const HOUR: u32 = 3600;

/// A record timestamp later than all event times.
const APPENDED: i64 = 300_000_000_000_000;

pub(crate) fn field(path: &str) -> OracleField {
    OracleField { path: path.to_owned(), ..OracleField::default() }
}

pub(crate) fn scaled(path: &str, scale: u32) -> OracleField {
    OracleField { scale, ..field(path) }
}

pub(crate) fn or(path: &str, if_missing: &str) -> OracleField {
    OracleField { if_missing: Some(if_missing.to_owned()), ..field(path) }
}

/// A mapping with these dimensions, a quantity and a price, of records without an event time.
pub(crate) fn mapping(dimensions: &[&str], quantity: &str, price: OracleField) -> OracleMapping {
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
pub(crate) struct Schema {
    pub(crate) text: String,
    pub(crate) references: Vec<(String, String)>,
}

impl Schema {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), references: Vec::new() }
    }

    pub(crate) fn engines(&self) -> SchemaText {
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
pub(crate) fn framed(id: u32, indexes: &[u8], body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], indexes, body].concat()
}

/// Passes the same records to an engine and to oracles. Schemas have the numbers from 1 on.
pub(crate) struct Judges {
    engine: Engine,
    oracle: Oracle,
}

impl Judges {
    pub(crate) fn new(mapping: &OracleMapping, schemas: &[Schema]) -> Self {
        let span = Span::from_secs;
        let rules = Rules { window: span(WINDOW), delay: span(HOUR), max_future: span(HOUR) };
        let mut engine = Engine::with_mapping(rules, true, &engines_mapping(mapping));
        let seconds = |seconds: u32| Duration::seconds(seconds.into());
        let mut oracle = Oracle::new(seconds(WINDOW), seconds(HOUR)).with_mapping(Some(mapping.clone()));
        for (number, schema) in (1..).zip(schemas) {
            engine.learn_schema(SchemaId::Number(number), Some(&schema.engines()));
            oracle.learn_schema(OracleSchemaId::Number(number), Some(&schema.oracles()));
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
    pub(crate) fn ask_at(&mut self, value: &[u8], record_time: i64) -> String {
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
    pub(crate) fn ask(&mut self, value: &[u8]) -> String {
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

/// Compares engine and oracle on the input of a fuzzer: the number of a case, and a message or the text of a schema.
pub(crate) fn compare(data: &[u8]) {
    let Some((case, rest)) = data.split_first() else { return };
    let store = field("store.id");
    let (mapping, schema) = match case % 6 {
        0 => (mapping(&["k", "kind", "raw", "note"], "q", scaled("cents", 2)), ORDER.to_owned()),
        1 => {
            let timestamp = OracleMapping {
                timestamp: field("at"),
                unit: "Seconds".to_owned(),
                ..mapping(&[], "q", field("price"))
            };
            (OracleMapping { dimensions: vec![store, or("coupon", "none")], ..timestamp }, ORDER.to_owned())
        }
        2 => {
            let sums = vec![or("fees.-3", "0"), or("pieces", "0"), or("large", "0")];
            let dimensions = vec![or("stores.A.id", "none"), or("cash.inner.id", "none"), or("card", "none")];
            (OracleMapping { dimensions, sums, ..mapping(&[], "q", or("money.units", "1")) }, ORDER.to_owned())
        }
        3 | 4 => {
            let path = if case % 6 == 3 { "lines" } else { "b.lines" };
            let condition = Some("!(kind == 'REFUND') && (has(at.nanos) || paid || millis < 9)".to_owned());
            let mapping = mapping(&["$.k", "k"], "q", or("cents", "1"));
            (OracleMapping { explode: Some(path.to_owned()), condition, ..mapping }, ORDER.to_owned())
        }
        // A schema, whose first message has no fields.
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            let constants = OracleMapping { quantity: or("q", "1"), ..mapping(&[], "q", or("cents", "1")) };
            (OracleMapping { dimensions: vec![or("k", "none")], ..constants }, text.to_owned())
        }
    };
    let body = if case % 6 == 5 { &[] } else { rest };
    Judges::new(&mapping, &[Schema::new(&schema)]).ask_at(&framed(1, &[0], body), 1_735_690_000_000);
}
