//! Purchases with a chosen number of groups and windows, which the producer does not offer.

use std::time::Duration;

use anyhow::Result;
use chrono::DateTime;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use retail_kafka::KafkaConnection;

use crate::setup::PARTITIONS;

/// 2025-01-01T00:00:00Z, the start of the first window.
const BEGIN: i64 = 1_735_689_600;

/// Seconds in a window.
const WINDOW: u64 = 300;

/// The purchases to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) events: u64,
    /// Groups in each window.
    pub(crate) groups: u64,
    /// Windows. All stay open until the end.
    pub(crate) windows: u64,
}

impl Load {
    /// Returns a watermark delay that makes no purchase late.
    pub(crate) fn delay(self) -> String {
        format!("{}s", (self.windows + 1) * WINDOW)
    }

    /// Sends the purchases, with random group and window, and waits for the acknowledgements. Blocks.
    pub(crate) fn send(self, connection: &KafkaConnection, topic: &str) -> Result<()> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(42);
        let millis = (BEGIN + (self.windows * WINDOW) as i64) * 1000;
        send(connection, topic, (0..self.events).map(|_| (millis, self.purchase(random.next_u64(), random.next_u64()))))
    }

    fn purchase(self, high: u64, low: u64) -> String {
        let micros = ((high >> 32) % self.windows * WINDOW + low % WINDOW) as i64 * 1_000_000;
        purchase(high % self.groups, micros + (low % 1_000_000) as i64, high, low)
    }
}

/// Purchases in the order of their times, each of which becomes one row, and a record without JSON after every ninth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ordered {
    /// Groups in each window.
    pub(crate) groups: u64,
    pub(crate) windows: u64,
}

impl Ordered {
    pub(crate) const fn rows(self) -> u64 {
        self.groups * self.windows
    }

    /// Records without JSON.
    pub(crate) const fn invalid(self) -> u64 {
        self.rows() / 9
    }

    /// The start of the last window that closes with a delay of one window, in seconds since the epoch.
    pub(crate) const fn last_closed(self) -> i64 {
        BEGIN + ((self.windows - 3) * WINDOW) as i64
    }

    /// Sends the records, and waits for the acknowledgements. Blocks.
    pub(crate) fn send(self, connection: &KafkaConnection, topic: &str) -> Result<()> {
        send(connection, topic, self.records())
    }

    /// Returns the records with their times in milliseconds.
    fn records(self) -> impl Iterator<Item = (i64, String)> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(42);
        (0..self.rows()).flat_map(move |row| {
            let (window, group) = (row / self.groups, row % self.groups);
            let micros = (window * WINDOW * 1_000_000 + group * WINDOW * 1_000_000 / self.groups) as i64;
            let millis = BEGIN * 1000 + micros / 1000;
            let invalid = (row % 9 == 8).then(|| (millis, "x".repeat(200)));
            std::iter::once((millis, purchase(group, micros, random.next_u64(), random.next_u64()))).chain(invalid)
        })
    }
}

/// Sends records, with their times in milliseconds, to all partitions in turns.
fn send(connection: &KafkaConnection, topic: &str, records: impl Iterator<Item = (i64, String)>) -> Result<()> {
    let producer: BaseProducer = connection
        .client_config()
        .set("compression.type", "lz4")
        .set("linger.ms", "10")
        .set("batch.size", "524288")
        .set("queue.buffering.max.messages", "200000")
        .set("delivery.report.only.error", "true")
        .create()?;
    for ((millis, value), partition) in records.zip((0..PARTITIONS).cycle()) {
        let mut record = BaseRecord::<(), str>::to(topic).payload(&value).partition(partition).timestamp(millis);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((RdKafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    producer.poll(Duration::from_millis(5));
                    record = back;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

/// Returns a purchase with the length and the entropy of the producer's purchases, `micros` after the start of the first window.
fn purchase(group: u64, micros: i64, high: u64, low: u64) -> String {
    let time =
        DateTime::from_timestamp_micros(BEGIN * 1_000_000 + micros).expect("the time is within the range of chrono");
    let time = time.format("%FT%T%.6f+00:00");
    format!(
        "{{\"transaction_id\": \"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}\", \"customer_id\": {}, \
         \"category\": \"Category {group:06}\", \"brand\": \"The Body Shop\", \"product_name\": \"British Rose Shower Gel\", \
         \"quantity\": {}, \"price\": {}.{:02}, \"payment_method\": \"COD\", \"timestamp\": \"{time}\"}}",
        high >> 32,
        high & 0xffff,
        low & 0xfff,
        high >> 16 & 0xfff,
        low >> 16,
        low % 1000,
        1 + low % 10,
        1 + low % 50,
        high % 100,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use retail_engine::{Decoder, Span, Timestamp};

    use super::*;

    #[test]
    fn purchases_have_the_requested_groups_and_windows() {
        let load = Load { events: 5000, groups: 20, windows: 7 };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let (mut groups, mut windows) = (BTreeSet::new(), BTreeSet::new());
        let (mut bytes, mut decoder) = (0, Decoder::default());
        for _ in 0..load.events {
            let value = load.purchase(random.next_u64(), random.next_u64());
            bytes += value.len();
            let event = decoder.decode(Some(value.as_bytes())).unwrap();
            groups.insert(event.category.to_string());
            windows.insert(event.timestamp.since(Timestamp::from_secs(BEGIN)).as_micros() / 300_000_000);
            assert!(event.timestamp >= Timestamp::from_secs(BEGIN));
            assert!(event.timestamp.since(Timestamp::from_secs(BEGIN)) < Span::from_secs(7 * 300));
        }
        assert_eq!((groups.len(), windows.len()), (20, 7));
        assert!((240..290).contains(&(bytes / 5000)), "{}", bytes / 5000);
    }

    #[test]
    fn ordered_purchases_become_one_row_each() {
        let ordered = Ordered { groups: 20, windows: 7 };
        let (mut rows, mut invalid, mut last) = (BTreeSet::new(), 0, 0);
        let mut decoder = Decoder::default();
        for (millis, value) in ordered.records() {
            assert!(millis >= last);
            last = millis;
            let Ok(event) = decoder.decode(Some(value.as_bytes())) else {
                invalid += 1;
                continue;
            };
            let window = event.timestamp.since(Timestamp::from_secs(BEGIN)).as_micros() / 300_000_000;
            assert!(rows.insert((window, event.category.to_string())), "{window}");
        }
        assert_eq!((rows.len() as u64, invalid), (ordered.rows(), ordered.invalid()));
        assert_eq!(ordered.last_closed(), BEGIN + 4 * 300);
    }
}
