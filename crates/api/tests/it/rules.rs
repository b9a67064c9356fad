//! Each rule of the CRD accepts and rejects an example, with its own message.

use std::collections::{BTreeMap, BTreeSet};

use kube::CustomResourceExt;
use retail_api::resource::RetailPipeline;
use retail_api::validate;
use serde_json::{Value, json};

/// A valid pipeline with every field of the schema, so that a test can change each of them.
pub(crate) fn whole() -> Value {
    let tls = json!({"caSecret": {"name": "ca", "key": "ca.crt"}, "clientSecret": {"name": "client"}});
    let login = json!({"name": "login", "usernameKey": "user", "passwordKey": "pass"});
    let resources = json!({"requests": {"cpu": 1, "memory": "1"}, "limits": {"memory": "1Gi"}});
    let template = json!({
        "labels": {"team": "sales"}, "annotations": {"team": "sales"}, "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Equal", "value": "true", "effect": "NoExecute", "tolerationSeconds": 60}],
        "affinity": {"nodeAffinity": {}}, "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high", "imagePullSecrets": [{"name": "registry"}], "serviceAccountName": "sales",
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        "env": [{"name": "TZ", "value": "UTC", "valueFrom": {}}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "a", "readOnly": true}],
        "terminationGracePeriodSeconds": 30, "maxSurge": 0,
    });
    json!({
        "apiVersion": "retailpipeline.dev/v1alpha1",
        "kind": "RetailPipeline",
        "metadata": {"name": "shop"},
        "spec": {
            "kafka": {
                "bootstrapServers": "kafka:9092", "tls": tls, "sasl": {"mechanism": "PLAIN", "secret": login},
            },
            "topic": {"name": "events", "management": "Managed", "startPosition": "Earliest", "partitions": 4, "replicationFactor": 1, "config": {"retention": "1000"}},
            "events": {
                "format": {
                    "type": "Avro",
                    "registry": {"url": "https://registry:8081", "secret": login, "tls": {"caSecret": tls["caSecret"]}},
                },
                "timestamp": {"field": "meta.time", "unit": "Milliseconds", "text": false},
                "transactionId": {"field": "order.id"},
                "dimensions": [{"name": "store", "field": "store.id", "ifMissing": "web"}],
                "quantity": {"field": "qty", "ifMissing": 1, "text": false},
                "price": {"field": "unit_price", "ifMissing": 0, "scale": 2, "text": false},
                "refunds": "Allow",
                "sums": [{"name": "discount", "field": "discount", "ifMissing": 0, "scale": 2, "text": false}],
                "where": "kind == 'sale'",
                "explode": "items",
            },
            "deduplicate": {"within": "2h"},
            "window": "5m",
            "watermark": {"delay": "1h", "idleTimeout": "1m", "maxFuture": "1h", "whenIdle": "Hold"},
            "trigger": "5m",
            "lateEvents": "Drop",
            "database": {
                "host": "postgres", "port": 5432, "name": "retail", "schema": "shop",
                "secret": {"name": "login", "usernameKey": "user", "passwordKey": "pass"},
                "ownerSecret": login, "runtimeRole": "retail_runtime",
                "tls": {"mode": "require", "caSecret": tls["caSecret"], "clientSecret": tls["clientSecret"]},
            },
            "producer": {
                "enabled": false, "replicas": 1, "eventsPerSecond": 100, "seed": 42, "speed": 1,
                "faults": {"tooLate": 0, "malformed": 0, "future": 0, "duplicated": 0}, "resources": resources,
                "template": template,
            },
            "processor": {"replicas": 1, "workers": 4, "resources": resources, "disruptionBudget": false, "template": template},
            "deadLetters": {"retain": "30d", "maxBytes": "1Gi"},
            "rollups": [{"name": "jakarta", "over": "1d", "timeZone": "Asia/Jakarta"}],
            "readers": ["metabase"],
            "retention": {"finalRows": "400d"},
            "verify": {"every": "6h", "resources": resources},
            "printRows": true,
            "image": "retail-pipeline:1",
            "logging": {"level": "Info", "format": "Text"},
            "suspend": false,
            "paused": false,
            "deletionPolicy": {"topic": "Retain", "database": "Retain"},
            "adopt": {"uid": "old"},
            "operatorClass": "blue",
        },
        "status": {"schema": "shop"},
    })
}

/// The pipeline of [`whole`] with this field: some fields replace others.
fn whole_with(path: &str) -> Value {
    let mut pipeline = whole();
    if path == "metadata.name" {
        pipeline.as_object_mut().unwrap().remove("status");
    }
    let events = &mut pipeline["spec"]["events"];
    if path.starts_with("spec.events.amount") {
        events["amount"] = events.as_object_mut().unwrap().remove("price").unwrap();
    }
    if path.starts_with("spec.processor.template.volumes") {
        // A mount names a volume.
        pipeline["spec"]["processor"]["template"].as_object_mut().unwrap().remove("volumeMounts");
    }
    if path.starts_with("spec.processor.autoscaling") {
        let processor = pipeline["spec"]["processor"].as_object_mut().unwrap();
        processor.remove("replicas");
        processor.insert("autoscaling".to_owned(), json!({"minReplicas": 1, "maxReplicas": 1024, "secondsBehind": 60}));
    }
    if path == "spec.database.ownerSecret.uriKey" {
        pipeline["spec"]["database"]["ownerSecret"] = json!({"name": "login", "uriKey": "uri"});
    }
    if path == "spec.database.secret.uriKey" {
        pipeline["spec"]["database"]["secret"] = json!({"name": "login", "uriKey": "uri"});
    }
    pipeline
}

/// The pipeline with another value at `path`; null removes the field.
pub(crate) fn with(path: &str, value: &Value) -> Value {
    let mut pipeline = whole_with(path);
    if *value == "RecordTime" {
        pipeline["spec"]["events"]["timestamp"].as_object_mut().unwrap().remove("field");
    }
    if path == "spec.events.format.type" && (*value == "JSON" || *value == "JSONSchema") {
        pipeline["spec"]["events"]["format"].as_object_mut().unwrap().remove("registry");
    }
    if path == "spec.processor.template.volumeMounts[0].name" && value.is_string() {
        pipeline["spec"]["processor"]["template"]["volumes"][0]["name"] = value.clone();
    }
    let path = &path.replace("[0]", ".0").replace("[]", ".0");
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = pipeline.pointer_mut(&pointer(parent)).unwrap();
    if let (Some(elements), Ok(at)) = (parent.as_array_mut(), name.parse::<usize>()) {
        elements[at] = value.clone();
        return pipeline;
    }
    let parent = parent.as_object_mut().unwrap();
    let _before = if value.is_null() { parent.remove(name) } else { parent.insert(name.to_owned(), value.clone()) };
    pipeline
}

fn pointer(path: &str) -> String {
    // The first element of a list is `[0]` or `[]`.
    if path.is_empty() {
        String::new()
    } else {
        format!("/{}", path.replace("[0]", ".0").replace("[]", ".0").replace('.', "/"))
    }
}

/// The messages about a pipeline, each with its path.
pub(crate) fn problems(pipeline: &Value) -> Vec<(String, String)> {
    validate::read(&pipeline.to_string()).map_or_else(
        |problems| problems.0.into_iter().map(|problem| (problem.path, problem.message)).collect(),
        |_| Vec::new(),
    )
}

fn refusals(new: &Value, old: &Value) -> Vec<String> {
    let read = |pipeline: &Value| validate::read(&pipeline.to_string()).unwrap_or_else(|error| panic!("{error}"));
    validate::check_update(&read(new), &read(old)).err().unwrap_or_default()
}

/// The schema in the CRD. The parts that Kubernetes defines are empty.
pub(crate) fn schema() -> Value {
    let crd = serde_json::to_value(RetailPipeline::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `look` with the schema of each field, and with its path.
pub(crate) fn visit(path: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        visit(&path, child, look);
    }
    for (keyword, suffix) in [("items", "[0]"), ("additionalProperties", "[]")] {
        if schema[keyword].is_object() {
            visit(&format!("{path}{suffix}"), &schema[keyword], look);
        }
    }
}

/// The message of a rule, a path, a value that the rule accepts at this path, and one that it rejects.
type Example = (&'static str, &'static str, Value, Value);

/// Examples for each rule about a single pipeline. No other rule rejects these values.
fn examples() -> Vec<Example> {
    let faults = |too_late: i32, malformed: i32, future: i32, duplicated: i32| json!({"tooLate": too_late, "malformed": malformed, "future": future, "duplicated": duplicated});
    let letters = |count: usize| json!("x".repeat(count));
    let events = |values: &Value| {
        let mut events = json!({"timestamp": {"field": "t"}, "transactionId": {"field": "i"}, "dimensions": [{"name": "a", "field": "x"}], "quantity": {"field": "q"}});
        events.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        events
    };
    vec![
        (
            "name must have at most 40 characters: the names of other objects are derived from it",
            "metadata.name",
            letters(40),
            letters(41),
        ),
        (
            "name must be lower-case letters, digits and '-', beginning and ending with a letter or digit",
            "metadata.name",
            json!("shops-9"),
            json!("shop-"),
        ),
        (
            "name must not begin with a digit: the name of a Service is derived from it",
            "metadata.name",
            json!("sales-2024"),
            json!("2024-sales"),
        ),
        (
            "each of volumeMounts must name one of volumes",
            "spec.processor.template",
            json!({"volumes": [{"name": "a"}], "volumeMounts": [{"name": "a", "mountPath": "/a"}]}),
            json!({"volumes": [{"name": "a"}], "volumeMounts": [{"name": "b", "mountPath": "/a"}]}),
        ),
        (
            "the operator sets app.kubernetes.io/name, instance, component and managed-by, and labels of retailpipeline.dev",
            "spec.processor.template.labels",
            json!({"app.kubernetes.io/part-of": "sales"}),
            json!({"app.kubernetes.io/instance": "sales"}),
        ),
        (
            "the operator sets the annotations of retailpipeline.dev",
            "spec.processor.template.annotations",
            json!({"example.com/retailpipeline.dev": "1"}),
            json!({"retailpipeline.dev/config-hash": "1"}),
        ),
        (
            "the operator sets the variables that begin with RETAIL_ or PG",
            "spec.processor.template.env",
            json!([{"name": "RUST_LOG", "value": "debug"}]),
            json!([{"name": "PGPASSWORD", "value": "x"}]),
        ),
        (
            "the operator sets the volumes pipeline, kafka-ca, kafka-client, database-ca, database-client and registry-ca",
            "spec.processor.template.volumes",
            json!([{"name": "data"}, {"name": "kafka"}]),
            json!([{"name": "data"}, {"name": "kafka-ca"}]),
        ),
        (
            "the operator mounts /etc/retail",
            "spec.processor.template.volumeMounts",
            json!([{"name": "data", "mountPath": "/etc/ssl"}]),
            json!([{"name": "data", "mountPath": "/etc/retail/kafka-ca"}]),
        ),
        ("name must not be '.' or '..'", "spec.topic.name", json!("..."), json!(".")),
        ("name must not be '.' or '..'", "spec.topic.name", json!(".a"), json!("..")),
        ("window must be 1s to 24h", "spec.window", json!("1s"), json!("0s")),
        ("window must be 1s to 24h", "spec.window", json!("24h"), json!("0h0m0s")),
        ("window must divide 24h evenly: 5m, 1h and 24h do, 7m does not", "spec.window", json!("1h30m"), json!("7m")),
        ("delay must be at most 168h", "spec.watermark.delay", json!("168h"), json!("168h1ms")),
        ("idleTimeout must be 1s to 24h", "spec.watermark.idleTimeout", json!("1s"), json!("999ms")),
        ("idleTimeout must be 1s to 24h", "spec.watermark.idleTimeout", json!("24h"), json!("24h1ms")),
        ("maxFuture must be at most 168h", "spec.watermark.maxFuture", json!("168h"), json!("168h1ms")),
        ("trigger must be 100ms to 1h", "spec.trigger", json!("100ms"), json!("99ms")),
        ("trigger must be 100ms to 1h", "spec.trigger", json!("1h"), json!("1h1s")),
        ("retain must be 1d to 9999d", "spec.deadLetters.retain", json!("1d"), json!("0d")),
        ("finalRows must be 31d to 9999d", "spec.retention.finalRows", json!("31d"), json!("30d")),
        ("finalRows must be 31d to 9999d", "spec.retention.finalRows", json!("9999d"), json!("0d")),
        ("every must be 10m to 7d", "spec.verify.every", json!("10m"), json!("6m")),
        ("every must be 10m to 7d", "spec.verify.every", json!("7d"), json!("169h")),
        (
            "every must divide an hour, or be whole hours that divide a day, or be 7d: 15m, 6h and 1d do, 25m and 5h do not",
            "spec.verify.every",
            json!("0h12m"),
            json!("25m"),
        ),
        (
            "every must divide an hour, or be whole hours that divide a day, or be 7d: 15m, 6h and 1d do, 25m and 5h do not",
            "spec.verify.every",
            json!("24h"),
            json!("1h30m"),
        ),
        ("every must be at most 24h, or be 7d", "spec.verify.every", json!("168h"), json!("48h")),
        (
            "schema must not begin with pg_, which Postgres reserves for itself",
            "spec.database.schema",
            json!("pg"),
            json!("pg_shop"),
        ),
        (
            "set either uriKey, or usernameKey and passwordKey",
            "spec.database.secret",
            json!({"name": "login", "uriKey": "uri"}),
            json!({"name": "login", "uriKey": "uri", "usernameKey": "user"}),
        ),
        (
            "set either uriKey, or usernameKey and passwordKey",
            "spec.database.secret",
            json!({"name": "login"}),
            json!({"name": "login", "uriKey": "uri", "passwordKey": "pass"}),
        ),
        (
            "set either replicas or autoscaling",
            "spec.processor",
            json!({"autoscaling": {"maxReplicas": 4}}),
            json!({"replicas": 1, "autoscaling": {"maxReplicas": 4}}),
        ),
        (
            "minReplicas must not be greater than maxReplicas",
            "spec.processor.autoscaling",
            json!({"minReplicas": 4, "maxReplicas": 4}),
            json!({"minReplicas": 5, "maxReplicas": 4}),
        ),
        (
            "set either price or amount",
            "spec.events",
            events(&json!({"price": {"field": "price"}})),
            events(&json!({"price": {"field": "price"}, "amount": {"field": "total"}})),
        ),
        (
            "set either price or amount",
            "spec.events",
            events(&json!({"amount": {"field": "price"}})),
            events(&json!({})),
        ),
        (
            "set field, or the unit RecordTime without a field",
            "spec.events.timestamp",
            json!({"unit": "RecordTime"}),
            json!({"unit": "Seconds"}),
        ),
        (
            "set field, or the unit RecordTime without a field",
            "spec.events.timestamp",
            json!({"field": "time"}),
            json!({"field": "time", "unit": "RecordTime"}),
        ),
        (
            "text is only for units that are numbers",
            "spec.events.timestamp",
            json!({"field": "time", "unit": "Nanoseconds", "text": true}),
            json!({"field": "time", "text": true}),
        ),
        (
            "each dimension needs another name",
            "spec.events.dimensions",
            json!([{"name": "a", "field": "x"}, {"name": "b", "field": "x"}]),
            json!([{"name": "a", "field": "x"}, {"name": "a", "field": "y"}]),
        ),
        (
            "each dimension needs another name",
            "spec.events.dimensions",
            json!([{"name": "a", "field": "x"}]),
            json!([{"name": "discount", "field": "x"}]),
        ),
        (
            "each sum needs another name",
            "spec.events.sums",
            json!([{"name": "a", "field": "x"}, {"name": "b", "field": "x"}]),
            json!([{"name": "a", "field": "x"}, {"name": "a", "field": "y"}]),
        ),
        (
            "the name of a dimension must not be reserved by SQL, and not be another column of retail",
            "spec.events.dimensions[0].name",
            json!("user_id"),
            json!("user"),
        ),
        (
            "the name of a sum must not be reserved by SQL, and not be another column of retail",
            "spec.events.sums[0].name",
            json!("event"),
            json!("events"),
        ),
        (
            "each rollup needs another name",
            "spec.rollups",
            json!([{"name": "a", "over": "1d"}, {"name": "b", "over": "1d"}]),
            json!([{"name": "a", "over": "1d"}, {"name": "a", "over": "1h"}]),
        ),
        (
            "the name of a rollup must not be that of another table or view of the pipeline",
            "spec.rollups[0].name",
            json!("lately"),
            json!("late"),
        ),
        (
            "the name of a rollup must not be that of another table or view of the pipeline",
            "spec.rollups[0].name",
            json!("day"),
            json!("final_rows_2025_01"),
        ),
        ("over must divide 24h evenly, or be 1d, 1w or 1mo", "spec.rollups[0].over", json!("24h"), json!("7h")),
        ("over must divide 24h evenly, or be 1d, 1w or 1mo", "spec.rollups[0].over", json!("1w"), json!("48h")),
        (
            "over of each rollup must be a multiple of window, or 1d, 1w or 1mo",
            "spec.rollups[0].over",
            json!("5m"),
            json!("7m30s"),
        ),
        ("within must be 1s to 168h", "spec.deduplicate.within", json!("1s"), json!("0s")),
        ("within must be 1s to 168h", "spec.deduplicate.within", json!("168h"), json!("168h1s")),
        (
            "Avro and Protobuf need a registry, JSON and JSONSchema have none",
            "spec.events.format",
            json!({"type": "JSONSchema"}),
            json!({"type": "Protobuf"}),
        ),
        (
            "registry.tls needs URLs that begin with https://",
            "spec.events.format.registry.url",
            json!("https://a:1/apis/ccompat/v7,https://b"),
            json!("https://a:1,http://b"),
        ),
        ("deduplicate needs events.transactionId", "spec.events.transactionId", json!({"field": "id"}), Value::Null),
        (
            "deduplicate needs a topic without compaction, which removes records that other records are duplicates of",
            "spec.topic.config",
            json!({"cleanup.policy": "delete"}),
            json!({"cleanup.policy": "delete,compact"}),
        ),
        (
            "deduplicate.within must not be longer than retention.ms of the topic: ids are read from the topic again",
            "spec.topic.config",
            json!({"retention.ms": "7200000"}),
            json!({"retention.ms": "7199999"}),
        ),
        (
            "deduplicate.within must not be longer than retention.ms of the topic: ids are read from the topic again",
            "spec.topic.config",
            json!({"retention.ms": "-1"}),
            json!({"retention.ms": "0"}),
        ),
        ("faults must add up to at most 100", "spec.producer.faults", faults(25, 25, 25, 25), faults(26, 25, 25, 25)),
        ("faults must add up to at most 100", "spec.producer.faults", faults(0, 0, 0, 100), faults(0, 0, 1, 100)),
    ]
}

/// Examples for each rule about a change of the pipeline of [`whole`].
fn changes() -> Vec<Example> {
    vec![
        (
            "topic.name cannot be changed once the topic or the Postgres schema exists: create a new pipeline",
            "spec.topic.name",
            json!("events"),
            json!("other"),
        ),
        ("topic.partitions can only grow", "spec.topic.partitions", json!(5), json!(3)),
        (
            "window cannot be changed once the Postgres schema exists: create a new pipeline",
            "spec.window",
            json!("300s"),
            json!("1h"),
        ),
        (
            "watermark.delay cannot be changed once the Postgres schema exists: create a new pipeline",
            "spec.watermark.delay",
            json!("60m"),
            json!("2h"),
        ),
        (
            "database.schema cannot be changed once the Postgres schema exists: create a new pipeline",
            "spec.database.schema",
            json!("shop"),
            json!("other"),
        ),
        (
            "database.schema cannot be changed once the Postgres schema exists: create a new pipeline",
            "spec.database.schema",
            json!("shop"),
            Value::Null,
        ),
        (
            "events cannot be changed once the Postgres schema exists, except for format.registry: create a new pipeline",
            "spec.events.explode",
            json!("items"),
            json!("lines"),
        ),
        (
            "events cannot be changed once the Postgres schema exists, except for format.registry: create a new pipeline",
            "spec.events",
            whole()["spec"]["events"].clone(),
            Value::Null,
        ),
        (
            "deduplicate cannot be changed once the Postgres schema exists: create a new pipeline",
            "spec.deduplicate.within",
            json!("120m"),
            json!("3h"),
        ),
        (
            "deduplicate cannot be changed once the Postgres schema exists: create a new pipeline",
            "spec.deduplicate",
            json!({"within": "2h"}),
            Value::Null,
        ),
    ]
}

#[test]
fn every_rule_accepts_and_rejects_by_example() {
    // The path of each rule, by its message.
    let (mut of_values, mut of_changes) = (BTreeMap::new(), BTreeMap::new());
    visit("", &schema(), &mut |path, schema| {
        // Of the same type as spec.database.secret.
        if path == "spec.database.ownerSecret" {
            return;
        }
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_else(|| panic!("a rule of {path} has no message"));
            let is_of_change = rule["rule"].as_str().unwrap().contains("oldSelf");
            let rules = if is_of_change { &mut of_changes } else { &mut of_values };
            // Kubernetes only allows rules on the name at the root of the schema.
            let path = if path.is_empty() { "metadata.name" } else { path };
            // Producer and processor have the same template: the examples are those of the processor.
            let other =
                rules.insert(message.to_owned(), path.replace("spec.producer.template", "spec.processor.template"));
            assert!(other.is_none_or(|other| other.starts_with("spec.processor.template")), "two rules say: {message}");
        }
    });
    let all = |rules: &BTreeMap<String, String>| rules.keys().cloned().collect();
    let exemplified = |examples: &[Example]| -> BTreeSet<String> {
        examples.iter().map(|(message, ..)| (*message).to_owned()).collect()
    };
    assert_eq!(exemplified(&examples()), all(&of_values));
    assert_eq!(exemplified(&changes()), all(&of_changes));
    for (message, path, taken, refused) in examples() {
        assert_eq!(problems(&with(path, &taken)), [], "{path}: {taken}");
        let said = problems(&with(path, &refused));
        assert_eq!(said, [(of_values[message].clone(), message.to_owned())], "{path}: {refused}");
    }
    for (message, path, taken, refused) in changes() {
        assert_eq!(refusals(&with(path, &taken), &whole()), [""; 0], "{path}: {taken}");
        assert_eq!(refusals(&with(path, &refused), &whole()), [message], "{path}: {refused}");
    }
}

#[test]
fn events_can_be_changed_before_the_schema_exists() {
    let mut old = whole();
    old.as_object_mut().unwrap().remove("status");
    assert_eq!(refusals(&with("spec.events.explode", &json!("lines")), &old), [""; 0]);
    assert_eq!(refusals(&with("spec.events", &Value::Null), &old), [""; 0]);
    let none = with("spec.events", &Value::Null);
    let refused =
        ["events cannot be changed once the Postgres schema exists, except for format.registry: create a new pipeline"];
    assert_eq!(refusals(&whole(), &none), refused);
    assert_eq!(refusals(&with("spec.deduplicate", &Value::Null), &old), [""; 0]);
    let refused = ["deduplicate cannot be changed once the Postgres schema exists: create a new pipeline"];
    assert_eq!(refusals(&whole(), &with("spec.deduplicate", &Value::Null)), refused);
}

#[test]
fn fixed_fields_can_be_changed_before_the_schema_exists() {
    let mut old = whole();
    old.as_object_mut().unwrap().remove("status");
    let changes = [
        ("spec.topic.name", json!("other")),
        ("spec.window", json!("1h")),
        ("spec.watermark.delay", json!("2h")),
        ("spec.database.schema", json!("other")),
        ("spec.database.schema", Value::Null),
    ];
    for (path, other) in &changes {
        assert_eq!(refusals(&with(path, other), &old), [""; 0], "{path}");
    }
    // The topic is bound to its name before the schema exists.
    old["status"] = json!({"topic": {"id": "1", "partitions": 4}});
    let refused = ["topic.name cannot be changed once the topic or the Postgres schema exists: create a new pipeline"];
    assert_eq!(refusals(&with("spec.topic.name", &json!("other")), &old), refused);
    assert_eq!(refusals(&with("spec.window", &json!("1h")), &old), [""; 0]);
}

/// The rule names each field: a new one must be added to it.
#[test]
fn no_field_of_events_can_change_once_the_schema_exists() {
    let refused =
        ["events cannot be changed once the Postgres schema exists, except for format.registry: create a new pipeline"];
    let events = &schema()["properties"]["spec"]["properties"]["events"]["properties"];
    for (field, schema) in events.as_object().unwrap() {
        let path = format!("spec.events.{field}");
        let other = match (field.as_str(), schema["type"].as_str()) {
            ("format", _) => json!({"type": "Protobuf", "registry": {"url": "https://registry:8081"}}),
            ("timestamp", _) => json!({"field": "other", "unit": "Milliseconds"}),
            ("refunds", _) => json!("Reject"),
            ("where", _) => json!("other == 1"),
            (_, Some("string")) => json!("other"),
            (_, Some("array")) => json!([{"name": "other", "field": "other"}]),
            _ => json!({"field": "other"}),
        };
        assert_eq!(refusals(&with(&path, &other), &whole_with(&path)), refused, "{path}");
        let required = ["format", "timestamp", "dimensions", "quantity", "refunds", "price", "amount"];
        // Without this id, another rule refuses the pipeline, too.
        if !required.contains(&field.as_str()) && field != "transactionId" {
            let without = with(&path, &Value::Null);
            assert_eq!(refusals(&without, &whole_with(&path)), refused, "{path}");
            assert_eq!(refusals(&whole_with(&path), &without), refused, "{path}");
        }
    }
    let amount = whole_with("spec.events.amount");
    assert_eq!(refusals(&amount, &whole()), refused);
}

#[test]
fn omitted_schema_cannot_be_set_later() {
    let without = with("spec.database.schema", &Value::Null);
    assert_eq!(
        refusals(&whole(), &without),
        ["database.schema cannot be changed once the Postgres schema exists: create a new pipeline"]
    );
}

#[test]
fn fields_without_a_transition_rule_can_change() {
    let mut rules = schema();
    let kept: BTreeSet<String> = changes().into_iter().map(|(_, path, ..)| path.to_owned()).collect();
    let mut others = Vec::new();
    visit("spec", &rules["properties"]["spec"].take(), &mut |path, schema| {
        let other = match (schema["type"].as_str(), schema["enum"].as_array()) {
            (_, Some(values)) => values.last().cloned(),
            (Some("boolean"), _) => Some(json!(!value_at(path).as_bool().unwrap())),
            (Some("integer"), _) => Some(json!(7)),
            _ => None,
        };
        others.extend(
            other
                .filter(|_| !kept.contains(path) && !path.starts_with("spec.events"))
                .map(|other| (path.to_owned(), other)),
        );
    });
    assert!(others.len() > 15, "{others:?}");
    others.push(("spec.kafka.bootstrapServers".to_owned(), json!("other:9092")));
    for (field, other) in [
        ("url", json!("https://other")),
        ("secret", json!({"name": "other"})),
        ("secret", Value::Null),
        ("tls", Value::Null),
    ] {
        others.push((format!("spec.events.format.registry.{field}"), other));
    }
    others.push(("spec.retention.finalRows".to_owned(), json!("31d")));
    others.push(("spec.retention".to_owned(), Value::Null));
    for (path, other) in others {
        assert_eq!(refusals(&with(&path, &other), &whole_with(&path)), [""; 0], "{path}");
    }
}

pub(crate) fn value_at(path: &str) -> Value {
    whole_with(path).pointer(&pointer(path)).unwrap_or_else(|| panic!("the whole pipeline lacks {path}")).clone()
}
