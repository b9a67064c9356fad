use retail_engine::{Counts, DeadLetter};
use retail_store::progress::{self, Rejection};
use retail_store::{Commit, FateTotals};
use retail_testbed::{Case, Feeder, Sent};

/// Commits records of partition 0, with the detail of those that are invalid.
async fn commit_invalid(feeder: &mut Feeder, seconds: i64, details: &[Option<&str>]) {
    let record = |value: Option<&str>| Sent { partition: 0, timestamp: seconds, value: value.map(|_| b"{}".to_vec()) };
    feeder.feed(&details.iter().map(|detail| record(*detail)).collect::<Vec<_>>());
    let mut commit: Commit = feeder.take_commit(&[]);
    let explain = |(letter, detail): (&mut DeadLetter, &Option<&str>)| letter.detail = detail.map(Box::from);
    commit.batch.dead_letters.iter_mut().zip(details).for_each(explain);
    feeder.store.commit(&commit).await.unwrap();
}

#[tokio::test]
async fn newest_invalid_record_is_a_sentence() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    assert_eq!(feeder.store.newest_invalid().await.unwrap(), None);
    assert_eq!(feeder.store.fate_totals().await.unwrap(), FateTotals::default());
    commit_invalid(&mut feeder, 0, &[Some("quantity missing; has \"qty\": 2")]).await;
    let newest = feeder.store.newest_invalid().await.unwrap();
    assert_eq!(newest.unwrap(), "partition 0, offset 0: missing_field: quantity missing; has \"qty\": 2");
    commit_invalid(&mut feeder, 1, &[None]).await;
    let newest = feeder.store.newest_invalid().await.unwrap();
    assert_eq!(newest.unwrap(), "partition 0, offset 1: empty", "without a detail");
    let totals = feeder.store.fate_totals().await.unwrap();
    assert_eq!(totals, FateTotals { counts: Counts { invalid: 2, ..Counts::default() }, rejection: None });
}

#[tokio::test]
async fn first_sentence_of_a_rejection_stays_until_its_end() {
    let case = Case::shared().start().await;
    let feeder = Feeder::new(&case, "a").await;
    let recorded = async || {
        let session = case.settings.database.connect("test").await.unwrap();
        progress::look(&session, &case.settings.pipeline).await.unwrap().unwrap().rejection
    };
    assert_eq!(recorded().await, None);
    feeder.store.record_rejection(Some("first")).await.unwrap();
    let Some(Rejection { since, sentence }) = recorded().await else { panic!("it is recorded") };
    assert_eq!(sentence, "first");
    feeder.store.record_rejection(Some("second")).await.unwrap();
    assert_eq!(recorded().await, Some(Rejection { since, sentence }), "of another processor");
    assert_eq!(feeder.store.fate_totals().await.unwrap().rejection.as_deref(), Some("first"));
    feeder.store.record_rejection(None).await.unwrap();
    assert_eq!(recorded().await, None);
}
