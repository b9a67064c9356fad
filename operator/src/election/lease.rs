//! Who leads: the deciding half of leader election, by client-go's protocol.
//!
//! Nobody's wall clock is trusted. A lease has expired when its resource version has not changed for its whole duration on
//! our own monotonic clock. Every write names the resource version that was read, so of two that take a lease one wins.
//! Who leads stops by himself before his lease can have expired for anybody: the deadline is shorter than the lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// The times of an election, as client-go has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseTimes {
    /// How long others wait before they take a lease that is not renewed.
    pub lease: Duration,
    /// How long after its last renewal a leader that cannot renew goes on.
    pub deadline: Duration,
    /// How often it is tried.
    pub retry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), deadline: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// What to do about the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// There is none: make it.
    Create,
    /// It is nobody's, or has expired: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// It is somebody else's.
    Wait,
}

/// The lease as it was seen, and since when it has been like that.
#[derive(Clone, Debug)]
pub struct LeaseObserver {
    version: Option<String>,
    since: Instant,
}

impl LeaseObserver {
    /// Nothing was seen yet.
    pub fn new(now: Instant) -> Self {
        Self { version: None, since: now }
    }

    /// Looks at the lease and decides. `own` is how long a lease of ours is, for one that does not say.
    pub fn decide(&mut self, lease: Option<&Lease>, me: &str, own: Duration, now: Instant) -> Decision {
        let Some(lease) = lease else { return Decision::Create };
        if self.version != lease.metadata.resource_version {
            self.version.clone_from(&lease.metadata.resource_version);
            self.since = now;
        }
        let spec = lease.spec.as_ref();
        match spec.and_then(|spec| spec.holder_identity.as_deref()) {
            None | Some("") => Decision::Take,
            Some(holder) if holder == me => Decision::Renew,
            Some(_) => {
                let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
                let duration =
                    seconds.map_or(own, |seconds| Duration::from_secs(u64::from(seconds.max(1).unsigned_abs())));
                if now.duration_since(self.since) >= duration { Decision::Take } else { Decision::Wait }
            }
        }
    }
}

/// The lease as it is written when it is made, taken or renewed.
pub fn held(current: Option<Lease>, name: &str, me: &str, own: Duration, now: Timestamp) -> Lease {
    let mut lease = current.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(me) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |transitions| transitions.saturating_add(1)));
    }
    spec.holder_identity = Some(me.to_owned());
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(i32::try_from(own.as_secs()).unwrap_or(i32::MAX));
    lease
}

/// The lease as its holder leaves it, so that the next one need not wait.
pub fn released(mut lease: Lease) -> Lease {
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = held(None, "x", holder, LEASE, Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn a_lease_expires_by_not_changing_whatever_its_times_say() {
        let start = Instant::now();
        let mut watcher = LeaseObserver::new(start);
        let mut decide =
            |lease: &Lease, seconds| watcher.decide(Some(lease), "me", LEASE, start + Duration::from_secs(seconds));
        // Its renew time is 1970, and that means nothing.
        assert_eq!(decide(&lease("other", "1"), 0), Decision::Wait);
        assert_eq!(decide(&lease("other", "1"), 14), Decision::Wait);
        assert_eq!(decide(&lease("other", "2"), 15), Decision::Wait);
        assert_eq!(decide(&lease("other", "2"), 29), Decision::Wait);
        assert_eq!(decide(&lease("other", "2"), 30), Decision::Take);
        assert_eq!(decide(&lease("me", "3"), 31), Decision::Renew);
        assert_eq!(decide(&released(lease("other", "4")), 32), Decision::Take);
        assert_eq!(watcher.decide(None, "me", LEASE, start), Decision::Create);
    }

    #[test]
    fn taking_is_counted_and_renewing_is_not() {
        let first = held(None, "x", "a", LEASE, Timestamp::UNIX_EPOCH);
        let renewed = held(Some(first.clone()), "x", "a", LEASE, Timestamp::from_second(5).unwrap());
        let taken = held(Some(renewed.clone()), "x", "b", LEASE, Timestamp::from_second(9).unwrap());
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        assert_eq!([&first, &renewed, &taken].map(transitions), [Some(0), Some(0), Some(1)]);
        assert_eq!(renewed.spec.unwrap().acquire_time, first.spec.unwrap().acquire_time);
    }

    #[test]
    fn a_leader_stops_before_others_can_take_over() {
        let LeaseTimes { lease, deadline, retry } = LeaseTimes::default();
        assert!(deadline + retry < lease);
    }
}
