//! `retail-operator run`: acquires the lease, works while it is the leader, and stops at once when it loses the lease.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, Config};
use retail_runtime::http;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use crate::api_client::{ANSWER_TIMEOUT, WATCH_TIMEOUT};
use crate::election::leader_elector::LeaderElector;
use crate::election::lease::LeaseTimes;
use crate::external::live::LiveSystems;
use crate::external::systems::ExternalSystems;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::tenants::Tenants;
use crate::watch::controller::{self, Context};
use crate::watch::readiness::Readiness;

/// Name of the lease.
const LEASE: &str = "retail-operator";

/// Arguments of `retail-operator run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Image of the producer and processor pods
    #[arg(long, env = "RETAIL_IMAGE")]
    image: String,

    /// Namespaces to watch, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", env = "RETAIL_WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace_name)]
    watch_namespaces: Vec<String>,

    /// Run only pipelines whose spec.operatorClass has this value [default: those without a class]
    #[arg(long, value_name = "NAME", env = "RETAIL_OPERATOR_CLASS", value_parser = class_name)]
    operator_class: Option<String>,

    /// Servers and Postgres roles that the pipelines of a namespace may name, as a JSON list [default: all]
    #[arg(long, value_name = "JSON", env = "RETAIL_TENANTS", default_value = "[]", hide_default_value = true)]
    tenants: Tenants,

    /// Namespace of the lease [default: the namespace of the pod or of the kubeconfig]
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,

    /// Name of this replica in the lease and in events
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "retail-operator")]
    identity: String,

    /// Address for /livez, /readyz and /metrics [default: none]
    #[arg(long, value_name = "ADDR", env = "RETAIL_HTTP")]
    http: Option<SocketAddr>,
}

/// Why the operator ended without a request to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No configuration of a cluster was found.
    #[error("cannot find a cluster: {0}; set KUBECONFIG, or run in a pod")]
    Config(#[source] kube::config::InferConfigError),
    /// The configuration of the cluster is invalid.
    #[error("cannot connect to the cluster: {0}")]
    Client(#[source] kube::Error),
    /// The HTTP server cannot listen on the address.
    #[error("cannot serve at {0}: {1}")]
    Http(SocketAddr, #[source] std::io::Error),
    /// Another replica may be the leader. The process ends together with its running requests to Kafka and Postgres.
    #[error("lost the lease: another replica may be the leader")]
    LeaseLost,
    /// A bug: watches have no end.
    #[error("the watches ended unexpectedly")]
    Ended,
}

/// Runs the operator until `stop` is true.
pub async fn run(args: RunArgs, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let RunArgs { image, watch_namespaces, operator_class, tenants, namespace, identity, http } = args;
    let identity = unique(&identity);
    let config = Config::infer().await.map_err(RunError::Config)?;
    let client = |read_timeout, retry| {
        let mut config = config.clone();
        config.read_timeout = Some(read_timeout);
        config.default_retry = retry;
        Client::try_from(config).map_err(RunError::Client)
    };
    let times = LeaseTimes::default();
    let leases = client(times.retry * 2, false)?;
    let namespace = namespace.unwrap_or_else(|| leases.default_namespace().to_owned());
    // Operators of two classes in one namespace lead at the same time.
    let lease = operator_class.as_ref().map_or(LEASE.to_owned(), |class| format!("{LEASE}-{class}"));
    let elector = LeaderElector::new(Api::namespaced(leases, &namespace), &lease, &identity, times, Timestamp::now)
        .with_scope(&watch_namespaces.join(","));
    let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
    readiness.set_lease_error(Some("no request yet".to_owned()));
    let context = Context {
        client: client(ANSWER_TIMEOUT, false)?,
        watch_client: client(WATCH_TIMEOUT, false)?,
        namespaces: watch_namespaces.into_iter().collect(),
        identity,
        external: LiveSystems::default(),
        settings: Settings { image, class: operator_class, lease: Some(format!("{namespace}/{lease}")), tenants },
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        now: Timestamp::now,
    };
    let Some(address) = http else { return lead(elector, context, stop).await };
    let server = http::serve(address, Arc::new(OperatorProbes { metrics, readiness })).await;
    let server = server.map_err(|error| RunError::Http(address, error))?;
    tokio::select! {
        result = lead(elector, context, stop) => result,
        never = server => match never {},
    }
}

/// Probes and metrics for the HTTP server.
struct OperatorProbes {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

impl http::Probes for OperatorProbes {
    fn unready(&self) -> Option<String> {
        self.readiness.unready().map(|reason| format!("waiting for {reason}"))
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Rejects invalid names; the API server would read an empty name as all namespaces.
fn namespace_name(text: &str) -> Result<String, &'static str> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_one = text.len() <= 63
        && text.starts_with(is_inner)
        && text.ends_with(is_inner)
        && text.chars().all(|c| is_inner(c) || c == '-');
    if is_one {
        Ok(text.to_owned())
    } else {
        Err("a namespace has a name of at most 63 lower-case letters, digits and '-'")
    }
}

/// Rejects names that spec.operatorClass cannot have.
fn class_name(text: &str) -> Result<String, &'static str> {
    namespace_name(text)
        .ok()
        .filter(|name| name.len() <= 40)
        .ok_or("a class has a name of at most 40 lower-case letters, digits and '-'")
}

/// Adds a random suffix: a restarted container has the name of its predecessor and must not count as the holder of its lease.
fn unique(name: &str) -> String {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).expect("the system provides random bytes");
    format!("{name}_{:08x}", u32::from_be_bytes(bytes))
}

/// Works while this replica is the leader. On `stop`, finishes running passes and releases the lease.
pub async fn lead<O: ExternalSystems>(
    mut elector: LeaderElector,
    context: Context<O>,
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // A dropped sender also means stop.
        let _stopped = stop.wait_for(|stop| *stop).await;
    };
    let (metrics, readiness) = (Arc::clone(&context.metrics), Arc::clone(&context.readiness));
    tokio::select! {
        () = elector.acquire(|error| readiness.set_lease_error(error)) => {}
        () = stopped(stop.clone()) => return Ok(()),
    }
    tracing::info!("this replica is the leader");
    metrics.set_leader(true);
    let result = tokio::select! {
        () = controller::run(context, stopped(stop.clone())) => {
            if *stop.borrow() { Ok(()) } else { Err(RunError::Ended) }
        }
        () = elector.renew() => Err(RunError::LeaseLost),
    };
    metrics.set_leader(false);
    if result.is_ok() {
        elector.release().await;
    }
    result
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn watched(arguments: &[&str]) -> Result<Vec<String>, clap::Error> {
        let command = RunArgs::augment_args(clap::Command::new("run"));
        let matches = command.try_get_matches_from([&["run", "--image", "x"], arguments].concat())?;
        Ok(RunArgs::from_arg_matches(&matches)?.watch_namespaces)
    }

    #[test]
    fn watch_namespaces_takes_lists_and_rejects_empty_names() {
        assert_eq!(watched(&[]).unwrap(), [""; 0]);
        assert_eq!(watched(&["--watch-namespaces", "shop"]).unwrap(), ["shop"]);
        let several = watched(&["--watch-namespaces", "shop,office-2", "--watch-namespaces", "attic"]);
        assert_eq!(several.unwrap(), ["shop", "office-2", "attic"]);
        for wrong in ["", "shop,", "Shop", "-shop", "shop office", "shop/office", &"x".repeat(64)] {
            let error = watched(&[&format!("--watch-namespaces={wrong}")]).unwrap_err().to_string();
            assert!(error.contains("a namespace has a name"), "{wrong}: {error}");
        }
    }
}
