//! Resources that were valid with the CRD of the last release are valid with this one, and mean the same.
//!
//! `released-crd.yaml` is the CRD of the last release; before the first release, that of 0.1.0 in CHANGELOG. Copy
//! `crds/retailpipelines.retailpipeline.dev.yaml` over it only at a release.

use kube::CustomResourceExt;
use retail_api::resource::RetailPipeline;
use serde_json::{Value, json};

/// The differences by which `new` accepts fewer values than `old`, or gives them another meaning.
fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let named = |versions: &Value, name: &Value| {
        let same = |version: &&Value| version["name"] == *name && version["served"] == true;
        versions.as_array().into_iter().flatten().find(same).cloned()
    };
    for old in old["spec"]["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true) {
        let name = old["name"].as_str().unwrap();
        let Some(new) = named(&new["spec"]["versions"], &old["name"]) else {
            found.push(format!("version {name} is no longer served"));
            continue;
        };
        for (subresource, paths) in old["subresources"].as_object().into_iter().flatten() {
            if new["subresources"][subresource] != *paths {
                found.push(format!("subresource {subresource} of {name} is another or gone"));
            }
        }
        let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
        compare(name, &schema(old), &schema(&new), &mut found);
    }
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let mut say = |what: String| found.push(format!("{path}: {what}"));
    let same = [
        "type",
        "format",
        "pattern",
        "default",
        "nullable",
        "multipleOf",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "uniqueItems",
        "oneOf",
        "anyOf",
        "allOf",
        "not",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
    ];
    // A resource with such a value could not have had pods.
    let is_impossible = |keyword: &str| keyword == "pattern" && old["x-kubernetes-int-or-string"] == true;
    for keyword in same {
        // A new default fills omitted fields; without a format or a pattern, more values are valid.
        let is_looser = match keyword {
            "default" => old[keyword].is_null(),
            "pattern" if is_impossible(keyword) || is_wider(&old[keyword], &new[keyword]) => true,
            "format" | "pattern" | "multipleOf" | "not" => new[keyword].is_null(),
            "uniqueItems" | "exclusiveMinimum" | "exclusiveMaximum" => new[keyword] != true,
            "nullable" | "x-kubernetes-preserve-unknown-fields" => old[keyword] != true,
            _ => false,
        };
        if old[keyword] != new[keyword] && !is_looser {
            say(format!("{keyword} is another: {} -> {}", old[keyword], new[keyword]));
        }
    }
    for keyword in ["minimum", "minLength", "minItems", "minProperties"] {
        if let Some(bound) = new[keyword].as_f64()
            && old[keyword].as_f64().is_none_or(|old| old < bound)
        {
            say(format!("{keyword} is tighter: {} -> {bound}", old[keyword]));
        }
    }
    for keyword in ["maximum", "maxLength", "maxItems", "maxProperties"] {
        if let Some(bound) = new[keyword].as_f64()
            && old[keyword].as_f64().is_none_or(|old| old > bound)
        {
            say(format!("{keyword} is tighter: {} -> {bound}", old[keyword]));
        }
    }
    let list = |schema: &Value, keyword: &str| schema[keyword].as_array().cloned().unwrap_or_default();
    match (&old["enum"], list(new, "enum")) {
        (_, values) if values.is_empty() => {}
        (Value::Null, values) => say(format!("only {} are left", Value::from(values))),
        (_, values) => {
            for gone in list(old, "enum").iter().filter(|value| !values.contains(value)) {
                say(format!("value {gone} is gone"));
            }
        }
    }
    for name in list(new, "required").iter().filter(|name| !list(old, "required").contains(name)) {
        if new["properties"][name.as_str().unwrap()]["default"].is_null() {
            say(format!("{name} is required now"));
        }
    }
    let rules = "x-kubernetes-validations";
    let holds_already = |rule: &Value| list(old, rules).iter().any(|other| other["rule"] == rule["rule"]);
    // `!has(self.a) || …` and `!has(self.a) && !has(oldSelf.a) || …` accept resources without a new field.
    let is_of_new_field = |rule: &Value| {
        let rule = rule["rule"].as_str().unwrap();
        let field = rule.strip_prefix("!has(self.").and_then(|rest| rest.split_once(')')).map(|(field, _)| field);
        field.is_some_and(|field| {
            let place = format!("/properties/{}", field.replace('.', "/properties/"));
            let rest = &rule["!has(self.)".len() + field.len()..];
            let before = format!(" && !has(oldSelf.{field})");
            old.pointer(&place).is_none() && rest.strip_prefix(&*before).unwrap_or(rest).starts_with(" || ")
        })
    };
    // Resources that the operator has seen have a status.
    let is_of_new_resources = |rule: &Value| rule["rule"].as_str().unwrap().starts_with("has(self.status) || ");
    // A rule with optionalOldSelf can accept existing values.
    let is_stricter = |rule: &&Value| {
        rule["optionalOldSelf"] != true && !holds_already(rule) && !is_of_new_field(rule) && !is_of_new_resources(rule)
    };
    for rule in list(new, rules).iter().filter(is_stricter) {
        say(format!("rule {} is new and rejects existing resources", rule["rule"]));
    }
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            Some(new) => compare(&format!("{path}.{name}"), old, new, found),
            None => found.push(format!("{path}.{name} is gone")),
        }
    }
    for keyword in ["items", "additionalProperties"] {
        match (&old[keyword], &new[keyword]) {
            (old @ Value::Object(_), new @ Value::Object(_)) => compare(&format!("{path}[]"), old, new, found),
            (old, new) if old != new => found.push(format!("{path}: {keyword} are others")),
            _ => {}
        }
    }
}

/// Patterns that accept every value of an older one.
fn is_wider(old: &Value, new: &Value) -> bool {
    // Addresses in brackets are new, and no host name contains a bracket.
    let brokers = r"^[^\s,:]+:[0-9]{1,5}(,[^\s,:]+:[0-9]{1,5})*$";
    old == brokers && new.as_str().is_some_and(|new| new.starts_with(r"^([^\s,:\[\]]+|"))
}

#[test]
fn crd_is_compatible_with_the_last_release() {
    let accepted = [
        // Without a number, a new topic gets four partitions, as before.
        "v1alpha1.spec.topic.partitions: default is another: 4 -> null",
        // Without a number, one processor runs, as before.
        "v1alpha1.spec.processor.replicas: default is another: 1 -> null",
        "v1alpha1.spec.processor: default is another: {\"replicas\":1} -> {}",
        // The rules of fixed fields, which hold only once the schema exists.
        "v1alpha1: rule \"!has(oldSelf.status) || ",
    ];
    let released: Value = serde_saphyr::from_str(include_str!("released-crd.yaml")).unwrap();
    let mut found = breaks(&released, &serde_json::to_value(RetailPipeline::crd()).unwrap());
    found.retain(|found| !accepted.iter().any(|accepted| found.starts_with(accepted)));
    assert_eq!(found, Vec::<String>::new());
}

/// A CRD with this schema for `spec`.
fn crd(spec: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let version =
        json!({"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}});
    json!({"spec": {"versions": [version]}})
}

#[test]
fn narrower_schemas_are_reported_as_breaking() {
    let old = json!({
        "type": "object", "required": ["a"],
        "x-kubernetes-validations": [{"rule": "self.a != 'x'"}],
        "properties": {
            "a": {"type": "string", "maxLength": 9, "enum": ["x", "y"]},
            "b": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2},
            "c": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}, "maxProperties": 3},
            "d": {"type": "array", "items": {"type": "string"}},
        },
    });
    let changed = |pointer: &str, value: Value| {
        let mut new = crd(&old);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec{parent}");
        let parent = new.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
        let _before = if value.is_null() { parent.remove(name) } else { parent.insert(name.to_owned(), value) };
        breaks(&crd(&old), &new)
    };
    for (pointer, value, said) in [
        ("/properties/b", Value::Null, "v1.spec.b is gone"),
        ("/properties/a/enum", json!(["x"]), "v1.spec.a: value \"y\" is gone"),
        ("/properties/d/items/enum", json!(["x"]), "v1.spec.d[]: only [\"x\"] are left"),
        ("/required", json!(["a", "c"]), "v1.spec: \"c\" is required now"),
        ("/properties/b/minimum", json!(2), "v1.spec.b: minimum is tighter: 1 -> 2"),
        ("/properties/b/maximum", json!(4), "v1.spec.b: maximum is tighter: 5 -> 4"),
        ("/properties/a/maxLength", json!(8), "v1.spec.a: maxLength is tighter: 9 -> 8"),
        ("/properties/d/maxItems", json!(8), "v1.spec.d: maxItems is tighter: null -> 8"),
        ("/properties/c/maxProperties", json!(2), "v1.spec.c: maxProperties is tighter: 3 -> 2"),
        ("/properties/c/additionalProperties/maxLength", json!(4), "v1.spec.c[]: maxLength is tighter: 5 -> 4"),
        ("/properties/c/additionalProperties", Value::Null, "v1.spec.c: additionalProperties are others"),
        ("/properties/d/items/pattern", json!("^a$"), "v1.spec.d[]: pattern is another: null -> \"^a$\""),
        ("/properties/b/type", json!("string"), "v1.spec.b: type is another: \"integer\" -> \"string\""),
        ("/properties/b/default", json!(3), "v1.spec.b: default is another: 2 -> 3"),
        ("/properties/b/default", Value::Null, "v1.spec.b: default is another: 2 -> null"),
        (
            "/properties/d/x-kubernetes-validations",
            json!([{"rule": "self == oldSelf"}]),
            "v1.spec.d: rule \"self == oldSelf\" is new and rejects existing resources",
        ),
        (
            "/x-kubernetes-validations",
            json!([{"rule": "self.a == 'y'"}]),
            "v1.spec: rule \"self.a == 'y'\" is new and rejects existing resources",
        ),
    ] {
        assert_eq!(changed(pointer, value), [said]);
    }
    for (pointer, value) in [
        ("/properties/e", json!({"type": "string"})),
        ("/properties/a/enum", json!(["x", "y", "z"])),
        ("/properties/a/enum", Value::Null),
        ("/required", Value::Null),
        ("/required", json!(["a", "b"])),
        ("/properties/b/minimum", json!(0)),
        ("/properties/b/maximum", Value::Null),
        ("/properties/a/default", json!("x")),
        ("/properties/a/description", json!("in other words")),
        ("/x-kubernetes-validations", Value::Null),
        (
            "/properties/d/x-kubernetes-validations",
            json!([{"rule": "oldSelf.hasValue() || self.size() < 9", "optionalOldSelf": true}]),
        ),
    ] {
        assert_eq!(changed(pointer, value), Vec::<String>::new(), "{pointer}");
    }
    let mut gone = crd(&old);
    gone["spec"]["versions"][0]["served"] = json!(false);
    assert_eq!(breaks(&crd(&old), &gone), ["version v1 is no longer served"]);
    gone["spec"]["versions"][0] =
        json!({"name": "v1", "served": true, "schema": crd(&old)["spec"]["versions"][0]["schema"]});
    assert_eq!(breaks(&crd(&old), &gone), ["subresource status of v1 is another or gone"]);
}
