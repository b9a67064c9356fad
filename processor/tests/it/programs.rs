//! The program under test, and simulated purchases for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use retail_producer::plan::{Plan, PlanArgs, Rate};
use retail_producer::run::{Sent, Summary, clock, run};
use retail_testbed::{Case, Program, eventually};
use tokio::task::JoinHandle;

pub(crate) const PROCESSOR: &str = env!("CARGO_BIN_EXE_retail-processor");

/// Far longer than any step of these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn start(case: &Case, arguments: &[&str]) -> Program {
    Program::start(PROCESSOR, case, arguments)
}

/// Processes the records of the topic and ends.
pub(crate) async fn catch_up(case: &Case) {
    let mut processor = start(case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
}

/// Waits until `sql`, a condition, is true.
pub(crate) async fn until(case: &Case, what: &str, sql: &str) {
    eventually(what, async || (case.try_text(sql).await.as_deref() == Some("true")).then_some(())).await;
}

/// Waits until this number of offsets is consumed, each with a fate.
pub(crate) async fn until_consumed(case: &Case, offsets: i64) {
    let sql = format!("SELECT coalesce(sum(consumed), 0) = {offsets} AND bool_and(balanced) FROM ledger");
    until(case, &format!("{offsets} offsets are consumed"), &sql).await;
}

/// 2 % malformed, 2 % too late, 1 % future, 1 % duplicated.
pub(crate) const FAULTY: PlanArgs = PlanArgs {
    events: None,
    rate: None,
    seed: None,
    speed: None,
    max_delay: None,
    too_late: Some(2),
    malformed: Some(2),
    future: Some(1),
    duplicated: Some(1),
    start_time: None,
};

/// Sends simulated purchases in the background; the first value counts them.
pub(crate) fn sending(case: &Case, args: PlanArgs) -> (Arc<Sent>, JoinHandle<Summary>) {
    let plan = Plan::new(&case.settings.pipeline, args, clock()).unwrap();
    let (kafka, topic) = (case.settings.kafka.clone(), case.topic.name.clone());
    let sent = Arc::new(Sent::default());
    let counted = Arc::clone(&sent);
    let sending =
        tokio::task::spawn_blocking(move || run(&kafka, &topic, &plan, &AtomicBool::new(false), &counted).unwrap());
    (sent, sending)
}

/// Sends faulty purchases as fast as the broker takes them.
pub(crate) async fn produce(case: &Case, events: u64, seed: u64) {
    let args = PlanArgs { events: Some(events), rate: Some(Rate::Max), seed: Some(seed), ..FAULTY };
    assert_eq!(sending(case, args).1.await.unwrap().acknowledged, events);
}

/// A GET request to the address that a program has logged; returns status code and body.
pub(crate) async fn http(program: &Program, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    program.says("at http://").await;
    let output = program.output();
    let address = output.split("at http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits until /readyz has this status code, and a body with `word`.
pub(crate) async fn until_ready(program: &Program, status: u16, word: &str) {
    eventually(&format!("/readyz answers {status} and {word:?}"), async || {
        let (code, body) = http(program, "/readyz").await;
        (code == status && body.contains(word)).then_some(())
    })
    .await;
}
