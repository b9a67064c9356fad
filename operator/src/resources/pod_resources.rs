//! CPU and memory of the pods.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use retail_api::quantity::{Quantity, text};
use retail_api::resource::Resources;
use serde_json::{Map, Value, json};

/// Requests and limits of a processor without declared ones. Without a limit of CPU, it would run a worker with a connection to
/// Postgres for each core of the node; two workers of 64 MiB each, and the queues of their consumers, need less than 1 GiB.
const PROCESSOR: [(&str, &str, &str); 2] = [("cpu", "100m", "2"), ("memory", "128Mi", "1Gi")];

/// Requests and limits of a producer without declared ones.
const PRODUCER: [(&str, &str, &str); 2] = [("cpu", "20m", "1"), ("memory", "32Mi", "256Mi")];

/// Requests and limits of a verification without declared ones. It reads with one thread, and keeps neither rows nor dead letters.
const VERIFICATION: [(&str, &str, &str); 2] = [("cpu", "100m", "1"), ("memory", "128Mi", "1Gi")];

/// The resources of the processor's container.
pub(super) fn processor(declared: &Resources) -> Value {
    resources(declared, &PROCESSOR)
}

/// The resources of the producer's container.
pub(super) fn producer(declared: &Resources) -> Value {
    resources(declared, &PRODUCER)
}

/// The resources of a verification's container.
pub(super) fn verification(declared: &Resources) -> Value {
    resources(declared, &VERIFICATION)
}

fn resources(declared: &Resources, defaults: &[(&str, &str, &str)]) -> Value {
    if declared.is_empty() {
        let all = |amount: fn(&(&str, &str, &str)) -> Value| -> Map<String, Value> {
            defaults.iter().map(|default| (default.0.to_owned(), amount(default))).collect()
        };
        return json!({"requests": all(|default| json!(default.1)), "limits": all(|default| json!(default.2))});
    }
    let Resources { requests, limits } = declared;
    let amounts = [("requests", requests), ("limits", limits)].into_iter().filter(|(_, amounts)| !amounts.is_empty());
    amounts.map(|(name, amounts)| (name.to_owned(), canonical(amounts))).collect::<Map<_, _>>().into()
}

/// In the form that the API server stores. Any other would look like a difference at each start of the operator.
fn canonical(amounts: &BTreeMap<String, IntOrString>) -> Value {
    let stored = |amount: &IntOrString| {
        let text = text(amount);
        Quantity::parse(&text).map_or(text, |quantity| quantity.to_string())
    };
    amounts.iter().map(|(name, amount)| (name.clone(), Value::from(stored(amount)))).collect::<Map<_, _>>().into()
}
