//! Each bound of the CRD's structure accepts and rejects examples that are derived from it.

use serde_json::{Value, json};

use crate::rules::{problems, schema, value_at, visit, whole, with};

/// The values that a keyword of a field's schema accepts, and those that it rejects, with the expected messages.
fn bounds(keyword: &str, schema: &Value, value: &Value) -> (Vec<Value>, Vec<(Value, String)>) {
    let bound = &schema[keyword];
    let letters = |count: u64| json!("x".repeat(usize::try_from(count).unwrap()));
    let entries = |count: u64| (0..count).map(|i| (format!("k{i}"), json!("1"))).collect::<serde_json::Map<_, _>>();
    let range = |refused: i64| {
        let words = match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (Some(least), Some(most)) => format!("must be {least} to {most}"),
            (least, most) => {
                format!("must be at {} {}", if least.is_some() { "least" } else { "most" }, least.or(most).unwrap())
            }
        };
        (json!(refused), words)
    };
    match keyword {
        "minimum" => (vec![json!(bound.as_f64().unwrap() as i64)], vec![range(bound.as_f64().unwrap() as i64 - 1)]),
        "maximum" => (vec![json!(bound.as_f64().unwrap() as i64)], vec![range(bound.as_f64().unwrap() as i64 + 1)]),
        "minLength" => (Vec::new(), vec![(json!(""), "must not be empty".to_owned())]),
        "maxLength" => {
            let most = bound.as_u64().unwrap();
            let pattern = schema["pattern"].as_str().map(|pattern| regex::Regex::new(pattern).unwrap());
            let fits = pattern.is_none_or(|pattern| pattern.is_match(letters(most).as_str().unwrap()));
            let refused = (letters(most + 1), format!("must have at most {most} characters"));
            (if fits { vec![letters(most)] } else { Vec::new() }, vec![refused])
        }
        // No pattern accepts a blank.
        "pattern" => (Vec::new(), vec![(json!(" "), "must be …, not \" \"".to_owned())]),
        "enum" => {
            let values = bound.as_array().unwrap().clone();
            let words: Vec<&str> = values.iter().map(|value| value.as_str().unwrap()).collect();
            let refused = format!("must be {}, not \"Other\"", words.join(" or "));
            (values, vec![(json!("Other"), refused)])
        }
        "maxProperties" => {
            let most = bound.as_u64().unwrap();
            let refused = (json!(entries(most + 1)), format!("must have at most {most} entries"));
            (vec![json!(entries(most))], vec![refused])
        }
        "minItems" => (Vec::new(), vec![(json!([]), "must have 1 to 8 elements".to_owned())]),
        "maxItems" => {
            let most = bound.as_u64().unwrap();
            let items = &schema["items"];
            // A mount names an existing volume.
            let name = |at: u64| match items["properties"]["mountPath"].is_null() {
                true => json!(format!("n{at}")),
                false => value[0]["name"].clone(),
            };
            let required = |at: u64, name_of: &str| match name_of {
                "name" => name(at),
                "over" => json!("1d"),
                "mountPath" => json!(format!("/{at}")),
                _ => json!("x"),
            };
            let names = || items["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
            let object = |at: u64| names().map(|name| (name.to_owned(), required(at, name))).collect::<Value>();
            let item = |at: u64| if items["type"] == "string" { json!(format!("n{at}")) } else { object(at) };
            let list = |count: u64| {
                (1..count).map(item).fold(json!([value[0]]), |mut list, item| {
                    list.as_array_mut().unwrap().push(item);
                    list
                })
            };
            (vec![list(most)], vec![(list(most + 1), format!("must have …{most} elements"))])
        }
        "type" => {
            let words = match bound.as_str().unwrap() {
                "object" => "a mapping",
                "integer" => "a whole number",
                "boolean" => "true or false",
                "string" => "a string",
                "array" => return (Vec::new(), vec![(json!(1), "must be a list".to_owned())]),
                other => panic!("there is no example of type {other}"),
            };
            (Vec::new(), vec![(json!([]), format!("must be {words}"))])
        }
        "x-kubernetes-int-or-string" => {
            (vec![json!(1), json!("1")], vec![(json!([]), "must be a whole number or a string".to_owned())])
        }
        // Tested with the fields themselves.
        "required" | "properties" | "items" | "additionalProperties" | "x-kubernetes-validations" => {
            (Vec::new(), Vec::new())
        }
        // These reject nothing; the bounds of a number are within its format.
        "description" | "default" | "nullable" | "format" | "x-kubernetes-preserve-unknown-fields" => {
            (vec![value.clone()], Vec::new())
        }
        other => panic!("there is no example of {other}"),
    }
}

#[test]
fn every_bound_accepts_and_rejects_by_example() {
    assert_eq!(problems(&whole()), []);
    let mut tried = 0;
    visit("spec", &schema()["properties"]["spec"], &mut |path, schema| {
        // The template of the processor is the same type.
        if path.starts_with("spec.producer.template.") {
            return;
        }
        // For a map, the path of an existing entry.
        let path = path.replace("config[]", "config.retention").replace("nodeSelector[]", "nodeSelector.disk");
        let path = path
            .replace("labels[]", "labels.team")
            .replace("annotations[]", "annotations.team")
            .replace("[]", ".memory");
        let value = value_at(&path);
        for keyword in schema.as_object().unwrap().keys() {
            let (taken, refused) = bounds(keyword, schema, &value);
            for value in taken {
                assert_eq!(problems(&with(&path, &value)), [], "{keyword} of {path}: {value}");
            }
            for (value, words) in refused {
                let said = problems(&with(&path, &value));
                let (begin, end) = words.split_once('…').unwrap_or((&words, ""));
                let is_it =
                    |(at, said): &(String, String)| *at == path && said.starts_with(begin) && said.ends_with(end);
                assert!(said.iter().any(is_it), "{keyword} of {path}: {value}: {said:?}, not {words}");
                tried += 1;
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let path = format!("{path}.{}", name.as_str().unwrap());
            assert_eq!(problems(&with(&path, &Value::Null)), [(path, "is required".to_owned())]);
        }
    });
    assert!(tried > 100, "{tried}");
}
