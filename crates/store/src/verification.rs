//! The results of `retail verify --record`: the last proof, and the last verifications that recorded none.
//!
//! A proof ends an earlier failure. Nothing is deleted at that time: a failure counts while no proof is newer.

use retail_api::Pipeline;
use retail_connection::text::shortened;
use retail_engine::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::{Parameters, Session};
use crate::time::SqlTime;

/// Maximum length of a stored sentence in bytes: a difference can name a dead letter.
const MAX_DETAIL: usize = 2000;

/// Why a verification recorded no proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoProof {
    /// Postgres differs from the topic.
    Different,
    /// The verification could not be completed.
    Incomplete,
}

impl NoProof {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A proof that was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastProof {
    /// Its number, from 1.
    pub number: i32,
    /// Its time.
    pub recorded_at: Timestamp,
    /// Its hash, in hexadecimal.
    pub hash: String,
}

/// A verification that recorded no proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedVerification {
    /// The time of its end.
    pub ended_at: Timestamp,
    /// The first difference, or the error, as a sentence.
    pub detail: String,
}

/// The last results.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verifications {
    /// The last proof.
    pub proof: Option<LastProof>,
    /// The last verification that found differences, if it ended after the last proof.
    pub different: Option<FailedVerification>,
    /// The last verification that could not be completed, if it ended after the last proof.
    pub incomplete: Option<FailedVerification>,
}

const SELECT: &str = "
    SELECT p.number, p.recorded_at, p.hash, d.ended_at AS different_at, d.detail AS difference,
           i.ended_at AS incomplete_at, i.detail AS error
    FROM (SELECT 1) one
    LEFT JOIN (SELECT number, recorded_at, hash FROM {schema}.proof ORDER BY number DESC LIMIT 1) p ON true
    LEFT JOIN {schema}.failed_verification d
        ON d.outcome = 'different' AND d.ended_at > coalesce(p.recorded_at, '-infinity')
    LEFT JOIN {schema}.failed_verification i
        ON i.outcome = 'incomplete' AND i.ended_at > coalesce(p.recorded_at, '-infinity')";

impl Verifications {
    /// Reads the results of a pipeline with spec.verify. One without it costs no query.
    pub(crate) async fn read(session: &Session, pipeline: &Pipeline) -> Result<Self, DatabaseError> {
        if pipeline.verify.is_none() {
            return Ok(Self::default());
        }
        let row = session.query_one(SELECT, &[]).await?;
        let proof = time(&row, "recorded_at").map(|recorded_at| LastProof {
            number: row.get("number"),
            recorded_at,
            hash: row.get("hash"),
        });
        Ok(Self {
            proof,
            different: failed(&row, "different_at", "difference"),
            incomplete: failed(&row, "incomplete_at", "error"),
        })
    }
}

fn failed(row: &Row, ended_at: &str, detail: &str) -> Option<FailedVerification> {
    time(row, ended_at).map(|ended_at| FailedVerification { ended_at, detail: row.get(detail) })
}

fn time(row: &Row, name: &str) -> Option<Timestamp> {
    row.get::<_, Option<SqlTime>>(name).map(|SqlTime(time)| time)
}

/// Stores a verification that recorded no proof, in place of the former one of this kind. Stores nothing if the schema belongs to
/// another pipeline than `uid`.
pub async fn record_failure(session: &Session, uid: &str, why: NoProof, detail: &str) -> Result<(), DatabaseError> {
    let insert = "
        INSERT INTO {schema}.failed_verification (outcome, ended_at, detail)
        SELECT $1, clock_timestamp(), $2 FROM {schema}.pipeline WHERE uid = $3
        ON CONFLICT (outcome) DO UPDATE SET ended_at = excluded.ended_at, detail = excluded.detail";
    let detail = shortened(detail, MAX_DETAIL);
    let parameters: &Parameters<'_> = &[(&why.as_str(), Type::TEXT), (&detail, Type::TEXT), (&uid, Type::TEXT)];
    session.execute(insert, parameters).await.map(drop)
}
