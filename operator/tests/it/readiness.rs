//! Whether the operator says that it is ready while the API server does not answer its watches.

use std::sync::Arc;

use retail_operator::watch::readiness::Readiness;
use serde_json::json;

use crate::api::{Api, Fault, Store};
use crate::stage::Stage;

#[tokio::test(start_paused = true)]
async fn while_its_watches_are_refused_the_operator_is_not_ready_and_then_it_is_again() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.until_unready(None).await;
    for (code, why) in [(403, "403: are the roles there?"), (503, "503 Service Unavailable")] {
        stage.api.fail("watch", "*", 1_000_000, Fault::Code(code));
        stage.api.change(Store::close_watches);
        let all = format!("the watch of retailpipelines of all namespaces ({why}), and 5 more");
        stage.until_unready(Some(&all)).await;
        stage.api.be_kind();
        stage.until_unready(None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_watch_that_is_refused_in_one_namespace_is_named() {
    let stage = Stage::watching(&["office", "shop"]);
    stage.until_unready(None).await;
    stage.api.fail_in("office", "watch", "services", 1_000_000, Fault::Code(403));
    stage.api.change(Store::close_watches);
    stage.until_unready(Some("the watch of services in office (403: are the roles there?)")).await;
    stage.api.be_kind();
    stage.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_well_and_one_that_is_not_answered_is_not() {
    let stage = Stage::start();
    stage.until_unready(None).await;
    // Nothing happens for hours.
    for _ in 0..100 {
        stage.passes(300).await;
        assert_eq!(stage.surroundings.readiness.unready(), None);
    }
    stage.api.fail("watch", "configmaps", 1, Fault::Silence);
    stage.api.change(Store::close_watches);
    stage.until_unready(Some("the watch of configmaps of all namespaces (no answer for ")).await;
    // The client gives that one up and asks again.
    stage.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_never_answered_is_not_ready() {
    let (api, readiness) = (Api::default(), Arc::new(Readiness::default()));
    assert_eq!(readiness.unready(), None, "one that stands by watches nothing");
    let client = readiness.watching("clouds".to_owned(), &api.client());
    assert_eq!(readiness.unready().unwrap(), "the watch of clouds (no answer yet)");
    drop(client);
}
