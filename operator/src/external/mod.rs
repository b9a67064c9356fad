//! Everything outside the API server: Kafka, Postgres, and the Secrets and addresses to reach them.

pub mod address;
pub mod client_pool;
pub mod credentials;
pub mod live;
pub mod secrets;
pub mod systems;
