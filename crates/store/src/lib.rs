//! Postgres: connections, the schema of a pipeline, all statements, and errors with their fixes.
//!
//! Long statements are files in `crates/store/sql`; short ones are in the functions that execute them.

mod close;
mod connection;
mod error;
mod explain;
mod groups;
mod handshake;
mod letters;
mod money;
mod packs;
pub mod progress;
pub mod provision;
mod session;
mod store;
mod time;
mod tls;

pub use close::{CloseStep, Closed};
pub use connection::DatabaseConnection;
pub use error::DatabaseError;
pub use session::{Parameters, Rows, Session, Transaction, TransactionMode};
pub use store::{Claimed, Commit, Idle, Outcome, RetailRow, RowKey, Store};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{ToSql, Type};
