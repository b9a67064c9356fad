//! The problems of a pipeline, each as a sentence with its fix.

use std::time::Duration;

use retail_api::{Pipeline, duration};
use retail_kafka::KafkaError;
use retail_store::Snapshot;
use retail_store::progress::Progress;

use crate::partition::{PartitionStatus, State};

/// Time beyond two triggers after which unread records are a problem.
const BEHIND: Duration = Duration::from_secs(30);

pub(crate) fn problems(
    pipeline: &Pipeline,
    snapshot: &Snapshot,
    partitions: &[PartitionStatus],
    kafka: Option<&KafkaError>,
) -> Vec<String> {
    let mut problems: Vec<String> = kafka.map(ToString::to_string).into_iter().collect();
    let unclaimed: Vec<i32> =
        partitions.iter().filter(|partition| partition.state == State::Unclaimed).map(|at| at.partition).collect();
    if !unclaimed.is_empty() {
        problems.push(format!("no processor has read partitions {unclaimed:?} yet: check that one runs"));
    }
    let patience = 2 * pipeline.trigger + BEHIND;
    for (partition, committed) in partitions.iter().zip(&snapshot.partitions) {
        let pause = committed.committed_at.map(|time| Duration::from(snapshot.taken_at.since(time)));
        if partition.lag.is_some_and(|lag| lag > 0) && pause.is_none_or(|pause| pause > patience) {
            let ago = pause.map_or_else(|| "never".to_owned(), |pause| format!("{} ago", duration::approximate(pause)));
            problems.push(format!(
                "partition {}: {} records are not processed, and its last commit was {ago}{}: check that a processor runs, and its \
                 /readyz",
                partition.partition,
                partition.lag.unwrap_or_default(),
                partition.owner.as_ref().map_or_else(String::new, |owner| format!(" by {owner}"))
            ));
        }
    }
    let Progress { clock_ahead, close_failure, hold, deduplication_incomplete, rejection, schemas, .. } =
        &snapshot.progress;
    if let Some(micros) = clock_ahead {
        problems.push(format!(
            "no window closes while the clocks differ: this one is {} s ahead of that of Postgres",
            micros / 1_000_000
        ));
    }
    if let Some(failure) = close_failure {
        problems.push(format!("closing windows failed at {}: {}", failure.failed_at, failure.message));
    }
    if let Some(hold) = hold {
        problems.push(format!("windows have stayed open since {}: {}", hold.since, hold.detail));
    }
    if !deduplication_incomplete.is_empty() {
        problems.push(format!(
            "Kafka has deleted records of partitions {deduplication_incomplete:?} whose transaction ids should still count: raise \
             retention.ms of the topic"
        ));
    }
    if let Some(rejection) = rejection {
        problems.push(format!(
            "more than half of the records are invalid since {}: {}; `retail sample` shows why",
            rejection.since, rejection.sentence
        ));
    }
    if let Some(wait) = &schemas.wait {
        problems.push(wait.to_string());
    }
    if let Some(unknown) = &schemas.unknown {
        problems.push(format!(
            "the schema registry did not know {unknown}, named by records: they are invalid (unknown_schema)"
        ));
    }
    problems
}
