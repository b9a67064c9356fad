//! Sends the lines of a file as they are.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError};

use crate::sender::Sender;
use crate::summary::{ProducerError, Sent, Summary};

/// Sends each line as the value of a record without a key, until the end of the file, until `stop` is set or until a record was
/// not stored. Then waits for the acknowledgements. Empty lines are skipped.
pub fn send_lines(
    connection: &KafkaConnection,
    topic: &str,
    mut lines: impl BufRead,
    stop: &AtomicBool,
    sent: &Arc<Sent>,
) -> Result<Summary, ProducerError> {
    KafkaAdmin::new(connection)?.describe_topic(topic)?.ok_or_else(|| KafkaError::missing_topic(topic))?;
    let mut sender = Sender::new(connection, topic, true, stop, sent)?;
    let mut line = Vec::new();
    while !sender.is_over() {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(ProducerError::Read)? == 0 {
            break;
        }
        let value = line.trim_ascii_end();
        if !value.is_empty() && !sender.send(None, value, None)? {
            break;
        }
    }
    Ok(sender.finish())
}
