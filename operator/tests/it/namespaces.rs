//! An operator of some namespaces, not of all.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::api::{Fault, Key};
use crate::stage::Stage;

/// An operator of two namespaces, with a ready pipeline in each.
async fn two_shops() -> Stage {
    let stage = Stage::watching(&["shop", "office"]);
    for name in ["shop/retail", "office/books"] {
        stage.declare(name, json!({}));
        stage.until_ready(name).await;
    }
    stage
}

/// Edits the pipelines and waits until the operator has done what they say.
async fn each_follows_an_edit(stage: &Stage, names: &[&str], replicas: i32) {
    for name in names {
        stage.edit(name, |spec| spec["processor"]["replicas"] = json!(replicas));
        let key = Key::new("deployments", &format!("{name}-processor"));
        stage.api.until(name, |store| store.get(&key).unwrap()["spec"]["replicas"] == replicas).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_pipelines_of_the_namespaces_that_are_named_are_run_and_no_others() {
    let stage = two_shops().await;
    stage.declare("attic/old", json!({}));
    stage.passes(600).await;
    each_follows_an_edit(&stage, &["shop/retail", "office/books"], 3).await;
    assert_eq!(stage.object("retailpipelines", "attic/old").unwrap()["status"], json!(null));
    let asked = stage.api.asked();
    let elsewhere: Vec<_> = asked.iter().filter(|asked| !["shop", "office"].contains(&&*asked.namespace)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_lists_begin_anew_is_nothing_to_the_others() {
    let stage = two_shops().await;
    stage.passes(60).await;
    let (writes, before) = (stage.api.writes(), lists(&stage, "office"));
    stage.api.change(|store| store.expire_watches_of("office"));
    stage.passes(60).await;
    assert!(lists(&stage, "office") > before, "it has not begun anew");
    // Nothing of either is taken for gone.
    assert_eq!(stage.api.writes(), writes);
    each_follows_an_edit(&stage, &["shop/retail", "office/books"], 4).await;
}

fn lists(stage: &Stage, namespace: &str) -> usize {
    stage.api.asked().iter().filter(|asked| asked.verb == "list" && asked.namespace == namespace).count()
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_may_not_be_watched_does_not_stop_the_others() {
    let stage = Stage::watching(&["shop", "office"]);
    stage.api.fail_in("office", "*", "*", 1_000_000, Fault::Code(403));
    for name in ["shop/retail", "office/books"] {
        stage.declare(name, json!({}));
    }
    stage.until_ready("shop/retail").await;
    stage.passes(600).await;
    each_follows_an_edit(&stage, &["shop/retail"], 3).await;
    assert_eq!(stage.object("retailpipelines", "office/books").unwrap()["status"], json!(null));
    // Once it may be, it is.
    stage.api.be_kind();
    stage.until_ready("office/books").await;
    // And lost again.
    stage.api.fail_in("office", "*", "*", 1_000_000, Fault::Code(403));
    stage.api.change(crate::api::Store::close_watches);
    each_follows_an_edit(&stage, &["shop/retail"], 4).await;
    stage.api.be_kind();
    each_follows_an_edit(&stage, &["shop/retail", "office/books"], 2).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_passes_are_under_way_at_once_than_with_one_namespace() {
    let stage = Stage::watching(&["shop", "office"]);
    stage.outside.state().hangs_at = Some("hangs".to_owned());
    for i in 0..12 {
        for name in [format!("shop/one-{i}"), format!("office/two-{i}")] {
            stage.declare(&name, json!({"topic": {"name": "hangs"}}));
        }
    }
    stage.passes(60).await;
    // Each has asked for a topic and a schema.
    assert_eq!(stage.outside.state().looks, 2 * 16);
}

#[tokio::test(start_paused = true)]
async fn pipelines_whose_objects_may_not_be_listed_say_so_and_take_no_turn_from_the_others() {
    let stage = Stage::watching(&["shop", "office"]);
    stage.api.fail_in("office", "list", "services", 1_000_000, Fault::Code(403));
    for i in 0..20 {
        stage.declare(&format!("office/books-{i}"), json!({}));
    }
    stage.passes(10).await;
    let declared = Instant::now();
    stage.declare("shop/retail", json!({}));
    stage.until_ready("shop/retail").await;
    assert!(declared.elapsed() < Duration::from_secs(10), "after {:?}", declared.elapsed());
    stage.until("office/books-0", "Reconciling", "True", "InternalError").await;
    stage.api.be_kind();
    stage.until_ready("office/books-0").await;
}
