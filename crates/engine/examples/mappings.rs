//! Runs records with a mapping through the engine on one core, to count instructions or nanoseconds.
//!
//! `mappings CASE READER [EVENTS [DIFFERENT]]` reads EVENTS records of a case, repeatedly from DIFFERENT distinct ones. READER is
//! `engine`, which reads, judges and sums them up, or `serde`, which only reads them with serde_json into a type of the case: the
//! yardstick. `mappings` prints the names of the cases. `dev/bench-mappings` makes a table of all cases.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it is a program for people, and not the engine")]
#![allow(clippy::unwrap_used, reason = "the records are made here")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use retail_engine::{
    Condition, Engine, Format, Mapping, NumberField, Path, Record, Rules, SchemaId, SchemaKind, SchemaText, Span,
    Start, TextField, TimeField, Timestamp, ValueField,
};

#[path = "mappings/records.rs"]
mod records;
#[path = "mappings/typed.rs"]
mod typed;

use records::{BEGIN, CASES};

/// More than fits into a CPU cache.
const DIFFERENT: usize = 20_000;

/// As many as arrive within one trigger.
const BATCH: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, reader, numbers @ ..] = &*arguments else {
        CASES.iter().for_each(|case| println!("{case}"));
        return;
    };
    let number = |at: usize, default| numbers.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (events, different) = (number(0, 500_000), number(1, DIFFERENT));
    let records: Vec<Vec<u8>> = records::of(case, different);
    let bytes = records.iter().map(Vec::len).sum::<usize>() / records.len();
    let begun = cpu_time();
    let note = match reader.as_str() {
        "engine" => add_up(case, &records, events),
        "serde" => typed::sum(case, records.iter().cycle().take(events)).to_string(),
        _ => panic!("{reader}: expected engine or serde"),
    };
    let nanos = (cpu_time() - begun).as_nanos() as f64 / events as f64;
    println!("{case} {reader} {bytes} {nanos:.1} {note}");
}

/// The share of the records that each reader has read.
fn add_up(case: &str, records: &[Vec<u8>], events: usize) -> String {
    let hour = Span::from_secs(3600);
    let rules = Rules { window: Span::from_secs(300), delay: hour, max_future: hour };
    let mut engine = match mapping(case) {
        Some(mapping) => Engine::with_mapping(rules, true, &mapping),
        None => Engine::new(rules, true),
    };
    let (kind, text) =
        if case == "avro" { (SchemaKind::Avro, records::AVRO) } else { (SchemaKind::Protobuf, records::PROTOBUF) };
    let schema = SchemaText { kind, text: text.to_owned(), references: Vec::new() };
    engine.learn_schema(SchemaId::Number(1), Some(&schema));
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let timestamp = Some(Timestamp::from_secs(BEGIN));
    let mut offsets = 0..;
    let mut values = records.iter().cycle().take(events);
    let mut read = 0;
    while read < events as i64 {
        if let Some(mut feed) = engine.partition(0) {
            for value in values.by_ref().take(BATCH) {
                feed.record(&Record {
                    offset: offsets.next().unwrap_or_default(),
                    timestamp,
                    value: Some(value),
                    schema: None,
                });
            }
        }
        let counts = black_box(engine.take_batch()).partitions[0].counts;
        assert_eq!((counts.invalid, counts.late), (0, 0), "all records are good");
        read += counts.total();
    }
    engine.readers().map_or_else(String::new, |readers| {
        let share = |count: u64| 100.0 * count as f64 / events as f64;
        format!("{:.1}/{:.1}/{:.1}", share(readers.line), share(readers.graph), share(readers.slow))
    })
}

/// The time of this thread on a processor, so that other programs do not count; elsewhere than on Linux, the time of the clock.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanos = text.ok().and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(
        || {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed()
        },
        Duration::from_nanos,
    )
}

/// The mapping of a case; `None` for the tutorial's fields, read without a mapping.
fn mapping(case: &str) -> Option<Mapping> {
    let millis = |path: &str| TimeField::Number { path: record(path), decimals: 3, is_text: false };
    let plain = |timestamp, dimensions: &[&str], quantity: &str, price: &str, scale| Mapping {
        format: Format::Json,
        id: None,
        timestamp,
        dimensions: dimensions.iter().map(|path| text(record(path))).collect(),
        quantity: number(record(quantity), 0),
        value: ValueField::Price(number(record(price), scale)),
        refunds: false,
        sums: Vec::new(),
        condition: None,
        explode: None,
    };
    let element = |path: &str| Path::parse(path, true).unwrap();
    let nested =
        || plain(millis("meta.createdAt"), &["store.id", "store.channel"], "line.qty", "line.unit_price_cents", 2);
    let change = |prefix: &str| {
        let at = |name: &str| format!("{prefix}after.{name}");
        let dimensions = [at("category"), at("payment_method")];
        let dimensions: Vec<&str> = dimensions.iter().map(String::as_str).collect();
        plain(millis(&at("created_at")), &dimensions, &at("quantity"), &at("price_cents"), 2)
    };
    let of_tutorial =
        |dimensions: &[&str]| plain(TimeField::Rfc3339(record("timestamp")), dimensions, "quantity", "price", 0);
    let many = ["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8"];
    Some(match case {
        "default" => return None,
        "flat" => of_tutorial(&["category", "payment_method"]),
        "avro" => Mapping { format: Format::Avro, ..of_tutorial(&["category", "payment_method"]) },
        "protobuf" => Mapping { format: Format::Protobuf, ..of_tutorial(&["category", "payment_method"]) },
        "nested" => nested(),
        "where" => Mapping {
            condition: Condition::parse(
                "store.channel in ['COD', 'PayPal', 'Debit Card', 'Credit Card'] && line.qty < 100 && !currency.startsWith('X')",
            )
            .ok(),
            ..nested()
        },
        "items" | "any-items" => Mapping {
            dimensions: vec![text(record("$.payment.method")), text(element("category"))],
            quantity: number(element("qty"), 0),
            value: ValueField::Price(number(element("unit_price_cents"), 2)),
            explode: Some(record("items")),
            ..plain(millis("created_at"), &[], "qty", "qty", 0)
        },
        "change" => change(""),
        "change-schema" => change("payload."),
        "optional" => Mapping {
            dimensions: vec![
                text(record("category")),
                TextField { if_missing: Some("none".into()), ..text(record("channel")) },
            ],
            ..plain(millis("ts"), &[], "qty", "price", 0)
        },
        "1-dimension" => of_tutorial(&many[..1]),
        "2-dimensions" => of_tutorial(&many[..2]),
        "4-dimensions" => of_tutorial(&many[..4]),
        "8-dimensions" | "8-dimensions-30000-groups" => of_tutorial(&many),
        _ => panic!("{case}: unknown case"),
    })
}

fn record(path: &str) -> Path {
    Path::parse(path, false).unwrap()
}

fn text(path: Path) -> TextField {
    TextField { path, if_missing: None }
}

fn number(path: Path, scale: u8) -> NumberField {
    NumberField { path, if_missing: None, is_text: false, scale }
}
