//! Records that name a schema, before their body or in a header.

use retail_engine::{Engine, Record, Rules, SchemaId, SchemaKind, SchemaText, Span, Start, Timestamp};
use retail_oracle::OracleMapping;

use crate::mapped_judge::{MappedJudge, engines_mapping, of_tutorial};

const BODY: &[u8] =
    br#"{"category":"Makeup","payment_method":"COD","quantity":3,"price":1.5,"timestamp":"2024-12-31T23:49:40Z"}"#;

/// A header with the GUID of a schema.
const HEADER: &[u8] = b"\x010123456789abcdef";

fn mapping(format: &str) -> OracleMapping {
    OracleMapping { format: format.to_owned(), ..of_tutorial() }
}

#[test]
fn json_schema_records_are_json_behind_an_id() {
    let mut judge = MappedJudge::new(mapping("JSONSchema"));
    let behind = |prefix: &[u8]| [prefix, BODY].concat();
    for (value, header, fate) in [
        (behind(b"\0\0\0\0\x05"), None, "applied"),
        (behind(b"\0\xff\xff\xff\xff"), None, "applied"),
        (BODY.to_vec(), Some(HEADER), "applied"),
        (behind(b"\0\0\0\0\x05"), Some(HEADER), "malformed_json"),
        (BODY.to_vec(), None, "no_schema_id"),
        (behind(b"\x01\0\0\0\x05"), None, "no_schema_id"),
        (b"\0\0\0\0".to_vec(), None, "no_schema_id"),
        (BODY.to_vec(), Some(&HEADER[..16]), "no_schema_id"),
        (behind(b"\0\0\0\0\x05"), Some(b""), "no_schema_id"),
        (BODY.to_vec(), Some(b"\x010123456789abcdef\0"), "no_schema_id"),
        (b"\0\0\0\0\x05".to_vec(), None, "empty"),
        (Vec::new(), Some(HEADER), "empty"),
        (b"\0\0\0\0\x05{}".to_vec(), None, "missing_field"),
        (b"\0\0\0\0\x05{".to_vec(), None, "malformed_json"),
    ] {
        assert_eq!(judge.ask_with(&value, header), fate, "{} {header:?}", value.escape_ascii());
    }
}

#[test]
fn records_wait_for_their_schema_which_is_kept_while_it_is_used() {
    let rules = Rules { window: Span::from_secs(300), delay: Span::from_secs(60), max_future: Span::from_secs(3600) };
    let mut engine = Engine::with_mapping(rules, true, &engines_mapping(&mapping("Avro")));
    assert!(engine.needs_schemas());
    engine.assign(0, Start { next_offset: 5, max_observed: None, floor: Timestamp::EPOCH });
    let value = b"\0\0\0\0\x05body";
    let record = |offset, value| Record { offset, timestamp: None, value, schema: None };
    let missing = |engine: &mut Engine, record: &Record<'_>| engine.partition(0).unwrap().missing_schema(record);
    assert_eq!(missing(&mut engine, &record(5, Some(value))), Some(SchemaId::Number(5)));
    let with_header = Record { schema: Some(HEADER), ..record(5, Some(value)) };
    assert_eq!(missing(&mut engine, &with_header), Some(SchemaId::Guid(*b"0123456789abcdef")));
    for (offset, value) in [(4, Some(&value[..])), (5, None), (5, Some(b"")), (5, Some(b"{}")), (5, Some(b"\0\0\0\0"))]
    {
        assert_eq!(missing(&mut engine, &record(offset, value)), None, "{offset} {value:?}");
    }
    engine.learn_schema(SchemaId::Number(5), None);
    assert_eq!(missing(&mut engine, &record(5, Some(value))), None);
    let fate = |engine: &mut Engine, record: &Record<'_>| engine.partition(0).unwrap().record(record).unwrap().reason();
    assert_eq!(fate(&mut engine, &record(5, Some(value))), "unknown_schema");
    assert_eq!(fate(&mut engine, &record(6, Some(b"{}"))), "no_schema_id");
    assert_eq!(fate(&mut engine, &record(7, None)), "empty");
    let schema = SchemaText { kind: SchemaKind::Json, text: "{}".to_owned(), references: Vec::new() };
    engine.learn_schema(SchemaId::Number(5), Some(&schema));
    assert_eq!(fate(&mut engine, &record(8, Some(value))), "unusable_schema");
    for id in 6..2000 {
        let offset = 9 + i64::from(id);
        engine.learn_schema(SchemaId::Number(id), None);
        assert_eq!(missing(&mut engine, &record(offset, Some(value))), None, "it was used before schema {id}");
        assert_eq!(fate(&mut engine, &record(offset, Some(value))), "unusable_schema");
    }
    let first = record(3000, Some(b"\0\0\0\0\x06"));
    assert_eq!(missing(&mut engine, &first), Some(SchemaId::Number(6)), "1,024 other schemas came after it");
}
