//! How long it takes until a processor works.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::{Deserialize, Serialize};

use crate::ground::{Case, Ground, Shape, unique};
use crate::report::{Table, spread};
use crate::running::Processor;
use crate::statistics::Spread;

const STARTS: u32 = 7;

/// What it takes, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// A consumer of librdkafka alone, from its making until the group has given it its partitions.
    pub(crate) join: Spread,
    /// From the start of the process until its worker has partitions.
    pub(crate) assigned: Spread,
    /// The same until the first row is committed.
    pub(crate) first_row: Spread,
}

pub(crate) async fn run(ground: &Ground) -> Result<Figures> {
    tracing::info!("{STARTS} starts");
    let topic = unique("start");
    let case = ground.case(&topic, &topic, Shape::default())?;
    case.apply_topic().await?;
    case.load(1).await?;
    let (mut joins, mut assigned, mut first_rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        joins.push(join(ground, &topic).await?);
        let case = ground.case(&topic, &unique("start"), Shape { trigger: "1s", ..Shape::default() })?;
        let (had_partitions, had_row) = start(ground, &case).await?;
        assigned.push(had_partitions);
        first_rows.push(had_row);
        ground.drop_schema(case.schema()).await?;
    }
    let of = |figures: Vec<f64>| Spread::of(figures).context("there was no start");
    Ok(Figures { join: of(joins)?, assigned: of(assigned)?, first_row: of(first_rows)? })
}

async fn start(ground: &Ground, case: &Case) -> Result<(f64, f64)> {
    case.apply_schema().await?;
    let session = case.session().await?;
    let mut processor = Processor::start(ground, case, &["--workers", "1"])?;
    let assigned = processor.assigned().await?;
    let first = "SELECT extract(epoch FROM min(updated_at))::float8 FROM retail_open";
    let mut at = None;
    let committed = async || {
        at = session.query_one(first, &[]).await?.get::<_, Option<f64>>(0);
        Ok(at.is_some())
    };
    processor.process.until("the first row was committed", committed).await?;
    let first_row = at.context("the row was there")? - processor.process.started;
    processor.process.stop().await?;
    Ok((assigned, first_row))
}

/// How long the group takes to give a new member its partitions.
async fn join(ground: &Ground, topic: &str) -> Result<f64> {
    let mut config = ground.kafka.client_config();
    config.set("group.id", unique("join")).set("partition.assignment.strategy", "cooperative-sticky");
    let topic = topic.to_owned();
    let joined = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[&topic])?;
        while consumer.assignment()?.count() == 0 {
            consumer.poll(Duration::from_millis(1)).transpose()?;
            ensure!(begun.elapsed() < Duration::from_secs(60), "the group gave no partitions");
        }
        Ok(begun.elapsed().as_secs_f64())
    });
    joined.await.expect("joining does not panic")
}

pub(crate) fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&["From the start of the process until", "s, median (least to most)"]);
    let Figures { join, assigned, first_row } = figures;
    table.row(["its worker has its partitions".to_owned(), spread(*assigned, 3)]);
    table.row(["its first row is committed, trigger 1 s".to_owned(), spread(*first_row, 3)]);
    table.row(["for comparison: librdkafka alone, from a new consumer to its partitions".to_owned(), spread(*join, 3)]);
    table
}
