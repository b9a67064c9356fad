//! The offsets at which the first processor of a pipeline begins.

use retail_api::topic::StartPosition;
use retail_kafka::{KafkaAdmin, KafkaError, LogOffset};

/// The offset for each partition. `starts` are the starts of the logs.
pub(crate) fn first_offsets(
    admin: &KafkaAdmin,
    topic: &str,
    starts: &[i64],
    position: StartPosition,
) -> Result<Vec<i64>, KafkaError> {
    let partitions = i32::try_from(starts.len()).unwrap_or(i32::MAX);
    let at = match position {
        StartPosition::Earliest => return Ok(starts.to_vec()),
        StartPosition::Latest => vec![-1; starts.len()],
        StartPosition::Time(millis) => admin.log_offsets(topic, partitions, LogOffset::At(millis))?,
    };
    // Records that are appended between the two requests are read.
    let ends = match at.contains(&-1) {
        true => admin.log_offsets(topic, partitions, LogOffset::End)?,
        false => Vec::new(),
    };
    Ok(begins(starts, &at, &ends))
}

/// The found offset, the end of the log without such a record, and never an offset before the start.
fn begins(starts: &[i64], at: &[i64], ends: &[i64]) -> Vec<i64> {
    let found = at.iter().enumerate().map(|(partition, at)| match at {
        -1 => ends.get(partition).copied().unwrap_or(0),
        at => *at,
    });
    starts.iter().zip(found).map(|(start, found)| found.max(*start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_without_a_later_record_begin_at_their_end() {
        assert_eq!(begins(&[0, 5, 0], &[7, 3, -1], &[9, 9, 4]), [7, 5, 4]);
        assert_eq!(begins(&[0, 1], &[2, 3], &[]), [2, 3]);
    }
}
