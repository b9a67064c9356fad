//! The checks at the end of a round: the processors catch up, and two checks find no difference.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::dump::dump;
use crate::feeder::Acknowledged;
use crate::oracle::{self, Verdict};
use crate::processors::readyz;
use crate::stage::{Stage, soon};

/// The longest time from the end of the last fault until everything is committed.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Why a campaign stops.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "failure", content = "text")]
pub enum Failure {
    /// Rows, totals, ledger, dead letters or decisions differ from the records.
    Difference(String),
    /// The processors did not catch up in time. `silent` ones gave no reason.
    Standstill {
        /// Whether neither log nor `/readyz` of a processor gave a reason.
        silent: bool,
        /// Their answers and last warnings.
        said: String,
    },
    /// The servers or the trial itself failed, so that nothing is known about the product.
    Harness(String),
}

/// A difference that a fault has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Differs(pub String);

impl std::fmt::Display for Differs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Differs {}

/// The sizes of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// Records of the topic.
    pub records: u64,
    /// Rows of `retail`.
    pub rows: u64,
    /// Dead letters.
    pub letters: u64,
    /// Records that the condition of a mapping filtered.
    #[serde(default)]
    pub filtered: u64,
    /// Records that were sent twice.
    #[serde(default)]
    pub duplicates: u64,
    /// Decisions to close windows.
    pub closes: u64,
    /// Milliseconds from the end of the last fault until everything was committed.
    pub caught_up_ms: u64,
}

impl Compared {
    /// Adds the sizes of another comparison.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { records, rows, letters, filtered, duplicates, closes, caught_up_ms } = other;
        self.records += records;
        self.rows += rows;
        self.letters += letters;
        self.filtered += filtered;
        self.duplicates += duplicates;
        self.closes += closes;
        self.caught_up_ms = self.caught_up_ms.max(*caught_up_ms);
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Differs>() {
            Ok(Differs(text)) => Self::Difference(text),
            Err(error) => Self::Harness(format!("{error:#}")),
        }
    }
}

/// Waits until everything is committed, and compares it with the records in both ways.
pub(crate) async fn check(
    stage: &Stage,
    acknowledged: &[Acknowledged],
    faults_ended: Instant,
) -> Result<Compared, Failure> {
    let ends = read_all(stage).await?;
    kept(stage, acknowledged)?;
    caught_up(stage, &ends, faults_ended).await?;
    let caught_up_ms = faults_ended.elapsed().as_millis() as u64;
    let verified = verify(stage).await?;
    let Verdict { rows, records, letters, filtered, duplicates, closes, differences, first } =
        ask_oracle(stage).await?;
    if verified.is_some() || differences > 0 {
        let verified = verified.unwrap_or_else(|| "verify: equal".to_owned());
        return Err(Failure::Difference(format!(
            "{verified}; oracle: {differences} differences: {}",
            first.join("; ")
        )));
    }
    Ok(Compared { records, rows, letters, filtered, duplicates, closes, caught_up_ms })
}

/// Waits until the plain consumer has read the whole topic. Returns the ends of its partitions.
pub(crate) async fn read_all(stage: &Stage) -> Result<Vec<i64>> {
    let mut ends = None;
    let read = soon(CATCH_UP, async || {
        ends = stage.tap.ends();
        ends.as_ref().is_some_and(|ends| stage.tap.has_read(ends))
    });
    anyhow::ensure!(read.await, "the plain consumer does not reach the end of the topic: {ends:?}");
    ends.context("the brokers do not answer")
}

/// Kafka has kept every acknowledged record. Otherwise the round says nothing about the product.
fn kept(stage: &Stage, acknowledged: &[Acknowledged]) -> Result<()> {
    let records = stage.tap.records();
    for Acknowledged { partition, offset, value, .. } in acknowledged {
        // A record whose first acknowledgement was lost has no known offset.
        if *offset >= 0 {
            let found = records.get(&(*partition, *offset)).map(|record| &record.value);
            anyhow::ensure!(
                found == Some(value),
                "Kafka has lost the acknowledged record at offset {offset} of {partition}"
            );
        }
    }
    Ok(())
}

async fn caught_up(stage: &Stage, ends: &[i64], faults_ended: Instant) -> Result<(), Failure> {
    let wanted: Vec<String> = ends.iter().map(i64::to_string).collect();
    let positions = "SELECT string_agg(next_offset::text, ' ' ORDER BY partition) FROM partition_progress";
    let done = async || stage.text(positions).await == Some(wanted.join(" "));
    let left = CATCH_UP.saturating_sub(faults_ended.elapsed());
    if soon(left, done).await {
        return Ok(());
    }
    let mut said = Vec::new();
    for slot in &stage.slots {
        let program = slot.program.lock().await;
        let Some(program) = program.as_ref() else { continue };
        let ready = readyz(program).await;
        let output = program.output();
        let warning = output.lines().rev().find(|line| line.contains(" WARN ")).unwrap_or_default();
        said.push((ready.as_ref().is_ok_and(|(status, _)| *status == 503), format!("{ready:?}; {warning}")));
    }
    let silent = !said.iter().any(|(has_reason, _)| *has_reason);
    let said = said.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" | ");
    let positions = stage.text(positions).await;
    Err(Failure::Standstill { silent, said: format!("{positions:?} of {wanted:?}: {said}") })
}

/// The differences that `retail verify` finds.
async fn verify(stage: &Stage) -> Result<Option<String>> {
    let case = stage.case();
    let report = retail_verify::verify(&case.settings, retail_verify::Options::default(), |_, _| {}).await;
    let report = match report {
        Ok(report) => report,
        // All servers are back: what cannot be verified was written wrongly.
        Err(error) => return Ok(Some(format!("retail verify failed: {:#}", anyhow::Error::from(error)))),
    };
    let is_equal = report.equal && report.dead_letters_deleted == 0;
    Ok((!is_equal).then(|| format!("verify: {report:?}")))
}

async fn ask_oracle(stage: &Stage) -> Result<Verdict> {
    let schemas = match stage.servers.registry.get() {
        Some(registry) if stage.schedule.layout.has_registry() => registry.schemas(),
        Some(_) | None => BTreeMap::new(),
    };
    let input = dump(&stage.case(), &stage.schedule, &stage.tap.records(), &stage.kept_rules(), &schemas).await?;
    std::fs::write(stage.recipe.logs.join("round.jsonl"), &input)?;
    tokio::task::spawn_blocking(move || oracle::judge(&input)).await?
}

/// The bursts whose records all are dead letters with their reason. With the number of records of each.
pub(crate) async fn observed_bursts(
    stage: &Stage,
    acknowledged: &[Acknowledged],
    bursts: &[usize],
) -> Result<BTreeMap<usize, usize>> {
    let mut sent: BTreeMap<usize, Vec<(i32, i64)>> = BTreeMap::new();
    for record in acknowledged.iter().filter(|record| record.offset >= 0) {
        sent.entry(record.burst).or_default().push((record.partition, record.offset));
    }
    let session = crate::servers::session(stage.case().database_url()).await?;
    let schema = &stage.case().settings.pipeline.schema;
    let sql = format!("SELECT partition, \"offset\", reason FROM \"{schema}\".dead_letter");
    let letters: BTreeMap<(i32, i64), String> =
        session.query(&sql, &[]).await?.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
    let mut observed = BTreeMap::new();
    for number in bursts {
        let (reason, records) = (stage.feeder.reason(*number), sent.remove(number).unwrap_or_default());
        // Late events that are dropped leave only their number.
        let dropped = reason == "late" && stage.schedule.drops_late;
        let is_letter = |key: &(i32, i64)| dropped || letters.get(key).is_some_and(|found| found == reason);
        if !records.is_empty() && records.iter().all(is_letter) {
            observed.insert(*number, records.len());
        }
    }
    Ok(observed)
}
