//! Whether the operator says that it is ready while the API server does not answer its watches.

use std::sync::Arc;

use retail_operator::watch::readiness::Readiness;
use serde_json::json;

use crate::api::{Api, Fault, Store};
use crate::harness::Harness;

#[tokio::test(start_paused = true)]
async fn while_its_watches_are_refused_the_operator_is_not_ready_and_then_it_is_again() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.until_unready(None).await;
    for (code, why) in [(403, "403: are the roles there?"), (503, "503 Service Unavailable")] {
        harness.api.fail("watch", "*", 1_000_000, Fault::Code(code));
        harness.api.change(Store::close_watches);
        let all = format!("the watch of retailpipelines of all namespaces ({why}), and 5 more");
        harness.until_unready(Some(&all)).await;
        harness.api.be_kind();
        harness.until_unready(None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_watch_that_is_refused_in_one_namespace_is_named() {
    let harness = Harness::watching(&["office", "shop"]);
    harness.until_unready(None).await;
    harness.api.fail_in("office", "watch", "services", 1_000_000, Fault::Code(403));
    harness.api.change(Store::close_watches);
    harness.until_unready(Some("the watch of services in office (403: are the roles there?)")).await;
    harness.api.be_kind();
    harness.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_well_and_one_that_is_not_answered_is_not() {
    let harness = Harness::start();
    harness.until_unready(None).await;
    // Nothing happens for hours.
    for _ in 0..100 {
        harness.passes(300).await;
        assert_eq!(harness.context.readiness.unready(), None);
    }
    harness.api.fail("watch", "configmaps", 1, Fault::Silence);
    harness.api.change(Store::close_watches);
    harness.until_unready(Some("the watch of configmaps of all namespaces (no answer for ")).await;
    // The client gives that one up and asks again.
    harness.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_never_answered_is_not_ready() {
    let (api, readiness) = (Api::default(), Arc::new(Readiness::default()));
    assert_eq!(readiness.unready(), None, "one that stands by watches nothing");
    let client = readiness.watching("clouds".to_owned(), &api.client());
    assert_eq!(readiness.unready().unwrap(), "the watch of clouds (no answer yet)");
    drop(client);
}
