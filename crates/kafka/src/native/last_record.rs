//! A copy of the last record that a queue has handed out.

use std::ffi::c_void;

use rdkafka_sys as sys;
use retail_engine::RecordIdentity;

use crate::digest::digest;

/// A copy of the last record. Its digest is computed when it is needed.
#[derive(Default)]
pub(super) struct LastRecord {
    /// Offset, leader epoch and timestamp; `None` without a record.
    position: Option<(i64, i32, i64)>,
    key: Copied,
    value: Copied,
}

/// A copy of a key or a value, or null.
#[derive(Default)]
struct Copied {
    is_null: bool,
    bytes: Vec<u8>,
}

/// Longest buffer that a copy keeps.
const MAX_KEPT: usize = 64 << 10;

impl Copied {
    /// # Safety
    ///
    /// `start` must be null, or point to `length` bytes.
    unsafe fn set(&mut self, start: *const c_void, length: usize) {
        self.is_null = start.is_null();
        self.bytes.clear();
        if !start.is_null() {
            // SAFETY: by the contract.
            self.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) });
        }
    }

    fn get(&self) -> Option<&[u8]> {
        (!self.is_null).then_some(&*self.bytes)
    }
}

impl LastRecord {
    /// # Safety
    ///
    /// `message` must come from librdkafka, be a record, and not have been destroyed.
    pub(super) unsafe fn set(&mut self, message: &sys::rd_kafka_message_t) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: key and payload have these lengths and live as long as the message.
        unsafe {
            let epoch = sys::rd_kafka_message_leader_epoch(message);
            let timestamp = sys::rd_kafka_message_timestamp(message, &raw mut kind);
            self.position = Some((message.offset, epoch, timestamp));
            self.key.set(message.key, message.key_len);
            self.value.set(message.payload, message.len);
        }
    }

    /// The identity of the record, once.
    pub(super) fn take(&mut self) -> Option<RecordIdentity> {
        let (offset, leader_epoch, timestamp_millis) = self.position.take()?;
        let digest = digest(self.key.get(), self.value.get());
        for copied in [&mut self.key, &mut self.value] {
            copied.bytes.clear();
            copied.bytes.shrink_to(MAX_KEPT);
        }
        Some(RecordIdentity { offset, leader_epoch, timestamp_millis, digest })
    }
}
