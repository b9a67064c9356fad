//! The ConfigMap: for each program a pipeline.yaml with what it reads, and nothing else. So the hash of the file changes
//! exactly when the program would do something else, and only then are its pods replaced.

use kube::Resource;
use retail_api::Pipeline;
use retail_api::resource::{LateEvents, Producer, RetailPipeline, WhenIdle};
use serde_json::{Map, Value, json};

/// The key of the processor's file.
pub(super) const PROCESSOR_FILE: &str = "processor.yaml";

/// The key of the producer's file.
pub(super) const PRODUCER_FILE: &str = "producer.yaml";

pub(super) fn config_map(pipeline: &Pipeline) -> Value {
    let mut files = Map::new();
    files.insert(PROCESSOR_FILE.to_owned(), processor_file(pipeline).into());
    if let Some(producer) = &pipeline.producer {
        files.insert(PRODUCER_FILE.to_owned(), producer_file(pipeline, producer).into());
    }
    json!({"data": files})
}

/// What the processor reads.
pub fn processor_file(pipeline: &Pipeline) -> String {
    let Pipeline { kafka, topic, idle_timeout, when_idle, trigger, late_events, schema, print_rows, .. } = pipeline;
    let rules = pipeline.rules;
    let mut spec = json!({
        "kafka": kafka,
        "topic": {"name": topic.name},
        "window": duration(rules.window.as_micros()),
        "watermark": {
            "delay": duration(rules.delay.as_micros()),
            "idleTimeout": duration(micros(*idle_timeout)),
            "maxFuture": duration(rules.max_future.as_micros()),
        },
        "trigger": duration(micros(*trigger)),
        "database": database(pipeline, schema),
        "printRows": print_rows,
    });
    if let Some(tls) = &pipeline.database.tls {
        spec["database"]["tls"] = json!(tls);
    }
    if *when_idle != WhenIdle::default() {
        spec["watermark"]["whenIdle"] = json!(when_idle);
    }
    if *late_events != LateEvents::default() {
        spec["lateEvents"] = json!(late_events);
    }
    file(pipeline, &spec)
}

/// What the producer reads. Of the window and the delay it makes purchases that are too late.
pub fn producer_file(pipeline: &Pipeline, producer: &Producer) -> String {
    let Producer { enabled: _, replicas: _, events_per_second, seed, speed, faults, resources: _ } = producer;
    let rules = pipeline.rules;
    let spec = json!({
        "kafka": pipeline.kafka,
        "topic": {"name": pipeline.topic.name},
        "window": duration(rules.window.as_micros()),
        "watermark": {"delay": duration(rules.delay.as_micros())},
        "database": database(pipeline, &pipeline.schema),
        "producer": {"eventsPerSecond": events_per_second, "seed": seed, "speed": speed, "faults": faults},
    });
    file(pipeline, &spec)
}

/// Without the Secret, which pods get as environment.
fn database(pipeline: &Pipeline, schema: &str) -> Value {
    let database = &pipeline.database;
    json!({"host": database.host, "port": database.port, "name": database.name, "schema": schema})
}

fn file(pipeline: &Pipeline, spec: &Value) -> String {
    let file = json!({
        "apiVersion": RetailPipeline::api_version(&()),
        "kind": RetailPipeline::kind(&()),
        "metadata": {"name": pipeline.name, "namespace": pipeline.namespace, "uid": pipeline.uid},
        "spec": spec,
    });
    serde_saphyr::to_string(&file).expect("a pipeline is plain data")
}

/// The one way in which we write a length of time, however it was declared: 60m is 1h, and restarts nobody.
fn duration(micros: i64) -> String {
    let millis = micros / 1000;
    match millis {
        0 => "0s".to_owned(),
        _ if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        _ if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        _ if millis % 1000 == 0 => format!("{}s", millis / 1000),
        // The schema takes at most six digits a unit.
        _ => format!("{}s{}ms", millis / 1000, millis % 1000),
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("the schema bounds every duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_one_way() {
        let written = [0, 500, 1500, 1000, 60_000, 90_000, 3_600_000, 86_400_000].map(|millis| duration(millis * 1000));
        assert_eq!(written, ["0s", "0s500ms", "1s500ms", "1s", "1m", "90s", "1h", "24h"]);
    }
}
