//! Leader election: the doing half. Asks for the lease and writes it, as [`lease`](crate::election::lease) decides.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, timeout};

use crate::election::lease::{Decision, LeaseObserver, LeaseTimes, held, released};

/// One that stands for election.
pub struct LeaderElector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    watcher: LeaseObserver,
    now: fn() -> Timestamp,
}

/// What one try came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attempt {
    /// We lead.
    Leading,
    /// Somebody else does.
    Following,
}

impl LeaderElector {
    /// Stands for the lease `name`. The client should answer or fail within the retry time, and not try again by itself.
    pub fn new(leases: Api<Lease>, name: &str, identity: &str, times: LeaseTimes, now: fn() -> Timestamp) -> Self {
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Self { leases, name, identity, times, watcher: LeaseObserver::new(Instant::now()), now }
    }

    /// Returns once we lead. Each try is told to `answered`: nothing if the API server answered, or why not.
    pub async fn acquire(&mut self, answered: impl Fn(Option<String>)) {
        let mut last_error = String::new();
        loop {
            let error = match timeout(self.times.deadline, self.attempt()).await {
                Ok(Ok(result)) => {
                    answered(None);
                    if result == Attempt::Leading {
                        return;
                    }
                    String::new()
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            // Once for each error, and not every two seconds.
            if !error.is_empty() {
                answered(Some(error.clone()));
                if error != last_error {
                    tracing::warn!("cannot stand for election: {error}");
                }
            }
            last_error = error;
            sleep(self.times.retry).await;
        }
    }

    /// Renews the lease until it is lost, or cannot be renewed in time. Whoever calls it must then stop at once.
    pub async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.times.retry).await;
            let left = self.times.deadline.saturating_sub(renewed.elapsed());
            if left == Duration::ZERO {
                return;
            }
            // The lease counts from before it was asked for.
            let asked = Instant::now();
            match timeout(left, self.attempt()).await {
                Ok(Ok(Attempt::Leading)) => renewed = asked,
                Ok(Ok(Attempt::Following)) => return,
                Ok(Err(error)) => tracing::warn!("cannot renew the lease: {error}"),
                Err(_) => return,
            }
        }
    }

    /// Leaves the lease to the next one. That it fails costs the next one a wait.
    pub async fn release(&self) {
        let give_up = async {
            let lease = self.leases.get(&self.name).await?;
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            if holder != Some(&self.identity) {
                return Ok(());
            }
            self.leases.replace(&self.name, &PostParams::default(), &released(lease)).await.map(drop)
        };
        let result: Result<Result<(), kube::Error>, _> = timeout(self.times.retry, give_up).await;
        if let Ok(Err(error)) = result {
            tracing::warn!("cannot give up the lease: {error}");
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let current = self.leases.get_opt(&self.name).await?;
        let decision = self.watcher.decide(current.as_ref(), &self.identity, self.times.lease, Instant::now());
        let lease = |current| held(current, &self.name, &self.identity, self.times.lease, (self.now)());
        let written = match decision {
            Decision::Wait => return Ok(Attempt::Following),
            Decision::Create => self.leases.create(&PostParams::default(), &lease(None)).await,
            Decision::Take | Decision::Renew => {
                self.leases.replace(&self.name, &PostParams::default(), &lease(current)).await
            }
        };
        match written {
            Ok(_) => Ok(Attempt::Leading),
            // Somebody was faster. If we led, the next try tells whether we still do.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Attempt::Following)
            }
            Err(error) => Err(error),
        }
    }
}
