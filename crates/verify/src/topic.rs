//! The topic as Kafka has it now.

use retail_kafka::records::{Finding, Processed, RecordChecker};
use retail_kafka::{KafkaAdmin, KafkaError, LogOffset};
use retail_runtime::args::Settings;

use crate::GROUP_ID;
use crate::differences::Differences;
use crate::error::VerifyError;
use crate::state::State;

pub(crate) struct Topic {
    name: String,
    id: String,
    /// The first offset that Kafka still has, by partition.
    log_starts: Vec<i64>,
    /// The offset after the last record, by partition.
    log_ends: Vec<i64>,
}

impl Topic {
    /// Asks the brokers. Blocks.
    pub(crate) fn describe(settings: &Settings) -> Result<Self, VerifyError> {
        let name = settings.pipeline.topic.name.clone();
        let admin = KafkaAdmin::new(&settings.kafka)?;
        let Some(description) = admin.describe_topic(&name)? else {
            return Err(KafkaError::missing_topic(&name).into());
        };
        let log_starts = admin.log_offsets(&name, description.partitions, LogOffset::Start)?;
        let log_ends = admin.log_offsets(&name, description.partitions, LogOffset::End)?;
        Ok(Self { name, id: description.id, log_starts, log_ends })
    }

    /// Checks that the processed records were those of this topic.
    pub(crate) fn check_id(&self, state: &State) -> Result<(), VerifyError> {
        if state.topic_id.as_ref().is_some_and(|id| *id != self.id) {
            return Err(VerifyError::AnotherTopic { topic: self.name.clone() });
        }
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn partitions(&self) -> usize {
        self.log_starts.len()
    }

    /// The first offset of a partition that Kafka still has; 0 for an unknown one.
    pub(crate) fn log_start(&self, partition: i32) -> i64 {
        offset(&self.log_starts, partition).unwrap_or(0)
    }

    /// The offset after the last record of a partition; `None` for an unknown one.
    pub(crate) fn log_end(&self, partition: i32) -> Option<i64> {
        offset(&self.log_ends, partition)
    }

    /// An error if the topic lacks records of a partition from `from` to `to`.
    pub(crate) fn check_records(&self, partition: i32, from: i64, to: i64) -> Result<(), VerifyError> {
        let log_start = self.log_start(partition);
        if log_start > from && to > from {
            return Err(VerifyError::Truncated { topic: self.name.clone(), partition, start_offset: from, log_start });
        }
        Ok(())
    }

    /// The offsets before which transaction ids do not count: Kafka has deleted all records before them.
    pub(crate) fn check_deleted(&self, state: &State) -> Differences {
        let mut differences = Differences::default();
        for partition in &state.partitions {
            let log_start = self.log_start(partition.partition);
            if partition.dedup_from > log_start.max(partition.start_offset) {
                let (partition, from) = (partition.partition, partition.dedup_from);
                differences.add(|| {
                    format!("partition_progress, partition {partition}: dedup_from is {from}, but Kafka has records from {log_start} on")
                });
            }
        }
        differences
    }

    /// Checks that the topic contains the last processed record of each partition. Blocks.
    pub(crate) fn check_last_records(&self, settings: &Settings, state: &State) -> Result<(), VerifyError> {
        let processed = state.partitions.iter().filter_map(|progress| {
            let (partition, next_offset) = (progress.partition, progress.ledger.next_offset);
            Some(Processed { partition, next_offset, record: progress.last_record? })
        });
        let checker = RecordChecker::new(&settings.kafka, GROUP_ID, &self.name)?;
        let findings = checker.check(&processed.collect::<Vec<_>>())?;
        match findings.into_iter().find_map(Finding::into_replaced) {
            Some(replaced) => Err(replaced.into()),
            None => Ok(()),
        }
    }

    /// Whether the topic has all records that were ever processed.
    pub(crate) fn has_everything(&self, state: &State) -> bool {
        let has =
            |p: &crate::state::Partition| self.check_records(p.partition, p.start_offset, p.ledger.next_offset).is_ok();
        state.partitions.iter().all(has)
    }

    /// Partitions with records that have no row in the store, although others have one.
    pub(crate) fn unknown_partitions(&self, state: &State) -> Vec<i32> {
        let partitions = self.log_starts.iter().zip(&self.log_ends).enumerate();
        partitions
            .filter(|(_, (start, end))| start < end && !state.partitions.is_empty())
            .map(|(number, _)| number as i32)
            .filter(|number| state.partitions.iter().all(|known| known.partition != *number))
            .collect()
    }
}

/// The offset of a partition; `None` for an unknown one.
fn offset(offsets: &[i64], partition: i32) -> Option<i64> {
    offsets.get(usize::try_from(partition).ok()?).copied()
}
