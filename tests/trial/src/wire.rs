//! Moves the leader of a partition, with the two requests of Kafka's protocol that the client library lacks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};

const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
const ELECT_LEADERS: i16 = 43;
const TIMEOUT_MS: i32 = 5000;

/// Makes `replicas[0]` the preferred replica of a partition, and has it elected. The brokers decide whether it may lead.
pub(crate) fn move_leader(broker: &str, topic: &str, partition: i32, replicas: &[i32]) -> Result<()> {
    let reassigned =
        request(broker, ALTER_PARTITION_REASSIGNMENTS, 0, true, &reassignment(topic, partition, replicas))?;
    // Throttle time, error code.
    ensure!(reassigned.get(5..7) == Some(&[0, 0]), "the brokers refuse the order of replicas: {reassigned:?}");
    request(broker, ELECT_LEADERS, 1, false, &election(topic, partition))?;
    Ok(())
}

/// Version 0: timeout, topics with partitions with replicas. Lengths of this version are one more than the number of elements.
fn reassignment(topic: &str, partition: i32, replicas: &[i32]) -> Vec<u8> {
    let mut body = TIMEOUT_MS.to_be_bytes().to_vec();
    body.push(2);
    body.push(topic.len() as u8 + 1);
    body.extend(topic.as_bytes());
    body.push(2);
    body.extend(partition.to_be_bytes());
    body.push(replicas.len() as u8 + 1);
    replicas.iter().for_each(|replica| body.extend(replica.to_be_bytes()));
    // No tagged fields of the partition, the topic and the request.
    body.extend([0, 0, 0]);
    body
}

/// Version 1: the preferred replica, topics with partitions, timeout.
fn election(topic: &str, partition: i32) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(1_i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(TIMEOUT_MS.to_be_bytes());
    body
}

/// Sends a request, and returns the answer after its header.
fn request(broker: &str, key: i16, version: i16, has_tags: bool, body: &[u8]) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    // The correlation id, and no client id.
    message.extend(1_i32.to_be_bytes());
    message.extend((-1_i16).to_be_bytes());
    message.extend(has_tags.then_some(0));
    message.extend(body);
    let mut stream = TcpStream::connect(broker)?;
    stream.set_read_timeout(Some(Duration::from_secs(8)))?;
    stream.write_all(&(message.len() as i32).to_be_bytes())?;
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = i32::from_be_bytes(length);
    ensure!((4..1 << 20).contains(&length), "an answer of {length} bytes");
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}
