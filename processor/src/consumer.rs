//! The consumer of one worker: its settings and its callbacks.
//!
//! The callbacks only record rebalances, in order, and errors. The worker handles them in its own loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use retail_kafka::native::is_member;
use retail_kafka::{ClientEvents, KafkaConnection};

use crate::assignment::Rebalance;

/// Limit for the fetched and unread records of one worker, over all partitions, in KiB. librdkafka adds twice as much for the
/// bookkeeping of small records: this is most of a worker's memory at full speed.
const FETCHED_KIB: usize = 8 << 10;

/// Lower limit for each partition: with less than the largest batch of a producer, reading stalls between two fetches.
const MIN_PARTITION_KIB: usize = 1 << 10;

/// Deadline for the answer of a broker. Also a slow connection transfers [`FETCH_ALL_BYTES`] in this time.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Compressed bytes of one partition in a fetch. A larger batch is fetched as a whole.
const FETCH_BYTES: usize = 256 << 10;

/// Bytes of all partitions in a fetch: the amount by which a fetch can exceed the limits above.
const FETCH_ALL_BYTES: usize = 1 << 20;

/// Limit for the time between two polls, which is at least the session timeout.
const POLL_LIMIT: Duration = Duration::from_mins(5);

/// Longest interval between two heartbeats. A member learns of a rebalance from the reply to a heartbeat, so a new member
/// waits this long for its partitions.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Limit for leaving the group. A connected member needs some milliseconds.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that a broker collects before it answers a fetch, within the limit of [`fetch_wait`].
const FETCH_MIN_BYTES: usize = 64 << 10;

/// Records the callbacks of a consumer.
#[derive(Default, Debug)]
pub(crate) struct ConsumerEvents {
    client: ClientEvents,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// Number of lost connections to brokers.
    disconnects: AtomicU64,
    /// The consumer is being closed: the worker handles no more rebalances.
    closing: AtomicBool,
}

impl ClientContext for ConsumerEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
        if is_disconnect(facility, message) {
            self.disconnects.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        self.client.error(error, reason);
    }
}

impl ConsumerContext for ConsumerEvents {
    /// Answers only while the consumer is being closed; otherwise the worker answers later. While closing, librdkafka takes any
    /// answer as the instruction to release all partitions.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let numbers = partitions.elements().iter().map(|partition| partition.partition()).collect();
        let assigns = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let rebalance = if assigns { Rebalance::Assign(numbers) } else { Rebalance::Revoke(numbers) };
        if self.closing.load(Ordering::Relaxed) {
            answer(consumer, &rebalance);
        } else {
            self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
        }
    }
}

impl ConsumerEvents {
    /// The next rebalance that the group has reported.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The number of lost connections to brokers, in the log messages that the context has received.
    pub(crate) fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Relaxed)
    }

    /// The last error that librdkafka reported, in its words.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.client.last_error()
    }
}

/// A consumer's membership in its group.
pub(crate) struct Membership<'a> {
    pub(crate) group_id: &'a str,
    /// The name of a static member, whose partitions wait for it until its session ends.
    pub(crate) instance: Option<&'a str>,
    pub(crate) client_id: &'a str,
    pub(crate) session_timeout: Duration,
}

/// The settings of a consumer of a topic with this number of partitions.
pub(crate) fn config(
    connection: &KafkaConnection,
    membership: &Membership<'_>,
    trigger: Duration,
    partitions: usize,
) -> ClientConfig {
    let Membership { group_id, instance, client_id, session_timeout } = *membership;
    // The limit applies to each partition once its queue is read separately.
    let partition_kib = (FETCHED_KIB / partitions.max(1)).max(MIN_PARTITION_KIB);
    let mut config = connection.client_config();
    config
        .set("client.id", client_id)
        .set("group.id", group_id)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_timeout.as_millis().to_string())
        // Must not be shorter; librdkafka's default is 5 minutes. Workers poll every few milliseconds.
        .set("max.poll.interval.ms", session_timeout.max(POLL_LIMIT).as_millis().to_string())
        .set("heartbeat.interval.ms", (session_timeout / 3).min(HEARTBEAT).as_millis().to_string())
        // Offsets come from Postgres only.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        // Reports the end of the readable records, and with it a gap before the log end.
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        // The default of a minute stalls all partitions of a broker for a minute when a connection goes silent.
        .set("socket.timeout.ms", BROKER_TIMEOUT.as_millis().to_string())
        // The default of a second stalls a partition for a second whenever its queue was full.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.min.bytes", FETCH_MIN_BYTES.to_string())
        .set("fetch.wait.max.ms", fetch_wait(trigger).as_millis().to_string())
        .set("fetch.message.max.bytes", FETCH_BYTES.to_string())
        .set("fetch.max.bytes", FETCH_ALL_BYTES.to_string())
        .set("queued.max.messages.kbytes", partition_kib.to_string())
        // The time until added partitions are found.
        .set("topic.metadata.refresh.interval.ms", "10000");
    if let Some(instance) = instance {
        config.set("group.instance.id", instance);
    }
    config
}

/// Limit for the time that a broker collects [`FETCH_MIN_BYTES`]. Records become visible at the next trigger, so a tenth of it
/// adds no visible delay; each reply costs CPU time, nearly all of it on a quiet topic.
fn fetch_wait(trigger: Duration) -> Duration {
    (trigger / 10).clamp(Duration::from_millis(10), Duration::from_millis(250))
}

/// Leaves the group and closes the consumer. `unanswered` are the rebalances that the worker has taken and not answered.
pub(crate) fn close(
    consumer: Arc<BaseConsumer<ConsumerEvents>>,
    is_static: bool,
    unanswered: impl IntoIterator<Item = Rebalance>,
) {
    let events = consumer.context();
    events.closing.store(true, Ordering::Relaxed);
    // librdkafka does not close before each rebalance has an answer.
    for rebalance in unanswered.into_iter().chain(std::iter::from_fn(|| events.next_rebalance())) {
        answer(&consumer, &rebalance);
    }
    if is_static {
        leave(&consumer);
    }
    drop(consumer);
}

/// Takes no new partition, and releases those of the revoked ones that the consumer has.
fn answer(consumer: &BaseConsumer<ConsumerEvents>, rebalance: &Rebalance) {
    let answered = match rebalance {
        Rebalance::Assign(_) => consumer.incremental_assign(&TopicPartitionList::new()),
        Rebalance::Revoke(revoked) => consumer.assignment().and_then(|assigned| {
            let elements = assigned.elements();
            let released = elements.iter().filter(|element| revoked.contains(&element.partition()));
            let mut list = TopicPartitionList::new();
            for element in released {
                list.add_partition(element.topic(), element.partition());
            }
            consumer.incremental_unassign(&list)
        }),
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "answering a rebalance while the consumer closes failed");
    }
}

/// Leaves the group. A static member that is closed sends no request to leave, and its partitions wait until its session ends; one
/// without a subscription sends it, once it has released its partitions.
fn leave(consumer: &BaseConsumer<ConsumerEvents>) {
    consumer.unsubscribe();
    let began = Instant::now();
    while is_member(consumer.client()) && began.elapsed() < LEAVE_TIMEOUT {
        // The callbacks are executed here.
        let _rebalanced = consumer.poll(Duration::from_millis(10));
    }
}

/// Partitions of a topic with the offsets to read first.
pub(crate) fn at_offsets(topic: &str, offsets: impl IntoIterator<Item = (i32, i64)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset of the log is valid");
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

/// Whether a log message of librdkafka reports that an established connection, over which records may have come, was lost.
///
/// librdkafka reports it as an error only after a second failure. It logs `FAIL`, with the thread, and at the end of the text the
/// former state, such as `[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Disconnected (after 1ms in state UP)`. Connections that a
/// broker closes because they were idle are not logged at this level.
fn is_disconnect(facility: &str, message: &str) -> bool {
    if facility != "FAIL" || message.starts_with("[thrd:GroupCoordinator]") {
        return false;
    }
    let state = message.rsplit_once("in state ").map(|(_, state)| state);
    // A text without a state is cut off.
    state.is_none_or(|state| state.starts_with("UP") || state.starts_with("REAUTH"))
}

/// Whether an error of the consumer as a whole does not pass by itself.
pub(crate) const fn is_permanent(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::InvalidSessionTimeout
            | Code::FencedInstanceId
            | Code::Fatal
    )
}

/// Whether the consumer has failed because another process has joined the group with its name.
pub(crate) fn is_name_taken(consumer: &BaseConsumer<ConsumerEvents>) -> bool {
    consumer.client().fatal_error().is_some_and(|(code, _)| code == RDKafkaErrorCode::FencedInstanceId)
}

/// Whether an error of a partition means that the offset to read is not in its log.
pub(crate) const fn is_out_of_range(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lost_connections_for_records_are_disconnects() {
        let lost = "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Disconnected (after 811ms in state UP)";
        let again = "[thrd:a:1/1]: a:1/1: Disconnected (after 9ms in state UP, 2 identical error(s) suppressed)";
        let expired = "[thrd:a:1/1]: a:1/1: Disconnected (after 9ms in state REAUTH)";
        for message in [lost, again, expired, "[thrd:a:1/1]: a:1/1: a text without its end"] {
            assert!(is_disconnect("FAIL", message), "{message}");
        }
        assert!(!is_disconnect(
            "FAIL",
            "[thrd:GroupCoordinator]: GroupCoordinator: Disconnected (after 9ms in state UP)"
        ));
        assert!(!is_disconnect("FAIL", "[thrd:a:1/1]: a:1/1: Connect failed: refused (after 0ms in state CONNECT)"));
        assert!(!is_disconnect("SESSTMOUT", lost));
    }

    /// librdkafka reads nothing from a broker until its pending requests end, and its default is a minute.
    #[test]
    fn silent_connection_ends_long_before_a_minute() {
        let membership =
            Membership { group_id: "g", instance: None, client_id: "c", session_timeout: Duration::from_secs(10) };
        let config = config(&KafkaConnection::plain("a:1"), &membership, Duration::from_hours(1), 4);
        let timeout: u64 = config.get("socket.timeout.ms").unwrap().parse().unwrap();
        let wait: u64 = config.get("fetch.wait.max.ms").unwrap().parse().unwrap();
        assert!(timeout <= 15_000 && timeout >= wait + 5_000, "{timeout} ms, of which {wait} ms are the broker's");
    }

    #[test]
    fn fetch_wait_is_a_tenth_of_the_trigger_within_limits() {
        for (trigger, wait) in [(50, 10), (100, 10), (1000, 100), (5000, 250), (3_600_000, 250)] {
            assert_eq!(fetch_wait(Duration::from_millis(trigger)), Duration::from_millis(wait), "trigger {trigger} ms");
        }
    }
}
