//! Measures queries.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::load::{OPEN_HOURS, window};
use super::meter::{Cost, Meter};
use super::queries::{self, Query, README};
use super::{Loaded, Row, commits};
use crate::statistics::Spread;

/// Timeout of a query.
pub(super) const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs of each query in each session. A query of more than 5 s runs once.
const RUNS: u32 = 3;
const LONG: f64 = 5000.0;

/// Measures all queries on the loaded rows.
pub(super) async fn run(loaded: &Loaded) -> Result<Vec<Row>> {
    measure(loaded, [queries::rows(loaded.size), queries::aggregates(loaded.size)].concat()).await
}

/// Measures the queries on many open windows.
pub(super) async fn on_many_windows(loaded: &Loaded) -> Result<Vec<Row>> {
    measure(loaded, queries::of_many_windows(loaded.size)).await
}

async fn measure(loaded: &Loaded, queries: Vec<Query>) -> Result<Vec<Row>> {
    let (alone, usual) = (loaded.case.session().await?, loaded.case.session().await?);
    alone.batch_execute("SET jit = off; SET max_parallel_workers_per_gather = 0").await?;
    for session in [&alone, &usual] {
        session.batch_execute(&format!("SET statement_timeout = {}", TIMEOUT.as_millis())).await?;
    }
    let alone_meter = Meter::of_session(&alone, loaded.case.session().await?).await?;
    let usual_meter = Meter::of_session(&usual, loaded.case.session().await?).await?;
    let mut rows = Vec::new();
    for query in queries {
        tracing::info!("{}", query.name);
        let cpu = repeat(&alone, &alone_meter, &query).await?;
        let elapsed = if cpu.is_empty() { Vec::new() } else { repeat(&usual, &usual_meter, &query).await? };
        let least = |costs: &[Cost], of: fn(&Cost) -> f64| costs.iter().map(of).min_by(f64::total_cmp);
        rows.push(Row {
            cpu: least(&cpu, |cost| cost.cpu),
            elapsed: least(&elapsed, |cost| cost.elapsed),
            timed_out: cpu.is_empty() || elapsed.is_empty(),
            wal: None,
            rows: query.rows,
            name: query.name,
            aim: query.aim.to_owned(),
        });
    }
    Ok(rows)
}

/// Runs a query several times. Returns nothing if it exceeds the timeout.
async fn repeat(session: &Client, meter: &Meter, query: &Query) -> Result<Vec<Cost>> {
    let mut costs: Vec<Cost> = Vec::new();
    while costs.len() < RUNS as usize && costs.iter().all(|cost| cost.elapsed < LONG) {
        let (cost, rows) = meter.measure(count(session, &query.sql)).await?;
        let Some(rows) = rows else { return Ok(Vec::new()) };
        ensure!(rows == query.rows, "{}: {rows} rows instead of {}", query.name, query.rows);
        costs.push(cost);
    }
    Ok(costs)
}

/// Reads all rows as text, as psql does, and returns their number; `None` after the timeout.
async fn count(session: &Client, sql: &str) -> Result<Option<u64>> {
    let mut messages = pin!(session.simple_query_raw(sql).await?);
    let mut rows = 0;
    while let Some(message) = messages.next().await {
        match message {
            Ok(SimpleQueryMessage::Row(_)) => rows += 1,
            Ok(_) => {}
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => return Ok(None),
            Err(error) => return Err(error).context(sql.to_owned()),
        }
    }
    Ok(Some(rows))
}

/// The README's query while each second a commit changes all groups of the newest window, as with a trigger of one second.
pub(super) async fn beside_commits(loaded: &mut Loaded) -> Result<Row> {
    let session = loaded.case.session().await?;
    session.batch_execute("SET jit = off; SET max_parallel_workers_per_gather = 0").await?;
    let meter = Meter::of_session(&session, loaded.case.session().await?).await?;
    let mut costs = Vec::new();
    tracing::info!("the README's query beside commits");
    let Loaded { size, store, batches, .. } = loaded;
    let reading = async {
        let begun = Instant::now();
        while costs.len() < 10 || begun.elapsed() < Duration::from_secs(5) {
            let (cost, rows) = meter.measure(count(&session, README)).await?;
            ensure!(rows == Some(20), "{rows:?} rows instead of 20");
            costs.push(cost);
        }
        anyhow::Ok(())
    };
    let writing = async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            let rows = commits::rows([window(OPEN_HOURS - 1)], &(0..size.open_groups()), batches.offset());
            let commit = batches.next(rows, None);
            store.commit(&commit).await?;
            while store.compact().await? > 0 {}
        }
        #[expect(unreachable_code, reason = "names the type of the errors")]
        anyhow::Ok(())
    };
    tokio::select! {
        done = reading => done?,
        failed = writing => failed?,
    }
    let median = |of: fn(&Cost) -> f64| Spread::of(costs.iter().map(of)).map(|spread| spread.median);
    let name = "the README's query while a commit a second changes the newest window, median";
    Ok(Row {
        name: name.to_owned(),
        rows: 20,
        cpu: median(|cost| cost.cpu),
        elapsed: median(|cost| cost.elapsed),
        timed_out: false,
        wal: None,
        aim: String::new(),
    })
}
