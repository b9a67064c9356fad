//! The facts of `retail status`.

use std::collections::BTreeMap;

use retail_api::Pipeline;
use retail_engine::{Counts, Timestamp};
use retail_kafka::KafkaError;
use retail_store::{Rejected, Snapshot, StoredSpeed};
use serde::Serialize;

use crate::hold::{HoldStatus, holder};
use crate::partition::{Logs, PartitionStatus, instant, partitions, time};
use crate::problems::problems;

/// The state of a pipeline. In JSON, times are RFC 3339.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The name of the pipeline.
    pub name: String,
    /// Whether it has no problem.
    pub ready: bool,
    /// Each as a sentence with its fix.
    pub problems: Vec<String>,
    /// The watermark; `None` before the first one.
    #[serde(serialize_with = "time")]
    pub watermark: Option<Timestamp>,
    /// Windows that end at or before this time are final.
    #[serde(serialize_with = "time")]
    pub closed_until: Option<Timestamp>,
    /// The end of the oldest open window with rows.
    #[serde(serialize_with = "time")]
    pub next_close: Option<Timestamp>,
    /// Number of open windows with rows.
    pub open_windows: i64,
    /// Records that are not processed yet; `None` if Kafka does not answer.
    pub lag: Option<i64>,
    /// Records per second; `None` before a minute of processing.
    pub rate: Option<RateStatus>,
    /// In order.
    pub partitions: Vec<PartitionStatus>,
    /// The partition that holds the watermark, and why; `None` if all are idle.
    pub hold: Option<HoldStatus>,
    /// Number of offsets up to the committed ones: the sum of all fates.
    pub offsets: i64,
    /// Number of offsets of each fate.
    pub fates: BTreeMap<&'static str, i64>,
    /// Reasons of the newest dead letters, except late events, with their numbers.
    pub rejected: BTreeMap<String, i64>,
    /// The last recorded proof.
    pub proof: Option<ProofStatus>,
    /// The clock of Postgres at the moment of the snapshot.
    #[serde(serialize_with = "instant")]
    pub taken_at: Timestamp,
    /// The sum of the log ends; `None` if Kafka does not answer.
    #[serde(skip)]
    pub log_ends: Option<i64>,
    /// The sum of the next offsets.
    #[serde(skip)]
    pub next_offsets: i64,
    /// The time of the last commit of any partition.
    #[serde(skip)]
    pub last_commit: Option<Timestamp>,
}

/// The speed of processing, as an average.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RateStatus {
    /// Records per second.
    pub processed: f64,
    /// The span of the average.
    pub seconds: f64,
}

/// The last recorded proof.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ProofStatus {
    /// Its number.
    pub number: i32,
    /// Its time.
    #[serde(serialize_with = "instant")]
    pub recorded_at: Timestamp,
}

impl Status {
    /// The state that a snapshot and the logs show. Without logs, the error of Kafka is a problem; before its first answer, no
    /// partition has a lag.
    pub fn new(pipeline: &Pipeline, snapshot: &Snapshot, logs: Option<Result<&Logs, &KafkaError>>) -> Self {
        let no_logs = Logs::new();
        let logs = logs.unwrap_or(Ok(&no_logs));
        let partitions = partitions(snapshot, logs.unwrap_or(&no_logs));
        let lag = logs.is_ok().then(|| partitions.iter().filter_map(|partition| partition.lag).sum());
        let problems = problems(pipeline, snapshot, &partitions, logs.err());
        Self {
            name: pipeline.name.clone(),
            ready: problems.is_empty(),
            problems,
            watermark: snapshot.progress.watermark,
            closed_until: snapshot.progress.complete_through,
            next_close: snapshot.next_close,
            open_windows: snapshot.open_windows,
            lag,
            rate: snapshot.speed.map(rate),
            hold: holder(pipeline, snapshot, &partitions),
            partitions,
            offsets: snapshot.partitions.iter().map(|partition| partition.next_offset - partition.start_offset).sum(),
            fates: fates(snapshot.progress.counts),
            rejected: snapshot.rejected.iter().map(|Rejected { reason, records }| (reason.clone(), *records)).collect(),
            proof: snapshot.proof.map(|proof| ProofStatus { number: proof.number, recorded_at: proof.recorded_at }),
            taken_at: snapshot.taken_at,
            log_ends: logs.ok().map(|logs| logs.iter().map(|log| log.end).sum()),
            next_offsets: snapshot.partitions.iter().map(|partition| partition.next_offset).sum(),
            last_commit: snapshot.progress.last_commit,
        }
    }

    /// Number of records of a fate, such as `late`.
    pub fn fate(&self, name: &str) -> i64 {
        self.fates.get(name).copied().unwrap_or_default()
    }
}

fn rate(speed: StoredSpeed) -> RateStatus {
    let seconds = speed.micros as f64 / 1e6;
    RateStatus { processed: speed.offsets as f64 / seconds, seconds }
}

fn fates(counts: Counts) -> BTreeMap<&'static str, i64> {
    let Counts { applied, late, invalid, future, filtered, duplicate, gaps } = counts;
    BTreeMap::from([
        ("applied", applied),
        ("late", late),
        ("invalid", invalid),
        ("future", future),
        ("filtered", filtered),
        ("duplicate", duplicate),
        ("gaps", gaps),
    ])
}
