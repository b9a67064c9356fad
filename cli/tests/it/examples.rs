//! The examples with events of their own, from the file to rows: `make demo PIPELINE=FILE` runs the same commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use retail_testbed::{Case, Program, Registry, eventually};

use crate::RETAIL;

/// The fates of the simulated records.
const FATES: [&str; 5] = ["applied", "filtered", "late", "invalid", "future"];

/// Runs an example with its simulated records, until each fate has occurred. Then the rows must be exact.
async fn runs(name: &str, refunds: bool) {
    exact(&Case::example(&path(name)), &FATES, refunds).await;
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// Runs a pipeline until each of these fates has occurred. Then its rows must be exact.
async fn exact(case: &Case, fates: &[&str], refunds: bool) {
    let mut run = Program::start(RETAIL, case, &["run"]);
    let occurred: Vec<String> = fates.iter().map(|fate| format!("sum({fate}) > 0")).collect();
    let occurred = format!("SELECT sum(consumed) > 2000 AND {} FROM ledger", occurred.join(" AND "));
    eventually("each fate occurs", async || (case.try_text(&occurred).await.as_deref() == Some("true")).then_some(()))
        .await;
    run.signal("INT");
    assert_eq!(run.exit_code(Duration::from_secs(60)).await, 0, "{}", run.output());
    assert_eq!(case.text("SELECT bool_and(balanced) FROM ledger").await, "true");
    let reasons = "SELECT count(DISTINCT reason) FILTER (WHERE reason NOT IN ('late', 'future')) > 3 FROM dead_letter";
    assert_eq!(case.text(reasons).await, "true");
    // Without refunds, each event has at least one piece.
    assert_eq!(case.text("SELECT bool_or(total_quantity < events) FROM retail").await, refunds.to_string());
    let report = case.assert_exact().await;
    assert!(report.rows > 100 && report.offsets > 2000, "{report:?}");
    let verify = case.command(RETAIL).arg("verify").output().unwrap();
    let verdict = String::from_utf8_lossy(&verify.stdout);
    assert!(verify.status.success() && verdict.starts_with("equal: Postgres matches the topic\n"), "{verify:?}");
}

#[tokio::test]
async fn orders_example_becomes_exact_rows() {
    runs("orders.yaml", true).await;
}

#[tokio::test]
async fn receipts_example_becomes_exact_rows() {
    runs("receipts.yaml", true).await;
}

#[tokio::test]
async fn debezium_example_becomes_exact_rows() {
    runs("debezium.yaml", false).await;
}

/// Both run at the same time, with one registry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_with_a_registry_become_exact_rows() {
    let registry = Registry::shared();
    let [avro, protobuf] = ["avro.yaml", "protobuf.yaml"].map(|name| Case::registered_example(&path(name), registry));
    // Protobuf's example filters nothing.
    let unfiltered: Vec<&str> = FATES.into_iter().filter(|fate| *fate != "filtered").collect();
    tokio::join!(exact(&avro, &FATES, false), exact(&protobuf, &unfiltered, true));
}
