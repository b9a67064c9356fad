//! `retail-operator run`: stand for election, work while leading, stop at once when that is over.

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
use crate::watch::controller::{self, Context};
use crate::watch::readiness::Readiness;

/// The lease that all replicas stand for.
const LEASE: &str = "retail-operator";

/// What was typed.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Image of the producer and processor pods
    #[arg(long, env = "RETAIL_IMAGE")]
    image: String,

    /// Watch the pipelines of these namespaces only, separated by commas; all namespaces if left out
    #[arg(long, value_name = "NAMES", env = "RETAIL_WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace_name)]
    watch_namespaces: Vec<String>,

    /// The namespace of the lease [default: the one that the pod or the kubeconfig is in]
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,

    /// Name of this replica, in the lease and in events
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "retail-operator")]
    identity: String,

    /// Serve /livez, /readyz and /metrics at this address; off if left out
    #[arg(long, value_name = "ADDR", env = "RETAIL_HTTP")]
    http: Option<SocketAddr>,
}

/// Why it ended, other than by being told.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no cluster.
    #[error("there is no cluster to talk to: {0}")]
    Config(#[source] kube::config::InferConfigError),
    /// The configuration is no use.
    #[error("cannot talk to the cluster: {0}")]
    Client(#[source] kube::Error),
    /// The address is not ours to serve at.
    #[error("cannot serve at {0}: {1}")]
    Http(SocketAddr, #[source] std::io::Error),
    /// Another replica may lead now. The process ends, and with it whatever is under way to Kafka and Postgres.
    #[error("the lease was lost")]
    LeaseLost,
    /// It never should.
    #[error("the watches ended")]
    Ended,
}

/// Runs until `stop` is set.
pub async fn run(args: RunArgs, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let RunArgs { image, watch_namespaces, namespace, identity, http } = args;
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
    let elector = LeaderElector::new(Api::namespaced(leases, &namespace), LEASE, &identity, times, Timestamp::now);
    let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
    readiness.answered(Some("not asked yet".to_owned()));
    let context = Context {
        client: client(ANSWER_TIMEOUT, false)?,
        watching: client(WATCH_TIMEOUT, false)?,
        namespaces: watch_namespaces.into_iter().collect(),
        identity,
        external: LiveSystems::default(),
        settings: Settings { image },
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        now: Timestamp::now,
    };
    let Some(address) = http else { return lead(elector, context, stop).await };
    let failed = |error| RunError::Http(address, error);
    let server = http::serve(address, Arc::new(Observed { metrics, readiness })).await.map_err(failed)?;
    tokio::select! {
        result = lead(elector, context, stop) => result,
        result = server => Err(result.map_or_else(failed, |()| RunError::Ended)),
    }
}

/// What the HTTP server shows of the operator.
struct Observed {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

impl http::Probes for Observed {
    fn unready(&self) -> Option<String> {
        self.readiness.unready().map(|missing| format!("waiting for {missing}"))
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

/// An empty name would mean all namespaces to the API server, and nobody who names some wants that.
fn namespace_name(text: &str) -> Result<String, &'static str> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_one = text.len() <= 63
        && text.starts_with(is_inner)
        && text.ends_with(is_inner)
        && text.chars().all(|c| is_inner(c) || c == '-');
    if is_one { Ok(text.to_owned()) } else { Err("a namespace's name is lower-case letters, digits and '-'") }
}

/// A container that is started again has the name of the one before, and must not take itself for it.
fn unique(name: &str) -> String {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).expect("the system has random bytes");
    format!("{name}_{:08x}", u32::from_be_bytes(bytes))
}

/// Works while it leads. Told to stop, it finishes what is under way and gives up the lease.
pub async fn lead<O: ExternalSystems>(
    mut elector: LeaderElector,
    context: Context<O>,
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // Nobody left who could tell us is the same.
        let _told = stop.wait_for(|stop| *stop).await;
    };
    let (metrics, readiness) = (Arc::clone(&context.metrics), Arc::clone(&context.readiness));
    tokio::select! {
        () = elector.acquire(|no_answer| readiness.answered(no_answer)) => {}
        () = stopped(stop.clone()) => return Ok(()),
    }
    tracing::info!("this replica leads");
    metrics.leads(true);
    let result = tokio::select! {
        () = controller::run(context, stopped(stop.clone())) => {
            if *stop.borrow() { Ok(()) } else { Err(RunError::Ended) }
        }
        () = elector.renew() => Err(RunError::LeaseLost),
    };
    metrics.leads(false);
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
    fn namespaces_are_named_once_or_several_times_and_an_empty_name_is_none() {
        assert_eq!(watched(&[]).unwrap(), [""; 0]);
        assert_eq!(watched(&["--watch-namespaces", "shop"]).unwrap(), ["shop"]);
        let several = watched(&["--watch-namespaces", "shop,office-2", "--watch-namespaces", "attic"]);
        assert_eq!(several.unwrap(), ["shop", "office-2", "attic"]);
        for wrong in ["", "shop,", "Shop", "-shop", "shop office", "shop/office", &"x".repeat(64)] {
            let error = watched(&[&format!("--watch-namespaces={wrong}")]).unwrap_err().to_string();
            assert!(error.contains("a namespace's name is"), "{wrong}: {error}");
        }
    }
}
