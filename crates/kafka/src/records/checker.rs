//! Reads the last processed records of a topic again.

use std::collections::BTreeMap;

use retail_engine::RecordIdentity;

use super::{Finding, Log, Processed, finding, reader};
use crate::admin::{ANSWER_TIMEOUT, KafkaAdmin};
use crate::connection::KafkaConnection;
use crate::error::KafkaError;
use crate::native::LogOffset;

/// Reads the last processed records of a topic again. Its methods block the thread.
pub struct RecordChecker {
    connection: KafkaConnection,
    group_id: String,
    topic: String,
    admin: KafkaAdmin,
}

impl RecordChecker {
    /// Creates the checker. librdkafka requires a group for reading, which the checker does not join.
    pub fn new(connection: &KafkaConnection, group_id: &str, topic: &str) -> Result<Self, KafkaError> {
        let admin = KafkaAdmin::new(connection)?;
        Ok(Self { connection: connection.clone(), group_id: group_id.to_owned(), topic: topic.to_owned(), admin })
    }

    /// Reads the last processed records again. Returns a finding for each, in the same order.
    ///
    /// An error means that the brokers did not answer within [`ANSWER_TIMEOUT`] for each of up to five requests. It proves
    /// nothing about the records.
    pub fn check(&self, processed: &[Processed]) -> Result<Vec<Finding>, KafkaError> {
        if processed.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = self.read(processed)?;
        let missing: Vec<Processed> =
            processed.iter().filter(|processed| !read.contains_key(&processed.partition)).copied().collect();
        let logs = if missing.is_empty() { BTreeMap::new() } else { self.ask_again(&missing, &mut read)? };
        let finding = |processed: &Processed| {
            let record = read.get(&processed.partition).copied();
            finding(&self.topic, *processed, record, || logs[&processed.partition])
        };
        Ok(processed.iter().map(finding).collect())
    }

    /// Reads missing records once more, between the requests for the ends and the starts of their logs: directly after an
    /// election, a leader may not return its newest records before it reports its log end; and Kafka may delete a record that was
    /// to be read.
    fn ask_again(
        &self,
        missing: &[Processed],
        read: &mut BTreeMap<i32, RecordIdentity>,
    ) -> Result<BTreeMap<i32, Log>, KafkaError> {
        let partitions = 1 + missing.iter().map(|processed| processed.partition).max().unwrap_or_default();
        let ends = self.admin.log_offsets(&self.topic, partitions, LogOffset::End)?;
        read.extend(self.read(missing)?);
        let starts = self.admin.log_offsets(&self.topic, partitions, LogOffset::Start)?;
        let compacted = self.admin.is_compacted(&self.topic)?;
        let log = |partition: i32| Log { start: starts[partition as usize], end: ends[partition as usize], compacted };
        Ok(missing.iter().map(|processed| (processed.partition, log(processed.partition))).collect())
    }

    fn read(&self, processed: &[Processed]) -> Result<BTreeMap<i32, RecordIdentity>, KafkaError> {
        let offsets = processed.iter().map(|processed| (processed.partition, processed.record.offset)).collect();
        reader::read(&self.connection, &self.group_id, &self.topic, &offsets, ANSWER_TIMEOUT)
    }
}
