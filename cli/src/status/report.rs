//! The facts of `retail status`, and the problems that they show.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use retail_api::{Pipeline, duration};
use retail_engine::{Counts, Timestamp};
use retail_kafka::KafkaError;
use retail_store::progress::Progress;
use retail_store::{PartitionSnapshot, Snapshot};
use serde::Serialize;

/// Time beyond two triggers after which unread records are a problem.
const BEHIND: Duration = Duration::from_secs(30);

/// The state of a pipeline.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) name: String,
    /// Whether it has no problem.
    pub(super) ready: bool,
    /// Each as a sentence with its fix.
    pub(super) problems: Vec<String>,
    /// RFC 3339, as all times.
    pub(super) watermark: Option<String>,
    pub(super) closed_until: Option<String>,
    /// The end of the oldest open window with rows.
    pub(super) next_close: Option<String>,
    pub(super) open_windows: i64,
    /// Records that are not processed yet; `None` if Kafka does not answer.
    pub(super) lag: Option<i64>,
    pub(super) partitions: Vec<PartitionStatus>,
    pub(super) fates: BTreeMap<&'static str, i64>,
    pub(super) proof: Option<ProofStatus>,
    #[serde(skip)]
    pub(super) taken_at: Timestamp,
}

/// The state of a partition.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartitionStatus {
    pub(super) partition: i32,
    /// Records that are not processed yet; `None` if Kafka does not answer.
    pub(super) lag: Option<i64>,
    pub(super) newest_event: Option<String>,
    pub(super) state: State,
    pub(super) holds_watermark: bool,
    /// The worker that claimed it last.
    pub(super) owner: Option<String>,
    pub(super) last_commit: Option<String>,
}

/// What a partition contributes to the watermark.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It has events, and the watermark waits for it.
    Active,
    /// It has been read to its end, which has not moved: the watermark does not wait for it.
    Idle,
    /// It has shown no event yet, and the watermark waits for it.
    Silent,
    /// No worker has claimed it yet.
    Unclaimed,
}

/// The last recorded proof.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProofStatus {
    pub(super) number: i32,
    pub(super) recorded_at: String,
}

impl Status {
    pub(super) fn new(pipeline: &Pipeline, snapshot: &Snapshot, logs: Result<&[Range<i64>], &KafkaError>) -> Self {
        let partitions = partitions(snapshot, logs.unwrap_or_default());
        let lag = logs.is_ok().then(|| partitions.iter().filter_map(|partition| partition.lag).sum());
        let problems = problems(pipeline, snapshot, &partitions, logs.err());
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            name: pipeline.name.clone(),
            ready: problems.is_empty(),
            problems,
            watermark: text(snapshot.progress.watermark),
            closed_until: text(snapshot.progress.complete_through),
            next_close: text(snapshot.next_close),
            open_windows: snapshot.open_windows,
            lag,
            partitions,
            fates: fates(snapshot.progress.counts),
            proof: snapshot
                .proof
                .map(|proof| ProofStatus { number: proof.number, recorded_at: proof.recorded_at.to_string() }),
            taken_at: snapshot.taken_at,
        }
    }
}

/// The committed partitions, and those of the topic that no worker has claimed yet.
fn partitions(snapshot: &Snapshot, logs: &[Range<i64>]) -> Vec<PartitionStatus> {
    let log = |partition: i32| logs.get(usize::try_from(partition).ok()?);
    let known = snapshot.partitions.iter().map(|partition| PartitionStatus {
        partition: partition.partition,
        lag: log(partition.partition).map(|log| (log.end - partition.next_offset.max(log.start)).max(0)),
        newest_event: partition.newest_event.map(|time| time.to_string()),
        state: state(partition),
        holds_watermark: snapshot.held_by == Some(partition.partition),
        owner: partition.owner.clone(),
        last_commit: partition.committed_at.map(|time| time.to_string()),
    });
    let is_known = |partition: i32| snapshot.partitions.iter().any(|known| known.partition == partition);
    let unknown = (0..).zip(logs).filter(|(partition, _)| !is_known(*partition));
    let unclaimed = unknown.map(|(partition, log)| PartitionStatus {
        partition,
        lag: Some(log.end - log.start),
        newest_event: None,
        state: State::Unclaimed,
        holds_watermark: false,
        owner: None,
        last_commit: None,
    });
    known.chain(unclaimed).collect()
}

const fn state(partition: &PartitionSnapshot) -> State {
    match (partition.is_idle, partition.newest_event) {
        (true, _) => State::Idle,
        (false, None) => State::Silent,
        (false, Some(_)) => State::Active,
    }
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

fn problems(
    pipeline: &Pipeline,
    snapshot: &Snapshot,
    partitions: &[PartitionStatus],
    kafka: Option<&KafkaError>,
) -> Vec<String> {
    let mut problems: Vec<String> = kafka.map(ToString::to_string).into_iter().collect();
    let unclaimed: Vec<i32> =
        partitions.iter().filter(|partition| partition.state == State::Unclaimed).map(|at| at.partition).collect();
    if !unclaimed.is_empty() {
        problems.push(format!("no processor has read partitions {unclaimed:?} yet: check that one runs"));
    }
    let patience = 2 * pipeline.trigger + BEHIND;
    for (partition, committed) in partitions.iter().zip(&snapshot.partitions) {
        let pause = committed.committed_at.map(|time| Duration::from(snapshot.taken_at.since(time)));
        if partition.lag.is_some_and(|lag| lag > 0) && pause.is_none_or(|pause| pause > patience) {
            let ago = pause.map_or_else(|| "never".to_owned(), |pause| format!("{} ago", duration::approximate(pause)));
            problems.push(format!(
                "partition {}: {} records are not processed, and its last commit was {ago}{}: check that a processor runs, and its \
                 /readyz",
                partition.partition,
                partition.lag.unwrap_or_default(),
                partition.owner.as_ref().map_or_else(String::new, |owner| format!(" by {owner}"))
            ));
        }
    }
    let Progress { clock_ahead, close_failure, hold, deduplication_incomplete, rejection, schemas, .. } =
        &snapshot.progress;
    if let Some(micros) = clock_ahead {
        problems.push(format!(
            "no window closes while the clocks differ: this one is {} s ahead of that of Postgres",
            micros / 1_000_000
        ));
    }
    if let Some(failure) = close_failure {
        problems.push(format!("closing windows failed at {}: {}", failure.failed_at, failure.message));
    }
    if let Some(hold) = hold {
        problems.push(format!("windows have stayed open since {}: {}", hold.since, hold.detail));
    }
    if !deduplication_incomplete.is_empty() {
        problems.push(format!(
            "Kafka has deleted records of partitions {deduplication_incomplete:?} whose transaction ids should still count: raise \
             retention.ms of the topic"
        ));
    }
    if let Some(rejection) = rejection {
        problems.push(format!(
            "more than half of the records are invalid since {}: {}; `retail sample` shows why",
            rejection.since, rejection.sentence
        ));
    }
    if let Some(wait) = &schemas.wait {
        problems.push(wait.to_string());
    }
    if let Some(unknown) = &schemas.unknown {
        problems.push(format!(
            "the schema registry did not know {unknown}, named by records: they are invalid (unknown_schema)"
        ));
    }
    problems
}
