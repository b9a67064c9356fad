//! Postgres: connections, the schema of a pipeline, all statements, and errors with their fixes.
//!
//! Long statements are files in `crates/store/sql`; short ones are in the functions that execute them.

mod cancel;
mod claimed;
mod close;
mod commit;
mod connect;
mod connection;
mod deadlines;
mod definitions;
mod error;
mod expiry;
mod explain;
mod groups;
mod guard;
mod handshake;
mod hold;
mod identity;
mod last_records;
mod letters;
mod lock;
mod log_in;
mod migrate;
mod money;
mod months;
mod packs;
pub mod progress;
pub mod provision;
mod retention;
mod rows;
mod session;
mod socket;
mod store;
mod time;
mod tls;
mod url;
mod url_error;

pub use claimed::{Claimed, last_record};
pub use close::{CloseStep, Closed};
pub use commit::{Commit, Idle, Outcome};
pub use connection::DatabaseConnection;
pub use deadlines::Deadlines;
pub use error::DatabaseError;
pub use expiry::Expired;
pub use hold::{Hold, HoldReason, WatermarkFacts};
pub use log_in::LogIns;
pub use months::MonthDrop;
pub use rows::{RetailRow, RowKey};
pub use session::{Parameters, Rows, Session, Transaction, TransactionMode};
pub use store::Store;
pub use time::clock;
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{ToSql, Type};
pub use url::{DatabaseUrl, SslMode, channel_binding};
pub use url_error::UrlError;
