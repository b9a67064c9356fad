//! Decisions of leader election, by client-go's protocol. Pure.
//!
//! Wall clocks are not compared. A lease has expired when its resource version has not changed for the lease duration on the
//! local monotonic clock. Every write names the resource version that was read, so one of two concurrent writes fails.
//! A leader stops before its lease can expire for another replica: the deadline is shorter than the lease duration.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Annotation of the lease: the watched namespaces of its holder.
const SCOPE: &str = "retailpipeline.dev/watched-namespaces";

/// The durations of an election, with client-go's defaults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseTimes {
    /// Lease duration: another replica takes a lease that is not renewed for this long.
    pub lease: Duration,
    /// Renewal deadline: a leader stops this long after its last renewal.
    pub deadline: Duration,
    /// Interval between attempts.
    pub retry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), deadline: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// The next action on the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// The lease does not exist: create it.
    Create,
    /// The lease has no holder or has expired: take it.
    Take,
    /// This replica holds the lease: renew it.
    Renew,
    /// Another replica holds the lease.
    Wait,
}

/// The last observed version of the lease, and the time of its last change.
#[derive(Clone, Debug)]
pub(crate) struct LeaseObserver {
    version: Option<String>,
    since: Instant,
}

impl LeaseObserver {
    /// An observer that has not read the lease yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { version: None, since: now }
    }

    /// Decides from the lease that was read at `now`. `default_duration` applies to a lease without a duration.
    pub(crate) fn decide(
        &mut self,
        lease: Option<&Lease>,
        identity: &str,
        default_duration: Duration,
        now: Instant,
    ) -> Decision {
        let Some(lease) = lease else { return Decision::Create };
        if self.version != lease.metadata.resource_version {
            self.version.clone_from(&lease.metadata.resource_version);
            self.since = now;
        }
        let spec = lease.spec.as_ref();
        match spec.and_then(|spec| spec.holder_identity.as_deref()) {
            None | Some("") => Decision::Take,
            Some(holder) if holder == identity => Decision::Renew,
            Some(_) => {
                let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
                let duration = seconds
                    .map_or(default_duration, |seconds| Duration::from_secs(u64::from(seconds.max(1).unsigned_abs())));
                if now.duration_since(self.since) >= duration { Decision::Take } else { Decision::Wait }
            }
        }
    }
}

/// The lease to write on creation, takeover or renewal.
pub(crate) fn held(
    current: Option<Lease>,
    name: &str,
    identity: &str,
    scope: &str,
    duration: Duration,
    now: Timestamp,
) -> Lease {
    let mut lease = current.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    lease.metadata.annotations.get_or_insert_default().insert(SCOPE.to_owned(), scope.to_owned());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(identity) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |transitions| transitions.saturating_add(1)));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
    lease
}

/// What the holder of the lease works on.
pub(crate) fn scope(lease: &Lease) -> Option<&str> {
    lease.metadata.annotations.as_ref()?.get(SCOPE).map(String::as_str)
}

/// The lease to write on release: the next replica takes it without waiting.
pub(crate) fn released(mut lease: Lease) -> Lease {
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
        let mut lease = held(None, "x", holder, "", LEASE, Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn lease_expires_by_not_changing_regardless_of_its_times() {
        let start = Instant::now();
        let mut watcher = LeaseObserver::new(start);
        let mut decide =
            |lease: &Lease, seconds| watcher.decide(Some(lease), "me", LEASE, start + Duration::from_secs(seconds));
        // The renew time of 1970 is ignored.
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
    fn takeover_is_counted_as_transition_renewal_is_not() {
        let first = held(None, "x", "a", "", LEASE, Timestamp::UNIX_EPOCH);
        let renewed = held(Some(first.clone()), "x", "a", "", LEASE, Timestamp::from_second(5).unwrap());
        let taken = held(Some(renewed.clone()), "x", "b", "shop", LEASE, Timestamp::from_second(9).unwrap());
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        assert_eq!([&first, &taken].map(scope), [Some(""), Some("shop")]);
        assert_eq!([&first, &renewed, &taken].map(transitions), [Some(0), Some(0), Some(1)]);
        assert_eq!(renewed.spec.unwrap().acquire_time, first.spec.unwrap().acquire_time);
    }

    #[test]
    fn deadline_and_retry_are_shorter_than_the_lease() {
        let LeaseTimes { lease, deadline, retry } = LeaseTimes::default();
        assert!(deadline + retry < lease);
    }
}
