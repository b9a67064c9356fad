//! JSON merge patch, and server-side apply with the previous declaration of a manager.

use serde_json::Value;

/// RFC 7396.
pub(super) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge_patch(&mut target[name], value);
        }
    }
}

/// Merges the declaration into the object.
pub(super) fn apply(object: &mut Value, declared: &Value) {
    match (object, declared) {
        (Value::Object(object), Value::Object(declared)) => {
            for (name, value) in declared {
                apply(object.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(list), Value::Array(declared)) if let Some(key) = key(declared) => {
            for value in declared {
                match list.iter_mut().find(|other| other[key] == value[key]) {
                    Some(other) => apply(other, value),
                    None => list.push(value.clone()),
                }
            }
        }
        (object, declared) => *object = declared.clone(),
    }
}

/// Removes fields that were declared before and are not declared now.
pub(super) fn withdraw(object: &mut Value, before: &Value, now: Option<&Value>) {
    match (object, before) {
        (Value::Object(object), Value::Object(before)) => {
            for (name, before) in before {
                let now = now.and_then(|now| now.get(name));
                match (now, object.get_mut(name)) {
                    (None, _) => drop(object.remove(name)),
                    (Some(_), Some(object)) => withdraw(object, before, now),
                    (Some(_), None) => {}
                }
            }
        }
        (Value::Array(list), Value::Array(before)) if let Some(key) = key(before) => {
            for before in before {
                let find = |list: &Value| list.as_array()?.iter().find(|other| other[key] == before[key]).cloned();
                match now.and_then(find) {
                    None => list.retain(|other| other[key] != before[key]),
                    Some(now) => {
                        if let Some(other) = list.iter_mut().find(|other| other[key] == before[key]) {
                            withdraw(other, before, Some(&now));
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

fn key(list: &[Value]) -> Option<&'static str> {
    let keys = ["mountPath", "uid", "name", "type"];
    keys.into_iter().find(|key| !list.is_empty() && list.iter().all(|entry| entry[*key].is_string()))
}
