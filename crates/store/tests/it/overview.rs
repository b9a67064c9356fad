//! The facts of screens, compared with the views.

use std::time::Duration;

use retail_engine::Timestamp;
use retail_store::overview::{GroupSnapshot, MissedBy, Overview, WindowSnapshot, newest_letters};
use retail_testbed::{Case, Feeder};

#[tokio::test]
async fn overview_has_windows_groups_letters_and_late_events() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1.5", &[10, 20, 400, 4000, 4300, 100]);
    feeder.groups(0, 0..3, "0.25", 4301);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await;

    let pipeline = &case.settings.pipeline;
    let session = case.settings.database.connect("a test").await.unwrap();
    let Overview { windows, groups, number_of_groups } = Overview::read(&session, pipeline).await.unwrap();
    let window = |start: i64, events, amount: &str, is_final| WindowSnapshot {
        start: Timestamp::from_secs(1_735_689_600 + start),
        events,
        amount: amount.to_owned(),
        is_final,
    };
    // The watermark is 701 s: two windows are closed.
    assert_eq!(
        windows,
        [
            window(0, 2, "3.000000", true),
            window(300, 1, "1.500000", true),
            window(3900, 1, "1.500000", false),
            window(4200, 4, "2.250000", false)
        ]
    );
    assert_eq!(number_of_groups, 4);
    assert_eq!(
        groups[..2],
        [("A", 5, "7.500000"), ("00000", 1, "0.250000")].map(|(category, events, amount)| GroupSnapshot {
            dimensions: vec![category.to_owned(), "COD".to_owned()],
            events,
            amount: amount.to_owned(),
        })
    );
    let letters = newest_letters(&session).await.unwrap();
    let seen: Vec<_> = letters.iter().map(|letter| (letter.offset, &*letter.reason, letter.missed_by)).collect();
    // Its window ended at 300 s, and the latest observed time was 4300 s, an hour before which is 700 s.
    assert_eq!(seen, [(5, "late", Some(Duration::from_secs(400)))]);
    let missed = MissedBy::read(&session, &[400, 401].map(Duration::from_secs)).await.unwrap();
    let counted = vec![(0, "0".to_owned()), (1, "1.500000".to_owned())];
    assert_eq!(missed, MissedBy { events: 1, amount: "1.500000".to_owned(), counted });
}
