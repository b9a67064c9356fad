//! The processor's own flags.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use retail_api::duration;

/// Kafka's own default is 45 seconds; shorter, so that the partitions of a killed worker move soon.
const SESSION_TIMEOUT: &str = "10s";

/// The flags as given on the command line.
#[derive(Args, Clone, Debug)]
pub struct ProcessorArgs {
    /// Number of worker threads, each with its own consumer and Postgres connection [default: one per core]
    #[arg(long, value_name = "N", env = "RETAIL_WORKERS")]
    workers: Option<NonZeroUsize>,

    /// Bind each worker and its consumer to one core; faster on cores without other load
    #[arg(long, env = "RETAIL_PIN")]
    pin: bool,

    /// Address for /livez, /readyz and /metrics, for example 0.0.0.0:8080 [default: not served]
    #[arg(long, value_name = "ADDR", env = "RETAIL_HTTP")]
    http: Option<SocketAddr>,

    /// Consumer session timeout, 1s to 1h and within the limits of the brokers
    #[arg(long, value_name = "DURATION", default_value = SESSION_TIMEOUT, env = "RETAIL_SESSION_TIMEOUT", value_parser = read_session_timeout)]
    session_timeout: Duration,
}

/// The flags with their defaults filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Number of workers.
    pub(crate) workers: usize,
    /// Whether each worker is bound to a core.
    pub(crate) pin: bool,
    /// Address for /livez, /readyz and /metrics.
    pub(crate) http: Option<SocketAddr>,
    /// The consumers' session timeout.
    pub(crate) session_timeout: Duration,
}

/// Kafka's client library refuses longer ones; shorter ones end with each pause of a broker.
fn read_session_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::read(text)?;
    let allowed = Duration::from_secs(1)..=Duration::from_hours(1);
    if allowed.contains(&timeout) { Ok(timeout) } else { Err("the session timeout must be 1s to 1h".to_owned()) }
}

impl ProcessorArgs {
    /// Fills in the defaults.
    pub(crate) fn options(&self) -> Options {
        let Self { workers, pin, http, session_timeout } = *self;
        // Takes cgroup limits into account: a pod limited to one core on a machine of 64 starts one worker.
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = workers.map_or_else(cores, NonZeroUsize::get);
        Options { workers, pin, http, session_timeout }
    }
}
