//! The partition that holds the watermark: since when, why, and until what.

use retail_api::{Pipeline, duration};
use retail_engine::Timestamp;
use retail_store::{PartitionSnapshot, Snapshot};
use serde::Serialize;

use crate::partition::{PartitionStatus, time};

/// The partition whose newest event decides the watermark.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// Its number.
    pub partition: i32,
    /// Time since which it has shown no newer event; `None` if it shows new ones.
    #[serde(serialize_with = "time")]
    pub since: Option<Timestamp>,
    /// Why the watermark waits for it.
    pub why: String,
    /// What moves the watermark again.
    pub until: String,
}

/// The partition that holds the watermark; `None` if all are idle.
pub(crate) fn holder(pipeline: &Pipeline, snapshot: &Snapshot, partitions: &[PartitionStatus]) -> Option<HoldStatus> {
    let number = snapshot.held_by?;
    let held = snapshot.partitions.iter().find(|partition| partition.partition == number)?;
    let lag = partitions.iter().find(|partition| partition.partition == number).and_then(|status| status.lag);
    let recorded = snapshot.hold.as_ref().filter(|hold| hold.partition.is_none_or(|partition| partition == number));
    let (why, until) = match (recorded, lag) {
        (Some(recorded), lag) => (recorded.detail.clone(), until(pipeline, held, lag)),
        (None, _) => (why(snapshot, held, lag), until(pipeline, held, lag)),
    };
    Some(HoldStatus { partition: number, since: recorded.map(|hold| hold.since).or(held.idle_since), why, until })
}

fn why(snapshot: &Snapshot, held: &PartitionSnapshot, lag: Option<i64>) -> String {
    let Some(newest) = held.newest_event else { return "it has shown no event yet".to_owned() };
    let others = snapshot.partitions.iter().filter(|other| other.partition != held.partition && !other.is_idle);
    let next = others.filter_map(|other| other.newest_event).min();
    let behind = match next.map(|next| next.since(newest)) {
        None => "the other partitions are idle".to_owned(),
        Some(span) if span.as_micros() == 0 => "no partition is further behind".to_owned(),
        Some(span) => {
            format!("its newest event is {} before those of the other partitions", duration::approximate(span.into()))
        }
    };
    match (snapshot.partitions.len(), lag) {
        (1, _) => "it is the only partition".to_owned(),
        (_, Some(lag)) if lag > 0 => format!("{behind}, and {lag} of its records are not processed"),
        _ => behind,
    }
}

fn until(pipeline: &Pipeline, held: &PartitionSnapshot, lag: Option<i64>) -> String {
    let timeout = duration::write(pipeline.idle_timeout);
    match lag {
        Some(lag) if lag > 0 => "its records are processed".to_owned(),
        _ => match held.idle_since {
            Some(since) => {
                let idle_at = since.plus(pipeline.idle_timeout.into());
                format!("it shows a newer event, or is idle at {idle_at}: after {timeout} without one")
            }
            None => format!("it shows a newer event, or is idle after {timeout} without one"),
        },
    }
}
