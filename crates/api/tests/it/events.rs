//! The problems of `spec.events` that the schema of the CRD cannot express.

use retail_api::Pipeline;
use serde_json::{Value, json};

use crate::rules::{problems, with};

#[test]
fn mappings_that_mean_nothing_are_refused_with_their_field() {
    let long = vec!["n"; 17].join(".");
    let wide = (0..50).map(|at| format!("a{at}.b.c == 1")).collect::<Vec<_>>().join(" || ");
    let dimension = |field: &str| json!([{"name": "a", "field": field}]);
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("spec.events.where", json!("size(items) > 1"), "where", "size is not supported"),
        ("spec.events.where", json!("kind = 'sale'"), "where", "cannot be parsed: column "),
        ("spec.events.where", json!("items.kind == 'a'"), "where", "must test fields of the record"),
        ("spec.events.where", json!(wide), "", "has paths with "),
        ("spec.events.timestamp.field", json!("items.time"), "timestamp.field", "is inside the exploded array"),
        ("spec.events.transactionId.field", json!("items.id"), "transactionId.field", "is inside the exploded array"),
        ("spec.events.timestamp.field", json!(long), "timestamp.field", "must be 1 to 16 names"),
        (
            "spec.events.dimensions",
            dimension("qty.unit"),
            "quantity.field",
            "because dimensions[0].field is a field in it",
        ),
        ("spec.events.dimensions", dimension("$.items.x"), "dimensions[0].field", "is inside the exploded array"),
    ];
    for (path, value, place, message) in cases {
        let found = problems(&with(path, &value));
        let place = format!("spec.events.{place}");
        let is_it = |(at, said): &(String, String)| *at == place.trim_end_matches('.') && said.contains(message);
        assert!(found.len() == 1 && found.iter().all(is_it), "{path} {value}: {found:?}");
    }
}

#[test]
fn events_are_written_back_in_one_form() {
    let parse = |events: &str| {
        let text = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: shop}}\nspec:\n  \
             kafka: {{bootstrapServers: \"kafka:9092\"}}\n  topic: {{name: events}}\n  database: {{host: db, name: retail}}\n  \
             events: {events}"
        );
        Pipeline::parse(&text).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let short =
        parse("{timestamp: {field: t}, dimensions: [{name: a, field: x}], quantity: {field: q}, price: {field: p}}");
    let long = parse(
        "{price: {scale: 0, text: false, field: p}, sums: [], format: {type: JSON}, refunds: Reject, quantity: {field: q, text: false}, \
         dimensions: [{field: x, name: a}], timestamp: {field: t, unit: RFC3339, text: false}}",
    );
    assert_eq!(short.events.as_ref().map(|events| events.to_json()), long.events.map(|events| events.to_json()));
    assert_eq!(short.layout.dimensions(), ["a"]);
    // The registry can change, the format cannot.
    let fields = "timestamp: {field: t}, dimensions: [{name: a, field: x}], quantity: {field: q}, price: {field: p}";
    let with = |format: &str| parse(&format!("{{format: {format}, {fields}}}")).events.unwrap().to_json();
    let avro = with("{type: Avro, registry: {url: \"https://a\", secret: {name: s}, tls: {}}}");
    assert_eq!(avro, with("{type: Avro, registry: {url: \"http://b:8081/path,http://c\"}}"));
    assert_ne!(avro, with("{type: Protobuf, registry: {url: \"https://a\"}}"));
    assert_eq!(with("{type: JSON}"), short.events.unwrap().to_json());
}
