//! Everything outside the API server: Kafka, Postgres, and the Secrets and addresses to reach them.

pub(crate) mod address;
pub mod client_pool;
pub(crate) mod credentials;
pub mod live;
pub(crate) mod secrets;
pub mod systems;
