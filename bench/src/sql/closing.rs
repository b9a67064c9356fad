//! Closing windows.

use std::time::Duration;

use anyhow::{Result, ensure};
use retail_engine::Timestamp;
use tokio_postgres::Client;

use super::load::{CLOSED_UNTIL, OPEN_HOURS};
use super::meter::{Cost, Meter};
use super::{APPLICATION, Loaded, Row};
use crate::report::grouped;

/// Windows that are closed one by one.
const ONE_BY_ONE: i64 = 3;

/// Calls that have nothing to close.
const EMPTY: usize = 10;

/// Measures closing windows one by one, all others in one go, and calls that close nothing.
pub(super) async fn run(loaded: &mut Loaded) -> Result<Vec<Row>> {
    tracing::info!("closing");
    let meter = Meter::of(APPLICATION, loaded.case.session().await?).await?;
    let mut single = Vec::new();
    for hour in 1..=ONE_BY_ONE {
        let (cost, rows) = close(loaded, &meter, hour).await?;
        ensure!(rows == loaded.size.open_groups() as i64, "closed {rows} rows of one window");
        single.push(cost);
    }
    let closed = loaded.size.open_groups() as u64;
    let mut rows = vec![Row::new("closing one window", closed, "12 µs/row", &single)?];

    // A transaction that began before the others were closed keeps their dead rows.
    let reader = loaded.case.session().await?;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    reader.query("SELECT FROM retail LIMIT 1", &[]).await?;
    let watch = Watch::start(loaded.case.session().await?, meter.pid());
    let windows = OPEN_HOURS + loaded.size.many_windows();
    let (cost, closed) = close(loaded, &meter, windows).await?;
    let longest = watch.stop().await?;
    let name = format!("closing {} windows in one go", grouped((windows - ONE_BY_ONE).unsigned_abs()));
    rows.push(Row::new(name, closed.unsigned_abs(), "12 µs/row", &[cost])?);
    rows.push(Row {
        name: "the longest transaction of it".to_owned(),
        rows: 0,
        cpu: None,
        elapsed: Some(longest),
        timed_out: false,
        wal: None,
        aim: "5,000 elapsed".to_owned(),
    });

    let mut empty = Vec::new();
    for _ in 0..EMPTY {
        empty.push(meter.measure(async { Ok(loaded.store.close_windows(true).await?) }).await?.0);
    }
    rows.push(Row::new("closing nothing, after it and under a long reader", 0, "1", &empty)?);
    reader.batch_execute("COMMIT").await?;
    Ok(rows)
}

/// Moves the watermark to the end of the open window before `hour`, and closes. Returns the number of closed rows.
async fn close(loaded: &mut Loaded, meter: &Meter, hour: i64) -> Result<(Cost, i64)> {
    let Loaded { store, batches, .. } = loaded;
    let delay = (OPEN_HOURS - 1) * 3600;
    let newest = Timestamp::from_secs(CLOSED_UNTIL + hour * 3600 + delay);
    store.commit(&batches.next(Vec::new(), Some(newest))).await?;
    let (cost, closed) = meter.measure(async { Ok(store.close_windows(true).await?) }).await?;
    Ok((cost, closed.map_or(0, |closed| closed.closed_rows)))
}

/// Watches the transactions of a session.
struct Watch {
    end: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<f64>>,
}

impl Watch {
    fn start(observer: Client, pid: i32) -> Self {
        let (end, mut ended) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let age = "SELECT coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 * 1000 \
                       FROM pg_stat_activity WHERE pid = $1";
            let statement = observer.prepare(age).await?;
            let mut longest = 0.0_f64;
            while matches!(ended.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty)) {
                longest = longest.max(observer.query_one(&statement, &[&pid]).await?.get(0));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(longest)
        });
        Self { end, task }
    }

    /// Returns the age of the oldest transaction seen, in milliseconds.
    async fn stop(self) -> Result<f64> {
        let _watching = self.end.send(());
        self.task.await?
    }
}
