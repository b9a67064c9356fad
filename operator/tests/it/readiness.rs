//! Readiness of the operator while the API server does not answer its watches.

use std::sync::Arc;

use retail_operator::watch::readiness::Readiness;
use serde_json::json;

use crate::api::{Api, Fault, Store};
use crate::harness::Harness;

#[tokio::test(start_paused = true)]
async fn operator_is_unready_while_its_watches_are_refused() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.until_unready(None).await;
    for (code, why) in [(403, "403: install the roles"), (503, "503 Service Unavailable")] {
        harness.api.fail("watch", "*", 1_000_000, Fault::Code(code));
        harness.api.change(Store::close_watches);
        let all = format!("the watch of retailpipelines of all namespaces ({why}), and 6 more");
        harness.until_unready(Some(&all)).await;
        harness.api.clear_faults();
        harness.until_unready(None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refused_watch_of_one_namespace_is_named() {
    let harness = Harness::watching(&["office", "shop"]);
    harness.until_unready(None).await;
    harness.api.fail_in("office", "watch", "services", 1_000_000, Fault::Code(403));
    harness.api.change(Store::close_watches);
    harness.until_unready(Some("the watch of services in office (403: install the roles)")).await;
    harness.api.clear_faults();
    harness.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn silent_watch_is_ready_unanswered_one_is_not() {
    let harness = Harness::start();
    harness.until_unready(None).await;
    // Hours without a change.
    for _ in 0..100 {
        harness.passes(300).await;
        assert_eq!(harness.context.readiness.unready(), None);
    }
    harness.api.fail("watch", "configmaps", 1, Fault::Silence);
    harness.api.change(Store::close_watches);
    harness.until_unready(Some("the watch of configmaps of all namespaces (no answer for ")).await;
    // The client times out and sends a new request.
    harness.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn watch_without_any_answer_is_not_ready() {
    let (api, readiness) = (Api::default(), Arc::new(Readiness::default()));
    assert_eq!(readiness.unready(), None, "one that stands by watches nothing");
    let client = readiness.watch_client("clouds".to_owned(), &api.client());
    assert_eq!(readiness.unready().unwrap(), "the watch of clouds (no answer yet)");
    drop(client);
}
