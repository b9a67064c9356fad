//! The operations that the ACLs of the brokers allow a user, as the brokers list them.

use std::fmt;

/// An operation of an ACL that our programs need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// See a topic or a group.
    Describe,
    /// See the settings of a topic.
    DescribeConfigs,
    /// Read records, or join a group.
    Read,
    /// Send records.
    Write,
    /// Create topics.
    Create,
    /// Add partitions.
    Alter,
    /// Change the settings of a topic.
    AlterConfigs,
}

impl fmt::Display for Operation {
    /// The name in `kafka-acls.sh`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The rights of a user on the cluster, one topic and one consumer group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rights {
    /// On the cluster, for topics that do not exist.
    pub cluster: Allowed,
    /// On the topic.
    pub topic: Allowed,
    /// On the group.
    pub group: Allowed,
}

/// The allowed operations on one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// The broker lists these. Without an authorizer, it lists all.
    Only(Vec<Operation>),
    /// The broker does not list them, or the resource does not exist.
    Unknown,
}

impl Allowed {
    /// Those of the needed operations that are known to be refused.
    pub fn missing(&self, needed: &[Operation]) -> Vec<Operation> {
        match self {
            Self::Only(allowed) => needed.iter().copied().filter(|one| !allowed.contains(one)).collect(),
            Self::Unknown => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_that_no_broker_listed_are_not_missing() {
        let needed = [Operation::Describe, Operation::Read];
        assert_eq!(Allowed::Only(vec![Operation::Describe]).missing(&needed), [Operation::Read]);
        assert_eq!(Allowed::Unknown.missing(&needed), []);
    }
}
