//! Postgres: connections, the schema of a pipeline, all statements, and errors with their fixes.
//!
//! Long statements are files in `crates/store/sql`; short ones are in the functions that execute them.

mod connection;
mod definitions;
mod deltas;
mod error;
mod explain;
mod handshake;
mod identity;
mod lock;
mod migrate;
mod money;
pub mod progress;
pub mod provision;
mod session;
mod store;
mod time;
mod tls;

pub use connection::DatabaseConnection;
pub use error::DatabaseError;
pub use session::{Parameters, Rows, Session, Transaction, TransactionMode};
pub use store::{Claimed, Closed, Commit, DELTA_LOG_FROM, Idle, Outcome, RetailRow, RowKey, Store};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{ToSql, Type};
