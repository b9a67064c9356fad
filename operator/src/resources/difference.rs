//! Differences between a live object and its declaration. Pure.
//!
//! The API server adds defaults, other programs add fields, and admission webhooks may rewrite declared fields. Therefore only
//! declared fields are compared. If the API server's answer to the declaration had the same differences, applying the declaration
//! again would change nothing, and they are ignored.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::resources::json_text::JsonText;
use crate::resources::names::DECLARED_HASH;

/// A field that differs from its declaration.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Path of the field, like `spec.replicas`.
    pub path: String,
    /// Live value, if the field exists.
    pub is: Option<Value>,
    /// Declared value.
    pub declared: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, is, declared } = self;
        if let (Some(Value::String(is)), Value::String(declared)) = (is, declared)
            && is.contains('\n')
            && declared.contains('\n')
        {
            return write!(f, "{path}: {}", changed_lines(is, declared));
        }
        match is {
            Some(is) => write!(f, "{path}: {} -> {}", short(is), short(declared)),
            None => write!(f, "{path}: {}", short(declared)),
        }
    }
}

/// The lines of a text that only one side has. Lines with the same name, as in YAML, are a change of it.
fn changed_lines(is: &str, declared: &str) -> String {
    let only = |text: &str, other: &str| -> Vec<String> {
        let others: BTreeSet<&str> = other.lines().collect();
        text.lines().filter(|line| !others.contains(line)).map(|line| shortened(line.trim())).collect()
    };
    let name = |line: &str| line.split_once(": ").map(|(name, _)| name.to_owned());
    let (mut removed, added) = (only(is, declared), only(declared, is));
    let mut changes: Vec<String> = Vec::new();
    for line in added {
        let before = removed.iter().position(|before| name(before).is_some() && name(before) == name(&line));
        changes.push(match before.map(|at| removed.remove(at)) {
            Some(before) => format!("{before} -> {}", line.split_once(": ").map_or(&*line, |(_, value)| value)),
            None => format!("+ {line}"),
        });
    }
    changes.extend(removed.iter().map(|line| format!("- {line}")));
    if changes.is_empty() { "the order of its lines".to_owned() } else { changes.join(", ") }
}

fn short(value: &Value) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    if text.chars().count() > 60 {
        format!("{}…", text.chars().take(59).collect::<String>())
    } else {
        text.to_owned()
    }
}

/// A live object, and the API server's answer to its last declaration.
#[derive(Clone, Debug)]
pub(crate) struct LiveObject {
    /// The object as text.
    text: JsonText,
    /// The parsed object, once it is needed.
    object: OnceLock<Value>,
    /// The API server's answer to the last declaration in this process, if it differed from the declaration.
    pub(crate) answer: Option<Arc<Value>>,
}

impl PartialEq for LiveObject {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.answer) == (&other.text, &other.answer)
    }
}

impl LiveObject {
    /// A live object.
    pub(crate) fn new(text: JsonText, answer: Option<Arc<Value>>) -> Self {
        Self { text, object: OnceLock::new(), answer }
    }

    /// The parsed object.
    pub(crate) fn object(&self) -> &Value {
        self.object.get_or_init(|| self.text.value())
    }

    /// Differences from `declared` that applying it would remove.
    pub(crate) fn differences(&self, declared: &Value) -> Vec<Difference> {
        let differences = differences(declared, self.object());
        let answered = self.answer.as_ref().filter(|answer| hash(answer) == hash(declared));
        match answered {
            Some(answer) if self::differences(declared, answer) == differences => Vec::new(),
            _ => differences,
        }
    }

    /// Value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.object()["metadata"]["labels"][name].as_str()
    }

    /// Uid of the controlling owner.
    pub(crate) fn owner(&self) -> Option<&str> {
        let owners = self.object()["metadata"]["ownerReferences"].as_array()?;
        owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
    }

    /// An annotation of its pod template.
    pub(crate) fn template_annotation(&self, name: &str) -> Option<&str> {
        self.object()["spec"]["template"]["metadata"]["annotations"][name].as_str()
    }
}

fn hash(object: &Value) -> &Value {
    &object["metadata"]["annotations"][DECLARED_HASH]
}

/// Fields of `declared` that differ or are missing in `is`.
pub(crate) fn differences(declared: &Value, is: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(declared, Some(is), "", &mut found);
    // The items of a list have neither apiVersion nor kind.
    found.retain(|difference| !["apiVersion", "kind"].contains(&difference.path.as_str()));
    found
}

fn compare(declared: &Value, is: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    match (declared, is) {
        (Value::Object(declared), Some(Value::Object(is))) => {
            for (name, value) in declared {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(value, is.get(name), &path, found);
            }
        }
        (Value::Array(declared), Some(Value::Array(is))) if let Some(key) = key(declared) => {
            for value in declared {
                let same = is.iter().find(|other| other[key] == value[key]);
                compare(value, same, &format!("{path}[{}]", value[key].as_str().unwrap_or_default()), found);
            }
        }
        (Value::Array(declared), Some(Value::Array(is))) if are_objects(declared) && declared.len() == is.len() => {
            for (at, (value, same)) in declared.iter().zip(is).enumerate() {
                compare(value, Some(same), &format!("{path}[{at}]"), found);
            }
        }
        // The API server does not store it.
        (Value::Bool(false), None) if path == "spec.paused" => {}
        (declared, is) if is == Some(declared) => {}
        (declared, is) => {
            found.push(Difference { path: path.to_owned(), is: is.cloned(), declared: declared.clone() });
        }
    }
}

/// The API server adds defaults to the objects of an atomic list, too.
fn are_objects(list: &[Value]) -> bool {
    list.iter().all(Value::is_object)
}

/// The key field of a list's entries, as in server-side apply; `None` if the list is atomic.
fn key(list: &[Value]) -> Option<&'static str> {
    ["mountPath", "uid", "name"]
        .into_iter()
        .find(|key| !list.is_empty() && list.iter().all(|entry| entry[*key].is_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared() -> Value {
        json!({
            "metadata": {"annotations": {DECLARED_HASH: "1"}},
            "spec": {"replicas": 2, "containers": [{"name": "a", "image": "x", "args": ["-f", "y"]}]},
        })
    }

    fn live(object: &Value, answer: Option<&Value>) -> LiveObject {
        LiveObject::new(JsonText::from(object), answer.cloned().map(Arc::new))
    }

    fn text(live: &LiveObject) -> Vec<String> {
        live.differences(&declared()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn changed_text_shows_its_changed_lines() {
        let text = |trigger: &str, more: &str| format!("spec:\n  trigger: {trigger}\n  window: 5m\n{more}");
        let change = |is: String, declared: String| {
            Difference { path: "data.f".to_owned(), is: Some(is.into()), declared: declared.into() }.to_string()
        };
        assert_eq!(
            change(text("5m", ""), text("1m", "  printRows: true\n")),
            "data.f: trigger: 5m -> 1m, + printRows: true"
        );
        assert_eq!(change(text("5m", "  a: 1\n"), text("5m", "")), "data.f: - a: 1");
    }

    #[test]
    fn added_fields_are_ignored_changed_ones_are_found() {
        let mut object = declared();
        object["status"] = json!({"replicas": 1});
        object["spec"]["strategy"] = json!("default");
        object["spec"]["containers"] =
            json!([{"name": "sidecar"}, {"name": "a", "image": "x", "args": ["-f", "y"], "pull": "Always"}]);
        assert!(text(&live(&object, None)).is_empty());
        object["spec"]["replicas"] = json!(5);
        object["spec"]["containers"][1]["args"] = json!(["-f"]);
        assert_eq!(
            text(&live(&object, None)),
            ["spec.containers[a].args: [\"-f\"] -> [\"-f\",\"y\"]", "spec.replicas: 5 -> 2"]
        );
    }

    #[test]
    fn removed_field_is_found_by_the_hash() {
        let mut object = declared();
        object["metadata"]["annotations"][DECLARED_HASH] = json!("0");
        object["spec"]["gone"] = json!(true);
        assert_eq!(text(&live(&object, None)).len(), 1);
    }

    #[test]
    fn fields_rewritten_by_admission_are_ignored() {
        let mut rewritten = declared();
        rewritten["spec"]["containers"][0]["image"] = json!("mirror/x");
        let live = |object: &Value, answer: &Value| live(object, Some(answer));
        assert!(text(&live(&rewritten, &rewritten)).is_empty());
        // Other drift and a new declaration are still found.
        let mut drifted = rewritten.clone();
        drifted["spec"]["replicas"] = json!(7);
        assert_eq!(text(&live(&drifted, &rewritten)).len(), 2);
        let mut older = rewritten.clone();
        older["metadata"]["annotations"][DECLARED_HASH] = json!("0");
        assert_eq!(text(&live(&older, &older)).len(), 2);
    }
}
