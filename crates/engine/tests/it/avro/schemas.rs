//! Which schemas are usable, names and references, and the memory of many schemas.

use allocation_counter::measure;
use retail_engine::{Engine, Rules, SchemaId, SchemaKind, SchemaText, Span};

use super::{framed, judge, mapping, outcome, record};
use crate::mapped_judge::{MappedJudge, engines_mapping};

const FIELDS: &str =
    r#"{"name": "d", "type": "string"}, {"name": "qty", "type": "int"}, {"name": "price", "type": "long"}"#;

/// The dimension `a`, two pieces, the price 3.
const SALE: &[u8] = b"\x02a\x04\x06";

#[test]
fn schemas_are_usable_or_not() {
    let with = |of_type: &str| record(&format!(r#"{FIELDS}, {{"name": "x", "type": {of_type}}}"#));
    let many_fields = |count: usize| {
        let fields: Vec<String> = (0..count).map(|at| format!(r#"{{"name": "f{at}", "type": "null"}}"#)).collect();
        format!(r#"{{"type": "record", "name": "M", "fields": [{}]}}"#, fields.join(","))
    };
    // Each record has the one before it twice.
    let doubled = |times: usize| {
        let mut fields = String::from(r#"{"name": "r0", "type": {"type": "record", "name": "R0", "fields": []}}"#);
        for at in 1..=times {
            let before = at - 1;
            fields += &format!(
                r#", {{"name": "r{at}", "type": {{"type": "record", "name": "R{at}", "fields":
                    [{{"name": "a", "type": "R{before}"}}, {{"name": "b", "type": "R{before}"}}]}}}}"#
            );
        }
        record(&format!("{FIELDS}, {fields}"))
    };
    let chained = |times: usize| {
        doubled(times).replace(r#", {"name": "b", "type": "R"#, r#", {"name": "b", "type": "null", "x": "R"#)
    };
    let usable = [
        record(FIELDS),
        with("\"null\""),
        with(r#"{"type": "null"}"#),
        with(r#"{"type": {"type": "null"}}"#),
        with(&many_fields(10_000)),
        doubled(13),
        chained(61),
        // Names of any letters, of all namespaces; unknown logical types and invalid decimals are ignored.
        with(
            r#"{"type": "record", "name": "größe-1", "namespace": "", "fields": [{"name": "a b", "type": "null", "default": 7}]}"#,
        ),
        record(&format!(
            r#"{{"name": "e", "type": {{"type": "record", "name": "x.y.E", "fields": []}}}}, {FIELDS}, {{"name": "f", "type": "x.y.E"}}"#
        )),
        record(&format!(
            r#"{{"name": "e", "type": {{"type": "record", "name": "E", "fields": []}}}}, {FIELDS}, {{"name": "f", "type": "shop.E"}}, {{"name": "g", "type": {{"type": "E"}}}}"#
        )),
        with(r#"{"type": "null", "logicalType": "whatever", "doc": 5}"#),
        with(r#"{"type": "fixed", "name": "F", "size": 0, "logicalType": "decimal", "precision": "x"}"#),
    ];
    for schema in usable {
        assert_eq!(outcome(&mut judge(mapping("d"), &schema), SALE), "a", "{schema:.2000}");
    }
    let unusable = [
        String::new(),
        "{".to_owned(),
        "\"string\"".to_owned(),
        "[\"null\", \"string\"]".to_owned(),
        r#"{"type": "array", "items": "int"}"#.to_owned(),
        r#"{"type": "record", "fields": []}"#.to_owned(),
        r#"{"type": "record", "name": "", "fields": []}"#.to_owned(),
        r#"{"type": "record", "name": "R"}"#.to_owned(),
        r#"{"type": "record", "name": "R", "fields": {}}"#.to_owned(),
        r#"{"type": "record", "name": "R", "fields": [5]}"#.to_owned(),
        with("\"unknown\""),
        with("\"record\""),
        with("7"),
        with(r#"{"typ": "null"}"#),
        with(r#"["null", ["int"]]"#),
        with(r#"{"type": "record", "name": "Sale", "fields": []}"#),
        with(r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}"#),
        with(
            r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#,
        ),
        with(r#"{"type": "enum", "name": "E"}"#),
        with(r#"{"type": "enum", "name": "E", "symbols": [1]}"#),
        with(r#"{"type": "fixed", "name": "F", "size": -1}"#),
        with(r#"{"type": "fixed", "name": "F", "size": 2147483648}"#),
        with(r#"{"type": "fixed", "name": "F"}"#),
        with(r#"{"type": "array"}"#),
        with(r#"{"type": "map", "values": "nothing"}"#),
        // Later definitions are unknown.
        record(&format!(
            r#"{{"name": "f", "type": "E"}}, {FIELDS}, {{"name": "e", "type": {{"type": "record", "name": "E", "fields": []}}}}"#
        )),
        doubled(16),
        doubled(60),
        chained(64),
        with(&format!("{}\"null\"{}", r#"{"type": "array", "items": "#.repeat(130), "}".repeat(130))),
        format!("{}{}", record(FIELDS), " ".repeat(1 << 20)),
    ];
    for schema in unusable {
        assert_eq!(outcome(&mut judge(mapping("d"), &schema), SALE), "unusable_schema", "{schema:.2000}");
    }
}

#[test]
fn references_define_names_of_the_schema() {
    let kind = r#"{"type": "enum", "name": "Kind", "namespace": "common", "symbols": ["a", "b"]}"#;
    let line = r#"{"type": "record", "name": "common.Line", "fields": [{"name": "d", "type": "Kind"}, {"name": "qty", "type": "int"}]}"#;
    let sale = record(r#"{"name": "line", "type": "common.Line"}, {"name": "price", "type": "long"}"#);
    let nested = || retail_oracle::OracleMapping { quantity: super::field("line.qty"), ..mapping("line.d") };
    let body = b"\x02\x04\x06";
    for (references, expected) in [
        (&[("common.Kind", kind), ("common.Line", line)][..], "b"),
        (&[("common.Kind", kind), ("common.Line", line), ("common.Kind", kind)], "b"),
        (&[("any name", kind), ("other", line)], "b"),
        (&[("common.Line", line), ("common.Kind", kind)], "unusable_schema"),
        (&[("common.Kind", kind), ("again", kind), ("common.Line", line)], "unusable_schema"),
        (&[("common.Kind", kind)], "unusable_schema"),
        (&[("common.Kind", "{"), ("common.Line", line)], "unusable_schema"),
    ] {
        let mut judge = MappedJudge::new(nested());
        judge.learn_avro(1, &sale, references);
        assert_eq!(outcome(&mut judge, body), expected, "{references:?}");
    }
    let many: Vec<(String, String)> =
        (0..65).map(|at| (at.to_string(), format!(r#"{{"type": "fixed", "name": "F{at}", "size": 1}}"#))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for (count, expected) in [(64, "a"), (65, "unusable_schema")] {
        let mut judge = MappedJudge::new(mapping("d"));
        judge.learn_avro(1, &record(FIELDS), &many[..count]);
        assert_eq!(outcome(&mut judge, SALE), expected, "{count}");
    }
}

#[test]
fn union_of_records_is_the_chosen_record() {
    let other = r#"{"type": "record", "name": "Other", "fields": [{"name": "qty", "type": "long"}]}"#;
    let schema = format!(r#"["null", {other}, {}]"#, record(FIELDS));
    let mut judge = judge(mapping("d"), &schema);
    assert_eq!(outcome(&mut judge, &[&b"\x04"[..], SALE].concat()), "a");
    assert_eq!(outcome(&mut judge, b"\x02\x02"), "missing_field");
    assert_eq!(outcome(&mut judge, b"\x00"), "missing_field");
    assert_eq!(outcome(&mut judge, b"\x06"), "malformed_avro");
}

#[test]
fn ids_of_other_subjects_and_unknown_ids_are_invalid() {
    let mut judge = MappedJudge::new(mapping("d"));
    judge.learn_avro(1, &record(FIELDS), &[]);
    judge.learn_avro(2, &record(r#"{"name": "id", "type": "long"}"#), &[]);
    judge.learn_avro(3, "no schema", &[]);
    assert_eq!(judge.ask(&framed(1, SALE)), "applied");
    assert_eq!(judge.ask(&framed(2, SALE)), "malformed_avro");
    assert_eq!(judge.ask(&framed(2, b"\x02")), "missing_field");
    assert_eq!(judge.ask(&framed(3, SALE)), "unusable_schema");
}

#[test]
fn memory_of_100_000_schemas_is_bounded() {
    let span = Span::from_secs;
    let rules = Rules { window: span(300), delay: span(3600), max_future: span(3600) };
    let mut engine = Engine::with_mapping(rules, true, &engines_mapping(&mapping("d")));
    let schema = SchemaText { kind: SchemaKind::Avro, text: record(FIELDS), references: Vec::new() };
    let mut learn = |ids: std::ops::Range<u32>| {
        measure(|| ids.into_iter().for_each(|id| engine.learn_schema(SchemaId::Number(id), Some(&schema))))
    };
    let first = learn(0..1024);
    let rest = learn(1024..100_000);
    assert!(first.bytes_current > 100_000, "{first:?}: does the counter count?");
    assert!(rest.bytes_max < 100_000, "{rest:?}");
}
