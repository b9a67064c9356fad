//! The processor's own flags.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use retail_api::duration;
use retail_page::PageArgs;

use crate::id_memory;

/// Kafka's own default is 45 seconds; shorter, so that the partitions of a killed worker move soon.
const SESSION_TIMEOUT: &str = "10s";

/// Default of `--unknown-schema-after`: longer than a registry needs to copy a schema to all of its instances.
const UNKNOWN_SCHEMA_AFTER: &str = "60s";

/// The flags as given on the command line.
#[derive(Args, Clone, Debug)]
pub struct ProcessorArgs {
    /// Number of worker threads, each with its own consumer and Postgres connection, and at most one per partition [default: spec.processor.workers, or one per core]
    #[arg(long, value_name = "N", env = "RETAIL_WORKERS")]
    workers: Option<NonZeroUsize>,

    /// Bind each worker and its consumer to one core; faster on cores without other load
    #[arg(long, env = "RETAIL_PIN")]
    pin: bool,

    /// Address for /livez, /readyz and /metrics, for example 0.0.0.0:8080 [default: not served]
    #[arg(long, value_name = "ADDR", env = "RETAIL_HTTP")]
    http: Option<SocketAddr>,

    /// Address for the web page of the pipeline, for example 127.0.0.1:8081 [default: not served]
    #[arg(long, value_name = "ADDR", env = "RETAIL_UI")]
    ui: Option<SocketAddr>,

    #[command(flatten)]
    page: PageArgs,

    /// Consumer session timeout, 1s to 1h and within the limits of the brokers
    #[arg(long, value_name = "DURATION", default_value = SESSION_TIMEOUT, env = "RETAIL_SESSION_TIMEOUT", value_parser = read_session_timeout)]
    session_timeout: Duration,

    /// Name of this process in the consumer group, which no other process has: after a restart, the process takes up its partitions at once [default: none]
    #[arg(long, value_name = "NAME", env = "RETAIL_INSTANCE", value_parser = read_instance)]
    instance: Option<String>,

    /// Memory for the transaction ids of spec.deduplicate, such as 500Mi or 2Gi, in all workers together; more of them are an error [default: half of the memory limit of the container, or of the memory of the machine]
    #[arg(long, value_name = "SIZE", env = "RETAIL_ID_MEMORY", value_parser = read_size)]
    id_memory: Option<usize>,

    /// Time for which the schema registry must not know an id before its records are invalid (unknown_schema), 0s to 24h
    #[arg(long, value_name = "DURATION", default_value = UNKNOWN_SCHEMA_AFTER, env = "RETAIL_UNKNOWN_SCHEMA_AFTER", value_parser = read_unknown_after)]
    unknown_schema_after: Duration,
}

/// The flags with their defaults filled in.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Limit for the number of workers: one that has no partition does nothing.
    pub(crate) workers: usize,
    /// Whether each worker is bound to a core.
    pub(crate) pin: bool,
    /// Address for /livez, /readyz and /metrics.
    pub(crate) http: Option<SocketAddr>,
    /// Address for the web page, and its flags.
    pub(crate) ui: Option<(SocketAddr, PageArgs)>,
    /// The consumers' session timeout.
    pub(crate) session_timeout: Duration,
    /// Name of this process in the consumer group.
    pub(crate) instance: Option<String>,
    /// Limit for the memory of transaction ids, in bytes.
    pub(crate) id_memory: usize,
    /// Time for which the schema registry must not know an id before it counts as unknown.
    pub(crate) unknown_schema_after: Duration,
}

/// A size in the units of Kubernetes.
fn read_size(text: &str) -> Result<usize, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let size = units.iter().find_map(|(unit, shift)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        usize::try_from(u64::from(number) << shift).ok()
    });
    size.ok_or_else(|| "a size is a whole number with Ki, Mi or Gi, such as 500Mi".to_owned())
}

/// Kafka's client library refuses longer ones; shorter ones end with each pause of a broker.
fn read_session_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::read(text)?;
    let allowed = Duration::from_secs(1)..=Duration::from_hours(1);
    if allowed.contains(&timeout) { Ok(timeout) } else { Err("the session timeout must be 1s to 1h".to_owned()) }
}

/// Kafka accepts at most 249 of these characters in the name of a member, which ends with the number of its worker.
fn read_instance(text: &str) -> Result<String, String> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=200).contains(&text.len()) && text.bytes().all(is_valid) {
        Ok(text.to_owned())
    } else {
        Err("the name must be 1 to 200 letters, digits, '.', '_' and '-'".to_owned())
    }
}

fn read_unknown_after(text: &str) -> Result<Duration, String> {
    let after = duration::read(text)?;
    if after <= Duration::from_hours(24) { Ok(after) } else { Err("the time must be at most 24h".to_owned()) }
}

impl ProcessorArgs {
    /// The address of the web page; `None` without one.
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.ui
    }

    /// Fills in the defaults. `declared` is `spec.processor.workers`.
    pub(crate) fn options(&self, declared: Option<i32>) -> Options {
        let Self { workers, pin, http, ui, page, session_timeout, ref instance, id_memory, unknown_schema_after } =
            *self;
        let declared = declared.and_then(|workers| NonZeroUsize::new(usize::try_from(workers).ok()?));
        // Takes cgroup limits into account: a pod limited to one core on a machine of 64 starts one worker.
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = workers.or(declared).map_or_else(cores, NonZeroUsize::get);
        let id_memory = id_memory.unwrap_or_else(id_memory::default_limit);
        let ui = ui.map(|address| (address, page));
        Options { workers, pin, http, ui, session_timeout, instance: instance.clone(), id_memory, unknown_schema_after }
    }
}
