//! The state of the store apart from rows: the pipeline, its partitions, and the rules by which their records were judged.

use chrono::{DateTime, Duration, Utc};
use retail_engine::RecordIdentity;
use retail_oracle::{OracleLedger, OracleMilestone};
use retail_runtime::args::Settings;
use retail_store::provision::Identity;
use retail_store::{DatabaseError, Session};

/// The state of the store, as one transaction sees it.
pub(crate) struct State {
    pub(crate) pipeline_id: String,
    pub(crate) topic_id: Option<String>,
    pub(crate) window: Duration,
    pub(crate) delay: Duration,
    /// The names of the dimensions and of the further sums.
    pub(crate) columns: retail_api::Layout,
    /// Windows that end at or before this time are closed.
    pub(crate) closed_until: DateTime<Utc>,
    /// Windows that end at or before this time receive no more events, and some of their rows may be closed.
    pub(crate) closing_until: DateTime<Utc>,
    /// Final rows of windows that start before this time were dropped.
    pub(crate) retained_from: DateTime<Utc>,
    /// The clock of the server.
    pub(crate) now: DateTime<Utc>,
    pub(crate) partitions: Vec<Partition>,
}

pub(crate) struct Partition {
    pub(crate) partition: i32,
    pub(crate) start_offset: i64,
    pub(crate) floor: DateTime<Utc>,
    /// With the committed offset.
    pub(crate) ledger: OracleLedger,
    pub(crate) balanced: bool,
    /// Identity of the last committed record.
    pub(crate) last_record: Option<RecordIdentity>,
    /// With deduplication, the first records of steps of the latest observed time, as stored.
    pub(crate) milestones: Vec<OracleMilestone>,
    /// Transaction ids of records before this offset do not count.
    pub(crate) dedup_from: i64,
    /// The rules and the offsets from which they apply, in order.
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    pub(crate) offset: i64,
    pub(crate) floor: DateTime<Utc>,
    pub(crate) max_future: Duration,
    /// Whether late events are stored as dead letters.
    pub(crate) keeps_late: bool,
    /// Transaction ids of records before this offset do not count.
    pub(crate) dedup_from: i64,
}

pub(crate) async fn read(session: &Session, settings: &Settings, identity: &Identity) -> Result<State, DatabaseError> {
    let select = "SELECT closed_until, closing_until, retained_from, clock_timestamp() AS now FROM {schema}.pipeline";
    let row = session.query_one(select, &[]).await?;
    let rules = settings.pipeline.rules;
    let span = |span: retail_engine::Span| Duration::microseconds(span.as_micros());
    Ok(State {
        pipeline_id: identity.id.clone(),
        topic_id: identity.topic_id.clone(),
        window: span(rules.window),
        delay: span(rules.delay),
        columns: settings.pipeline.layout.clone(),
        closed_until: row.get("closed_until"),
        closing_until: row.get("closing_until"),
        retained_from: row.get("retained_from"),
        now: row.get("now"),
        partitions: partitions(session).await?,
    })
}

async fn partitions(session: &Session) -> Result<Vec<Partition>, DatabaseError> {
    let select = "
        SELECT p.partition, p.start_offset, p.next_offset, p.max_observed_time, p.lateness_floor, l.applied, l.late,
               l.invalid, l.future, l.filtered, l.duplicate, l.gaps, l.balanced, p.last_record_offset, p.last_record_epoch, p.last_record_timestamp_ms,
               p.last_record_digest, p.dedup_offsets, p.dedup_steps, p.dedup_from
        FROM {schema}.partition_progress p JOIN {schema}.ledger l USING (partition) ORDER BY partition";
    let mut partitions: Vec<Partition> = session.query(select, &[]).await?.iter().map(partition).collect();
    let rules = "
        SELECT partition, \"offset\", lateness_floor, (extract(epoch FROM max_future) * 1000000)::bigint AS max_future,
               keeps_late, dedup_from
        FROM {schema}.fate_rules ORDER BY partition, \"offset\"";
    for row in session.query(rules, &[]).await? {
        let rule = Rule {
            offset: row.get("offset"),
            floor: row.get("lateness_floor"),
            max_future: Duration::microseconds(row.get("max_future")),
            keeps_late: row.get("keeps_late"),
            dedup_from: row.get("dedup_from"),
        };
        if let Some(partition) = partitions.iter_mut().find(|p| p.partition == row.get::<_, i32>("partition")) {
            partition.rules.push(rule);
        }
    }
    Ok(partitions)
}

fn partition(row: &retail_store::Row) -> Partition {
    let list = |column: &str| row.get::<_, Option<Vec<i64>>>(column).unwrap_or_default();
    Partition {
        partition: row.get("partition"),
        start_offset: row.get("start_offset"),
        floor: row.get("lateness_floor"),
        ledger: OracleLedger {
            next_offset: row.get("next_offset"),
            applied: row.get("applied"),
            late: row.get("late"),
            invalid: row.get("invalid"),
            future: row.get("future"),
            filtered: row.get("filtered"),
            duplicate: row.get("duplicate"),
            gaps: row.get("gaps"),
            max_observed: row.get("max_observed_time"),
        },
        balanced: row.get("balanced"),
        last_record: retail_store::last_record(row),
        milestones: list("dedup_offsets").into_iter().zip(list("dedup_steps")).collect(),
        dedup_from: row.get("dedup_from"),
        rules: Vec::new(),
    }
}
