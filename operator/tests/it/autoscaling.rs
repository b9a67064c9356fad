//! The number of processors follows the load that they have noted.

use retail_store::Load;
use serde_json::{Value, json};

use crate::harness::Harness;

fn load(unread: i64, appended: f64, read: f64, share: f64) -> Load {
    Load { partitions: 4, unread, appended_per_second: appended, read_per_second: read, database_share: share }
}

fn note(harness: &Harness, load: Load) {
    harness.external.state().schemas.get_mut("retail").unwrap().1.load = Some(load);
}

fn replicas(harness: &Harness) -> i64 {
    harness.object("deployments", "retail-processor").unwrap()["spec"]["replicas"].as_i64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn processors_follow_the_load_with_an_event() {
    let harness = Harness::start();
    let autoscaling = json!({"autoscaling": {"minReplicas": 1, "maxReplicas": 8, "secondsBehind": 30}});
    harness.declare("retail", json!({"processor": autoscaling}));
    harness.until_ready("retail").await;
    let status = || harness.object("retailpipelines", "retail").unwrap()["status"]["autoscaling"].clone();
    harness.eventually("the number is recorded", || status()["replicas"] == 1).await;
    harness.passes(120).await;

    // The database limits: more processors would wait for it, too.
    note(&harness, load(900_000, 9_000.0, 1_000.0, 0.9));
    harness.until("retail", "ScalingLimited", "True", "AutoscalingLimited").await;
    assert_eq!(replicas(&harness), 1);

    // Ten times the load of a processor: up in one look, to the number of partitions.
    note(&harness, load(900_000, 9_000.0, 1_000.0, 0.0));
    harness.eventually("four processors run", || replicas(&harness) == 4).await;
    let scaled = || {
        harness.event_texts("retail").into_iter().filter(|text| text.contains("autoscaling runs")).collect::<Vec<_>>()
    };
    assert_eq!(
        scaled(),
        ["autoscaling runs 4 processors: 900000 records are not read, 100 s of records at the present rate"]
    );
    harness.eventually("the number is recorded", || status()["replicas"] == 4).await;
    note(&harness, load(900_000, 9_000.0, 4_000.0, 0.0));
    harness.until("retail", "ScalingLimited", "True", "AutoscalingLimited").await;

    // Down by one every five minutes, while the others suffice: each reads 1,000 per second.
    note(&harness, load(0, 1_500.0, 1_500.0, 0.0));
    harness.until("retail", "ScalingLimited", "False", "UpToDate").await;
    harness.passes(240).await;
    assert_eq!(replicas(&harness), 4);
    harness.eventually("one processor fewer runs", || replicas(&harness) == 3).await;
    harness.eventually("two processors run", || replicas(&harness) == 2).await;
    harness.passes(1_200).await;
    assert_eq!(replicas(&harness), 2, "a single one would need more than its capacity");
    // The operator writes no spec, and a restart of it changes nothing.
    let spec = harness.object("retailpipelines", "retail").unwrap()["spec"]["processor"].clone();
    assert_eq!((spec["replicas"].clone(), &spec["autoscaling"]), (Value::Null, &autoscaling["autoscaling"]));
    let mut harness = harness;
    harness.restart();
    harness.passes(120).await;
    assert_eq!(replicas(&harness), 2);
    // Suspended, no pod runs; resumed, as many as before.
    harness.edit("retail", |spec| spec["suspend"] = json!(true));
    harness.eventually("no processor runs", || replicas(&harness) == 0).await;
    harness.edit("retail", |spec| spec["suspend"] = json!(false));
    harness.eventually("two processors run again", || replicas(&harness) == 2).await;
}
