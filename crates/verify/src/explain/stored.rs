//! What the store contains about one record.

use chrono::{DateTime, Duration, Utc};
use retail_oracle::Judgement;
use retail_store::{DatabaseError, Session, Type};

use super::cause::FloorDecision;
use crate::state::Rule;
use crate::units::written;

/// A row of `dead_letter`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredLetter {
    pub(crate) reason: String,
    pub(crate) event_time: Option<DateTime<Utc>>,
    pub(crate) record_time: Option<DateTime<Utc>>,
    pub(crate) missed_by: Option<Duration>,
    pub(crate) detail: Option<String>,
}

/// The dead letter of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Letter {
    Present(StoredLetter),
    /// The table has no row. `deleted`: the log of deletions contains its offset in a range.
    Absent {
        deleted: bool,
    },
}

pub(crate) async fn letter(session: &Session, partition: i32, offset: i64) -> Result<Letter, DatabaseError> {
    let select = "
        SELECT reason, nullif(nullif(event_time, 'infinity'), '-infinity') AS event_time,
               nullif(nullif(record_time, 'infinity'), '-infinity') AS record_time,
               (extract(epoch FROM missed_by) * 1000000)::bigint AS missed_by, detail
        FROM {schema}.dead_letter WHERE partition = $1 AND \"offset\" = $2";
    let place = &[(&partition as _, Type::INT4), (&offset as _, Type::INT8)];
    if let Some(row) = session.query_opt(select, place).await? {
        return Ok(Letter::Present(StoredLetter {
            reason: row.get("reason"),
            event_time: row.get("event_time"),
            record_time: row.get("record_time"),
            missed_by: row.get::<_, Option<i64>>("missed_by").map(Duration::microseconds),
            detail: row.get("detail"),
        }));
    }
    let select = "
        SELECT EXISTS (SELECT FROM {schema}.dead_letter_log
                       WHERE partition = $1 AND first_offset <= $2 AND last_offset >= $2) AS deleted";
    Ok(Letter::Absent { deleted: session.query_one(select, place).await?.get("deleted") })
}

/// The decision to close windows up to `floor`, with the state of a partition.
pub(crate) async fn decision(
    session: &Session,
    partition: i32,
    floor: DateTime<Utc>,
) -> Result<Option<FloorDecision>, DatabaseError> {
    let select = "
        SELECT c.closed_at, c.watermark, c.idle_since[i.at] AS idle_since, c.idle_until[i.at] AS idle_until
        FROM {schema}.closes c CROSS JOIN LATERAL (SELECT array_position(c.partitions, $1)) i (at)
        WHERE c.closed_until = $2";
    let row = session.query_opt(select, &[(&partition, Type::INT4), (&floor, Type::TIMESTAMPTZ)]).await?;
    Ok(row.map(|row| FloorDecision {
        closed_at: row.get("closed_at"),
        watermark: row.get("watermark"),
        idle: row.get::<_, Option<DateTime<Utc>>>("idle_since").zip(row.get("idle_until")),
    }))
}

impl Letter {
    /// How the dead letter differs from the fate that the oracle has computed; `None` if it does not.
    pub(crate) fn contradiction(&self, judgement: &Judgement, rule: Rule) -> Option<String> {
        let fate = judgement.fate;
        let is_expected = judgement.is_dead() && (fate != "late" || rule.keeps_late);
        match self {
            Self::Absent { deleted } if is_expected && !deleted => {
                Some("table dead_letter has no row for it, and no deletion is logged".to_owned())
            }
            Self::Absent { deleted: _ } => None,
            Self::Present(stored) if !is_expected || stored.reason != fate => {
                Some(format!("table dead_letter has it with the reason {}", stored.reason))
            }
            Self::Present(stored) if stored.missed_by != judgement.missed_by => Some(format!(
                "table dead_letter says that it missed by {}",
                stored.missed_by.map(written).unwrap_or_default()
            )),
            Self::Present(_) => None,
        }
    }
}
