//! Fills a schema.

use anyhow::{Result, ensure};
use retail_engine::Timestamp;
use retail_store::Store;

use super::commits::{self, Batches};
use crate::setup::Case;

const CLOSED: &str = include_str!("closed.sql");

/// Closed windows, one an hour.
pub(super) const CLOSED_HOURS: i32 = 10_000;

/// Open windows, one an hour.
pub(super) const OPEN_HOURS: i64 = 13;

/// 2026-11-01T00:00Z: the end of the closed windows, in seconds since the epoch.
pub(super) const CLOSED_UNTIL: i64 = 1_793_491_200;

/// The size of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Groups of each closed window. An open window has fifty times as many.
    pub(super) groups: u32,
}

impl Size {
    pub(super) const fn final_rows(self) -> u64 {
        self.groups as u64 * CLOSED_HOURS as u64
    }

    pub(super) const fn open_groups(self) -> usize {
        self.groups as usize * 50
    }

    /// Windows that the commit with many windows adds.
    pub(super) const fn many_windows(self) -> i64 {
        self.groups as i64
    }

    pub(super) const fn open_rows(self) -> u64 {
        self.open_groups() as u64 * OPEN_HOURS as u64
    }
}

/// The start of an open window.
pub(super) fn window(hour: i64) -> Timestamp {
    Timestamp::from_secs(CLOSED_UNTIL + hour * 3600)
}

/// Commits the open windows twice, so that each row has two deltas, and inserts the closed ones.
pub(super) async fn all(case: &Case, store: &mut Store, batches: &mut Batches, size: Size) -> Result<()> {
    for _ in 0..2 {
        for hour in 0..OPEN_HOURS {
            let rows = commits::rows([window(hour)], &(0..size.open_groups()), batches.offset());
            store.commit(&batches.next(rows, None)).await?;
        }
    }
    // Half an hour into the last window: with a delay of twelve hours, the first open window is not complete.
    let newest = Timestamp::from_secs(CLOSED_UNTIL + (OPEN_HOURS - 1) * 3600 + 1800);
    store.commit(&batches.next(Vec::new(), Some(newest))).await?;

    let session = case.session().await?;
    let closed_until = format!("to_timestamp({CLOSED_UNTIL})");
    let insert = CLOSED.replace("$1", &size.groups.to_string()).replace("$2", &CLOSED_HOURS.to_string());
    session.batch_execute(&insert.replace("$3", &closed_until)).await?;
    let tables = "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = current_schema()";
    for table in session.query(tables, &[]).await? {
        session.batch_execute(&format!("VACUUM ANALYZE {}", table.get::<_, String>(0))).await?;
    }
    let count = "SELECT count(*) FILTER (WHERE final), count(*) FILTER (WHERE NOT final) FROM retail";
    let row = session.query_one(count, &[]).await?;
    let loaded: (i64, i64) = (row.get(0), row.get(1));
    let expected = (size.final_rows() as i64, size.open_rows() as i64);
    ensure!(loaded == expected, "loaded {loaded:?} final and open rows instead of {expected:?}");
    Ok(())
}
