//! Digests of dead letters.
//!
//! The hash of a dead letter is that of the SQL function `letter_hash`, with which a trigger logs deleted ones: the dead letters
//! in the table and in the log together are those of the records.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use bigdecimal::BigDecimal;
use retail_oracle::{Judgement, OracleEvent, OracleRecord};
use retail_store::{DatabaseError, Session, Type, render};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::digest::{Residue, hex};
use crate::state::State;
use crate::units::exact_millionths;

/// Microseconds from 1970 to 2000, the epoch of Postgres.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Length to which payloads are cut.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

/// Number and digest of dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct LetterSum {
    pub(crate) letters: i64,
    digest: Residue,
    digest_2: Residue,
}

impl LetterSum {
    fn new(letters: i64, digest: u128, digest_2: u128) -> Self {
        Self { letters, digest: Residue::of(digest), digest_2: Residue::of(digest_2) }
    }

    /// Adds a record that was not applied.
    pub(crate) fn add(&mut self, letter: &Letter<'_>) {
        let hash = letter.hash();
        // The SQL function hash_bits takes 15 hexadecimal digits, of 4 bits each.
        let bits = |first: usize| {
            hash[first..first + 15]
                .chars()
                .fold(0, |bits, digit| bits << 4 | u128::from(digit.to_digit(16).unwrap_or_default()))
        };
        *self += Self::new(1, bits(0), bits(15));
    }
}

impl AddAssign for LetterSum {
    fn add_assign(&mut self, other: Self) {
        self.letters += other.letters;
        self.digest += other.digest;
        self.digest_2 += other.digest_2;
    }
}

/// A record that was not applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) pipeline_id: &'a str,
    pub(crate) columns: &'a retail_api::Layout,
    pub(crate) partition: i32,
    pub(crate) record: &'a OracleRecord<'a>,
    pub(crate) judgement: &'a Judgement,
}

impl Letter<'_> {
    /// The hash of the dead letter, in hexadecimal.
    pub(crate) fn hash(&self) -> String {
        let Self { pipeline_id, columns, partition, record, judgement } = self;
        let payload = record.value.map(|value| &value[..value.len().min(MAX_PAYLOAD)]);
        let event = judgement.event.as_ref();
        let purchase = event.and_then(OracleEvent::purchase);
        let text = |text: &str| format!("{}:{text}", text.len());
        let dimension = |at: usize| or_none(purchase.map(|purchase| text(&purchase.dimensions[at])));
        let sum = |at: usize| or_none(purchase.map(|purchase| in_millionths(&purchase.more[at])));
        let mut head = vec![
            (*pipeline_id).to_owned(),
            partition.to_string(),
            record.offset.to_string(),
            text(judgement.fate),
            or_none(event.map(|event| sent_time(event.time.timestamp_micros()))),
            or_none(record.timestamp_millis.map(|millis| sent_time(millis.saturating_mul(1000)))),
        ];
        head.extend((0..columns.dimensions().len()).map(dimension));
        head.push(or_none(purchase.map(|purchase| purchase.quantity.to_string())));
        head.push(or_none(purchase.map(|purchase| in_millionths(&purchase.amount))));
        head.extend((0..columns.sums().len()).map(sum));
        head.extend([
            or_none(judgement.missed_by.and_then(|missed_by| missed_by.num_microseconds()).map(sent_interval)),
            or_none(payload.map(|payload| payload.len().to_string())),
            String::new(),
        ]);
        let mut context = Context::new(&SHA256);
        context.update(head.join(" ").as_bytes());
        context.update(payload.unwrap_or_default());
        hex(context.finish().as_ref())
    }
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// An instant as Postgres sends it.
fn sent_time(micros: i64) -> String {
    hex(&micros.saturating_sub(POSTGRES_EPOCH).to_be_bytes())
}

/// A span of microseconds, without days and months, as Postgres sends it.
fn sent_interval(micros: i64) -> String {
    hex(&micros.to_be_bytes()) + &"0".repeat(16)
}

fn in_millionths(amount: &BigDecimal) -> String {
    exact_millionths(amount).map_or_else(String::new, |millionths| millionths.to_string())
}

/// The dead letters of the store.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StoredLetters {
    pub(crate) present: BTreeMap<i32, LetterSum>,
    /// The deleted ones, as logged.
    pub(crate) deleted: BTreeMap<i32, LetterSum>,
}

impl StoredLetters {
    /// All dead letters of a partition, deleted or not.
    pub(crate) fn all(&self) -> BTreeMap<i32, LetterSum> {
        let mut all = self.present.clone();
        for (partition, deleted) in &self.deleted {
            *all.entry(*partition).or_default() += *deleted;
        }
        all
    }

    pub(crate) fn count_present(&self) -> i64 {
        self.present.values().map(|sum| sum.letters).sum()
    }

    pub(crate) fn count_deleted(&self) -> i64 {
        self.deleted.values().map(|sum| sum.letters).sum()
    }
}

/// The server computes the hashes, so that no payload is transferred: one partition in each statement.
pub(crate) async fn read(session: &Session, state: &State) -> Result<StoredLetters, DatabaseError> {
    let present = "
        SELECT d.partition, count(*) AS letters, sum({schema}.hash_bits(h.hash, 1))::text AS digest,
               sum({schema}.hash_bits(h.hash, 16))::text AS digest_2
        FROM {schema}.dead_letter d
        CROSS JOIN LATERAL (SELECT {schema}.letter_hash(
            $2, d.partition, d.\"offset\", d.reason, d.event_time, d.record_time, {dimensions: d.d#}, d.quantity, d.amount,
            {each sum:d.sum#, }d.missed_by, d.payload) AS hash OFFSET 0) h
        WHERE d.partition = $1 GROUP BY d.partition";
    let present = render(present, &state.columns);
    let deleted = "
        SELECT partition, sum(letters)::bigint AS letters, sum(digest)::text AS digest, sum(digest_2)::text AS digest_2
        FROM {schema}.dead_letter_log GROUP BY partition";
    let partitions = "
        WITH RECURSIVE p (partition) AS (
            SELECT min(partition) FROM {schema}.dead_letter
            UNION ALL
            SELECT (SELECT min(d.partition) FROM {schema}.dead_letter d WHERE d.partition > p.partition)
            FROM p WHERE p.partition IS NOT NULL
        )
        SELECT partition FROM p WHERE partition IS NOT NULL";
    let mut letters = StoredLetters::default();
    for row in session.query(partitions, &[]).await? {
        let partition: i32 = row.get(0);
        let row = session.query_one(&present, &[(&partition, Type::INT4), (&state.pipeline_id, Type::TEXT)]).await?;
        letters.present.insert(partition, sum(&row));
    }
    for row in session.query(deleted, &[]).await? {
        letters.deleted.insert(row.get("partition"), sum(&row));
    }
    Ok(letters)
}

fn sum(row: &retail_store::Row) -> LetterSum {
    let number = |column: &str| row.get::<_, &str>(column).parse().unwrap_or_default();
    LetterSum::new(row.get("letters"), number("digest"), number("digest_2"))
}
