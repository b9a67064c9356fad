//! The lower bound: the cost of fetching all records of a topic with librdkafka, without reading them.
//!
//! Takes batches from the queues of manually assigned partitions: no group, no offsets, no parsing. A program built on
//! librdkafka costs at least this much.
//!
//! The only unsafe code of the harness. Its invariants:
//! - A client handle and its queues are valid as long as their consumer, which outlives both here.
//! - The caller owns a message from the call that returns it until it destroys it, exactly once, after reading its offset.
#![expect(unsafe_code, reason = "rust-rdkafka has no batches; the invariants are above")]

use std::ffi::CString;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use retail_kafka::{KafkaAdmin, KafkaConnection, LogOffset};

use crate::contract::Source;
use crate::machine;

/// Maximum messages per call.
const BATCH: usize = 4096;

/// Wait on the main queue of the consumer when all partition queues are empty. It is the only wait of the loop.
const POLL: Duration = Duration::from_millis(1);

/// The command line of `limit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    source: Source,

    /// Number of consumers. Each has its own thread and a share of the partitions
    #[arg(long, default_value_t = 1)]
    consumers: usize,

    /// Pin each consumer, with its librdkafka threads, to its own core
    #[arg(long)]
    pin: bool,
}

/// Reads the topic to its present end, and returns the number of messages.
pub(crate) fn run(args: &LimitArgs) -> Result<u64> {
    let LimitArgs { source, consumers, pin } = args;
    let connection = KafkaConnection::plain(&source.bootstrap_servers);
    let ends = KafkaAdmin::new(&connection)?.log_offsets(&source.topic, source.partitions, LogOffset::End)?;
    let shares = (0..*consumers).map(|number| -> Vec<(i32, i64)> {
        let all = (0..).zip(ends.iter().copied());
        all.filter(|(partition, end)| *partition as usize % consumers == number && *end > 0).collect()
    });
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .enumerate()
            .map(|(number, share)| {
                let connection = &connection;
                scope.spawn(move || {
                    if *pin {
                        machine::stay_on(number)?;
                    }
                    consume(connection, &source.topic, &share)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a consumer does not panic")).sum()
    })
}

fn consume(connection: &KafkaConnection, topic: &str, share: &[(i32, i64)]) -> Result<u64> {
    let mut config = connection.client_config();
    config
        // librdkafka requires a group id, also without a group.
        .set("group.id", "bench-limit")
        .set("enable.auto.commit", "false")
        // The default backoff after a full queue, 1 s, would stall the consumer.
        .set("fetch.queue.backoff.ms", "2");
    let consumer: BaseConsumer = config.create()?;
    // Without known partition leaders, librdkafka waits half a second after the assignment.
    consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let mut queues: Vec<Queue> =
        share.iter().map(|&(partition, end)| Queue::new(&consumer, topic, partition, end)).collect::<Result<_>>()?;
    let mut start = TopicPartitionList::new();
    for (partition, _) in share {
        start.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&start)?;
    let mut batch = vec![std::ptr::null_mut(); BATCH];
    let mut total = 0;
    while !queues.is_empty() {
        let mut taken = 0;
        for queue in &mut queues {
            taken += queue.take(&mut batch)?;
        }
        queues.retain(|queue| queue.next < queue.end);
        total += taken;
        if taken == 0
            && let Some(outcome) = consumer.poll(POLL)
        {
            // The partition queues are not forwarded to the main queue, so that it only returns errors.
            outcome.context("the consumer failed")?;
        }
    }
    Ok(total)
}

/// The queue of one partition, not forwarded to the queue of the consumer.
struct Queue {
    pointer: *mut sys::rd_kafka_queue_t,
    next: i64,
    end: i64,
}

impl Queue {
    fn new(consumer: &BaseConsumer, topic: &str, partition: i32, end: i64) -> Result<Self> {
        let topic = CString::new(topic)?;
        // SAFETY: the consumer outlives the call; librdkafka copies the name.
        let pointer = unsafe {
            let pointer = sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition);
            ensure!(!pointer.is_null(), "librdkafka has no queue for partition {partition}");
            sys::rd_kafka_queue_forward(pointer, std::ptr::null_mut());
            pointer
        };
        Ok(Self { pointer, next: 0, end })
    }

    fn take(&mut self, batch: &mut [*mut sys::rd_kafka_message_t]) -> Result<u64> {
        // SAFETY: this value owns the queue. The call returns the number of messages it filled in; each is destroyed once.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(self.pointer, 0, batch.as_mut_ptr(), batch.len());
            let Ok(count) = usize::try_from(count) else { bail!("cannot take a batch from a partition queue") };
            let mut records = 0;
            let mut failed = None;
            for &message in &batch[..count] {
                let error = RDKafkaErrorCode::from((*message).err);
                if error == RDKafkaErrorCode::NoError {
                    records += 1;
                    self.next = (*message).offset + 1;
                } else {
                    failed = Some(error);
                }
                sys::rd_kafka_message_destroy(message);
            }
            match failed {
                Some(error) => bail!("cannot read a record: {error}"),
                None => Ok(records),
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: this value owns the queue. The consumer was created before its queues, so it is dropped after them.
        unsafe { sys::rd_kafka_queue_destroy(self.pointer) }
    }
}
