//! The ConfigMap: for each program a pipeline.yaml with only the fields that it reads. The hash of a file therefore changes
//! exactly when the behavior of its program changes, and only then are its pods replaced.

use kube::Resource;
use retail_api::Pipeline;
use retail_api::resource::{Database, LateEvents, Processor, Producer, RetailPipeline, Topic, WhenIdle};
use retail_engine::Rules;
use serde_json::{Map, Value, json};

/// Key of the processor's file.
pub(super) const PROCESSOR_FILE: &str = "processor.yaml";

/// The version in hashed texts.
const FIRST_VERSION: &str = "retailpipeline.dev/v1alpha1";

/// Key of the producer's file.
pub(super) const PRODUCER_FILE: &str = "producer.yaml";

pub(super) fn config_map(pipeline: &Pipeline) -> Value {
    let mut files = Map::new();
    files.insert(PROCESSOR_FILE.to_owned(), processor_file(pipeline).into());
    if let Some(producer) = &pipeline.producer {
        files.insert(PRODUCER_FILE.to_owned(), producer_file(pipeline, producer).into());
    }
    json!({"data": files})
}

/// The pipeline.yaml of the processor.
pub fn processor_file(pipeline: &Pipeline) -> String {
    let Pipeline {
        name: _,
        namespace: _,
        uid: _,
        // The operator takes the schema over before the processor starts.
        adopt: _,
        kafka,
        topic,
        events,
        // Follows from the other fields.
        layout: _,
        deduplicate_within,
        rules: Rules { window, delay, max_future },
        idle_timeout,
        when_idle,
        trigger,
        late_events,
        dead_letter_age,
        dead_letter_bytes,
        database,
        schema: _,
        producer: _,
        processor: Processor { replicas: _, autoscaling: _, workers, resources: _, disruption_budget: _, template: _ },
        final_rows_retention,
        // A pod that verifies reads this file, too.
        verify: _,
        // Views and their rights are made when the schema is applied.
        rollups: _,
        readers: _,
        print_rows,
        // Of the pods.
        image: _,
        logging: _,
    } = pipeline;
    let Topic { name, partitions: _, management: _, start_position, replication_factor: _, config: _ } = topic;
    let mut spec = json!({
        "kafka": kafka,
        "topic": {"name": name},
        "window": duration(window.as_micros()),
        "watermark": {
            "delay": duration(delay.as_micros()),
            "idleTimeout": duration(micros(*idle_timeout)),
            "maxFuture": duration(max_future.as_micros()),
        },
        "trigger": duration(micros(*trigger)),
        "database": database_fields(pipeline),
        "printRows": print_rows,
    });
    if let Some(workers) = workers {
        spec["processor"] = json!({"workers": workers});
    }
    if let Some(position) = start_position {
        spec["topic"]["startPosition"] = json!(position);
    }
    if let Some(events) = events {
        spec["events"] = json!(events.events);
    }
    if let Some(within) = deduplicate_within {
        spec["deduplicate"] = json!({"within": duration(within.as_micros())});
    }
    if let Some(tls) = &database.tls {
        spec["database"]["tls"] = json!(tls);
    }
    if *when_idle != WhenIdle::default() {
        spec["watermark"]["whenIdle"] = json!(when_idle);
    }
    if *late_events != LateEvents::default() {
        spec["lateEvents"] = json!(late_events);
    }
    let days = |age: &std::time::Duration| format!("{}d", age.as_secs() / 86_400);
    if let Some(retention) = final_rows_retention {
        spec["retention"] = json!({"finalRows": days(retention)});
    }
    let letters = json!({"retain": days(dead_letter_age), "maxBytes": format!("{}Mi", dead_letter_bytes >> 20)});
    if letters != json!({"retain": "30d", "maxBytes": "1024Mi"}) {
        spec["deadLetters"] = letters;
    }
    file(pipeline, &spec)
}

/// The pipeline.yaml of the producer. It generates late purchases from window and delay.
pub fn producer_file(pipeline: &Pipeline, producer: &Producer) -> String {
    let Producer { enabled: _, replicas: _, events_per_second, seed, speed, faults, resources: _, template: _ } =
        producer;
    let Pipeline {
        name: _,
        namespace: _,
        uid: _,
        adopt: _,
        kafka,
        topic: Topic { name, partitions: _, management: _, start_position: _, replication_factor: _, config: _ },
        events,
        // Follows from the other fields.
        layout: _,
        deduplicate_within: _,
        rules: Rules { window, delay, max_future: _ },
        idle_timeout: _,
        when_idle: _,
        trigger: _,
        late_events: _,
        dead_letter_age: _,
        dead_letter_bytes: _,
        database: _,
        schema: _,
        producer: _,
        processor: _,
        final_rows_retention: _,
        verify: _,
        rollups: _,
        readers: _,
        print_rows: _,
        image: _,
        logging: _,
    } = pipeline;
    let mut spec = json!({
        "kafka": kafka,
        "topic": {"name": name},
        "window": duration(window.as_micros()),
        "watermark": {"delay": duration(delay.as_micros())},
        "database": database_fields(pipeline),
        "producer": {"eventsPerSecond": events_per_second, "seed": seed, "speed": speed, "faults": faults},
    });
    if let Some(events) = events {
        spec["events"] = json!(events.events);
    }
    file(pipeline, &spec)
}

/// Without the Secret: pods receive it as environment variables and files.
fn database_fields(pipeline: &Pipeline) -> Value {
    // TLS is added for the processor only; the schema's name may come from the pipeline's.
    let Database { host, port, name, schema: _, secret: _, owner_secret: _, runtime_role: _, tls: _ } =
        &pipeline.database;
    json!({"host": host, "port": port, "name": name, "schema": pipeline.schema})
}

/// The text that is hashed to detect a changed file. The version of the API does not count: the next one must not replace all pods.
pub(super) fn hashed_text(file: &str, version: &str) -> String {
    file.replacen(version, FIRST_VERSION, 1)
}

fn file(pipeline: &Pipeline, spec: &Value) -> String {
    let file = json!({
        "apiVersion": RetailPipeline::api_version(&()),
        "kind": RetailPipeline::kind(&()),
        "metadata": {"name": pipeline.name, "namespace": pipeline.namespace, "uid": pipeline.uid},
        "spec": spec,
    });
    serde_saphyr::to_string(&file).expect("a pipeline serializes")
}

/// The canonical form of a duration: a change from 60m to 1h restarts no pod.
fn duration(micros: i64) -> String {
    let millis = micros / 1000;
    match millis {
        0 => "0s".to_owned(),
        _ if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        _ if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        _ if millis % 1000 == 0 => format!("{}s", millis / 1000),
        // The CRD allows at most six digits per unit.
        _ => format!("{}s{}ms", millis / 1000, millis % 1000),
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("the CRD bounds every duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_the_api_is_not_hashed() {
        let file = |version: &str| format!("apiVersion: retailpipeline.dev/{version}\nkind: RetailPipeline\n");
        assert_eq!(hashed_text(&file("v1beta1"), "retailpipeline.dev/v1beta1"), file("v1alpha1"));
        assert_eq!(hashed_text(&file("v1alpha1"), &RetailPipeline::api_version(&())), file("v1alpha1"));
    }

    #[test]
    fn duration_has_one_canonical_form() {
        let written = [0, 500, 1500, 1000, 60_000, 90_000, 3_600_000, 86_400_000].map(|millis| duration(millis * 1000));
        assert_eq!(written, ["0s", "0s500ms", "1s500ms", "1s", "1m", "90s", "1h", "24h"]);
    }
}
