//! Functions of librdkafka that rust-rdkafka lacks: topic ids, log ends in one request, settings of a topic, batches of records
//! directly from the queue of a partition, and log messages in the order of their events. The only code of the product that calls into C.
//!
//! Every function relies on these invariants:
//! - A client handle is valid while the borrowed `Client`, or the `Arc` of the consumer, lives.
//! - Each object that librdkafka returns for us to free is freed exactly once, by its [`Owned`].
//! - Data of an event or a message is copied, or borrowed for less than the lifetime of the event or message.
//! - librdkafka is thread safe; its callbacks run on its own threads, and our callback only unparks a thread.
#![expect(unsafe_code, reason = "calls into librdkafka; the invariants are above, and beside each block")]

mod last_record;
mod log_queue;
mod member;
mod partition_queue;
mod rights;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::time::{Duration, Instant};

pub use log_queue::LogQueue;
pub use member::is_member;
pub use partition_queue::{Fetched, Flow, PartitionQueue};
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka_sys as sys;
pub use rights::Broker;
pub(crate) use rights::{brokers, rights};

/// The description of a topic by a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// Id of the topic. A deleted and recreated topic has another id.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Number of copies of the first partition.
    pub replication_factor: i32,
}

/// A position in the log of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogOffset {
    /// The first offset that Kafka still has.
    Start,
    /// The offset after the last record, committed or not: the high watermark.
    End,
    /// The end for a reader of committed data: the first offset of the first open transaction.
    StableEnd,
    /// The first record with this timestamp or a later one, in milliseconds since 1970; -1 without such a record.
    At(i64),
}

/// Requests the description of a topic; `None` if it does not exist.
pub(super) fn describe_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Option<TopicDescription>, RdKafkaError> {
    let name = CString::new(topic)?;
    let mut names = [name.as_ptr()];
    let client = client.native_ptr();
    // SAFETY: librdkafka copies the names; the collection, options and queue live until the end of this function, and the
    // event with its data until the end of its block.
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

/// Requests one end of the logs of partitions `0..partitions`, in this order.
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
        LogOffset::Start => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
        LogOffset::End | LogOffset::StableEnd => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
        LogOffset::At(millis) => millis.max(0),
    };
    let isolation = match which {
        LogOffset::Start | LogOffset::End | LogOffset::At(_) => {
            sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        }
        LogOffset::StableEnd => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
    };
    let mut offsets = vec![0; partitions as usize];
    // SAFETY: as in describe_topic; the list is ours and outlives the request. The answer contains the requested partitions,
    // which are indexed with a bounds check.
    unsafe {
        let list =
            Owned::new(sys::rd_kafka_topic_partition_list_new(partitions), sys::rd_kafka_topic_partition_list_destroy);
        for partition in 0..partitions {
            let entry = sys::rd_kafka_topic_partition_list_add(list.pointer, topic.as_ptr(), partition);
            (*entry).offset = spec;
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

/// Requests the settings of a topic: the named ones, or all if `names` is empty. The result lacks settings that Kafka does not
/// know or does not disclose.
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
        // SAFETY: strings of librdkafka end with a zero, and live as long as their event.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    // SAFETY: as in describe_topic; librdkafka copies the names and the resource.
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

/// The refusal of a request by a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// Error code.
    pub(super) code: RDKafkaErrorCode,
    /// Message of the broker.
    pub(super) said: String,
}

impl Refusal {
    /// # Safety
    ///
    /// `said` must be null or a text of librdkafka that is valid during the call.
    unsafe fn new(code: RDKafkaErrorCode, said: *const c_char) -> Self {
        // SAFETY: by the contract; texts of librdkafka end with a zero.
        let said = (!said.is_null()).then(|| unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned());
        Self { code, said: said.unwrap_or_else(|| code.to_string()) }
    }
}

/// Creates a topic. rust-rdkafka drops the message of the broker.
pub(super) fn create_topic<'a, C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partitions: i32,
    replication_factor: i32,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Result<(), Refusal>, RdKafkaError> {
    let topic = CString::new(topic)?;
    let client = client.native_ptr();
    let mut message = [0 as c_char; 256];
    // SAFETY: as in describe_topic; librdkafka copies names and values, and the topic outlives the request.
    unsafe {
        let new = sys::rd_kafka_NewTopic_new(
            topic.as_ptr(),
            partitions,
            replication_factor,
            message.as_mut_ptr(),
            message.len(),
        );
        if new.is_null() {
            let said = CStr::from_ptr(message.as_ptr()).to_string_lossy().into();
            return Ok(Err(Refusal { code: RDKafkaErrorCode::InvalidArgument, said }));
        }
        let new = Owned::new(new, sys::rd_kafka_NewTopic_destroy);
        for (name, value) in settings {
            let (name, value) = (CString::new(name)?, CString::new(value)?);
            sys::rd_kafka_NewTopic_set_config(new.pointer, name.as_ptr(), value.as_ptr());
        }
        let event = request(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS,
            timeout,
            give_up,
            |options, queue| {
                sys::rd_kafka_CreateTopics(client, &mut { new.pointer }, 1, options, queue);
            },
        )?;
        let result = sys::rd_kafka_event_CreateTopics_result(event.pointer);
        let mut count = 0;
        let created = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
        let created = *std::slice::from_raw_parts(created, count).first().ok_or(RdKafkaError::Canceled)?;
        Ok(match sys::rd_kafka_topic_result_error(created).into() {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(Refusal::new(code, sys::rd_kafka_topic_result_error_string(created))),
        })
    }
}

/// Changes settings of a topic, and keeps all others. rust-rdkafka's AlterConfigs would reset the others to their defaults.
pub(super) fn alter_topic<'a, C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Result<(), Refusal>, RdKafkaError> {
    let topic = CString::new(topic)?;
    let client = client.native_ptr();
    // SAFETY: as in describe_topic; librdkafka copies names, values and the resource.
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
            code => Err(Refusal::new(code, sys::rd_kafka_ConfigResource_error_string(altered))),
        })
    }
}

/// Sends an admin request and waits for its event, at most for `timeout`, or until `give_up` returns true.
///
/// # Safety
///
/// `client` must be valid, and `send` must enqueue exactly one request that answers to the given queue.
unsafe fn request(
    client: *mut sys::rd_kafka_t,
    operation: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    give_up: impl Fn() -> bool,
    send: impl FnOnce(*mut sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Owned<sys::rd_kafka_event_t>, RdKafkaError> {
    // SAFETY: options and queue live until the answer arrives or the wait ends; librdkafka has its own reference to a queue
    // with an outstanding answer.
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

/// An object of librdkafka that we must free.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    ///
    /// `pointer` must be ours, valid for `free`, and not freed elsewhere.
    unsafe fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Self {
        assert!(!pointer.is_null(), "librdkafka returned a null pointer");
        Self { pointer, free }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new`.
        unsafe { (self.free)(self.pointer) }
    }
}
