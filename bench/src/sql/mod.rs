//! Reading, committing and closing at ten million rows, in a schema of the product.
//!
//! Closed windows come from one generated statement ([`load`]).  Open windows, their deltas, and everything that is measured
//! afterwards go through `retail_store::Store`, the code of the processor. Times of the server are CPU times of the process that
//! serves the session: the machine may be shared.

mod closing;
mod commits;
mod load;
mod meter;
mod queries;
mod reading;

use anyhow::{Context, Result};
use retail_api::{Over, Rollup};
use retail_store::Store;
use serde::{Deserialize, Serialize};

use crate::report::{Table, grouped};
use crate::setup::{Case, Setup, Shape, unique};
use load::Size;
use meter::Cost;

/// Name of the store's session in pg_stat_activity.
const APPLICATION: &str = "retail-bench-sql";

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Rows that were read, changed or closed.
    pub(crate) rows: u64,
    /// CPU of the server process, in milliseconds.
    pub(crate) cpu: Option<f64>,
    /// Time until the last row has arrived, in milliseconds.
    pub(crate) elapsed: Option<f64>,
    /// A missing figure exceeds the timeout of a query.
    pub(crate) timed_out: bool,
    /// Bytes of the write-ahead log.
    pub(crate) wal: Option<u64>,
    /// The aim for the full size.
    pub(crate) aim: String,
}

/// The figures of a size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) final_rows: u64,
    pub(crate) open_rows: u64,
    pub(crate) load_seconds: f64,
    pub(crate) rows: Vec<Row>,
}

/// A loaded schema.
struct Loaded {
    case: Case,
    size: Size,
    store: Store,
    batches: commits::Batches,
}

/// Loads a schema, measures it, and drops it.
pub(crate) async fn run(setup: &Setup, groups: u32) -> Result<Figures> {
    let size = Size { groups };
    let name = unique("sql");
    let mut case = setup.case(&name, &name, Shape { window: "1h", delay: "12h", ..Shape::default() })?;
    case.settings.pipeline.rollups = rollups();
    case.apply_schema().await?;
    let figures = measure(&case, size).await;
    setup.drop_schema(case.schema()).await?;
    figures
}

fn rollups() -> Vec<Rollup> {
    let day = |name: &str, zone: Option<&str>| Rollup {
        name: name.into(),
        over: Over::Day,
        time_zone: zone.map(str::to_owned),
    };
    vec![day("day", None), day("jakarta_day", Some("Asia/Jakarta"))]
}

async fn measure(case: &Case, size: Size) -> Result<Figures> {
    let settings = &case.settings;
    let mut store = Store::open(&settings.database, &settings.pipeline, APPLICATION).await?;
    tracing::info!("loading {} final rows and {} open ones", size.final_rows(), size.open_rows());
    let begun = std::time::Instant::now();
    let mut batches = commits::Batches::claim(&store).await?;
    load::all(case, &mut store, &mut batches, size).await?;
    let load_seconds = begun.elapsed().as_secs_f64();
    tracing::info!("loaded in {load_seconds:.0} s");
    let mut loaded = Loaded { case: case.clone(), size, store, batches };
    let mut rows = reading::run(&loaded).await?;
    rows.push(reading::beside_commits(&mut loaded).await?);
    rows.extend(commits::run(&mut loaded).await?);
    rows.extend(reading::on_many_windows(&loaded).await?);
    rows.extend(closing::run(&mut loaded).await?);
    Ok(Figures { final_rows: size.final_rows(), open_rows: size.open_rows(), load_seconds, rows })
}

impl Row {
    fn new(name: impl Into<String>, rows: u64, aim: impl Into<String>, costs: &[Cost]) -> Result<Self> {
        let least = |of: fn(&Cost) -> f64| costs.iter().map(of).min_by(f64::total_cmp).context("nothing was measured");
        Ok(Self {
            name: name.into(),
            rows,
            cpu: Some(least(|cost| cost.cpu)?),
            elapsed: Some(least(|cost| cost.elapsed)?),
            timed_out: false,
            wal: costs.iter().map(|cost| cost.wal).min(),
            aim: aim.into(),
        })
    }
}

pub(crate) fn in_words(figures: &Figures) -> String {
    let Figures { final_rows, open_rows, load_seconds, rows: _ } = figures;
    format!(
        "{} final rows and {} open ones with two deltas each, loaded in {load_seconds:.0} s into a Postgres with \
         `shared_buffers = 1GB` and `max_wal_size = 8GB`. Figures are the least of several runs. CPU is the time of the server \
         process, for queries with `jit = off` and without parallel workers; *elapsed* is the time of a session with the \
         server's defaults, until the last row has arrived. The aims hold for 10,000,000 final rows and 650,000 open ones, in CPU.\n",
        grouped(*final_rows),
        grouped(*open_rows),
    )
}

pub(crate) fn table(figures: &Figures) -> Table {
    let mut table = Table::new(&["Measurement", "Rows", "CPU, ms", "CPU, µs/row", "Elapsed, ms", "WAL, kB", "Aim"]);
    for Row { name, rows, cpu, elapsed, timed_out, wal, aim } in &figures.rows {
        let limit = || {
            if *timed_out { format!("over {}", grouped(reading::TIMEOUT.as_millis() as u64)) } else { String::new() }
        };
        table.row([
            name.clone(),
            grouped(*rows),
            cpu.map_or_else(limit, millis),
            cpu.filter(|_| *rows >= 1000).map_or_else(String::new, |cpu| format!("{:.1}", cpu * 1e3 / *rows as f64)),
            elapsed.map_or_else(limit, millis),
            wal.map_or_else(String::new, |wal| millis(wal as f64 / 1e3)),
            aim.clone(),
        ]);
    }
    table
}

/// Two significant digits below 10, whole numbers above.
fn millis(figure: f64) -> String {
    if figure < 10.0 { format!("{figure:.1}") } else { grouped(figure.round() as u64) }
}
