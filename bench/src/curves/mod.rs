//! Measurements of the processor alone: load, groups, freshness, start and recovery.

pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod rates;
pub(crate) mod recovery;
pub(crate) mod start_up;

use anyhow::Result;
use retail_kafka::{KafkaAdmin, KafkaConnection, LogOffset};
use tokio_postgres::Client;

use crate::setup::PARTITIONS;

/// Returns the number of records that the ledger counts as consumed.
pub(crate) async fn consumed(session: &Client) -> Result<i64> {
    Ok(session.query_one("SELECT coalesce(sum(consumed), 0)::bigint FROM ledger", &[]).await?.get(0))
}

/// Returns the number of records in a topic.
async fn sent(kafka: &KafkaConnection, topic: &str) -> Result<i64> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let ends =
        tokio::task::spawn_blocking(move || KafkaAdmin::new(&kafka)?.log_offsets(&topic, PARTITIONS, LogOffset::End));
    Ok(ends.await.expect("reading log ends does not panic")?.iter().sum())
}
