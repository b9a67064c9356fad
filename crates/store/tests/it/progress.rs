//! The progress of a pipeline, and the removal of its schema.

use std::collections::BTreeMap;

use retail_connection::Removal;
use retail_engine::{Counts, Timestamp};
use retail_store::progress::{self, CloseFailure, Progress};
use retail_store::provision;
use retail_store::verification::{FailedVerification, LastProof, NoProof, Verifications, record_failure};
use retail_testbed::Feeder;
use retail_testbed::{Case, Sent, at};

async fn progress(case: &Case) -> Progress {
    let session = case.settings.database.connect("test").await.unwrap();
    progress::look(&session, &case.settings.pipeline).await.unwrap().unwrap()
}

#[tokio::test]
async fn progress_contains_watermark_offsets_and_fates() {
    let case = Case::shared().start().await;
    let new = progress(&case).await;
    assert!(new.consumer_group.starts_with(&format!("retail.{}.", case.topic.name)), "{}", new.consumer_group);
    assert_eq!(new, Progress { consumer_group: new.consumer_group.clone(), ..Progress::default() });
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[10, 4000]);
    feeder.feed(&[Sent { partition: 1, timestamp: 0, value: Some(b"{".to_vec()) }]);
    feeder.commit(&[]).await.unwrap();
    let before = progress(&case).await;
    assert_eq!((before.watermark, before.complete_through), (None, None), "partition 1 has no event");
    assert!(before.last_commit.is_some());
    feeder.purchases(1, "1", &[3950]);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await;
    let after = progress(&case).await;
    assert_eq!(after.watermark, Some(Timestamp::from_secs(at(350))));
    assert_eq!(after.complete_through, Some(Timestamp::from_secs(at(300))));
    assert_eq!(after.next_offsets, BTreeMap::from([(0, 2), (1, 2)]));
    assert_eq!(after.counts, Counts { applied: 3, invalid: 1, ..Counts::default() });
    assert_eq!(after.close_failure, None);
    let fail = "UPDATE pipeline SET close_failure = 'disk full', close_failed_at = '2025-01-01T00:00:00Z'";
    case.client().await.batch_execute(fail).await.unwrap();
    let failure = CloseFailure { message: "disk full".to_owned(), failed_at: Timestamp::from_secs(at(0)) };
    assert_eq!(progress(&case).await, Progress { close_failure: Some(failure), ..after });
}

#[tokio::test]
async fn progress_contains_holds_that_last_too_long() {
    // 20 minutes and two triggers.
    let case = Case::shared().spec("trigger: 10m").start().await;
    let client = case.client().await;
    for (minutes, is_long) in [(39, false), (41, true)] {
        let held = format!(
            "DELETE FROM watermark_hold;
             INSERT INTO watermark_hold (since, mark, reason, detail)
             VALUES (clock_timestamp() - interval '{minutes} minutes', 'mark', 'silence', 'partition 3 is silent')"
        );
        client.batch_execute(&held).await.unwrap();
        let hold = progress(&case).await.hold;
        assert_eq!(hold.as_ref().map(|hold| hold.detail.as_str()), is_long.then_some("partition 3 is silent"));
        if let Some(hold) = hold {
            let age = retail_store::clock().since(hold.since).as_micros() / 60_000_000;
            assert!((41..60).contains(&age), "{hold:?}");
        }
    }
}

#[tokio::test]
async fn schema_is_dropped_only_for_its_owner() {
    let case = Case::shared().start().await;
    let (database, uid) = (&case.settings.database, &case.settings.pipeline.uid);
    assert_eq!(provision::drop(database, "somebody").await, Ok(Removal::NotOurs));
    assert_eq!(case.text("SELECT count(*) FROM pipeline").await, "1");
    assert_eq!(provision::drop(database, uid).await, Ok(Removal::Removed));
    assert_eq!(case.try_text("SELECT current_schema() IS NULL").await.as_deref(), Some("true"));
    assert_eq!(provision::drop(database, uid).await, Ok(Removal::Absent));
    // A schema that existed before `apply` has no comment with an owner.
    let client = case.client().await;
    client.batch_execute(&format!("CREATE SCHEMA \"{}\"", case.settings.pipeline.schema)).await.unwrap();
    provision::apply(database, &case.settings.pipeline).await.unwrap();
    assert_eq!(provision::drop(database, uid).await, Ok(Removal::NotOurs));
}

#[tokio::test]
async fn progress_contains_the_last_proof_and_newer_failures() {
    let case = Case::shared().spec("verify: {every: 6h}").start().await;
    let verifications = async || progress(&case).await.verifications;
    assert_eq!(verifications().await, Verifications::default());
    let session = case.settings.database.connect("test").await.unwrap();
    let uid = &case.settings.pipeline.uid;
    record_failure(&session, "of another pipeline", NoProof::Different, "x").await.unwrap();
    assert_eq!(verifications().await, Verifications::default());
    for (why, detail) in
        [(NoProof::Different, "old"), (NoProof::Different, "row 1 is wrong"), (NoProof::Incomplete, "away")]
    {
        record_failure(&session, uid, why, detail).await.unwrap();
    }
    let found = verifications().await;
    let details = [&found.different, &found.incomplete].map(|failed| failed.as_ref().unwrap().detail.clone());
    assert_eq!((found.proof, details), (None, ["row 1 is wrong", "away"].map(str::to_owned)));
    let prove = "INSERT INTO proof VALUES (1, '2025-01-01T00:00:00Z', '{}', 'aa'), (2, clock_timestamp(), '{}', 'bb');
                 UPDATE failed_verification SET ended_at = clock_timestamp() + interval '1 second' WHERE outcome = 'incomplete'";
    case.client().await.batch_execute(prove).await.unwrap();
    let found = verifications().await;
    let Some(LastProof { number: 2, recorded_at: _, hash }) = found.proof else { panic!("{found:?}") };
    assert_eq!((&*hash, found.different), ("bb", None));
    assert!(matches!(found.incomplete, Some(FailedVerification { detail, .. }) if detail == "away"));
}
