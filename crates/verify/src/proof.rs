//! Table `proof`: reads the last proof, checks the chain of hashes, and appends a proof.

use retail_runtime::args::Settings;
use retail_store::{DatabaseError, Session, Type};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, FORMAT};
use crate::differences::Differences;
use crate::digest::hex;
use crate::error::VerifyError;
use crate::state::State;
use crate::units::micros;

/// Length of a part of a content.
const PART: i32 = 500_000;

/// A recorded proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proof {
    /// Its number.
    pub number: i32,
    /// SHA-256 of its content, which contains the hash of the previous proof, in hexadecimal.
    pub hash: String,
}

/// The last proof.
pub(crate) struct Last {
    pub(crate) proof: Proof,
    content: String,
}

/// Reads the last proof, if there is one, and checks that each proof has its hash and contains that of the previous one.
pub(crate) async fn read(session: &Session) -> Result<(Option<Last>, Differences), DatabaseError> {
    let last = "SELECT number, hash FROM {schema}.proof ORDER BY number DESC LIMIT 1";
    let last = match session.query_opt(last, &[]).await? {
        Some(row) => {
            let proof = Proof { number: row.get("number"), hash: row.get("hash") };
            Some(Last { content: content(session, proof.number).await?, proof })
        }
        None => None,
    };
    let broken = "
        SELECT p.number, p.is_same FROM (
            SELECT number, encode(sha256(convert_to(content, 'UTF8')), 'hex') = hash AS is_same,
                   substring(content FROM '\"previous\":(null|\"[0-9a-f]*\")') AS previous,
                   lag('\"' || hash || '\"', 1, 'null') OVER (ORDER BY number) AS hash_before
            FROM {schema}.proof
        ) p
        WHERE NOT p.is_same OR p.previous IS DISTINCT FROM p.hash_before ORDER BY p.number LIMIT 1";
    let mut differences = Differences::default();
    if let Some(row) = session.query_opt(broken, &[]).await? {
        let number: i32 = row.get("number");
        let problem = if row.get("is_same") {
            "it does not contain the hash of the previous proof, which was changed or deleted"
        } else {
            "its content does not have its hash: it was changed"
        };
        differences.add(|| format!("proof {number}: {problem}"));
    }
    Ok((last, differences))
}

/// Reads the content of a proof in parts: with many open windows, it is longer than a row of an answer may be.
async fn content(session: &Session, number: i32) -> Result<String, DatabaseError> {
    let select = "SELECT substring(content FROM $2 FOR $3) FROM {schema}.proof WHERE number = $1";
    let mut content = String::new();
    loop {
        let parameters: &retail_store::Parameters<'_> =
            &[(&number, Type::INT4), (&(content.len() as i32 + 1), Type::INT4), (&PART, Type::INT4)];
        // The content is ASCII, so that characters are bytes.
        let part: String = session.query_one(select, parameters).await?.get(0);
        content += &part;
        if part.len() < PART as usize {
            return Ok(content);
        }
    }
}

impl Last {
    pub(crate) fn checkpoint(&self, state: &State) -> Result<Checkpoint, VerifyError> {
        let number = self.proof.number;
        let unusable = |problem: String| VerifyError::Proof { number, problem };
        let checkpoint: Checkpoint =
            serde_json::from_str(&self.content).map_err(|error| unusable(format!("cannot be read ({error})")))?;
        let rules = (checkpoint.window_micros, checkpoint.delay_micros);
        if checkpoint.format != FORMAT
            || checkpoint.pipeline != state.pipeline_id
            || checkpoint.topic != state.topic_id
            || rules != (micros(state.window), micros(state.delay))
        {
            return Err(unusable("is about another pipeline, topic or format".to_owned()));
        }
        Ok(checkpoint)
    }
}

/// Appends a proof. Fails if another one was appended since `last` was read.
pub(crate) async fn append(
    settings: &Settings,
    last: Option<&Proof>,
    checkpoint: Checkpoint,
) -> Result<Proof, VerifyError> {
    let number = last.map_or(0, |proof| proof.number) + 1;
    let previous = last.map(|proof| proof.hash.clone());
    let checkpoint = Checkpoint { number, previous, ..checkpoint };
    let content = serde_json::to_string(&checkpoint).expect("a checkpoint contains texts and numbers");
    let hash = hex(digest(&SHA256, content.as_bytes()).as_ref());
    let session = settings.database.connect("retail verify").await?;
    let insert = "
        INSERT INTO {schema}.proof (number, recorded_at, content, hash)
        SELECT $1, clock_timestamp(), $2, $3 FROM {schema}.pipeline WHERE id = $4
        ON CONFLICT DO NOTHING";
    let parameters: &retail_store::Parameters<'_> =
        &[(&number, Type::INT4), (&content, Type::TEXT), (&hash, Type::TEXT), (&checkpoint.pipeline, Type::TEXT)];
    if session.execute(insert, parameters).await? == 0 {
        return Err(VerifyError::ProofTaken { number });
    }
    Ok(Proof { number, hash })
}
