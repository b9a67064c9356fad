//! Problems of records with their schemas, as the processors stored them.

use std::fmt;

use retail_api::Pipeline;
use retail_engine::Timestamp;

use crate::error::DatabaseError;
use crate::session::Session;
use crate::time::SqlTime;

/// Problems of records with their schemas.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SchemaProblems {
    /// Partitions whose next record has waited for its schema for half a minute.
    pub wait: Option<LongWait>,
    /// Ids that the registry did not know, stored within a day.
    pub unknown: Option<UnknownSchemas>,
}

/// Partitions that wait for schemas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LongWait {
    /// In ascending order.
    pub partitions: Vec<i32>,
    /// Time since which the first one waits.
    pub since: Timestamp,
    /// The id of one schema and why it is not known yet, as a sentence.
    pub detail: String,
}

/// Ids that the registry did not know: their records are invalid, for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownSchemas {
    /// Number of the ids.
    pub number: i64,
    /// The last ones, at most five.
    pub newest: Vec<String>,
    /// Time at which the last one was stored.
    pub last: Timestamp,
}

/// Most schemas arrive within milliseconds, and a note is outdated a minute after its worker has ended. An unknown id keeps its verdict
/// after the producer was corrected, so that older ones are not reported.
const SELECT: &str = "
    SELECT w.partitions, w.since, w.detail, u.number, u.newest, u.last
    FROM (
        SELECT array_agg(s.partition ORDER BY s.partition) AS partitions, min(s.since) AS since,
               (array_agg(s.detail ORDER BY s.since, s.partition))[1] AS detail
        FROM {schema}.schema_waits s
        WHERE s.noted_at > statement_timestamp() - interval '1 minute' AND s.since < statement_timestamp() - interval '30 seconds'
    ) w
    CROSS JOIN (
        SELECT count(*) AS number, max(s.stored_at) AS last,
               (array_agg(s.id ORDER BY s.stored_at DESC, s.id))[1:5] AS newest
        FROM {schema}.schemas s
        WHERE s.kind = 'unknown' AND s.stored_at > statement_timestamp() - interval '1 day'
    ) u";

impl SchemaProblems {
    /// Reads the problems of a pipeline. One without a registry has none.
    pub(crate) async fn read(session: &Session, pipeline: &Pipeline) -> Result<Self, DatabaseError> {
        if pipeline.registry().is_none() {
            return Ok(Self::default());
        }
        let row = session.query_one(SELECT, &[]).await?;
        let time = |name: &str| row.get::<_, Option<SqlTime>>(name).map(|SqlTime(time)| time);
        let wait =
            time("since").map(|since| LongWait { partitions: row.get("partitions"), since, detail: row.get("detail") });
        let unknown =
            time("last").map(|last| UnknownSchemas { number: row.get("number"), newest: row.get("newest"), last });
        Ok(Self { wait, unknown })
    }
}

impl fmt::Display for LongWait {
    /// A sentence with the partitions, the schema and the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions: Vec<String> = self.partitions.iter().map(ToString::to_string).collect();
        let (noun, verb) = if partitions.len() == 1 { ("partition", "waits") } else { ("partitions", "wait") };
        write!(f, "{noun} {} {verb} since {}: {}", partitions.join(", "), whole_seconds(self.since), self.detail)
    }
}

impl fmt::Display for UnknownSchemas {
    /// The ids, as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.number == 1 { "schema" } else { "schemas" };
        write!(f, "{noun} {}", self.newest.join(", "))?;
        let more = self.number - self.newest.len() as i64;
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_secs(time.as_micros().div_euclid(1_000_000))
}
