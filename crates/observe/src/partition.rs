//! The state of each partition.

use std::ops::Range;

use retail_engine::Timestamp;
use retail_store::{PartitionSnapshot, Snapshot};
use serde::{Serialize, Serializer};

/// The first offset and the end of the log of each partition of the topic.
pub type Logs = Vec<Range<i64>>;

/// The state of a partition.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Its number.
    pub partition: i32,
    /// Records that are not processed yet; `None` if Kafka does not answer.
    pub lag: Option<i64>,
    /// The latest observed time of its events.
    #[serde(serialize_with = "time")]
    pub newest_event: Option<Timestamp>,
    /// Its contribution to the watermark.
    pub state: State,
    /// Whether the watermark waits for it.
    pub holds_watermark: bool,
    /// The worker that claimed it last.
    pub owner: Option<String>,
    /// Time of its last commit.
    #[serde(serialize_with = "time")]
    pub last_commit: Option<Timestamp>,
}

/// What a partition contributes to the watermark.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has events, and the watermark waits for it.
    Active,
    /// It has been read to its end, which has not moved: the watermark does not wait for it.
    Idle,
    /// It has shown no event yet, and the watermark waits for it.
    Silent,
    /// No worker has claimed it yet.
    Unclaimed,
}

impl State {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::Unclaimed => "unclaimed",
        }
    }
}

/// The committed partitions, and those of the topic that no worker has claimed yet.
pub(crate) fn partitions(snapshot: &Snapshot, logs: &Logs) -> Vec<PartitionStatus> {
    let log = |partition: i32| logs.get(usize::try_from(partition).ok()?);
    let known = snapshot.partitions.iter().map(|partition| PartitionStatus {
        partition: partition.partition,
        lag: log(partition.partition).map(|log| (log.end - partition.next_offset.max(log.start)).max(0)),
        newest_event: partition.newest_event,
        state: state(partition),
        holds_watermark: snapshot.held_by == Some(partition.partition),
        owner: partition.owner.clone(),
        last_commit: partition.committed_at,
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

pub(crate) fn time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn instant<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(instant)
}
