//! `retail-operator run`: stand for election, work while leading, stop at once when that is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, Config};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controller::{self, Surroundings};
use crate::http;
use crate::leader::Candidate;
use crate::lease::Times;
use crate::metrics::Metrics;
use crate::outside::{Outside, Servers};
use crate::settings::Settings;

/// The lease that all replicas stand for.
const LEASE: &str = "retail-operator";

/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// A watch ends by itself after at most 290 seconds; one that is silent for longer has lost its server.
const SILENCE: Duration = Duration::from_secs(300);

/// What was typed.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Image of the producer and processor pods
    #[arg(long, env = "RETAIL_IMAGE")]
    image: String,

    /// Watch the pipelines of this namespace only; all namespaces if left out
    #[arg(long, env = "RETAIL_WATCH_NAMESPACE")]
    watch_namespace: Option<String>,

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
    let RunArgs { image, watch_namespace, namespace, identity, http } = args;
    let identity = unique(&identity);
    let config = Config::infer().await.map_err(RunError::Config)?;
    let client = |read_timeout, retry| {
        let mut config = config.clone();
        config.read_timeout = Some(read_timeout);
        config.default_retry = retry;
        Client::try_from(config).map_err(RunError::Client)
    };
    let times = Times::default();
    let leases = client(times.retry * 2, false)?;
    let namespace = namespace.unwrap_or_else(|| leases.default_namespace().to_owned());
    let candidate = Candidate::new(Api::namespaced(leases, &namespace), LEASE, &identity, times, Timestamp::now);
    let metrics = Arc::new(Metrics::default());
    metrics.answered(Some("not asked yet".to_owned()));
    let surroundings = Surroundings {
        client: client(ANSWER, false)?,
        watching: client(SILENCE, false)?,
        namespace: watch_namespace,
        identity,
        outside: Servers::default(),
        settings: Settings { image },
        metrics: Arc::clone(&metrics),
        now: Timestamp::now,
    };
    let Some(address) = http else { return lead(candidate, surroundings, stop).await };
    let failed = |error| RunError::Http(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tokio::select! {
        result = lead(candidate, surroundings, stop) => result,
        result = http::serve(listener, metrics) => Err(result.map_or_else(failed, |()| RunError::Ended)),
    }
}

/// A container that is started again has the name of the one before, and must not take itself for it.
fn unique(name: &str) -> String {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).expect("the system has random bytes");
    format!("{name}_{:08x}", u32::from_be_bytes(bytes))
}

/// Works while it leads. Told to stop, it finishes what is under way and gives up the lease.
pub async fn lead<O: Outside>(
    mut candidate: Candidate,
    surroundings: Surroundings<O>,
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // Nobody left who could tell us is the same.
        let _told = stop.wait_for(|stop| *stop).await;
    };
    let metrics = Arc::clone(&surroundings.metrics);
    tokio::select! {
        () = candidate.win(|no_answer| metrics.answered(no_answer)) => {}
        () = stopped(stop.clone()) => return Ok(()),
    }
    tracing::info!("this replica leads");
    metrics.leads(true);
    let result = tokio::select! {
        () = controller::run(surroundings, stopped(stop.clone())) => {
            if *stop.borrow() { Ok(()) } else { Err(RunError::Ended) }
        }
        () = candidate.keep() => Err(RunError::LeaseLost),
    };
    metrics.leads(false);
    if result.is_ok() {
        candidate.resign().await;
    }
    result
}
