//! What the harness and whatever it measures agree on: where the purchases are, and where the result goes.
//!
//! A contender is started cold with these variables. It reads the topic from the beginning to the end that it has at the
//! start, leaves its result in a table, and exits with 0.
//!
//! ```text
//! BENCH_BOOTSTRAP_SERVERS  host:port            BENCH_DATABASE_URL  postgres://user@127.0.0.1:port/database, no password
//! BENCH_TOPIC              its name             BENCH_SCHEMA        has the table result, which is empty
//! BENCH_PARTITIONS         how many             BENCH_WORK          an empty directory
//! BENCH_EVENTS             how many it holds    BENCH_RUN           a word that no other run has
//! ```
//!
//! A peer is a directory under `bench/peers` with the programs `install` (fetches what it needs, once), `run`, and, where
//! it can write to topics only, `collect`: it is not measured, and puts the last value of each key of topic
//! `BENCH_TOPIC-BENCH_RUN` into `result`, and the time of the first into `first_row`.

use clap::Args;

/// The table that contenders write.
pub(crate) const RESULT: &str = "
    CREATE TABLE result (window_start timestamptz NOT NULL, category text NOT NULL, payment_method text NOT NULL,
                         total_quantity bigint, total_amount numeric, PRIMARY KEY (window_start, category, payment_method));
    CREATE TABLE first_row (at timestamptz NOT NULL);";

/// Where the purchases are.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    /// The brokers, as host:port
    #[arg(long, env = "BENCH_BOOTSTRAP_SERVERS")]
    pub(crate) bootstrap_servers: String,

    /// The topic
    #[arg(long, env = "BENCH_TOPIC")]
    pub(crate) topic: String,

    /// How many partitions it has
    #[arg(long, env = "BENCH_PARTITIONS")]
    pub(crate) partitions: i32,
}

/// Where the result goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Destination {
    /// The database
    #[arg(long, env = "BENCH_DATABASE_URL")]
    pub(crate) database_url: String,

    /// The schema
    #[arg(long, env = "BENCH_SCHEMA")]
    pub(crate) schema: String,

    /// A word that no other run has
    #[arg(long, env = "BENCH_RUN")]
    pub(crate) run: String,
}
