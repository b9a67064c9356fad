//! The progress of a pipeline, in one query.

use std::collections::BTreeMap;
use std::time::Duration;

use retail_api::Pipeline;
use retail_connection::ErrorKind;
use retail_engine::{Counts, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::close::followed;
use crate::error::DatabaseError;
use crate::identity::Identity;
use crate::load::{LOAD_AGE, Load};
use crate::provision;
use crate::schema_problems::SchemaProblems;
use crate::session::{Parameters, Session};
use crate::time::{SqlTime, clock, micros};
use crate::verification::Verifications;

/// The progress of a pipeline.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// The Kafka consumer group of the processors, which names the database; empty if it was not read.
    pub consumer_group: String,
    /// The watermark; `None` before the first one.
    pub watermark: Option<Timestamp>,
    /// Set if the watermark holds because two clocks disagree: by how many microseconds this process is ahead of the server.
    pub clock_ahead: Option<i64>,
    /// Windows that end at or before this time are closed.
    pub complete_through: Option<Timestamp>,
    /// The next offset of each partition.
    pub next_offsets: BTreeMap<i32, i64>,
    /// The fates of all offsets so far.
    pub counts: Counts,
    /// Time of the last commit.
    pub last_commit: Option<Timestamp>,
    /// The failure of the last attempt to close windows; `None` if it succeeded.
    pub close_failure: Option<CloseFailure>,
    /// A hold that lasts too long.
    pub hold: Option<LongHold>,
    /// Partitions of which Kafka has deleted records whose transaction ids should still count.
    pub deduplication_incomplete: Vec<i32>,
    /// Set while more than half of the records are invalid.
    pub rejection: Option<Rejection>,
    /// Problems of records with their schemas.
    pub schemas: SchemaProblems,
    /// The results of `retail verify --record`; empty without spec.verify.
    pub verifications: Verifications,
    /// The load of all processors; `None` if none has noted it lately.
    pub load: Option<Load>,
}

/// More than half of the records are invalid, as the processors recorded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// Time since which it is known.
    pub since: Timestamp,
    /// The cause of one of them, as a sentence.
    pub sentence: String,
}

/// The reason why windows have stayed open for too long, as the processors recorded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LongHold {
    /// Time since which nothing has moved.
    pub since: Timestamp,
    /// The reason as a sentence.
    pub detail: String,
}

/// A failed attempt to close windows or to compact the delta log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloseFailure {
    /// The error, as Postgres reported it.
    pub message: String,
    /// Its time.
    pub failed_at: Timestamp,
}

/// Time beyond two triggers after which a hold is too long.
const TOO_LONG: Duration = Duration::from_secs(20 * 60);

/// While the watermark holds or is unknown, event time is complete at least up to the closed windows.
const SELECT: &str = "
    SELECT greatest(w.watermark, nullif(p.closed_until, 'epoch')) AS watermark, w.clock_ahead,
           nullif(p.closed_until, 'epoch') AS closed_until, p.close_failure, p.close_failed_at,
           p.rejection, p.rejected_since,
           (SELECT h.since FROM {schema}.watermark_hold h WHERE h.since < l.latest) AS held_since,
           (SELECT h.detail FROM {schema}.watermark_hold h WHERE h.since < l.latest) AS held_detail,
           coalesce(sum(s.applied), 0)::bigint AS applied, coalesce(sum(s.late), 0)::bigint AS late,
           coalesce(sum(s.invalid), 0)::bigint AS invalid, coalesce(sum(s.future), 0)::bigint AS future,
           coalesce(sum(s.filtered), 0)::bigint AS filtered, coalesce(sum(s.duplicate), 0)::bigint AS duplicate,
           coalesce(sum(s.gaps), 0)::bigint AS gaps, max(s.committed_at) AS committed_at,
           array_remove(array_agg(s.partition ORDER BY s.partition), NULL) AS partitions,
           array_remove(array_agg(s.next_offset ORDER BY s.partition), NULL) AS next_offsets,
           o.partitions AS load_partitions, o.unread, o.appended, o.read, o.share,
           coalesce(array_agg(s.partition ORDER BY s.partition) FILTER (WHERE s.dedup_from > s.dedup_offsets[1]), ARRAY[]::integer[]) AS incomplete
    FROM {schema}.pipeline p
    CROSS JOIN {schema}.watermark($1::bigint * interval '1 microsecond', $2) w
    CROSS JOIN (SELECT statement_timestamp() - $3::bigint * interval '1 microsecond') l (latest)
    CROSS JOIN (
        SELECT sum(n.partitions)::bigint, sum(n.unread)::bigint, sum(n.appended_per_second), sum(n.read_per_second), max(n.database_share)
        FROM {schema}.processor_load n WHERE n.noted_at > statement_timestamp() - $4::bigint * interval '1 microsecond'
    ) o (partitions, unread, appended, read, share)
    LEFT JOIN {schema}.partition_progress s ON true
    GROUP BY o.partitions, o.unread, o.appended, o.read, o.share, p.closed_until, p.close_failure, p.close_failed_at, p.rejection, p.rejected_since, w.watermark, w.clock_ahead, l.latest";

/// Checks the schema and reads its progress. Returns `None` if the schema is missing, has an older version, or needs its
/// views and functions recreated.
///
/// All statements are sent at once. The progress is valid only if the check succeeds.
pub async fn look(session: &Session, pipeline: &Pipeline) -> Result<Option<Progress>, DatabaseError> {
    let (as_made, progress) =
        tokio::join!(biased; provision::check_as_made(session, pipeline), read(session, pipeline));
    match as_made {
        Ok(Some(Identity { group_id, .. })) => {
            progress.map(|progress| Some(Progress { consumer_group: group_id, ..progress }))
        }
        Ok(None) => Ok(None),
        Err(error) if error.kind == ErrorKind::MissingSchema => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn read(session: &Session, pipeline: &Pipeline) -> Result<Progress, DatabaseError> {
    let caller_clock = followed(pipeline.when_idle, clock());
    let parameters: &Parameters<'_> = &[
        (&micros(pipeline.idle_timeout), Type::INT8),
        (&caller_clock, Type::TIMESTAMPTZ),
        (&micros(TOO_LONG + 2 * pipeline.trigger), Type::INT8),
        (&micros(LOAD_AGE), Type::INT8),
    ];
    let (row, schemas, verifications) = tokio::try_join!(
        biased;
        session.query_one(SELECT, parameters),
        SchemaProblems::read(session, pipeline),
        Verifications::read(session, pipeline),
    )?;
    let time = |name: &str| row.get::<_, Option<SqlTime>>(name).map(|SqlTime(time)| time);
    let partitions: Vec<i32> = row.get("partitions");
    let next_offsets: Vec<i64> = row.get("next_offsets");
    Ok(Progress {
        consumer_group: String::new(),
        watermark: time("watermark"),
        clock_ahead: row.get("clock_ahead"),
        complete_through: time("closed_until"),
        next_offsets: partitions.into_iter().zip(next_offsets).collect(),
        counts: counts(&row),
        last_commit: time("committed_at"),
        close_failure: row
            .get::<_, Option<String>>("close_failure")
            .zip(time("close_failed_at"))
            .map(|(message, failed_at)| CloseFailure { message, failed_at }),
        hold: time("held_since")
            .zip(row.get::<_, Option<String>>("held_detail"))
            .map(|(since, detail)| LongHold { since, detail }),
        deduplication_incomplete: row.get("incomplete"),
        rejection: time("rejected_since")
            .zip(row.get::<_, Option<String>>("rejection"))
            .map(|(since, sentence)| Rejection { since, sentence }),
        schemas,
        verifications,
        load: load(&row),
    })
}

fn load(row: &Row) -> Option<Load> {
    Some(Load {
        partitions: row.get::<_, Option<i64>>("load_partitions")?,
        unread: row.get::<_, Option<i64>>("unread")?,
        appended_per_second: row.get::<_, Option<f64>>("appended")?,
        read_per_second: row.get::<_, Option<f64>>("read")?,
        database_share: row.get::<_, Option<f64>>("share")?,
    })
}

/// The fates in the columns of a row.
pub(crate) fn counts(row: &Row) -> Counts {
    Counts {
        applied: row.get("applied"),
        late: row.get("late"),
        invalid: row.get("invalid"),
        future: row.get("future"),
        filtered: row.get("filtered"),
        duplicate: row.get("duplicate"),
        gaps: row.get("gaps"),
    }
}
