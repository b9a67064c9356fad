//! How long after a purchase was sent its row says so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Client;

use crate::ground::{Case, Ground, Shape, unique};
use crate::machine;
use crate::report::{Table, grouped};
use crate::running::{Processor, Running};
use crate::statistics::percentiles;

/// Triggers, and how long is measured with each: enough of the longest that its commits fall on every part of a second.
const TRIGGERS: [(&str, Duration); 3] =
    [("100ms", Duration::from_secs(30)), ("1s", Duration::from_secs(40)), ("5s", Duration::from_secs(60))];

/// Other purchases, per second.
const BESIDE: u64 = 1000;

/// From one probe to the next: no part of a trigger, so that probes fall on every part of it.
const APART: Duration = Duration::from_millis(97);

/// How often it is looked whether rows are there.
const LOOK: Duration = Duration::from_millis(4);

/// The category of the probes, a payment method each.
const CATEGORY: &str = "probe";

/// One trigger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) trigger: String,
    pub(crate) probes: usize,
    /// Seconds that so many percent did not exceed: 50, 95, 99, 100.
    pub(crate) seconds: [f64; 4],
}

pub(crate) async fn run(ground: &Ground) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (trigger, time) in TRIGGERS {
        tracing::info!("freshness at a trigger of {trigger}");
        let name = unique("fresh");
        let case = ground.case(&name, &name, Shape { trigger, ..Shape::default() })?;
        let seconds = measure(ground, &case, time).await.with_context(|| format!("at a trigger of {trigger}"))?;
        let probes = seconds.len();
        let seconds = percentiles(seconds, [50.0, 95.0, 99.0, 100.0]).context("no probe came back")?;
        rows.push(Row { trigger: trigger.to_owned(), probes, seconds });
        ground.drop_schema(case.schema()).await?;
    }
    Ok(rows)
}

/// Sends probes and answers how long each took.
async fn measure(ground: &Ground, case: &Case, time: Duration) -> Result<Vec<f64>> {
    case.apply_topic().await?;
    case.apply_schema().await?;
    let mut processor = Processor::start(ground, case, &["--workers", "1"])?;
    processor.assigned().await?;
    let mut command = case.command(&ground.program("retail-producer"));
    command.args(["--rate", &BESIDE.to_string()]);
    let producer = Running::start(ground, command, "producer")?;
    sleep(Duration::from_secs(5)).await;
    let (probes, sent) = mpsc::unbounded_channel();
    let watcher = tokio::spawn(watch(case.session().await?, sent));
    send(ground, case.topic(), time, &probes).await?;
    drop(probes);
    let seconds = watcher.await.expect("watching does not panic")?;
    producer.stop().await?;
    processor.process.stop().await?;
    Ok(seconds)
}

/// A probe: its number, when it was sent, and the window it is in.
type Probe = (String, f64, DateTime<Utc>);

async fn send(ground: &Ground, topic: &str, time: Duration, probes: &mpsc::UnboundedSender<Probe>) -> Result<()> {
    // Sends from a thread of its own: whoever waits for an acknowledgement here is late for the next probe, and in step with it.
    let producer: ThreadedProducer<DefaultProducerContext> =
        ground.kafka.client_config().set("linger.ms", "0").set("acks", "all").create()?;
    let begun = Instant::now();
    for number in 0.. {
        let due = begun + APART * number;
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

/// Looks for the rows of probes until all that were sent are there.
async fn watch(session: Client, mut sent: mpsc::UnboundedReceiver<Probe>) -> Result<Vec<f64>> {
    let look = session
        .prepare(
            "SELECT payment_method FROM retail_open
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
            let rows = session.query(&look, &[&windows, &CATEGORY, &numbers]).await?;
            let now = machine::now();
            for row in rows {
                if let Some((at, _)) = waiting.remove(row.get::<_, &str>(0)) {
                    seconds.push(now - at);
                    patience = Instant::now() + Duration::from_secs(120);
                }
            }
        }
        ensure!(Instant::now() < patience, "{} probes did not come back", waiting.len());
        sleep(LOOK).await;
    }
    Ok(seconds)
}

/// The window of five minutes that an instant is in.
fn window(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp() / 300 * 300, 0).expect("a year like ours")
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["Trigger", "Probes", "p50, s", "p95, s", "p99, s", "Most, s"]);
    for row in rows {
        let [p50, p95, p99, most] = row.seconds.map(|seconds| format!("{seconds:.3}"));
        table.row([row.trigger.clone(), grouped(row.probes as u64), p50, p95, p99, most]);
    }
    table
}
