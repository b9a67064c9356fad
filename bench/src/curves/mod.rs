//! How cost and delay grow with load, with groups, with workers; and how long beginnings take.

pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod rates;
pub(crate) mod recovery;
pub(crate) mod start_up;

use anyhow::Result;
use retail_kafka::{KafkaAdmin, KafkaConnection, LogOffset};
use tokio_postgres::Client;

use crate::ground::PARTITIONS;

/// How many records the store has consumed.
async fn consumed(session: &Client) -> Result<i64> {
    Ok(session.query_one("SELECT coalesce(sum(consumed), 0)::bigint FROM ledger", &[]).await?.get(0))
}

/// How many records a topic has.
async fn sent(kafka: &KafkaConnection, topic: &str) -> Result<i64> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let ends =
        tokio::task::spawn_blocking(move || KafkaAdmin::new(&kafka)?.log_offsets(&topic, PARTITIONS, LogOffset::End));
    Ok(ends.await.expect("asking does not panic")?.iter().sum())
}
