//! The processor's own flags.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use retail_store::DELTA_LOG_FROM;

/// After how long without a sign of life Kafka gives a worker's partitions to others.
const SESSION_TIMEOUT: &str = "10s";

/// What was typed.
#[derive(Args, Clone, Debug)]
pub struct ProcessorArgs {
    /// Threads with a consumer and a Postgres connection each [default: one per core]
    #[arg(long, value_name = "N", env = "RETAIL_WORKERS")]
    pub workers: Option<NonZeroUsize>,

    /// Keep each worker, with its consumer, on a core of its own: faster for those who have their cores to themselves
    #[arg(long, env = "RETAIL_PIN")]
    pub pin: bool,

    /// Serve /livez, /readyz and /metrics at this address, 0.0.0.0:8080 for example; off if left out
    #[arg(long, value_name = "ADDR", env = "RETAIL_HTTP")]
    pub http: Option<SocketAddr>,

    /// After how long without a sign of life Kafka gives a worker's partitions to others; at least what the brokers allow
    #[arg(long, value_name = "DURATION", default_value = SESSION_TIMEOUT, env = "RETAIL_SESSION_TIMEOUT", value_parser = retail_api::duration::read)]
    pub session_timeout: Duration,

    /// From how many changed groups of a window on they are appended to the delta log; tests set it low
    #[arg(long, value_name = "GROUPS", default_value_t = DELTA_LOG_FROM, env = "RETAIL_DELTA_LOG_FROM", hide = true)]
    pub delta_log_from: usize,
}

/// What it means.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of workers.
    pub workers: usize,
    /// Whether each of them stays on a core.
    pub pin: bool,
    /// Where /livez, /readyz and /metrics are served.
    pub http: Option<SocketAddr>,
    /// End once what was in the topic at the start is committed.
    pub until_caught_up: bool,
    /// Kafka's session timeout.
    pub session_timeout: Duration,
    /// From how many changed groups of a window on they are appended to the delta log.
    pub delta_log_from: usize,
}

impl ProcessorArgs {
    /// Fills in what was left out.
    pub fn options(&self, until_caught_up: bool) -> Options {
        let Self { workers, pin, http, session_timeout, delta_log_from } = *self;
        // Knows of cgroup limits: a pod of one core on a machine of sixty gets one worker.
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = workers.map_or_else(cores, NonZeroUsize::get);
        Options { workers, pin, http, until_caught_up, session_timeout, delta_log_from }
    }
}
