//! Whether an object in the cluster is what was declared for it.
//!
//! The API server adds defaults, other programs add fields of their own, and admission may rewrite ours each time. So what
//! is compared is only what we declare; and where the API server's answer to our own declaration differed from it in the
//! same way, there is nothing that declaring it again would change.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::resources::json_text::JsonText;
use crate::resources::names::DECLARED_HASH;

/// A field that is not as declared.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Where, like `spec.replicas`.
    pub path: String,
    /// What it is, if it is there.
    pub is: Option<Value>,
    /// What was declared.
    pub declared: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, is, declared } = self;
        match is {
            Some(is) => write!(f, "{path}: {} -> {}", short(is), short(declared)),
            None => write!(f, "{path}: {}", short(declared)),
        }
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(59).collect::<String>()) } else { text }
}

/// What an object in the cluster is, and what the API server made of our last declaration of it.
#[derive(Clone, Debug)]
pub struct LiveObject {
    /// The object as it is.
    text: JsonText,
    /// The same, once somebody wants to know.
    object: OnceLock<Value>,
    /// The API server's answer when it was declared last, if that was in this process and not what was declared.
    pub answer: Option<Arc<Value>>,
}

impl PartialEq for LiveObject {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.answer) == (&other.text, &other.answer)
    }
}

impl LiveObject {
    /// An object that is there.
    pub fn new(text: JsonText, answer: Option<Arc<Value>>) -> Self {
        Self { text, object: OnceLock::new(), answer }
    }

    /// The object as it is.
    pub fn object(&self) -> &Value {
        self.object.get_or_init(|| self.text.value())
    }

    /// What of `declared` is not so, and would become so if it was declared again.
    pub fn differences(&self, declared: &Value) -> Vec<Difference> {
        let differences = differences(declared, self.object());
        let answered = self.answer.as_ref().filter(|answer| hash(answer) == hash(declared));
        match answered {
            Some(answer) if self::differences(declared, answer) == differences => Vec::new(),
            _ => differences,
        }
    }

    /// The uid of the object that it belongs to.
    pub fn owner(&self) -> Option<&str> {
        let owners = self.object()["metadata"]["ownerReferences"].as_array()?;
        owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
    }

    /// An annotation of its pod template.
    pub fn template_annotation(&self, name: &str) -> Option<&str> {
        self.object()["spec"]["template"]["metadata"]["annotations"][name].as_str()
    }
}

fn hash(object: &Value) -> &Value {
    &object["metadata"]["annotations"][DECLARED_HASH]
}

/// Everything of `declared` that `is` has otherwise, or has not.
pub fn differences(declared: &Value, is: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(declared, Some(is), "", &mut found);
    // An object in a list does not say what it is: the list does.
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
        (declared, is) if is == Some(declared) => {}
        (declared, is) => {
            found.push(Difference { path: path.to_owned(), is: is.cloned(), declared: declared.clone() });
        }
    }
}

/// By which field the entries of a list are known, as server-side apply merges them; nothing if the list is one value.
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
    fn what_others_add_is_theirs_and_what_they_change_of_ours_is_found() {
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
    fn a_field_that_is_no_longer_declared_is_found_by_the_hash() {
        let mut object = declared();
        object["metadata"]["annotations"][DECLARED_HASH] = json!("0");
        object["spec"]["gone"] = json!(true);
        assert_eq!(text(&live(&object, None)).len(), 1);
    }

    #[test]
    fn what_admission_rewrites_each_time_is_not_declared_again_and_again() {
        let mut rewritten = declared();
        rewritten["spec"]["containers"][0]["image"] = json!("mirror/x");
        let live = |object: &Value, answer: &Value| live(object, Some(answer));
        assert!(text(&live(&rewritten, &rewritten)).is_empty());
        // Drift beside it is found all the same, and so is a new declaration.
        let mut drifted = rewritten.clone();
        drifted["spec"]["replicas"] = json!(7);
        assert_eq!(text(&live(&drifted, &rewritten)).len(), 2);
        let mut older = rewritten.clone();
        older["metadata"]["annotations"][DECLARED_HASH] = json!("0");
        assert_eq!(text(&live(&older, &older)).len(), 2);
    }
}
