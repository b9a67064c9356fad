//! The brokers of the cluster, and the operations that they allow.

use std::ffi::{CStr, CString};
use std::slice;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka_sys as sys;

use super::{Owned, request};
use crate::rights::{Allowed, Operation, Rights};

/// A broker, as it is advertised to clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Requests the brokers with the addresses of the listener that was asked.
pub(crate) fn brokers<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Vec<Broker>, RdKafkaError> {
    let client = client.native_ptr();
    // SAFETY: the event with its nodes lives until the end of the block, and the hosts are copied.
    unsafe {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let event = request(client, operation, timeout, give_up, |options, queue| {
            sys::rd_kafka_DescribeCluster(client, options, queue);
        })?;
        let result = sys::rd_kafka_event_DescribeCluster_result(event.pointer);
        let mut count = 0;
        let nodes = sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut count);
        let nodes = if count == 0 { &[] } else { slice::from_raw_parts(nodes, count) };
        let broker = |node: &*const sys::rd_kafka_Node_t| Broker {
            id: sys::rd_kafka_Node_id(*node),
            host: CStr::from_ptr(sys::rd_kafka_Node_host(*node)).to_string_lossy().into_owned(),
            port: sys::rd_kafka_Node_port(*node),
        };
        Ok(nodes.iter().map(broker).collect())
    }
}

/// Requests the allowed operations on a topic and on a consumer group, which need not exist.
pub(crate) fn rights<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    group: &str,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Rights, RdKafkaError> {
    Ok(Rights {
        cluster: of_cluster(client, timeout, &give_up)?,
        topic: of_topic(client, topic, timeout, &give_up)?,
        group: of_group(client, group, timeout, &give_up)?,
    })
}

fn of_cluster<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Allowed, RdKafkaError> {
    let client = client.native_ptr();
    // SAFETY: the event with its data lives until the end of the block.
    unsafe {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let event = request(client, operation, timeout, give_up, |options, queue| {
            include_operations(options);
            sys::rd_kafka_DescribeCluster(client, options, queue);
        })?;
        let result = sys::rd_kafka_event_DescribeCluster_result(event.pointer);
        let mut count = 0;
        let operations = sys::rd_kafka_DescribeCluster_result_authorized_operations(result, &raw mut count);
        Ok(allowed(operations, count))
    }
}

fn of_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Allowed, RdKafkaError> {
    let name = CString::new(topic)?;
    let mut names = [name.as_ptr()];
    let client = client.native_ptr();
    // SAFETY: as in describe_topic.
    unsafe {
        let topics = Owned::new(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let event = request(client, operation, timeout, give_up, |options, queue| {
            include_operations(options);
            sys::rd_kafka_DescribeTopics(client, topics.pointer, options, queue);
        })?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.pointer);
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let described = *slice::from_raw_parts(described, count).first().ok_or(RdKafkaError::Canceled)?;
        match sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(described)).into() {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::TopicAuthorizationFailed => return Ok(Allowed::Only(Vec::new())),
            _ => return Ok(Allowed::Unknown),
        }
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(described, &raw mut count);
        Ok(allowed(operations, count))
    }
}

fn of_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
    give_up: impl Fn() -> bool,
) -> Result<Allowed, RdKafkaError> {
    let name = CString::new(group)?;
    let mut names = [name.as_ptr()];
    let client = client.native_ptr();
    // SAFETY: librdkafka copies the names, which live until the end of this function; the event with its data lives until the end of
    // the block.
    unsafe {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let event = request(client, operation, timeout, give_up, |options, queue| {
            include_operations(options);
            sys::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), names.len(), options, queue);
        })?;
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.pointer);
        let mut count = 0;
        let described = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        let described = *slice::from_raw_parts(described, count).first().ok_or(RdKafkaError::Canceled)?;
        match sys::rd_kafka_error_code(sys::rd_kafka_ConsumerGroupDescription_error(described)).into() {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::GroupAuthorizationFailed => return Ok(Allowed::Only(Vec::new())),
            // Brokers since version 4.0 list nothing for a group that does not exist.
            _ => return Ok(Allowed::Unknown),
        }
        let mut count = 0;
        let operations = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(described, &raw mut count);
        Ok(allowed(operations, count))
    }
}

/// # Safety
///
/// `options` must be valid, and of a request that has this option.
unsafe fn include_operations(options: *mut sys::rd_kafka_AdminOptions_t) {
    // SAFETY: by the contract. These requests have the option, so that no error is returned that must be freed.
    unsafe {
        let error = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        assert!(error.is_null(), "the request has the option");
    }
}

/// # Safety
///
/// `operations` must be null, or point to `count` operations.
unsafe fn allowed(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> Allowed {
    if operations.is_null() {
        return Allowed::Unknown;
    }
    // SAFETY: by the contract.
    let operations = unsafe { slice::from_raw_parts(operations, count) };
    use sys::rd_kafka_AclOperation_t as Sys;
    Allowed::Only(
        operations
            .iter()
            .filter_map(|operation| match operation {
                Sys::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
                Sys::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Operation::DescribeConfigs),
                Sys::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
                Sys::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
                Sys::RD_KAFKA_ACL_OPERATION_CREATE => Some(Operation::Create),
                Sys::RD_KAFKA_ACL_OPERATION_ALTER => Some(Operation::Alter),
                Sys::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS => Some(Operation::AlterConfigs),
                _ => None,
            })
            .collect(),
    )
}
