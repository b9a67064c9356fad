//! Causes and proposals for records of Avro and Protobuf, which are written by hand.

use retail_api::Pipeline;
use retail_engine::{Record, SchemaId, SchemaKind, SchemaText};
use retail_sample::{
    Diagnosis, Proposal, Report, Reporter, SchemaAnswer, SchemaFit, Summary, propose, reason_named, schema_fit,
};

const AVRO: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"shop","type":"string","aliases":["store"]},
    {"name":"qty","type":["null","long"]},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["SALE","REFUND"]}}]}"#;

const PROTOBUF: &str = r#"syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto";
    message Order { google.protobuf.Timestamp at = 1; string store = 2; optional int64 qty = 3; double price = 4; }"#;

fn pipeline(kind: &str, quantity: &str) -> Pipeline {
    let registry = if kind == "JSON" { "" } else { ", registry: {url: \"http://r:1\"}" };
    let yaml = format!(
        "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail}}\nspec:\n  \
         kafka: {{bootstrapServers: \"kafka:9092\"}}\n  topic: {{name: t}}\n  database: {{host: db, name: db}}\n  events:\n    \
         format: {{type: {kind}{registry}}}\n    timestamp: {{field: at, unit: Milliseconds}}\n    \
         dimensions: [{{name: store, field: store}}]\n    quantity: {{field: {quantity}}}\n    price: {{field: price}}\n"
    );
    Pipeline::parse(&yaml).unwrap_or_else(|problems| panic!("{problems}"))
}

fn schema(kind: SchemaKind, text: &str) -> SchemaText {
    SchemaText { kind, text: text.to_owned(), references: Vec::new() }
}

fn framed(id: u8, body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, id], body].concat()
}

/// 1,764,349,200,000 milliseconds, 2025-11-28T17:00:00Z, as a zigzag varint.
const AT: &[u8] = &[0x80, 0x9a, 0xc2, 0xb6, 0xd9, 0x66];

/// An order of Avro with this quantity.
fn avro(qty: &[u8]) -> Vec<u8> {
    [AT, b"\x04S1", qty, b"\x04\x07\xcf", b"\0"].concat()
}

fn record(value: &[u8]) -> Record<'_> {
    Record { offset: 0, timestamp: None, value: Some(value), schema: None }
}

fn report(pipeline: &Pipeline, schema: &SchemaText, value: &[u8]) -> Report {
    let mut reporter = Reporter::new(pipeline.events.as_ref());
    assert_eq!(reporter.report(&record(value)).fate, "waiting", "the schema is not known yet");
    reporter.learn_schema(SchemaId::Number(5), &SchemaAnswer::Found(schema));
    reporter.report(&record(value))
}

fn cause(pipeline: &Pipeline, schema: &SchemaText, value: &[u8]) -> String {
    let report = report(pipeline, schema, value);
    format!("{}: {}", report.reason.unwrap_or(report.fate), report.notes.join(" | "))
}

#[test]
fn causes_in_avro_name_schema_and_place() {
    let schema = schema(SchemaKind::Avro, AVRO);
    let (by_name, missing) = (pipeline("Avro", "qty"), pipeline("Avro", "quantity"));
    let two = avro(&[2, 4]);
    assert_eq!(
        cause(&missing, &schema, &framed(5, &two)),
        "missing_field: quantity missing in schema 5 (shop.Order); has \"qty\": 2"
    );
    assert_eq!(
        cause(&by_name, &schema, &framed(5, &avro(&[0]))),
        "missing_field: qty is null in schema 5 (shop.Order)"
    );
    assert_eq!(
        cause(&by_name, &schema, &framed(5, &avro(&[2, 3]))),
        "bad_quantity: qty: -2 is negative (refunds: Allow) in schema 5 (shop.Order)"
    );
    for (body, problem) in [
        (&two[..8], "a string needs 2 bytes, and 1 are left, at byte 7 of the body in field shop"),
        (&[&two[..], b"xy"].concat(), "the record ends, and 2 bytes are left at byte 15 of the body"),
        (&avro(&[6, 4]), "the union has no branch 3 at byte 10 of the body in field qty"),
        (&[AT, b"\x04\xff\xff\x02\x04\0\0"].concat(), "a string is not UTF-8 at byte 9 of the body in field shop"),
    ] {
        assert_eq!(
            cause(&by_name, &schema, &framed(5, body)),
            format!("malformed_avro: not a value of schema 5 (shop.Order): {problem}")
        );
    }
    let read = report(&by_name, &schema, &framed(5, &two));
    assert_eq!((read.fate, read.notes.len()), ("applied", 0));
    let facts = read.facts.as_ref().unwrap();
    assert_eq!((&*facts.event_time, &*facts.purchases[0].price), ("2025-11-28T17:00:00Z", "19.99"));
    assert!(Summary::of(&[read.clone(), read]).in_words().ends_with("\nschemas: 5 shop.Order (2)\n"));
}

#[test]
fn causes_in_protobuf_name_schema_and_message() {
    let schema = schema(SchemaKind::Protobuf, PROTOBUF);
    let (by_name, missing) = (pipeline("Protobuf", "qty"), pipeline("Protobuf", "quantity"));
    let price = [&[0x21][..], &2.5_f64.to_le_bytes()].concat();
    let order = |qty: &[u8]| [b"\0\x0a\x06\x08\x90\xda\xa7\xc9\x06\x12\x02S1", qty, &price].concat();
    assert_eq!(report(&by_name, &schema, &framed(5, &order(b"\x18\x02"))).fate, "applied");
    assert_eq!(
        cause(&missing, &schema, &framed(5, &order(b"\x18\x02"))),
        "missing_field: quantity missing in schema 5 (shop.Order); has \"qty\": 2"
    );
    assert_eq!(
        cause(&by_name, &schema, &framed(5, &order(b""))),
        "missing_field: qty is not set in schema 5 (shop.Order)"
    );
    assert_eq!(
        cause(&by_name, &schema, &framed(5, b"\x02\x08x")),
        "malformed_protobuf: not a value of schema 5: the schema has no message with the indexes [4]"
    );
    let truncated = cause(&by_name, &schema, &framed(5, b"\0\x12\x05S1"));
    assert!(truncated.starts_with("malformed_protobuf: not a value of schema 5 (shop.Order): "), "{truncated}");
}

#[test]
fn schema_that_is_not_usable_is_explained() {
    let avro_pipeline = pipeline("Avro", "qty");
    let body = framed(5, &avro(&[0]));
    let with = |kind, text| cause(&avro_pipeline, &schema(kind, text), &body);
    assert_eq!(
        with(SchemaKind::Protobuf, PROTOBUF),
        "unusable_schema: schema 5 is of another format: set format.type to Protobuf"
    );
    assert_eq!(with(SchemaKind::Avro, "\"string\""), "unusable_schema: schema 5 is not a record");
    assert_eq!(
        with(SchemaKind::Avro, r#"{"type":"record","name":"A","fields":[{"name":"b","type":"shop.B"}]}"#),
        "unusable_schema: schema 5 uses the type shop.B, which neither it nor its references define"
    );
    let mut reporter = Reporter::new(avro_pipeline.events.as_ref());
    reporter.learn_schema(SchemaId::Number(5), &SchemaAnswer::Unknown);
    assert_eq!(reporter.report(&record(&body)).notes, ["the registry does not know schema 5"]);
    reporter.learn_schema(SchemaId::Number(5), &SchemaAnswer::Unusable("has more than 64 references"));
    assert_eq!(reporter.report(&record(&body)).notes, ["schema 5 has more than 64 references"]);
    assert_eq!(
        reporter.report(&record(b"{\"a\": 1}")).notes,
        ["does not begin with a schema id; looks like JSON: set format.type to JSON"]
    );
    let short_header = Record { schema: Some(&[1, 2]), ..record(&body) };
    assert_eq!(
        reporter.report(&short_header).notes,
        ["the header __value_schema_id has no schema id: 01 and 16 bytes"]
    );
    // A dead letter of a worker that does not have the schema any more.
    let mapping = &avro_pipeline.events.as_ref().unwrap().mapping;
    let detail = |reason| Diagnosis::new(Some(mapping)).detail(Some(&body), None, reason_named(reason).unwrap(), true);
    assert_eq!(detail("malformed_avro"), "not a value of schema 5");
    assert_eq!(detail("missing_field"), "the record is invalid: missing_field in schema 5");
    // The id in the header counts, even if the value begins like another id.
    let header = [&[1], &[7; 16][..]].concat();
    let mut diagnosis = Diagnosis::new(Some(mapping));
    diagnosis.learn_schema(SchemaId::Number(5), &SchemaAnswer::Found(&schema(SchemaKind::Avro, AVRO)));
    diagnosis.learn_schema(SchemaId::Guid([7; 16]), &SchemaAnswer::Unknown);
    assert_eq!(
        diagnosis.detail(Some(&body), Some(&header), reason_named("unknown_schema").unwrap(), true),
        "the registry does not know schema 07070707-0707-0707-0707-070707070707"
    );
}

#[test]
fn mapping_of_avro_is_proposed_with_its_format() {
    let schema = schema(SchemaKind::Avro, AVRO);
    let values: Vec<Vec<u8>> = (1..=20).map(|qty| framed(5, &avro(&[2, 2 * qty]))).collect();
    let records: Vec<Record<'_>> = values.iter().map(|value| record(value)).collect();
    let format = pipeline("Avro", "qty").events.unwrap().events.format;
    let answers = [(SchemaId::Number(5), SchemaAnswer::Found(&schema))];
    let Proposal { yaml, reads, of, .. } = propose(&records, &format, &answers).unwrap();
    assert_eq!((reads, of), (20, 20), "{yaml}");
    assert!(
        yaml.starts_with("  events:\n    format: {\"type\":\"Avro\",\"registry\":{\"url\":\"http://r:1\"}}\n    timestamp: {field: at}\n"),
        "{yaml}"
    );
    assert_eq!(propose(&records, &format, &[]), Err("no record can be read by its schema".to_owned()));
}

#[test]
fn json_behind_an_id_is_explained_as_json() {
    let yaml_free = pipeline("JSON", "qty");
    let mut reporter = Reporter::new(yaml_free.events.as_ref());
    let notes = reporter.report(&record(&framed(5, &avro(&[0])))).notes;
    assert_eq!(notes, ["begins with the id of schema 5: looks like Avro; set format.type to Avro"]);
}

fn events(kind: &str, fields: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail}}\nspec:\n  \
         kafka: {{bootstrapServers: \"kafka:9092\"}}\n  topic: {{name: t}}\n  database: {{host: db, name: db}}\n  events:\n    \
         format: {{type: {kind}, registry: {{url: \"http://r:1\"}}}}\n{fields}"
    );
    Pipeline::parse(&yaml).unwrap_or_else(|problems| panic!("{problems}"))
}

fn fit(pipeline: &Pipeline, schema: &SchemaText) -> Result<SchemaFit, String> {
    schema_fit(pipeline.events.as_ref().unwrap(), schema)
}

#[test]
fn required_fields_that_a_schema_lacks_are_named() {
    let (avro, protobuf) = (schema(SchemaKind::Avro, AVRO), schema(SchemaKind::Protobuf, PROTOBUF));
    for (kind, schema, fields) in
        [("Avro", &avro, "at shop qty price kind"), ("Protobuf", &protobuf, "at store qty price")]
    {
        let found = |quantity: &str| fit(&pipeline(kind, quantity), schema).unwrap();
        let expected = |missing: &[&str]| SchemaFit {
            name: "shop.Order".to_owned(),
            missing: missing.iter().map(|name| (*name).to_owned()).collect(),
            fields: fields.split(' ').map(str::to_owned).collect(),
        };
        assert_eq!(found("qty"), expected(&[]), "store is found by its alias, too");
        assert_eq!(found("pieces"), expected(&["pieces"]));
        assert_eq!(found("pieces, ifMissing: 1"), expected(&[]), "a field with a default is not required");
    }
    let other = fit(&pipeline("Avro", "qty"), &protobuf).unwrap_err();
    assert_eq!(other, "is of another format: set format.type to Protobuf");
    assert_eq!(fit(&pipeline("Avro", "qty"), &schema(SchemaKind::Avro, "\"long\"")).unwrap_err(), "is not a record");
}

#[test]
fn fields_within_objects_maps_unions_and_arrays_are_found() {
    let avro = schema(
        SchemaKind::Avro,
        r#"["null", {"type":"record","name":"E","fields":[
            {"name":"after","type":["null",{"type":"record","name":"Row","fields":[
                {"name":"at","type":"long"}, {"name":"shop","type":{"type":"map","values":"string"}},
                {"name":"items","type":["null",{"type":"array","items":{"type":"record","name":"Item","fields":[
                    {"name":"qty","type":"int"}, {"name":"price","type":"double"}, {"name":"next","type":["null","Row"]}]}}]}]}]}]}]"#,
    );
    let protobuf = schema(
        SchemaKind::Protobuf,
        "syntax = \"proto3\"; message Other { string at = 1; }
         message E { Row after = 1; message Row { int64 at = 1; map<string, string> shop = 2; repeated Item items = 3; }
                     message Item { int32 qty = 1; double price = 2; Row next = 3; } }",
    );
    let fields = |time: &str, store: &str, explode: &str, quantity: &str| {
        format!(
            "    explode: {explode}\n    timestamp: {{field: $.{time}, unit: Milliseconds}}\n    \
             dimensions: [{{name: store, field: $.{store}}}]\n    quantity: {{field: {quantity}}}\n    price: {{field: price}}\n"
        )
    };
    for (kind, schema) in [("Avro", &avro), ("Protobuf", &protobuf)] {
        let missing = |time: &str, store: &str, explode: &str, quantity: &str| {
            let fit = fit(&events(kind, &fields(time, store, explode, quantity)), schema).unwrap();
            assert_eq!(fit.name, "E", "{kind}");
            fit.missing.join(" ")
        };
        assert_eq!(missing("after.at", "after.shop.id", "after.items", "qty"), "", "{kind}");
        assert_eq!(missing("after.at", "after.shop.id", "after.items", "next.at"), "", "{kind}: recursive types");
        assert_eq!(
            missing("after.time", "after.shop.id.x", "after.items", "many"),
            "after.time many after.shop.id.x",
            "{kind}"
        );
        assert_eq!(missing("after.time", "after.shop.id", "after.rows", "qty"), "after.rows", "{kind}");
        assert_eq!(missing("after.at", "after.shop.id", "after.items", "next.items.qty"), "next.items.qty", "{kind}");
    }
}
