//! The consumer of one worker: its settings, and what it hears.
//!
//! Callbacks only take note: of rebalances, in order, and of errors. What they mean is decided in the worker's own loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use retail_kafka::{KafkaConnection, Listener};

/// What one worker may hold of records that were fetched and not read yet, over all partitions, in KiB. librdkafka spends twice
/// as much again on the book-keeping of small records: this is most of a worker's memory at full speed.
const FETCHED_KIB: usize = 8 << 10;

/// At least so much for each partition: with less than the largest batch of a producer, reading stalls between two fetches.
const MIN_PARTITION_KIB: usize = 1 << 10;

/// What one fetch brings of a partition, compressed, in bytes. A batch that is larger comes all the same.
const FETCH_BYTES: usize = 256 << 10;

/// What one fetch brings of all partitions: what is over the limits above when it arrives.
const FETCH_ALL_BYTES: usize = 1 << 20;

/// How often at least a consumer says that it lives, and is told who else does: until then, one that has joined waits for its
/// partitions.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What a broker waits for, for a while.
const FETCH_MIN_BYTES: usize = 64 << 10;

/// What the group did to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rebalance {
    /// These partitions are ours too.
    Assign(Vec<i32>),
    /// These partitions are not ours any more, or are about to be not.
    Revoke(Vec<i32>),
}

/// Takes notes.
#[derive(Default, Debug)]
pub(crate) struct Notes {
    listener: Listener,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// The consumer is being closed: nobody reads the notes any more.
    closing: AtomicBool,
}

impl ClientContext for Notes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ConsumerContext for Notes {
    /// Acts only when the consumer is closed; otherwise the worker acts, in its own time. While closing, librdkafka takes any
    /// answer for the order to let go of everything.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let numbers = partitions.elements().iter().map(|partition| partition.partition()).collect();
        let assigns = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let rebalance = if assigns { Rebalance::Assign(numbers) } else { Rebalance::Revoke(numbers) };
        if self.closing.load(Ordering::Relaxed) {
            let done = match rebalance {
                Rebalance::Assign(_) => consumer.incremental_assign(partitions),
                Rebalance::Revoke(_) => consumer.incremental_unassign(partitions),
            };
            if let Err(error) = done {
                tracing::debug!(%error, "rebalance while closing");
            }
        } else {
            self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
        }
    }
}

impl Notes {
    /// The next thing the group did to us.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// librdkafka's last words about what went wrong.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.listener.last_words()
    }
}

/// A consumer's place in its group.
pub(crate) struct Membership<'a> {
    pub(crate) group_id: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) session_timeout: Duration,
}

/// The settings of a consumer that shares so many partitions with others.
pub(crate) fn config(
    connection: &KafkaConnection,
    membership: &Membership<'_>,
    trigger: Duration,
    partitions: usize,
) -> ClientConfig {
    let Membership { group_id, client_id, session_timeout } = *membership;
    // The limit counts for each partition once its queue is read by itself.
    let partition_kib = (FETCHED_KIB / partitions.max(1)).max(MIN_PARTITION_KIB);
    let mut config = connection.client_config();
    config
        .set("client.id", client_id)
        .set("group.id", group_id)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", (session_timeout / 3).min(HEARTBEAT).as_millis().to_string())
        // Offsets come from Postgres, and only from there.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        // How a gap at the end of what can be read is noticed.
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        // The default of a second stalls a partition for a second whenever its queue was full.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.min.bytes", FETCH_MIN_BYTES.to_string())
        .set("fetch.wait.max.ms", fetch_wait(trigger).as_millis().to_string())
        .set("fetch.message.max.bytes", FETCH_BYTES.to_string())
        .set("fetch.max.bytes", FETCH_ALL_BYTES.to_string())
        .set("queued.max.messages.kbytes", partition_kib.to_string())
        // How soon partitions that were added are found.
        .set("topic.metadata.refresh.interval.ms", "10000");
    config
}

/// How long a broker may wait for more before it answers a fetch with less than [`FETCH_MIN_BYTES`]. Nobody sees a record before
/// the next trigger, so that a tenth of it goes unnoticed; each answer costs, and on a quiet topic is nearly all that costs.
fn fetch_wait(trigger: Duration) -> Duration {
    (trigger / 10).clamp(Duration::from_millis(10), Duration::from_millis(250))
}

/// Leaves the group and ends the consumer. `unfinished` is what was being acted on.
pub(crate) fn close(consumer: Arc<BaseConsumer<Notes>>, unfinished: Option<Rebalance>) {
    let notes = consumer.context();
    notes.closing.store(true, Ordering::Relaxed);
    // librdkafka waits for an answer to each rebalance before it does anything else, and so would we for it.
    let unanswered = unfinished.into_iter().chain(std::iter::from_fn(|| notes.next_rebalance()));
    for rebalance in unanswered {
        let nothing = TopicPartitionList::new();
        let answered = match rebalance {
            Rebalance::Assign(_) => consumer.incremental_assign(&nothing),
            Rebalance::Revoke(_) => consumer.incremental_unassign(&nothing),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "rebalance before closing");
        }
    }
    drop(consumer);
}

/// Partitions of a topic with offsets to begin at.
pub(crate) fn at_offsets(topic: &str, offsets: impl IntoIterator<Item = (i32, i64)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset of the log is one");
    }
    list
}

/// Partitions of a topic.
pub(crate) fn partitions(topic: &str, partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, partition);
    }
    list
}

/// Whether an error on a partition means that its offset is not in the log.
pub(crate) const fn is_out_of_range(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_wait_for_more_as_long_as_nobody_notices() {
        for (trigger, wait) in [(50, 10), (100, 10), (1000, 100), (5000, 250), (3_600_000, 250)] {
            assert_eq!(fetch_wait(Duration::from_millis(trigger)), Duration::from_millis(wait), "trigger {trigger} ms");
        }
    }
}
