//! Avro records: the engine and the oracle agree, and read what apache-avro writes.

mod compare;
mod evolution;
mod malformed;
mod random;
mod schemas;
mod values;

use std::path::Path;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use retail_oracle::{OracleField, OracleMapping};

use crate::mapped_judge::MappedJudge;

fn field(path: &str) -> OracleField {
    OracleField { path: path.to_owned(), ..OracleField::default() }
}

/// A mapping of records with the time of the record, one dimension, a quantity and a price.
fn mapping(dimension: &str) -> OracleMapping {
    OracleMapping {
        format: "Avro".to_owned(),
        timestamp: field("no_field"),
        unit: "RecordTime".to_owned(),
        id: None,
        dimensions: vec![field(dimension)],
        quantity: field("qty"),
        price: Some(field("price")),
        amount: None,
        refunds: true,
        sums: Vec::new(),
        condition: None,
        explode: None,
    }
}

/// The text of a schema of records with these fields.
fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "Sale", "namespace": "shop", "fields": [{fields}]}}"#)
}

/// The body of a record.
fn encoded(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

/// A body behind the id of its schema.
fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

/// A judge that knows one schema, with the id 1.
fn judge(mapping: OracleMapping, schema: &str) -> MappedJudge {
    let mut judge = MappedJudge::new(mapping);
    judge.learn_avro(1, schema, &[]);
    judge
}

/// The corpus of `cargo fuzz`.
#[test]
fn fuzzer_corpus_of_avro_is_read_as_by_the_oracle() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/avro");
    let mut inputs = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        compare::compare(&std::fs::read(file.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 4, "{inputs}");
}

/// Schemas with any change of one byte are usable for both or for neither.
#[test]
fn mutated_schemas_are_usable_for_both() {
    for (number, schema) in compare::SCHEMAS.iter().enumerate() {
        for at in 0..schema.len() {
            for byte in [b'"', b'{', b',', b'n', b'.', b'1'] {
                let mut schema = schema.as_bytes().to_vec();
                schema[at] = byte;
                compare::compare(&[&[128 + number as u8][..], &schema, b"\xff\x02a\x02\x02a\x02"].concat());
            }
        }
    }
}

/// The dimension of the only row of an applied record, or the fate of another one.
fn outcome(judge: &mut MappedJudge, body: &[u8]) -> String {
    let value = framed(1, body);
    let fate = judge.ask(&value);
    if fate != "applied" {
        return fate;
    }
    let (_, results) = judge.engine_says(&value, None);
    let dimensions = results.split_once("[\\\"").and_then(|(_, rest)| rest.split_once("\\\"]"));
    dimensions.map_or(fate, |(dimension, _)| dimension.to_owned())
}
