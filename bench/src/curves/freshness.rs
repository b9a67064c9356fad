//! The time from sending a purchase to its row.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Client;

use crate::machine;
use crate::report::{Table, grouped};
use crate::running::{Processor, Running};
use crate::setup::{Case, Setup, Shape, unique};
use crate::statistics::percentiles;

/// Triggers, and the duration of their measurements. With the longest, commits still fall on all parts of a second.
const TRIGGERS: [(&str, Duration); 3] =
    [("100ms", Duration::from_secs(30)), ("1s", Duration::from_secs(40)), ("5s", Duration::from_secs(60))];

/// Rate of the other purchases, per second.
const OTHER_PURCHASES: u64 = 1000;

/// Interval of probes. It does not divide a trigger, so that probes fall on all parts of it.
const PROBE_INTERVAL: Duration = Duration::from_millis(97);

/// Interval of the query for rows.
const QUERY_INTERVAL: Duration = Duration::from_millis(4);

/// The category of the probes. Each probe has its own payment method.
const CATEGORY: &str = "probe";

/// The figures of one trigger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) trigger: String,
    pub(crate) probes: usize,
    /// Percentiles 50, 95, 99 and 100, in seconds.
    pub(crate) seconds: [f64; 4],
}

pub(crate) async fn run(setup: &Setup) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (trigger, time) in TRIGGERS {
        tracing::info!("freshness with a trigger of {trigger}");
        let name = unique("fresh");
        let case = setup.case(&name, &name, Shape { trigger, ..Shape::default() })?;
        let seconds = measure(setup, &case, time).await.with_context(|| format!("with a trigger of {trigger}"))?;
        let probes = seconds.len();
        let seconds = percentiles(seconds, [50.0, 95.0, 99.0, 100.0]).context("no probe has a row")?;
        rows.push(Row { trigger: trigger.to_owned(), probes, seconds });
        setup.drop_schema(case.schema()).await?;
    }
    Ok(rows)
}

/// Sends probes, and returns the seconds until the row of each.
async fn measure(setup: &Setup, case: &Case, time: Duration) -> Result<Vec<f64>> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let mut processor = Processor::start(setup, case, &["--workers", "1"])?;
    processor.assigned().await?;
    let mut command = case.command(&setup.program("retail-producer"));
    command.args(["--rate", &OTHER_PURCHASES.to_string()]);
    let producer = Running::start(setup, command, "producer")?;
    sleep(Duration::from_secs(5)).await;
    let (probes, sent) = mpsc::unbounded_channel();
    let watcher = tokio::spawn(watch(case.session().await?, sent));
    send(setup, case.topic(), time, &probes).await?;
    drop(probes);
    let seconds = watcher.await.expect("watching does not panic")?;
    producer.stop().await?;
    processor.process.stop().await?;
    Ok(seconds)
}

/// A probe: its number, the time it was sent, and its event time.
type Probe = (String, f64, DateTime<Utc>);

async fn send(setup: &Setup, topic: &str, time: Duration, probes: &mpsc::UnboundedSender<Probe>) -> Result<()> {
    // A threaded producer, because waiting for an acknowledgement would delay the next probe and synchronize the two.
    let producer: ThreadedProducer<DefaultProducerContext> =
        setup.kafka.client_config().set("linger.ms", "0").set("acks", "all").create()?;
    let begun = Instant::now();
    for number in 0.. {
        let due = begun + PROBE_INTERVAL * number;
        if due >= begun + time {
            break;
        }
        sleep_until(due).await;
        let now = Utc::now();
        let time = now.to_rfc3339_opts(SecondsFormat::Micros, true);
        let value = format!(
            "{{\"category\": \"{CATEGORY}\", \"payment_method\": \"{number}\", \"quantity\": 1, \"price\": 1, \"timestamp\": \"{time}\"}}"
        );
        let sent = machine::now();
        producer
            .send(BaseRecord::<str, str>::to(topic).key(&number.to_string()).payload(&value))
            .map_err(|(error, _)| error)?;
        probes.send((number.to_string(), sent, now))?;
    }
    Ok(producer.flush(Duration::from_secs(10))?)
}

/// Queries for the rows of probes until all have one.
async fn watch(session: Client, mut sent: mpsc::UnboundedReceiver<Probe>) -> Result<Vec<f64>> {
    let query = session
        .prepare(
            "SELECT payment_method FROM retail
             WHERE window_start = ANY ($1) AND category = $2 AND payment_method = ANY ($3)",
        )
        .await?;
    let mut waiting = BTreeMap::<String, (f64, DateTime<Utc>)>::new();
    let mut seconds = Vec::new();
    let mut all_sent = false;
    let mut patience = Instant::now() + Duration::from_secs(120);
    while !(all_sent && waiting.is_empty()) {
        loop {
            match sent.try_recv() {
                Ok((number, at, time)) => {
                    waiting.insert(number, (at, time));
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    all_sent = true;
                    break;
                }
            }
        }
        if !waiting.is_empty() {
            let mut windows: Vec<DateTime<Utc>> = waiting.values().map(|(_, time)| window(*time)).collect();
            windows.dedup();
            let numbers: Vec<&String> = waiting.keys().collect();
            let rows = session.query(&query, &[&windows, &CATEGORY, &numbers]).await?;
            let now = machine::now();
            for row in rows {
                if let Some((at, _)) = waiting.remove(row.get::<_, &str>(0)) {
                    seconds.push(now - at);
                    patience = Instant::now() + Duration::from_secs(120);
                }
            }
        }
        ensure!(Instant::now() < patience, "{} probes have no row after 120 s", waiting.len());
        sleep(QUERY_INTERVAL).await;
    }
    Ok(seconds)
}

/// Returns the start of the five-minute window of an instant.
fn window(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp() / 300 * 300, 0).expect("the time is within the range of chrono")
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["Trigger", "Probes", "p50, s", "p95, s", "p99, s", "Maximum, s"]);
    for row in rows {
        let [p50, p95, p99, most] = row.seconds.map(|seconds| format!("{seconds:.3}"));
        table.row([row.trigger.clone(), grouped(row.probes as u64), p50, p95, p99, most]);
    }
    table
}
