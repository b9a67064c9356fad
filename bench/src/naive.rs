//! A typical hand-written service: an asynchronous consumer, serde_json into an owned struct, a HashMap, and an upsert of
//! the changed rows every second.
//!
//! Its sums are exact as long as the process runs. It has no watermark, keeps all windows in memory, and loses its state
//! when its process ends.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use clap::Args;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, DefaultConsumerContext, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::util::AsyncRuntime;
use rust_decimal::Decimal;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{Client, NoTls};

use crate::contract::{Destination, Source};

/// The command line of `naive`.
#[derive(Args, Clone, Debug)]
pub(crate) struct NaiveArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "a struct with all fields, as in a typical service")]
struct Purchase {
    transaction_id: String,
    customer_id: u64,
    category: String,
    brand: String,
    product_name: String,
    quantity: i64,
    price: Decimal,
    payment_method: String,
    timestamp: DateTime<Utc>,
}

#[derive(Default)]
struct Totals {
    quantity: i64,
    amount: Decimal,
    changed: bool,
}

type Groups = HashMap<(DateTime<Utc>, String, String), Totals>;

const UPSERT: &str = "
    INSERT INTO result (window_start, category, payment_method, total_quantity, total_amount) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (window_start, category, payment_method)
    DO UPDATE SET total_quantity = excluded.total_quantity, total_amount = excluded.total_amount";

/// Reads the topic to its present end, writes the sums into the table, and returns the number of events.
pub(crate) async fn run(args: &NaiveArgs) -> Result<u64> {
    let NaiveArgs { source, destination } = args;
    let (mut client, connection) = tokio_postgres::connect(&destination.database_url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path TO \"{}\"", destination.schema)).await?;

    let consumer: StreamConsumer<DefaultConsumerContext, Tokio> = ClientConfig::new()
        .set("bootstrap.servers", &source.bootstrap_servers)
        .set("group.id", &destination.run)
        .set("auto.offset.reset", "earliest")
        .create()?;
    let mut remaining = 0;
    for partition in 0..source.partitions {
        let (start, end) = consumer.fetch_watermarks(&source.topic, partition, Duration::from_secs(10))?;
        remaining += end - start;
    }
    consumer.subscribe(&[&source.topic])?;

    let mut groups = Groups::new();
    let mut events = 0;
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while remaining > 0 {
        tokio::select! {
            message = consumer.recv() => {
                add(&mut groups, message?.payload().unwrap_or_default())?;
                events += 1;
                remaining -= 1;
            }
            _ = tick.tick() => upsert(&mut client, &mut groups).await?,
        }
    }
    upsert(&mut client, &mut groups).await?;
    Ok(events)
}

fn add(groups: &mut Groups, payload: &[u8]) -> Result<()> {
    let purchase: Purchase = serde_json::from_slice(payload).context("the record is not a purchase")?;
    let window = purchase.timestamp.duration_trunc(TimeDelta::minutes(5))?;
    let totals = groups.entry((window, purchase.category, purchase.payment_method)).or_default();
    totals.quantity += purchase.quantity;
    totals.amount += purchase.price * Decimal::from(purchase.quantity);
    totals.changed = true;
    Ok(())
}

async fn upsert(client: &mut Client, groups: &mut Groups) -> Result<()> {
    let transaction = client.transaction().await?;
    let statement = transaction.prepare(UPSERT).await?;
    for ((window, category, payment_method), totals) in groups.iter_mut().filter(|(_, totals)| totals.changed) {
        transaction.execute(&statement, &[window, category, payment_method, &totals.quantity, &totals.amount]).await?;
        totals.changed = false;
    }
    transaction.commit().await?;
    Ok(())
}

/// A copy of the runtime that rdkafka offers behind a feature. The feature would be compiled into the product too.
struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = tokio::time::Sleep;

    fn spawn<T: Future<Output = ()> + Send + 'static>(task: T) {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        tokio::time::sleep(duration)
    }
}
