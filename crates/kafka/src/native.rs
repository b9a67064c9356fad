//! What librdkafka can do and rust-rdkafka does not offer: topic ids, log ends in one request, and batches of records
//! straight from a partition's queue. The only code of the product that calls into C.
//!
//! What every function here relies on:
//! - A client handle is valid as long as the `Client` (or the `Arc` of the consumer) that is borrowed or held.
//! - Objects that librdkafka makes for us are freed exactly once, by the [`Owned`] that holds them.
//! - What is read from an event or a message is copied, or borrowed for less long than the event or message lives.
//! - librdkafka is thread safe; its callbacks run on its own threads, and ours does nothing but unpark a thread.
#![expect(unsafe_code, reason = "calls into librdkafka; the invariants are above, and beside each block")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka_sys as sys;
use retail_engine::Timestamp;

/// What a broker says of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// The topic's id; a topic that is deleted and made again gets another.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Number of copies of the first partition.
    pub replication_factor: i32,
}

/// Which end of a partition's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogOffset {
    /// The first offset that is still there.
    Start,
    /// The offset after the last record, committed or not: the high watermark.
    End,
    /// The offset up to which a reader of committed data can read: before the first open transaction.
    StableEnd,
}

/// Asks for a topic; nothing if there is none of that name.
pub(super) fn describe_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Option<TopicDescription>, RdKafkaError> {
    let name = CString::new(topic)?;
    let mut names = [name.as_ptr()];
    let client = client.native_ptr();
    // SAFETY: the names are copied by librdkafka; the collection, options and queue live until the end of this function,
    // and the event, with everything read from it, until the end of its block.
    unsafe {
        let topics = Owned::new(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let event = request(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            timeout,
            give_up,
            |options, queue| {
                sys::rd_kafka_DescribeTopics(client, topics.pointer, options, queue);
            },
        )?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.pointer);
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let described = *std::slice::from_raw_parts(described, count).first().ok_or(RdKafkaError::Canceled)?;
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(described)).into();
        match error {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => return Ok(None),
            error => return Err(RdKafkaError::AdminOp(error)),
        }
        let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(described));
        let mut partition_count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(described, &raw mut partition_count);
        let mut replication_factor = 0;
        if partition_count > 0 {
            sys::rd_kafka_TopicPartitionInfo_replicas(*partitions, &raw mut replication_factor);
        }
        Ok(Some(TopicDescription {
            id: CStr::from_ptr(id).to_string_lossy().into_owned(),
            partitions: partition_count as i32,
            replication_factor: replication_factor as i32,
        }))
    }
}

/// Asks for one end of the logs of partitions `0..partitions`, by partition.
pub(super) fn log_offsets<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partitions: i32,
    which: LogOffset,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Vec<i64>, RdKafkaError> {
    let topic = CString::new(topic)?;
    let client = client.native_ptr();
    let spec = match which {
        LogOffset::Start => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
        LogOffset::End | LogOffset::StableEnd => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST,
    };
    let isolation = match which {
        LogOffset::Start | LogOffset::End => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        LogOffset::StableEnd => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
    };
    let mut offsets = vec![0; partitions as usize];
    // SAFETY: as in describe_topic; the list belongs to us and outlives the request. The partitions in the answer are
    // those that were asked for, and are looked up with a bounds check.
    unsafe {
        let list =
            Owned::new(sys::rd_kafka_topic_partition_list_new(partitions), sys::rd_kafka_topic_partition_list_destroy);
        for partition in 0..partitions {
            let entry = sys::rd_kafka_topic_partition_list_add(list.pointer, topic.as_ptr(), partition);
            (*entry).offset = spec as i64;
        }
        let event = request(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            timeout,
            give_up,
            |options, queue| {
                let error = sys::rd_kafka_AdminOptions_set_isolation_level(options, isolation);
                assert!(error.is_null(), "ListOffsets takes an isolation level");
                sys::rd_kafka_ListOffsets(client, list.pointer, options, queue);
            },
        )?;
        let result = sys::rd_kafka_event_ListOffsets_result(event.pointer);
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for info in std::slice::from_raw_parts(infos, count) {
            let entry = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            match entry.err.into() {
                RDKafkaErrorCode::NoError => {}
                error => return Err(RdKafkaError::AdminOp(error)),
            }
            if let Some(offset) = offsets.get_mut(entry.partition as usize) {
                *offset = entry.offset;
            }
        }
    }
    Ok(offsets)
}

/// Asks for the settings of a topic: those that are named, or all if none is. One that Kafka does not know, or does not tell,
/// is not in the answer.
pub(super) fn topic_config<'a, C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    names: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<BTreeMap<String, String>, RdKafkaError> {
    let topic = CString::new(topic)?;
    let client = client.native_ptr();
    let text = |text: *const c_char| {
        // SAFETY: librdkafka's strings end with a zero, and live as long as the event that is read.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    // SAFETY: as in describe_topic; names are copied by librdkafka, and so is the resource.
    unsafe {
        let resource = Owned::new(
            sys::rd_kafka_ConfigResource_new(sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic.as_ptr()),
            sys::rd_kafka_ConfigResource_destroy,
        );
        for name in names {
            let name = CString::new(name)?;
            sys::rd_kafka_ConfigResource_set_config(resource.pointer, name.as_ptr(), c"".as_ptr());
        }
        let event = request(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
            timeout,
            give_up,
            |options, queue| {
                sys::rd_kafka_DescribeConfigs(client, &mut { resource.pointer }, 1, options, queue);
            },
        )?;
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.pointer);
        let mut count = 0;
        let described = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        let described = *std::slice::from_raw_parts(described, count).first().ok_or(RdKafkaError::Canceled)?;
        match sys::rd_kafka_ConfigResource_error(described).into() {
            RDKafkaErrorCode::NoError => {}
            error => return Err(RdKafkaError::AdminOp(error)),
        }
        let entries = sys::rd_kafka_ConfigResource_configs(described, &raw mut count);
        if entries.is_null() {
            return Ok(BTreeMap::new());
        }
        let entries = std::slice::from_raw_parts(entries, count).iter();
        let pair = |entry: &*const sys::rd_kafka_ConfigEntry_t| {
            Some((text(sys::rd_kafka_ConfigEntry_name(*entry))?, text(sys::rd_kafka_ConfigEntry_value(*entry))?))
        };
        Ok(entries.filter_map(pair).collect())
    }
}

/// What a broker says of a request that it does not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// Its code.
    pub(super) code: RDKafkaErrorCode,
    /// Its words.
    pub(super) said: String,
}

/// Sets some settings of a topic and leaves all others alone. rust-rdkafka's AlterConfigs would set those back to their
/// defaults.
pub(super) fn alter_topic<'a, C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Result<(), Refusal>, RdKafkaError> {
    let topic = CString::new(topic)?;
    let client = client.native_ptr();
    // SAFETY: as in describe_topic; names and values are copied by librdkafka, and so is the resource.
    unsafe {
        let resource = Owned::new(
            sys::rd_kafka_ConfigResource_new(sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic.as_ptr()),
            sys::rd_kafka_ConfigResource_destroy,
        );
        for (name, value) in settings {
            let (name, value) = (CString::new(name)?, CString::new(value)?);
            let error = sys::rd_kafka_ConfigResource_add_incremental_config(
                resource.pointer,
                name.as_ptr(),
                sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
                value.as_ptr(),
            );
            assert!(error.is_null(), "a setting has a name and a value");
        }
        let event = request(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS,
            timeout,
            give_up,
            |options, queue| {
                sys::rd_kafka_IncrementalAlterConfigs(client, &mut { resource.pointer }, 1, options, queue);
            },
        )?;
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.pointer);
        let mut count = 0;
        let altered = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        let altered = *std::slice::from_raw_parts(altered, count).first().ok_or(RdKafkaError::Canceled)?;
        Ok(match sys::rd_kafka_ConfigResource_error(altered).into() {
            RDKafkaErrorCode::NoError => Ok(()),
            code => {
                let said = sys::rd_kafka_ConfigResource_error_string(altered);
                let said =
                    if said.is_null() { code.to_string() } else { CStr::from_ptr(said).to_string_lossy().into() };
                Err(Refusal { code, said })
            }
        })
    }
}

/// Sends an admin request and waits for its event, at most `timeout`, or until `give_up` says that it is no use.
///
/// # Safety
///
/// `client` must be valid, and `send` must enqueue exactly one request that answers to the queue it is given.
unsafe fn request(
    client: *mut sys::rd_kafka_t,
    operation: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    give_up: impl Fn() -> bool,
    send: impl FnOnce(*mut sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Owned<sys::rd_kafka_event_t>, RdKafkaError> {
    // SAFETY: options and queue live until the answer is there or given up; librdkafka keeps its own reference of a queue
    // that an answer is still to come to.
    unsafe {
        let options = Owned::new(sys::rd_kafka_AdminOptions_new(client, operation), sys::rd_kafka_AdminOptions_destroy);
        let queue = Owned::new(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy);
        let mut message = [0 as c_char; 256];
        let millis = timeout.as_millis() as i32;
        sys::rd_kafka_AdminOptions_set_request_timeout(options.pointer, millis, message.as_mut_ptr(), message.len());
        send(options.pointer, queue.pointer);
        let deadline = Instant::now() + timeout;
        let event = loop {
            let event = sys::rd_kafka_queue_poll(queue.pointer, 50);
            if !event.is_null() {
                break Owned::new(event, sys::rd_kafka_event_destroy);
            }
            if give_up() || Instant::now() >= deadline {
                return Err(RdKafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
            }
        };
        match sys::rd_kafka_event_error(event.pointer).into() {
            RDKafkaErrorCode::NoError => Ok(event),
            error => Err(RdKafkaError::AdminOp(error)),
        }
    }
}

/// An object of librdkafka that is ours to free.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    ///
    /// `pointer` must be ours, valid for `free`, and freed by nobody else.
    unsafe fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Self {
        assert!(!pointer.is_null(), "librdkafka made nothing");
        Self { pointer, free }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new`.
        unsafe { (self.free)(self.pointer) }
    }
}

/// What a partition's queue held.
#[derive(Clone, Copy, Debug)]
pub enum Fetched<'a> {
    /// A record. One without a timestamp, or with one before 1970, has none.
    Record(retail_engine::Record<'a>),
    /// The reader has reached the end of what it may read: no record for it lies before this offset.
    End(i64),
    /// Reading this partition failed.
    Error(RDKafkaErrorCode),
}

/// The queue of one partition, cut off from the consumer's main queue and read directly.
///
/// Cut off once and kept for the consumer's life: forwarding a queue again around assignments was seen to stall silently,
/// and dropping one loses its partition. It does not matter whether the partition is assigned.
pub struct PartitionQueue<C: ConsumerContext + 'static> {
    queue: Owned<sys::rd_kafka_queue_t>,
    /// What the callback unparks. Behind a pointer that librdkafka holds too, so that it stays in its place.
    wakes: Box<Thread>,
    /// Declared last, so dropped last: the client outlives its queue.
    consumer: Arc<BaseConsumer<C>>,
}

/// The most records that one call takes from a queue: enough that the call itself costs nothing, few enough that other
/// partitions and the trigger do not wait.
const BATCH: usize = 1024;

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// The queue of a partition; it unparks `wakes` when records come while it is empty.
    pub fn new(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        wakes: Thread,
    ) -> Result<Self, RdKafkaError> {
        let topic = CString::new(topic)?;
        let wakes = Box::new(wakes);
        // SAFETY: the consumer is kept alive by `consumer`; the callback is taken off before `wakes` is dropped.
        let queue = unsafe {
            let client = consumer.client().native_ptr();
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if queue.is_null() {
                return Err(RdKafkaError::ClientCreation(format!("no queue for partition {partition}")));
            }
            let queue = Owned::new(queue, sys::rd_kafka_queue_destroy);
            sys::rd_kafka_queue_forward(queue.pointer, std::ptr::null_mut());
            let opaque = (&raw const *wakes).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue.pointer, Some(unpark), opaque);
            queue
        };
        Ok(Self { queue, wakes, consumer: Arc::clone(consumer) })
    }

    /// Hands what is in the queue now to `each`, at most [`BATCH`] items, and says how many there were. Never waits. Should
    /// `each` panic, the process aborts.
    ///
    /// What was fetched before the partition was last assigned or unassigned is not handed out: librdkafka numbers
    /// assignments before it answers the call, and drops older records here.
    ///
    /// Not by rd_kafka_consume_batch_queue: in librdkafka 2.12 it takes the end of a partition for a record, and when
    /// partitions are taken from us while others stay, the next record of those that stay is skipped.
    pub fn take<F: FnMut(Fetched<'_>)>(&mut self, each: F) -> usize {
        let mut taking = Taking { each, taken: 0, client: self.consumer.client().native_ptr() };
        // SAFETY: the callback is called in here only, with the value that its type says.
        unsafe {
            sys::rd_kafka_consume_callback_queue(self.queue.pointer, 0, Some(hand_out::<F>), (&raw mut taking).cast());
        }
        taking.taken
    }
}

/// What `take` lends to the callback.
struct Taking<F> {
    each: F,
    taken: usize,
    client: *mut sys::rd_kafka_t,
}

/// # Safety
///
/// `opaque` must point to a `Taking<F>`, and `message` come from librdkafka.
unsafe extern "C" fn hand_out<F: FnMut(Fetched<'_>)>(message: *mut sys::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: by the contract; the message is librdkafka's, and valid until we return.
    unsafe {
        let taking = &mut *opaque.cast::<Taking<F>>();
        (taking.each)(fetched(&*message));
        taking.taken += 1;
        if taking.taken == BATCH {
            // What is left goes back to the head of the queue.
            sys::rd_kafka_yield(taking.client);
        }
    }
}

impl<C: ConsumerContext> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: both sides take the queue's lock, so that when this returns no callback is running nor will run.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.pointer, None, std::ptr::null_mut()) }
        let _still_there_until_now = &self.wakes;
    }
}

/// # Safety
///
/// `opaque` must point to a `Thread`.
unsafe extern "C" fn unpark(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: by the contract; see PartitionQueue::new.
    unsafe { (*opaque.cast::<Thread>()).unpark() }
}

/// # Safety
///
/// `message` must come from librdkafka and not have been destroyed.
unsafe fn fetched(message: &sys::rd_kafka_message_t) -> Fetched<'_> {
    match message.err.into() {
        RDKafkaErrorCode::NoError => {}
        RDKafkaErrorCode::PartitionEOF => return Fetched::End(message.offset),
        error => return Fetched::Error(error),
    }
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the payload has `len` bytes and lives as long as the message; a null one is a tombstone.
    let (millis, value) = unsafe {
        let millis = sys::rd_kafka_message_timestamp(message, &raw mut kind);
        let value =
            (!message.payload.is_null()).then(|| std::slice::from_raw_parts(message.payload.cast::<u8>(), message.len));
        (millis, value)
    };
    let timestamp = (millis >= 0).then(|| Timestamp::from_millis(millis));
    Fetched::Record(retail_engine::Record { offset: message.offset, timestamp, value })
}
