//! Holds: the reasons why windows that should be closed stay open. The store has the facts, and the processors record the reason.

use std::time::Duration;

use retail_engine::Timestamp;
use tokio_postgres::types::Type;

use crate::close::followed;
use crate::error::DatabaseError;
use crate::session::Parameters;
use crate::store::Store;
use crate::time::{SqlTime, micros};

/// The cause of a hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// A Kafka transaction that neither commits nor aborts: the records after its first one cannot be read.
    OpenTransaction,
    /// Records of the partition are not processed.
    Backlog,
    /// The partition shows no new valid event, and is not idle yet.
    Silence,
    /// The clocks of Postgres and of a processor differ.
    Clock,
    /// The watermark has passed the windows, but they are not closed.
    Closing,
}

impl HoldReason {
    /// The name in metrics and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenTransaction => "open_transaction",
            Self::Backlog => "backlog",
            Self::Silence => "silence",
            Self::Clock => "clock",
            Self::Closing => "closing",
        }
    }
}

/// Why windows stay open that should be closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The value that does not move, and its name. A later hold with the same mark continues this one.
    pub mark: String,
    /// The reason.
    pub reason: HoldReason,
    /// The partition that holds the watermark; `None` if the reason concerns no single partition.
    pub partition: Option<i32>,
    /// The reason as a sentence, which stays the same while the hold lasts.
    pub detail: String,
    /// Time for which nothing has moved.
    pub age: Duration,
}

/// The facts of the store about the watermark, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatermarkFacts {
    /// The watermark; `None` if it is unknown, or holds.
    pub watermark: Option<Timestamp>,
    /// The partition that holds the watermark: of those that are not idle, the one with the earliest observed time.
    pub held_by: Option<i32>,
    /// Set if the watermark holds because two clocks disagree: by how many microseconds this process is ahead of the server.
    pub clock_ahead: Option<i64>,
    /// Windows that end at or before this time are closed.
    pub closed_until: Timestamp,
    /// The error of the last attempt to close windows.
    pub close_failure: Option<String>,
    /// The latest observed time of all partitions.
    pub latest_observed: Option<Timestamp>,
    /// End of the oldest open window with rows.
    pub open_until: Option<Timestamp>,
    /// Whether it would be closed if all partitions had come as far as the first one.
    pub is_overdue: bool,
    /// Whether the watermark has passed it.
    pub is_passed: bool,
    /// The mark and the age of the hold that was recorded last.
    pub recorded: Option<(String, Duration)>,
}

impl Store {
    /// Reads the state of the watermark. `clock` is the clock of this process, as in [`Store::begin_close`].
    pub async fn observe_watermark(&self, clock: Timestamp) -> Result<WatermarkFacts, DatabaseError> {
        let observe = "SELECT * FROM {schema}.observe_watermark($1, $2::bigint * interval '1 microsecond', $3)";
        let caller_clock = followed(self.when_idle, clock);
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&micros(self.idle_timeout), Type::INT8),
            (&caller_clock, Type::TIMESTAMPTZ),
        ];
        let row = self.session.query_one(observe, parameters).await?;
        let time = |name: &str| row.get::<_, Option<SqlTime>>(name).map(|SqlTime(time)| time);
        let mark: Option<String> = row.get("mark");
        let age: Option<i64> = row.get("held_micros");
        Ok(WatermarkFacts {
            watermark: time("watermark"),
            held_by: row.get("held_by"),
            clock_ahead: row.get("clock_ahead"),
            closed_until: row.get::<_, SqlTime>("closed_until").0,
            close_failure: row.get("close_failure"),
            latest_observed: time("latest_observed"),
            open_until: time("open_until"),
            is_overdue: row.get("is_overdue"),
            is_passed: row.get("is_passed"),
            recorded: mark.zip(age).map(|(mark, age)| (mark, Duration::from_micros(age.max(0).unsigned_abs()))),
        })
    }

    /// Records why windows stay open, or that nothing holds them.
    pub async fn record_hold(&self, hold: Option<&Hold>) -> Result<(), DatabaseError> {
        let record = "SELECT {schema}.record_watermark_hold($1, $2, $3, $4, $5, $6)";
        let parameters: &Parameters<'_> = &[
            (&self.identity, Type::TEXT),
            (&hold.map(|hold| hold.mark.as_str()), Type::TEXT),
            (&hold.map(|hold| hold.reason.as_str()), Type::TEXT),
            (&hold.and_then(|hold| hold.partition), Type::INT4),
            (&hold.map(|hold| hold.detail.as_str()), Type::TEXT),
            (&hold.map(|hold| micros(hold.age)), Type::INT8),
        ];
        self.session.execute(record, parameters).await?;
        Ok(())
    }
}
