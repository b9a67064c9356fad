//! Records directly from the queue of a partition.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;
use std::thread::Thread;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka_sys as sys;
use retail_engine::{RecordIdentity, Timestamp};

use super::Owned;
use super::last_record::LastRecord;

/// An item in the queue of a partition.
#[derive(Clone, Copy, Debug)]
pub enum Fetched<'a> {
    /// A record. Its timestamp is `None` if it is missing or before 1970.
    Record(retail_engine::Record<'a>),
    /// The end of the readable log: all readable records before this offset were returned.
    End(i64),
    /// Reading this partition failed.
    Error(RDKafkaErrorCode),
}

/// Whether more items are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The next item.
    Next,
    /// No more items now.
    End,
    /// The next item, and this record is not taken yet: the caller keeps a copy, and calls [`PartitionQueue::held_is_taken`]. Until
    /// then, it holds all further records.
    Hold,
    /// The same, and no more items now.
    HoldAndEnd,
}

/// The header with the id of a schema.
const SCHEMA_ID: &CStr = c"__value_schema_id";

/// The queue of one partition, separated from the main queue of the consumer and read directly.
///
/// It is separated once and kept for the lifetime of the consumer, whether or not the partition is assigned: forwarding a
/// queue again around assignments was observed to stall silently, and dropping one loses its partition.
pub struct PartitionQueue<C: ConsumerContext + 'static> {
    queue: Owned<sys::rd_kafka_queue_t>,
    /// The thread that the callback unparks. Boxed, because librdkafka has a pointer to it.
    wakes: Box<Thread>,
    last: LastRecord,
    /// The records that are held, in order.
    held: VecDeque<LastRecord>,
    /// Whether records are handed out with the id of their schema, if it is in a header.
    reads_schema_ids: bool,
    /// The queue may contain records of an earlier assignment, which librdkafka drops instead of handing them out.
    reassigned: bool,
    /// Declared last, so dropped last: the client outlives its queue.
    consumer: Arc<BaseConsumer<C>>,
}

/// Maximum number of records that one call takes from a queue: enough to make the cost of the call negligible, few enough
/// that other partitions and the trigger do not wait.
const BATCH: usize = 1024;

/// Number of items at the end of a call of which the records are copied: the last record, and ends of the partition after it.
const COPIED: usize = 16;

impl<C: ConsumerContext + 'static> PartitionQueue<C> {
    /// The queue of a partition. It unparks `wakes` when records arrive while it is empty.
    pub fn new(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        wakes: Thread,
    ) -> Result<Self, RdKafkaError> {
        let topic = CString::new(topic)?;
        let wakes = Box::new(wakes);
        // SAFETY: `consumer` keeps the client alive; the callback is removed before `wakes` is dropped.
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
        let (last, held) = (LastRecord::default(), VecDeque::new());
        let consumer = Arc::clone(consumer);
        Ok(Self { queue, wakes, last, held, reads_schema_ids: false, reassigned: true, consumer })
    }

    /// The queue, which also reads the header with the id of a schema. Parsing headers takes time.
    #[must_use]
    pub fn with_schema_ids(mut self, reads_schema_ids: bool) -> Self {
        self.reads_schema_ids = reads_schema_ids;
        self
    }

    /// Calls `each` for the items in the queue, at most [`BATCH`] and until it wants no more, and returns their number. Never waits. A
    /// panic of `each` aborts the process.
    ///
    /// Records that were fetched before the last assignment or unassignment of the partition are dropped: librdkafka numbers
    /// assignments before it answers the call, and skips older records here.
    ///
    /// rd_kafka_consume_batch_queue cannot be used: librdkafka 2.12 treats the end of a partition as a record there, and
    /// skips the next record of the remaining partitions when others are revoked.
    pub fn take<F: FnMut(Fetched<'_>) -> Flow>(&mut self, each: F) -> usize {
        // SAFETY: the queue is valid. Other threads only append to it.
        let queued = unsafe { sys::rd_kafka_queue_length(self.queue.pointer) };
        self.take_up_to(queued.clamp(1, BATCH), each)
    }

    /// Calls `each` for the first item in the queue, if there is one, and returns the number of items.
    pub fn take_one(&mut self, mut each: impl FnMut(Fetched<'_>)) -> usize {
        self.take_up_to(1, |fetched| {
            each(fetched);
            Flow::End
        })
    }

    /// `limit` is at most the number of items in the queue, so that the last ones are known in advance if `each` does not end.
    fn take_up_to<F: FnMut(Fetched<'_>) -> Flow>(&mut self, limit: usize, each: F) -> usize {
        // If items are dropped, those that are handed out may be fewer than the limit.
        let copied_from = if self.reassigned { 0 } else { limit.saturating_sub(COPIED) };
        let client = self.consumer.client().native_ptr();
        let reads_schema_ids = self.reads_schema_ids;
        let (last, held) = (&mut self.last, &mut self.held);
        let mut taking = Taking { each, taken: 0, limit, copied_from, last, held, reads_schema_ids, client };
        // SAFETY: the callback is only called during this call, with a value of the right type.
        unsafe {
            sys::rd_kafka_consume_callback_queue(self.queue.pointer, 0, Some(hand_out::<F>), (&raw mut taking).cast());
        }
        let taken = taking.taken;
        // Dropped items come before those of the present assignment.
        self.reassigned &= taken == 0;
        taken
    }

    /// The last record that was handed out since the last call, or since the partition was assigned.
    pub fn take_last_record(&mut self) -> Option<RecordIdentity> {
        self.last.take()
    }

    /// The first held record is taken now.
    pub fn held_is_taken(&mut self) {
        self.last = self.held.pop_front().unwrap_or_default();
    }

    /// The partition will be assigned: its next records are not related to the ones before.
    pub fn reassign(&mut self) {
        self.last.take();
        self.held.clear();
        self.reassigned = true;
    }
}

/// The data that `take` passes to the callback.
struct Taking<'a, F> {
    each: F,
    taken: usize,
    /// Number of items after which the call ends.
    limit: usize,
    /// Number of items after which records are copied.
    copied_from: usize,
    last: &'a mut LastRecord,
    held: &'a mut VecDeque<LastRecord>,
    reads_schema_ids: bool,
    client: *mut sys::rd_kafka_t,
}

/// # Safety
///
/// `opaque` must point to a `Taking<'_, F>`, and `message` must come from librdkafka.
unsafe extern "C" fn hand_out<F: FnMut(Fetched<'_>) -> Flow>(
    message: *mut sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: by the contract; the message belongs to librdkafka, and is valid until this function returns.
    unsafe {
        let taking = &mut *opaque.cast::<Taking<'_, F>>();
        let fetched = fetched(&*message, taking.reads_schema_ids);
        let flow = (taking.each)(fetched);
        let is_end = matches!(flow, Flow::End | Flow::HoldAndEnd);
        if matches!(fetched, Fetched::Record(_)) {
            if matches!(flow, Flow::Hold | Flow::HoldAndEnd) {
                let mut held = LastRecord::default();
                held.set(&*message);
                taking.held.push_back(held);
            } else if taking.taken >= taking.copied_from || is_end {
                taking.last.set(&*message);
            }
        }
        taking.taken += 1;
        if is_end || taking.taken == taking.limit {
            // The remaining items return to the head of the queue.
            sys::rd_kafka_yield(taking.client);
        }
    }
}

impl<C: ConsumerContext> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: both sides take the lock of the queue, so that no callback runs after this call.
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
/// `message` must come from librdkafka, and must not have been destroyed.
unsafe fn fetched(message: &sys::rd_kafka_message_t, reads_schema_ids: bool) -> Fetched<'_> {
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
    // SAFETY: by the contract.
    let schema = if reads_schema_ids { unsafe { schema_id(message) } } else { None };
    Fetched::Record(retail_engine::Record { offset: message.offset, timestamp, value, schema })
}

/// The value of the last header with the id of a schema.
///
/// # Safety
///
/// As of [`fetched`].
unsafe fn schema_id(message: &sys::rd_kafka_message_t) -> Option<&[u8]> {
    let (mut headers, mut value, mut length) = (std::ptr::null_mut(), std::ptr::null(), 0);
    // SAFETY: librdkafka parses the headers at the first call, and they live as long as the message, with their values.
    unsafe {
        let message = std::ptr::from_ref(message);
        if sys::rd_kafka_message_headers(message, &raw mut headers)
            != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return None;
        }
        let found = sys::rd_kafka_header_get_last(headers, SCHEMA_ID.as_ptr(), &raw mut value, &raw mut length);
        let is_found = found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !value.is_null();
        is_found.then(|| std::slice::from_raw_parts(value.cast::<u8>(), length))
    }
}
