//! The bare limit: what librdkafka takes to hand out every record of a topic, when nobody reads one.
//!
//! Batches from the queues of partitions that are assigned by hand: no group, no offsets, no parsing. Whatever is built
//! on librdkafka takes at least this.
//!
//! The only unsafe code of the harness. What it relies on:
//! - A client handle, and a queue of it, is valid as long as its consumer, which outlives both here.
//! - A message is ours from the call that hands it out until it is destroyed, which happens once, right after a look at it.
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

/// The most messages that one call hands out.
const BATCH: usize = 4096;

/// How long a look at the consumer as a whole may take when no partition has anything: the only wait in here.
const NAP: Duration = Duration::from_millis(1);

/// What was typed.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    source: Source,

    /// Consumers, each with a thread and its share of the partitions
    #[arg(long, default_value_t = 1)]
    consumers: usize,

    /// Hold each consumer, with the threads that librdkafka starts for it, on a core of its own
    #[arg(long)]
    pin: bool,
}

/// Reads the topic to its present end, and says how many messages there were.
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
        // librdkafka wants a group even of those who join none.
        .set("group.id", "bench-limit")
        .set("enable.auto.commit", "false")
        // Its default pause after a full queue is a stall.
        .set("fetch.queue.backoff.ms", "2");
    let consumer: BaseConsumer = config.create()?;
    // Assigned before it knows who leads the partitions, librdkafka waits for half a second.
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
            && let Some(outcome) = consumer.poll(NAP)
        {
            // The queues are cut off: nothing but an error comes this way.
            outcome.context("the consumer failed")?;
        }
    }
    Ok(total)
}

/// The queue of one partition, cut off from the consumer's.
struct Queue {
    pointer: *mut sys::rd_kafka_queue_t,
    next: i64,
    end: i64,
}

impl Queue {
    fn new(consumer: &BaseConsumer, topic: &str, partition: i32, end: i64) -> Result<Self> {
        let topic = CString::new(topic)?;
        // SAFETY: the consumer lives; the name is copied.
        let pointer = unsafe {
            let pointer = sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition);
            ensure!(!pointer.is_null(), "there is no queue for partition {partition}");
            sys::rd_kafka_queue_forward(pointer, std::ptr::null_mut());
            pointer
        };
        Ok(Self { pointer, next: 0, end })
    }

    fn take(&mut self, batch: &mut [*mut sys::rd_kafka_message_t]) -> Result<u64> {
        // SAFETY: the queue is ours; as many messages are ours as the call says, and each is destroyed once.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(self.pointer, 0, batch.as_mut_ptr(), batch.len());
            let Ok(count) = usize::try_from(count) else { bail!("a batch could not be taken") };
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
                Some(error) => bail!("reading failed: {error}"),
                None => Ok(records),
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is ours, and the consumer still lives: it was made before its queues.
        unsafe { sys::rd_kafka_queue_destroy(self.pointer) }
    }
}
