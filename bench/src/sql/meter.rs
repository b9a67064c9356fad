//! CPU, duration and write-ahead log of statements.

use std::time::Instant;

use anyhow::{Context, Result};
use tokio_postgres::Client;

/// The cost of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// CPU of the server process, in milliseconds.
    pub(super) cpu: f64,
    /// Milliseconds from start to end, for the client.
    pub(super) elapsed: f64,
    /// Bytes of the server's write-ahead log.
    pub(super) wal: u64,
}

/// Measures the server process of one session from another session.
pub(super) struct Meter {
    pid: i32,
    observer: Client,
}

impl Meter {
    /// Measures the session with this name in pg_stat_activity.
    pub(super) async fn of(application: &str, observer: Client) -> Result<Self> {
        let select = "SELECT pid FROM pg_stat_activity WHERE application_name = $1";
        let row =
            observer.query_one(select, &[&application]).await.context("the server has one session of this name")?;
        Ok(Self { pid: row.get(0), observer })
    }

    /// Measures the session itself.
    pub(super) async fn of_session(session: &Client, observer: Client) -> Result<Self> {
        Ok(Self { pid: session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0), observer })
    }

    /// Returns the process id of the measured session.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the cost of `work`, and its result.
    pub(super) async fn measure<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(Cost, T)> {
        let (cpu, wal) = (self.cpu()?, self.wal().await?);
        let begun = Instant::now();
        let result = work.await?;
        let elapsed = begun.elapsed().as_secs_f64() * 1e3;
        let wal = (self.wal().await? - wal).unsigned_abs();
        Ok((Cost { cpu: self.cpu()? - cpu, elapsed, wal }, result))
    }

    /// CPU time of the server process so far, in milliseconds. Linux counts it in nanoseconds.
    fn cpu(&self) -> Result<f64> {
        let path = format!("/proc/{}/schedstat", self.pid);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {path}: the processes of Postgres must be visible on this machine, without a pooler")
        })?;
        let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
        Ok(nanoseconds.with_context(|| format!("{path} contains {text:?}"))? / 1e6)
    }

    /// The end of the write-ahead log.
    async fn wal(&self) -> Result<i64> {
        let end = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        Ok(self.observer.query_one(end, &[]).await?.get(0))
    }
}
