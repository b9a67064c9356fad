//! The time from the start of a processor to its first row.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::{Deserialize, Serialize};

use crate::report::{Table, spread};
use crate::running::Processor;
use crate::setup::{Case, Setup, Shape, unique};
use crate::statistics::Spread;

const STARTS: u32 = 7;

/// Durations, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// librdkafka alone: from creating a consumer to its assignment by the group.
    pub(crate) join: Spread,
    /// From the start of the process to the assignment of its worker.
    pub(crate) assigned: Spread,
    /// From the start of the process to the commit of the first row.
    pub(crate) first_row: Spread,
}

pub(crate) async fn run(setup: &Setup) -> Result<Figures> {
    tracing::info!("{STARTS} starts");
    let topic = unique("start");
    let case = setup.case(&topic, &topic, Shape::default())?;
    case.apply_topic().await?;
    case.load(1).await?;
    let (mut joins, mut assigned, mut first_rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        joins.push(join(setup, &topic).await?);
        let case = setup.case(&topic, &unique("start"), Shape { trigger: "1s", ..Shape::default() })?;
        let (had_partitions, had_row) = start(setup, &case).await?;
        assigned.push(had_partitions);
        first_rows.push(had_row);
        setup.drop_schema(case.schema()).await?;
    }
    let of = |figures: Vec<f64>| Spread::of(figures).context("no start was measured");
    Ok(Figures { join: of(joins)?, assigned: of(assigned)?, first_row: of(first_rows)? })
}

async fn start(setup: &Setup, case: &Case) -> Result<(f64, f64)> {
    case.apply_schema().await?;
    let session = case.session().await?;
    let mut processor = Processor::start(setup, case, &["--workers", "1"])?;
    let assigned = processor.assigned().await?;
    let first = "SELECT extract(epoch FROM min(written_at))::float8 FROM delta_log";
    let mut at = None;
    let committed = async || {
        at = session.query_one(first, &[]).await?.get::<_, Option<f64>>(0);
        Ok(at.is_some())
    };
    processor.process.until("the first row is committed", committed).await?;
    let first_row = at.context("the first row has no time")? - processor.process.started;
    processor.process.stop().await?;
    Ok((assigned, first_row))
}

/// Returns the seconds from creating a consumer to its assignment by the group.
async fn join(setup: &Setup, topic: &str) -> Result<f64> {
    let mut config = setup.kafka.client_config();
    config.set("group.id", unique("join")).set("partition.assignment.strategy", "cooperative-sticky");
    let topic = topic.to_owned();
    let joined = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[&topic])?;
        while consumer.assignment()?.count() == 0 {
            consumer.poll(Duration::from_millis(1)).transpose()?;
            ensure!(begun.elapsed() < Duration::from_secs(60), "the group assigned no partitions within 60 s");
        }
        Ok(begun.elapsed().as_secs_f64())
    });
    joined.await.expect("joining does not panic")
}

pub(crate) fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&["Step", "Time, s: median (minimum to maximum)"]);
    let Figures { join, assigned, first_row } = figures;
    table.row(["process start to assigned partitions".to_owned(), spread(*assigned, 3)]);
    table.row(["process start to committed first row, trigger 1 s".to_owned(), spread(*first_row, 3)]);
    table.row(["librdkafka alone: new consumer to assigned partitions".to_owned(), spread(*join, 3)]);
    table
}
