//! Requests of leader election: reads and writes the lease as [`lease`](crate::election::lease) decides.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, timeout};

use crate::election::lease::{Decision, LeaseObserver, LeaseTimes, held, released, scope};

/// One replica in the election for a lease.
pub struct LeaderElector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    watcher: LeaseObserver,
    now: fn() -> Timestamp,
    /// What the replicas of the lease work on.
    scope: String,
    is_warned: bool,
}

/// The outcome of one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attempt {
    /// This replica holds the lease.
    Leading,
    /// Another replica holds the lease.
    Following,
}

impl LeaderElector {
    /// An elector for the lease `name`. Requests of the client must end within the retry interval, without retries of their own.
    pub fn new(leases: Api<Lease>, name: &str, identity: &str, times: LeaseTimes, now: fn() -> Timestamp) -> Self {
        let (name, identity) = (name.to_owned(), identity.to_owned());
        let watcher = LeaseObserver::new(Instant::now());
        Self { leases, name, identity, times, watcher, now, scope: String::new(), is_warned: false }
    }

    /// An elector that warns of a holder that works on something else: two installations share the lease then, and one of them does
    /// nothing.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        scope.clone_into(&mut self.scope);
        self
    }

    /// Returns when this replica holds the lease. Each attempt is passed to `report`: `None` after an answer of the API server,
    /// otherwise the error.
    pub async fn acquire(&mut self, report: impl Fn(Option<String>)) {
        let mut last_error = String::new();
        loop {
            let error = match timeout(self.times.deadline, self.attempt()).await {
                Ok(Ok(result)) => {
                    report(None);
                    if result == Attempt::Leading {
                        return;
                    }
                    String::new()
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            // One warning per error, not one per attempt.
            if !error.is_empty() {
                report(Some(error.clone()));
                if error != last_error {
                    tracing::warn!("cannot acquire the lease: {error}");
                }
            }
            last_error = error;
            sleep(self.times.retry).await;
        }
    }

    /// Renews the lease. Returns when it is lost or not renewed by the deadline; the caller must then stop at once.
    pub async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.times.retry).await;
            let left = self.times.deadline.saturating_sub(renewed.elapsed());
            if left == Duration::ZERO {
                return;
            }
            // Other replicas may count the lease from any time after this request.
            let asked = Instant::now();
            match timeout(left, self.attempt()).await {
                Ok(Ok(Attempt::Leading)) => renewed = asked,
                Ok(Ok(Attempt::Following)) => return,
                Ok(Err(error)) => tracing::warn!("cannot renew the lease: {error}"),
                Err(_) => return,
            }
        }
    }

    /// Releases the lease. If this fails, the next replica waits until it expires.
    pub async fn release(&self) {
        let release = async {
            let lease = self.leases.get(&self.name).await?;
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            if holder != Some(&self.identity) {
                return Ok(());
            }
            self.leases.replace(&self.name, &PostParams::default(), &released(lease)).await.map(drop)
        };
        let result: Result<Result<(), kube::Error>, _> = timeout(self.times.retry, release).await;
        if let Ok(Err(error)) = result {
            tracing::warn!("cannot release the lease: {error}");
        }
    }

    fn warn_of_other_scope(&mut self, lease: Option<&Lease>) {
        let Some(other) = lease.and_then(scope).filter(|other| *other != self.scope) else { return };
        if !self.is_warned {
            let (name, ours) = (&self.name, &self.scope);
            tracing::warn!(
                "lease {name} is held by an operator that watches \"{other}\", and this one watches \"{ours}\" (empty: all \
                 namespaces): after an upgrade, this one takes over soon; two installations need different classes or namespaces"
            );
        }
        self.is_warned = true;
    }

    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let current = self.leases.get_opt(&self.name).await?;
        let decision = self.watcher.decide(current.as_ref(), &self.identity, self.times.lease, Instant::now());
        let lease = |current| held(current, &self.name, &self.identity, &self.scope, self.times.lease, (self.now)());
        let written = match decision {
            Decision::Wait => {
                self.warn_of_other_scope(current.as_ref());
                return Ok(Attempt::Following);
            }
            Decision::Create => self.leases.create(&PostParams::default(), &lease(None)).await,
            Decision::Take | Decision::Renew => {
                self.leases.replace(&self.name, &PostParams::default(), &lease(current)).await
            }
        };
        match written {
            Ok(_) => Ok(Attempt::Leading),
            // Another write came first. The next attempt shows the holder.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Attempt::Following)
            }
            Err(error) => Err(error),
        }
    }
}
