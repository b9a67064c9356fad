//! Everything outside the API server: Kafka, Postgres, the schema registry, and the Secrets and addresses to reach them.

pub(crate) mod address;
pub mod client_pool;
pub(crate) mod credentials;
pub(crate) mod guarded;
pub(crate) mod inquiry;
pub mod live;
mod network;
pub mod registry_checks;
pub(crate) mod secrets;
pub(crate) mod server_health;
pub mod systems;
