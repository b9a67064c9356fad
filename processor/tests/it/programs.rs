//! The program under test, and simulated purchases for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use retail_producer::plan::{Plan, PlanArgs, Rate};
use retail_producer::run::{Sent, clock, run};
use retail_testbed::{Case, Program, eventually};

pub(crate) const PROCESSOR: &str = env!("CARGO_BIN_EXE_retail-processor");

/// Far beyond what anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn start(case: &Case, arguments: &[&str]) -> Program {
    Program::start(PROCESSOR, case, arguments)
}

/// Processes what is in the topic and ends.
pub(crate) async fn catch_up(case: &Case) {
    let mut processor = start(case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
}

/// Waits until `sql`, a condition, is true.
pub(crate) async fn until(case: &Case, what: &str, sql: &str) {
    eventually(what, async || (case.try_text(sql).await.as_deref() == Some("true")).then_some(())).await;
}

/// Waits until so many offsets are consumed, and all of them have a fate.
pub(crate) async fn until_consumed(case: &Case, offsets: i64) {
    let sql = format!("SELECT coalesce(sum(consumed), 0) = {offsets} AND bool_and(balanced) FROM ledger");
    until(case, &format!("{offsets} offsets are consumed"), &sql).await;
}

/// Sends simulated purchases as fast as the broker takes them: 2 % malformed, 2 % too late, 1 % of the future, 1 % twice.
pub(crate) async fn produce(case: &Case, events: u64, seed: u64) {
    let args = PlanArgs {
        events: Some(events),
        rate: Some(Rate::Max),
        seed: Some(seed),
        malformed: Some(2),
        too_late: Some(2),
        future: Some(1),
        duplicated: Some(1),
        ..PlanArgs::default()
    };
    let plan = Plan::new(&case.settings.pipeline, args, clock()).unwrap();
    let (kafka, topic) = (case.settings.kafka.clone(), case.topic.name.clone());
    let summary = tokio::task::spawn_blocking(move || {
        run(&kafka, &topic, &plan, &AtomicBool::new(false), &Arc::new(Sent::default())).unwrap()
    });
    assert_eq!(summary.await.unwrap().acknowledged, events);
}
