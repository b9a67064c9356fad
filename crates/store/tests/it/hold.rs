//! What keeps windows open, as the store sees and records it.

use std::time::Duration;

use retail_engine::Timestamp;
use retail_store::{Hold, HoldReason, WatermarkFacts, clock};
use retail_testbed::{Case, Feeder, at};

async fn facts(feeder: &Feeder) -> WatermarkFacts {
    feeder.store.observe_watermark(clock()).await.unwrap()
}

#[tokio::test]
async fn overdue_window_is_observed_until_it_is_closed() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    let state = |facts: &WatermarkFacts| (facts.held_by, facts.is_overdue, facts.is_passed);
    assert_eq!(state(&facts(&feeder).await), (Some(0), false, false));
    feeder.purchases(0, "1", &[10, 3899]);
    feeder.commit(&[]).await.unwrap();
    let seen = facts(&feeder).await;
    assert_eq!(state(&seen), (Some(1), false, false), "a second is missing");
    assert_eq!(seen.open_until, Some(Timestamp::from_secs(at(300))));
    feeder.purchases(0, "1", &[3900]);
    feeder.commit(&[]).await.unwrap();
    let seen = facts(&feeder).await;
    assert_eq!(state(&seen), (Some(1), true, false), "partition 1 holds the window");
    assert_eq!(seen.latest_observed, Some(Timestamp::from_secs(at(3900))));
    // The oldest open window is that of partition 1.
    feeder.purchases(1, "1", &[-10, 3950]);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(state(&facts(&feeder).await), (Some(0), true, true), "the watermark has passed both windows");
    assert_eq!(feeder.close().await.closed_rows, 2);
    assert_eq!(state(&facts(&feeder).await), (Some(0), false, false));
}

#[tokio::test]
async fn window_behind_a_decision_to_close_is_passed() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.commit(&[1]).await.unwrap();
    feeder.store.begin_close(true, clock()).await.unwrap().unwrap();
    // All partitions are idle now. The rows are still to be moved.
    feeder.commit(&[0, 1]).await.unwrap();
    let seen = facts(&feeder).await;
    assert_eq!((seen.watermark, seen.held_by, seen.is_passed), (Some(Timestamp::from_secs(at(400))), None, true));
    feeder.close().await;
    assert!(!facts(&feeder).await.is_overdue);
}

#[tokio::test]
async fn hold_keeps_its_first_time_while_the_mark_is_the_same() {
    let case = Case::shared().start().await;
    let feeder = Feeder::new(&case, "a").await;
    let hold = |mark: &str, reason, seconds| Hold {
        mark: mark.to_owned(),
        reason,
        partition: Some(1),
        detail: "text".to_owned(),
        age: Duration::from_secs(seconds),
    };
    let row =
        "SELECT mark || ' ' || reason || ' ' || (clock_timestamp() - since >= interval '1 minute') FROM watermark_hold";
    assert_eq!(facts(&feeder).await.recorded, None);
    for (mark, reason, seconds, expected) in [
        ("a", HoldReason::Silence, 60, "a silence true"),
        ("a", HoldReason::OpenTransaction, 1, "a open_transaction true"),
        ("b", HoldReason::Backlog, 1, "b backlog false"),
        ("b", HoldReason::Backlog, 60, "b backlog true"),
    ] {
        feeder.store.record_hold(Some(&hold(mark, reason, seconds))).await.unwrap();
        assert_eq!(case.text(row).await, expected);
        let (recorded, age) = facts(&feeder).await.recorded.unwrap();
        assert_eq!((recorded.as_str(), age.as_secs() >= 60), (mark, expected.ends_with("true")));
    }
    feeder.store.record_hold(None).await.unwrap();
    assert_eq!(facts(&feeder).await.recorded, None);
}
