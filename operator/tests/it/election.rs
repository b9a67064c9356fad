//! Leader election with a failing API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api as Typed;
use retail_operator::election::leader_elector::LeaderElector;
use retail_operator::election::lease::LeaseTimes;
use retail_operator::run::{RunError, lead};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::api::{Api, Fault, Key, Store};
use crate::fake_systems::FakeSystems;
use crate::harness::{context, now};

fn elector(api: &Api, identity: &str) -> LeaderElector {
    let leases: Typed<Lease> = Typed::namespaced(api.client(), "shop");
    LeaderElector::new(leases, "retail-operator", identity, LeaseTimes::default(), now)
}

/// Acquires, renews and releases a lease.
pub(crate) async fn one_term(api: &Api) {
    let mut elector = elector(api, "one");
    elector.acquire(|_| ()).await;
    let _kept = timeout(Duration::from_secs(5), elector.renew()).await.unwrap_err();
    elector.release().await;
}

fn holder(api: &Api) -> String {
    holder_in(&api.store())
}

fn holder_in(store: &Store) -> String {
    let lease = store.get(&Key::new("leases", "retail-operator")).cloned().unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn second_replica_leads_only_after_renewals_stop() {
    let api = Api::default();
    let (mut first, mut second) = (elector(&api, "one"), elector(&api, "two"));
    first.acquire(|_| ()).await;
    let renewing = timeout(Duration::from_secs(120), async { tokio::join!(first.renew(), second.acquire(|_| ())) });
    assert!(renewing.await.is_err());
    assert_eq!(holder(&api), "one");
    let died = Instant::now();
    second.acquire(|_| ()).await;
    let waited = died.elapsed();
    assert!(waited >= Duration::from_secs(12) && waited <= Duration::from_secs(20), "{waited:?}");
    assert_eq!(holder(&api), "two");
    // The first detects the loss at its next attempt.
    let found = Instant::now();
    first.renew().await;
    assert!(found.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn leader_without_renewal_stops_before_the_lease_expires() {
    for fault in [Fault::Code(500), Fault::Silence, Fault::Code(429)] {
        let api = Api::default();
        let mut first = elector(&api, "one");
        first.acquire(|_| ()).await;
        let renewed = Instant::now();
        api.fail("*", "leases", 1000, fault);
        first.renew().await;
        let LeaseTimes { lease, deadline, .. } = LeaseTimes::default();
        assert!(
            renewed.elapsed() <= deadline + Duration::from_secs(2) && renewed.elapsed() < lease,
            "{:?}",
            renewed.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_many_replicas_acquires_the_lease() {
    let api = Api::default();
    let mut winners = tokio::task::JoinSet::new();
    for i in 0..8 {
        let mut elector = elector(&api, &format!("replica-{i}"));
        winners.spawn(async move { timeout(Duration::from_secs(10), elector.acquire(|_| ())).await.is_ok() });
    }
    let won = winners.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test(start_paused = true)]
async fn released_lease_is_acquired_at_once() {
    let api = Api::default();
    one_term(&api).await;
    assert_eq!(holder(&api), "");
    let asked = Instant::now();
    elector(&api, "two").acquire(|_| ()).await;
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn operator_works_only_while_it_holds_the_lease() {
    let (api, external) = (Api::default(), FakeSystems::default());
    let (stop, stopped) = watch::channel(false);
    let start = |api: &Api, identity: &str| {
        let context = context(api, external.clone());
        let (metrics, readiness) = (Arc::clone(&context.metrics), Arc::clone(&context.readiness));
        (tokio::spawn(lead(elector(api, identity), context, stopped.clone())), metrics, readiness)
    };
    let (leading, metrics, _) = start(&api, "one");
    let pipeline = crate::harness::pipeline("retail", json!({"database": {"host": "postgres", "name": "retail"}}));
    let key = crate::harness::pipeline_key("retail");
    api.change(|store| store.create(&key, pipeline).unwrap());
    api.until("it is ready", |store| store.get(&key).unwrap()["status"]["conditions"][0]["status"] == "True").await;
    assert!(metrics.render().contains("retail_operator_leader 1"));
    // A second replica requests only the lease, and is ready.
    let theirs = api.apart();
    let (standing_by, _, readiness) = start(&theirs, "two");
    api.until("it has asked", |_| theirs.asked().len() >= 5).await;
    assert!(theirs.asked().iter().all(|asked| asked.resource == "leases"), "{:?}", theirs.asked());
    assert_eq!(readiness.unready(), None);
    assert!(!leading.is_finished() && !standing_by.is_finished());
    api.change(|store| {
        store.edit(&Key::new("leases", "retail-operator"), |lease| lease["spec"]["holderIdentity"] = json!("somebody"));
    });
    let ended = timeout(Duration::from_secs(10), leading).await.unwrap().unwrap();
    assert!(matches!(ended, Err(RunError::LeaseLost)));
    // On stop, it succeeds and releases the lease.
    api.until("the second leads", |store| holder_in(store) == "two").await;
    stop.send_replace(true);
    timeout(Duration::from_secs(60), standing_by).await.unwrap().unwrap().unwrap();
    assert_eq!(holder(&api), "");
}
