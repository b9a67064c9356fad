//! The interface between the harness and a measured system: the topic to read, and the table for the result.
//!
//! The harness starts a new process with these variables. The process reads the topic from its beginning to the end it had
//! at the start, writes its result into the table `result`, and exits with 0.
//!
//! ```text
//! BENCH_BOOTSTRAP_SERVERS  host:port            BENCH_DATABASE_URL  postgres://user@127.0.0.1:port/database, no password
//! BENCH_TOPIC              name of the topic    BENCH_SCHEMA        schema with the empty table result
//! BENCH_PARTITIONS         number of them       BENCH_WORK          an empty directory
//! BENCH_EVENTS             records in the topic BENCH_RUN           a unique word for each run
//! ```
//!
//! A peer is a directory under `bench/peers` with the programs `install` (downloads and compiles, once), `run`, and, for
//! systems that only write to topics, `collect`. `collect` is not measured. It copies the last value of each key of the
//! topic `BENCH_TOPIC-BENCH_RUN` into `result`, and the time of the first record into `first_row`.

use clap::Args;

/// The tables for the result.
pub(crate) const RESULT: &str = "
    CREATE TABLE result (window_start timestamptz NOT NULL, category text NOT NULL, payment_method text NOT NULL,
                         total_quantity bigint, total_amount numeric, PRIMARY KEY (window_start, category, payment_method));
    CREATE TABLE first_row (at timestamptz NOT NULL);";

/// The topic to read.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    /// Kafka bootstrap servers, as host:port
    #[arg(long, env = "BENCH_BOOTSTRAP_SERVERS")]
    pub(crate) bootstrap_servers: String,

    /// Name of the topic
    #[arg(long, env = "BENCH_TOPIC")]
    pub(crate) topic: String,

    /// Partitions of the topic
    #[arg(long, env = "BENCH_PARTITIONS")]
    pub(crate) partitions: i32,
}

/// The destination of the result.
#[derive(Args, Clone, Debug)]
pub(crate) struct Destination {
    /// URL of the database
    #[arg(long, env = "BENCH_DATABASE_URL")]
    pub(crate) database_url: String,

    /// Schema with the table `result`
    #[arg(long, env = "BENCH_SCHEMA")]
    pub(crate) schema: String,

    /// Unique word for this run
    #[arg(long, env = "BENCH_RUN")]
    pub(crate) run: String,
}
