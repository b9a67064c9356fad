//! Leader election: of several replicas, one acts.

pub mod leader_elector;
pub mod lease;
