//! Passes the same records to an engine with a mapping and to the oracle, and compares the results.

use chrono::{DateTime, Duration};
use retail_engine::{
    Condition, Engine, Format, Mapping, NumberField, Path, Readers, Record, Reference, Rules, SchemaId, SchemaKind,
    SchemaText, Span, Start, TextField, TimeField, Timestamp, ValueField,
};
use retail_oracle::{Oracle, OracleField, OracleMapping, OracleRecord, OracleSchema, OracleSchemaId};

/// Seconds of a window, of the delay and of the largest lead of an event.
const WINDOW: u32 = 300;
const HOUR: u32 = 3600;

/// A record timestamp later than all event times: such a record is judged by its value alone.
const APPENDED: i64 = 300_000_000_000_000;

/// The last second of an event that has the time of its record.
const LAST: i64 = 253_402_300_799_000;

/// The mapping of the engine for a mapping of the oracle.
pub(crate) fn engines_mapping(mapping: &OracleMapping) -> Mapping {
    let is_exploded = mapping.explode.is_some();
    let path = |text: &str| Path::parse(text, is_exploded).unwrap();
    let number = |field: &OracleField| NumberField {
        path: path(&field.path),
        if_missing: field.if_missing.as_deref().map(Box::from),
        is_text: field.is_text,
        scale: field.scale as u8,
    };
    let time = Path::parse(&mapping.timestamp.path, false).unwrap();
    let units = ["Seconds", "Milliseconds", "Microseconds", "Nanoseconds"];
    let decimals = units.iter().position(|unit| *unit == mapping.unit).map(|at| 3 * at as u8);
    Mapping {
        format: match mapping.format.as_str() {
            "JSON" => Format::Json,
            "JSONSchema" => Format::JsonSchema,
            "Avro" => Format::Avro,
            "Protobuf" => Format::Protobuf,
            other => panic!("no format is called {other}"),
        },
        timestamp: match decimals {
            Some(decimals) => TimeField::Number { path: time, decimals, is_text: mapping.timestamp.is_text },
            None if mapping.unit == "RFC3339" => TimeField::Rfc3339(time),
            None => TimeField::RecordTime,
        },
        dimensions: mapping
            .dimensions
            .iter()
            .map(|field| TextField { path: path(&field.path), if_missing: field.if_missing.as_deref().map(Box::from) })
            .collect(),
        quantity: number(&mapping.quantity),
        value: match (&mapping.price, &mapping.amount) {
            (Some(price), _) => ValueField::Price(number(price)),
            (None, amount) => ValueField::Amount(number(amount.as_ref().unwrap())),
        },
        refunds: mapping.refunds,
        sums: mapping.sums.iter().map(number).collect(),
        condition: mapping.condition.as_deref().map(|condition| Condition::parse(condition).unwrap()),
        explode: mapping.explode.as_deref().map(|path| Path::parse(path, false).unwrap()),
        id: mapping.id.as_deref().map(|path| Path::parse(path, false).unwrap()),
    }
}

/// An engine that learns from each record, and an oracle for each record.
pub(crate) struct MappedJudge {
    engine: Engine,
    /// Without records.
    oracle: Oracle,
    /// The timestamp of all records.
    appended: i64,
}

impl MappedJudge {
    pub(crate) fn new(mapping: OracleMapping) -> Self {
        let span = Span::from_secs;
        let rules = Rules { window: span(WINDOW), delay: span(HOUR), max_future: span(HOUR) };
        let engine = Engine::with_mapping(rules, true, &engines_mapping(&mapping));
        let seconds = |seconds: u32| Duration::seconds(seconds.into());
        let appended = if mapping.unit == "RecordTime" { LAST } else { APPENDED };
        let oracle = Oracle::new(seconds(WINDOW), seconds(HOUR)).with_mapping(Some(mapping));
        Self { engine, oracle, appended }
    }

    /// Both learn the Avro schema with this id. References have names and texts.
    #[allow(dead_code, reason = "the fuzzer of JSON has no schemas")]
    pub(crate) fn learn_avro(&mut self, id: u32, text: &str, references: &[(&str, &str)]) {
        let references = || references.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let schema = SchemaText {
            kind: SchemaKind::Avro,
            text: text.to_owned(),
            references: references().map(|(name, text)| Reference { name, text }).collect(),
        };
        self.engine.learn_schema(SchemaId::Number(id), Some(&schema));
        let (kind, text, references) = ("AVRO".to_owned(), text.to_owned(), references().collect());
        self.oracle.learn_schema(OracleSchemaId::Number(id), Some(&OracleSchema { kind, text, references }));
    }

    /// Passes a record to both, and returns its fate.
    ///
    /// # Panics
    ///
    /// If the results differ.
    pub(crate) fn ask(&mut self, value: &[u8]) -> String {
        self.ask_with(value, None)
    }

    /// As [`Self::ask`], for a record with the id of its schema in a header.
    pub(crate) fn ask_with(&mut self, value: &[u8], schema: Option<&[u8]>) -> String {
        let (fate, engine) = self.engine_says(value, schema);
        assert_eq!(engine, self.oracle_says(value, schema), "{} {schema:?}", value.escape_ascii());
        fate
    }

    /// How many records each reader has read.
    pub(crate) fn readers(&self) -> Readers {
        self.engine.readers().unwrap()
    }

    /// The fate, and all results as text.
    pub(crate) fn engine_says(&mut self, value: &[u8], schema: Option<&[u8]>) -> (String, String) {
        self.engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
        let record =
            Record { offset: 0, timestamp: Some(Timestamp::from_millis(self.appended)), value: Some(value), schema };
        let fate = self.engine.partition(0).unwrap().record(&record).unwrap().reason().to_owned();
        let batch = self.engine.take_batch();
        let rows = batch.rows.iter().map(|row| {
            let (at, sums) = (row.window_start.as_micros(), row.sums);
            let more: Vec<_> = row.more.iter().map(ToString::to_string).collect();
            format!(
                "{at} {:?} {} {} {} {} {more:?}",
                row.dimensions, sums.events, sums.quantity, sums.price, sums.amount
            )
        });
        let rows: Vec<String> = rows.collect();
        let observed = batch.partitions[0].max_observed.map(Timestamp::as_micros);
        (fate.clone(), format!("{fate} {observed:?} {rows:#?}"))
    }

    fn oracle_says(&self, value: &[u8], schema: Option<&[u8]>) -> String {
        let mut oracle = self.oracle.clone();
        let record = OracleRecord { offset: 0, timestamp_millis: Some(self.appended), value: Some(value), schema };
        let hour = Duration::seconds(HOUR.into());
        let fate = oracle.record(0, &record, DateTime::UNIX_EPOCH, hour).to_owned();
        let rows = oracle.rows();
        let rows = rows.iter().map(|row| {
            let at = row.window_start.timestamp_micros();
            let more: Vec<_> = row.more.iter().map(|sum| format!("{sum:.6}")).collect();
            format!(
                "{at} {:?} {} {} {:.6} {:.6} {more:?}",
                row.dimensions, row.events, row.total_quantity, row.price_sum, row.total_amount
            )
        });
        let rows: Vec<String> = rows.collect();
        let observed = oracle.ledgers()[&0].max_observed.map(|time| time.timestamp_micros());
        format!("{fate} {observed:?} {rows:#?}")
    }
}

/// A mapping, and records that it reads. Upper-case letters stand for values, see `mutations`.
pub(crate) struct MappedCase {
    pub(crate) mapping: fn() -> OracleMapping,
    pub(crate) layouts: &'static [&'static str],
}

fn field(path: &str) -> OracleField {
    OracleField { path: path.to_owned(), ..OracleField::default() }
}

fn or(path: &str, if_missing: &str) -> OracleField {
    OracleField { if_missing: Some(if_missing.to_owned()), ..field(path) }
}

fn cents(path: &str) -> OracleField {
    OracleField { scale: 2, ..field(path) }
}

fn text(path: &str) -> OracleField {
    OracleField { is_text: true, ..field(path) }
}

/// A mapping without filter, refunds, further sums and exploded array.
fn plain(time: &str, unit: &str, dimensions: &[&str], quantity: &str, price: OracleField) -> OracleMapping {
    OracleMapping {
        format: "JSON".to_owned(),
        id: None,
        timestamp: field(time),
        unit: unit.to_owned(),
        dimensions: dimensions.iter().map(|path| field(path)).collect(),
        quantity: field(quantity),
        price: Some(price),
        amount: None,
        refunds: false,
        sums: Vec::new(),
        condition: None,
        explode: None,
    }
}

pub(crate) fn of_tutorial() -> OracleMapping {
    plain("timestamp", "RFC3339", &["category", "payment_method"], "quantity", field("price"))
}

fn nested() -> OracleMapping {
    plain("meta.at", "Milliseconds", &["store.id", "store.channel"], "line.qty", cents("line.cents"))
}

pub(crate) fn items() -> OracleMapping {
    OracleMapping {
        dimensions: vec![field("$.payment.method"), field("sku.category"), or("color", "none")],
        explode: Some("order.items".to_owned()),
        sums: vec![or("tax", "0")],
        ..plain("created", "Seconds", &[], "qty", cents("cents"))
    }
}

fn change_data() -> OracleMapping {
    OracleMapping {
        condition: Some("op in ['c', 'r'] && !has(after.deleted)".to_owned()),
        ..plain("after.at", "Milliseconds", &["after.category", "after.method"], "after.qty", text("after.price"))
    }
}

fn optional() -> OracleMapping {
    OracleMapping {
        dimensions: vec![or("channel", "none"), field("category"), field("paid")],
        price: None,
        amount: Some(text("amount")),
        refunds: true,
        sums: vec![field("tip")],
        condition: Some("kind != 'test' || tip > 3".to_owned()),
        ..plain("at", "RFC3339", &[], "qty", field(""))
    }
}

/// Mappings with the layouts of their producers.
pub(crate) const CASES: [MappedCase; 5] = [
    MappedCase {
        mapping: of_tutorial,
        layouts: &[
            r#"{"transaction_id": "I", "customer_id": N, "category": "C", "brand": "S", "product_name": "S", "quantity": Q, "price": P, "payment_method": "M", "timestamp": "T"}"#,
            r#"{"transaction_id":"I","customer_id":"N","category":"C","brand":"S","product_name":"S","quantity":Q,"price":P,"payment_method":"M","timestamp":"T"}"#,
            r#"{"timestamp":"T","payment_method":"M","category":"C","quantity":Q,"price":P}"#,
            r#"{"product_name": "S \"S\"", "category": "C", "payment_method": "M", "quantity": Q, "price": P, "timestamp": "T"}"#,
        ],
    },
    MappedCase {
        mapping: nested,
        layouts: &[
            r#"{"type":"order.paid","meta":{"id":"I","at":L,"source":"shop"},"customer":{"id":N,"name":"S","loyal":true,"geo":[-N.5,N,null]},"store":{"id":"C","channel":"M"},"line":{"sku":"S","qty":Q,"cents":G,"discount":null},"currency":"IDR","notes":"S"}"#,
            r#"{"type":"order.paid","meta":{"at":L,"id":"I"},"customer":{"geo":[],"name":"S","tags":["S","S"],"id":N},"line":{"cents":G,"qty":Q,"sku":"S"},"store":{"channel":"M","id":"C","x":{}}}"#,
            r#"{ "line" : { "qty" : Q , "cents" : G }, "meta": {"at": L}, "store": {"store": {"id": "S", "id": N}, "id": "C", "channel": "M"}, "meta2": {"at": 3}, "a": [{"b": [1, "S", true]}, {}] } "#,
            r#"{"store":{"id":"C","channel":"M"},"line":{"qty":Q,"cents":G},"meta":{"at":L,"trace":[[1,2],[3,4]]}}"#,
        ],
    },
    MappedCase {
        mapping: items,
        layouts: &[
            r#"{"id":"I","created":U,"order":{"items":[{"sku":{"id":"S","category":"C"},"qty":Q,"cents":G},{"sku":{"id":"S","category":"C"},"qty":Q,"cents":G}],"total":G},"payment":{"method":"M","captured":true}}"#,
            r#"{"id":"I","created":U,"order":{"items":[{"sku":{"id":"S","category":"C"},"qty":Q,"cents":G}],"total":G},"payment":{"method":"M","captured":true}}"#,
            r#"{"id":"I","created":U,"order":{"items":[{"sku":{"id":"S","category":"C"},"qty":Q,"cents":G},{"sku":{"id":"S","category":"C"},"qty":Q,"cents":G,"color":"M"},{"sku":{"category":"C"},"tax":P,"cents":G,"color":"S","qty":Q}],"total":G},"payment":{"method":"M","captured":true}}"#,
            r#"{"payment":{"method":"M"},"created":U,"order":{"items":[{"qty":Q,"sku":{"category":"C"},"cents":G,"extra":{}},{"qty":Q,"cents":G,"sku":{"category":"C","more":[]}}]},"tags":["S","S","S"]}"#,
            r#"{"payment":{"method":"M"},"created":U,"order":{"total":G,"items":[{"qty":Q,"sku":{"category":"C"},"cents":G,"tax":N}],"more":[{"qty":Q}]}}"#,
        ],
    },
    MappedCase {
        mapping: change_data,
        layouts: &[
            r#"{"before":null,"after":{"id":N,"order":"I","category":"C","method":"M","qty":Q,"price":"P","at":L},"source":{"version":"3.0.0.Final","ts_ms":L,"snapshot":"false","sequence":"N","lsn":N,"xmin":null},"op":"c","ts_ms":L,"transaction":null}"#,
            r#"{"before":{"id":N,"category":"S"},"after":null,"source":{"version":"3.0.0.Final","ts_ms":L,"snapshot":"false"},"op":"d","ts_ms":L}"#,
            r#"{"before":{"id":N,"category":"S"},"after":{"id":N,"category":"C","deleted":null,"method":"M","qty":Q,"price":"P","at":L},"source":{"ts_ms":L},"op":"r","ts_ms":L}"#,
            r#"{"op":"r","after":{"at":L,"price":P,"qty":Q,"method":"M","category":"C"},"source":{"version":"3.0.0.Final","ts_ms":L,"snapshot":"first"}}"#,
        ],
    },
    MappedCase {
        mapping: optional,
        layouts: &[
            r#"{"id":"I","kind":"sale","at":"T","channel":"M","category":"C","paid":true,"qty":Q,"amount":P,"tip":N,"shift":"morning"}"#,
            r#"{"id":"I","kind":"sale","at":"T","category":"C","paid":true,"qty":Q,"amount":P,"tip":N,"shift":"morning"}"#,
            r#"{"id":"I","kind":"test","at":"T","coupon":"S","category":"C","paid":false,"qty":Q,"amount":P,"tip":N,"shift":"morning"}"#,
            r#"{"id":"I","kind":"refund","at":"T","coupon":"S","channel":null,"category":"C","paid":"M","qty":-Q,"amount":"-P","tip":-N.25,"shift":"morning"}"#,
            r#"{"kind":{"a":[]},"at":"T","channel":N,"category":"C","paid":N,"qty":Q,"amount":"P","tip":Ne-1,"cashier":{"id":N,"name":"S"}}"#,
        ],
    },
];
