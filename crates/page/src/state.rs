//! The state of a pipeline at one moment, from which every part of the page is computed.

use std::time::Duration;

use retail_api::Pipeline;
use retail_engine::{Counts, Span, Timestamp};
use retail_store::page::PageFacts;
use retail_store::{PartitionSnapshot, Snapshot};

use crate::history::History;
use crate::log_ends::Logs;

/// The state of a pipeline at one moment.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) pipeline: &'a Pipeline,
    /// The last facts that Postgres has answered; `None` before the first ones.
    pub(crate) facts: Option<&'a PageFacts>,
    /// The failure of the last attempt to read newer ones.
    pub(crate) error: Option<&'a str>,
    pub(crate) logs: &'a Logs,
    pub(crate) history: &'a History,
    /// Whether payloads are shown.
    pub(crate) payloads: bool,
}

/// What a partition contributes to the watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contribution {
    /// It has events, and the watermark waits for it.
    Active,
    /// It has been read to its end, which has not moved: the watermark does not wait for it.
    Idle,
    /// It has shown no event yet, and the watermark waits for it.
    Silent,
    /// No worker has claimed it yet.
    Unclaimed,
}

impl Contribution {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::Unclaimed => "unclaimed",
        }
    }
}

/// A partition of the topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Partition<'a> {
    pub(crate) number: i32,
    pub(crate) contribution: Contribution,
    pub(crate) holds_watermark: bool,
    pub(crate) newest_event: Option<Timestamp>,
    /// Records that are not processed yet; `None` while Kafka does not answer.
    pub(crate) lag: Option<i64>,
    pub(crate) owner: Option<&'a str>,
    pub(crate) last_commit: Option<Timestamp>,
}

impl Partition<'_> {
    /// The watermark, if there were only this partition.
    pub(crate) fn watermark(&self, delay: Span) -> Option<Timestamp> {
        self.newest_event.map(|newest| newest.minus(delay))
    }
}

impl<'a> State<'a> {
    pub(crate) fn snapshot(&self) -> Option<&'a Snapshot> {
        self.facts.map(|facts| &facts.snapshot)
    }

    /// The committed partitions, and those of the topic that no worker has claimed yet, by number.
    pub(crate) fn partitions(&self) -> Vec<Partition<'a>> {
        let Some(snapshot) = self.snapshot() else { return Vec::new() };
        let logs = self.logs.as_ref().and_then(|logs| logs.as_ref().ok()).map(Vec::as_slice).unwrap_or_default();
        let known = snapshot.partitions.iter().map(|at| Partition {
            number: at.partition,
            contribution: contribution(at),
            holds_watermark: snapshot.held_by == Some(at.partition),
            newest_event: at.newest_event,
            lag: usize::try_from(at.partition)
                .ok()
                .and_then(|number| logs.get(number))
                .map(|log| (log.end - at.next_offset.max(log.start)).max(0)),
            owner: at.owner.as_deref(),
            last_commit: at.committed_at,
        });
        let is_known = |number: i32| snapshot.partitions.iter().any(|known| known.partition == number);
        let unclaimed = (0..).zip(logs).filter(|(number, _)| !is_known(*number)).map(|(number, log)| Partition {
            number,
            contribution: Contribution::Unclaimed,
            holds_watermark: false,
            newest_event: None,
            lag: Some(log.end - log.start),
            owner: None,
            last_commit: None,
        });
        let mut partitions: Vec<Partition<'a>> = known.chain(unclaimed).collect();
        partitions.sort_by_key(|partition| partition.number);
        partitions
    }

    /// Records that are not processed yet; `None` while Kafka does not answer.
    pub(crate) fn lag(&self) -> Option<i64> {
        self.partitions().iter().map(|partition| partition.lag).sum()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.snapshot().map(|snapshot| snapshot.progress.counts).unwrap_or_default()
    }

    /// Time until the oldest open window closes, at the present speed of the watermark.
    pub(crate) fn next_close_in(&self) -> Option<Duration> {
        let snapshot = self.snapshot()?;
        let missing = snapshot.next_close?.since(snapshot.progress.watermark?);
        let per_second = self.history.watermark_per_second().filter(|rate| *rate > 0.0)?;
        Some(Duration::from_secs_f64(Duration::from(missing).as_secs_f64() / per_second))
    }
}

const fn contribution(partition: &PartitionSnapshot) -> Contribution {
    match (partition.is_idle, partition.newest_event) {
        (true, _) => Contribution::Idle,
        (false, None) => Contribution::Silent,
        (false, Some(_)) => Contribution::Active,
    }
}
