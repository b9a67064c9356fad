//! The state of a pipeline at one moment, from which every part of the page is computed.

use std::time::Duration;

use retail_api::Pipeline;
use retail_engine::Counts;
use retail_observe::{PartitionStatus, Status};
use retail_store::Snapshot;
use retail_store::snapshot::{ReasonCount, WindowSums};

use crate::history::History;
use crate::parts::MAX_LETTERS;

/// The state of a pipeline at one moment.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) pipeline: &'a Pipeline,
    /// The last facts that Postgres has answered; `None` before the first ones.
    pub(crate) facts: Option<&'a Snapshot>,
    /// The status that these facts and the logs show.
    pub(crate) status: Option<&'a Status>,
    /// The failure of the last attempt to read newer facts.
    pub(crate) error: Option<&'a str>,
    /// Whether Kafka has reported the logs of the topic.
    pub(crate) kafka: Kafka,
    pub(crate) history: &'a History,
    /// Whether payloads are shown.
    pub(crate) payloads: bool,
}

/// The last answer of Kafka.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kafka {
    /// None yet.
    Asked,
    Answers,
    Fails,
}

impl<'a> State<'a> {
    /// The partitions by number.
    pub(crate) fn partitions(&self) -> &'a [PartitionStatus] {
        self.status.map(|status| &*status.partitions).unwrap_or_default()
    }

    /// Records that are not processed yet; `None` while Kafka does not answer.
    pub(crate) fn lag(&self) -> Option<i64> {
        self.status.filter(|_| self.kafka == Kafka::Answers).and_then(|status| status.lag)
    }

    /// The windows that are shown, in order.
    pub(crate) fn windows(&self) -> &'a [WindowSums] {
        self.facts.and_then(|facts| facts.detail.windows.as_deref()).unwrap_or_default()
    }

    /// The reasons of dead letters.
    pub(crate) fn reasons(&self) -> &'a [ReasonCount] {
        self.facts.and_then(|facts| facts.detail.reasons.as_deref()).unwrap_or_default()
    }

    /// Whether there are more dead letters than those that are counted.
    pub(crate) fn has_more_letters(&self) -> bool {
        self.reasons().iter().map(|reason| reason.number).sum::<i64>() >= MAX_LETTERS
    }

    pub(crate) fn counts(&self) -> Counts {
        self.facts.map(|facts| facts.progress.counts).unwrap_or_default()
    }

    /// Whether the fates of each partition add up to its offsets.
    pub(crate) fn is_balanced(&self) -> bool {
        let partitions = self.facts.map(|facts| &*facts.partitions).unwrap_or_default();
        partitions.iter().all(|partition| partition.next_offset - partition.start_offset == partition.counts.total())
    }

    /// Time until the oldest open window closes, at the present speed of the watermark.
    pub(crate) fn next_close_in(&self) -> Option<Duration> {
        let status = self.status?;
        let missing = status.next_close?.since(status.watermark?);
        let per_second = self.history.watermark_per_second().filter(|rate| *rate > 0.0)?;
        Some(Duration::from_secs_f64(Duration::from(missing).as_secs_f64() / per_second))
    }
}
