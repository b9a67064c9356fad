//! The parts of a snapshot, compared with the views.

use std::time::Duration;

use retail_engine::{Money, Timestamp};
use retail_store::Snapshot;
use retail_store::snapshot::{
    Detail, GroupSums, Groups, LargestGroups, LateCount, LateSteps, LetterReasons, NewestLetters, Parts, WindowRange,
    WindowSums,
};
use retail_testbed::{Case, Feeder};

fn window(start: i64, events: i64, amount: &str, is_final: bool) -> WindowSums {
    let start = Timestamp::from_secs(1_735_689_600 + start);
    let end = start.plus(Timestamp::from_secs(300).since(Timestamp::EPOCH));
    WindowSums { start, end, events, quantity: events, amount: amount.to_owned(), is_final }
}

/// The groups with their shares in so many quarters.
fn groups(groups: &[(&str, &str)], quarters: f64) -> Vec<GroupSums> {
    let group = |(category, amount): &(&str, &str)| GroupSums {
        dimensions: vec![(*category).to_owned(), "COD".to_owned()],
        amount: (*amount).to_owned(),
        share: amount.parse::<f64>().unwrap() * 4.0 / quarters,
    };
    groups.iter().map(group).collect()
}

#[tokio::test]
async fn snapshot_has_the_parts_that_were_asked_for() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1.5", &[10, 20, 400, 4000, 4300, 100]);
    feeder.groups(0, 0..3, "0.25", 4301);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await;

    let pipeline = &case.settings.pipeline;
    let mut session = case.settings.database.connect("a test").await.unwrap();
    let state = Snapshot::read_in(&mut session, pipeline, &Parts::default()).await.unwrap();
    assert_eq!(state.detail, Detail::default());
    assert_eq!((state.open_windows, state.progress.counts.late), (2, 1));

    let all = Parts {
        windows: Some(WindowRange { closed: 48, most: None }),
        groups: Some(LargestGroups { most: 2, closed: Some(48) }),
        letters: Some(NewestLetters { number: 10, reason: None, payloads: true }),
        reasons: Some(LetterReasons { among: 10, payloads: true }),
        late: Some(LateSteps { among: 10, steps: [300, 400, 401].map(Duration::from_secs).to_vec() }),
    };
    let detail = Snapshot::read_in(&mut session, pipeline, &all).await.unwrap().detail;
    // The watermark is 701 s: two windows are closed.
    let windows = [
        window(0, 2, "3.000000", true),
        window(300, 1, "1.500000", true),
        window(3900, 1, "1.500000", false),
        window(4200, 4, "2.250000", false),
    ];
    assert_eq!(detail.windows.unwrap(), windows);
    let largest = groups(&[("A", "7.500000"), ("00000", "0.250000")], 33.0);
    assert_eq!(detail.groups, Some(Groups { largest, number: 4 }));
    let letters: Vec<_> = detail.letters.unwrap();
    let seen: Vec<_> = letters.iter().map(|letter| (letter.offset, &*letter.reason, letter.missed_by)).collect();
    // Its window ended at 300 s, and the latest observed time was 4300 s, an hour before which is 700 s.
    assert_eq!(seen, [(5, "late", Some(Duration::from_secs(400)))]);
    let late = LateCount { events: 1, amount: Money::from_millionths(1_500_000) };
    assert_eq!(detail.late.unwrap(), [LateCount::default(), LateCount::default(), late, LateCount::default()]);
    let reasons = detail.reasons.unwrap();
    let seen: Vec<_> = reasons.iter().map(|reason| (&*reason.reason, reason.number, reason.newest)).collect();
    assert_eq!(seen, [("late", 1, letters[0].stored_at)]);
    let payload = String::from_utf8(reasons[0].payload.clone().unwrap()).unwrap();
    assert!(payload.contains("1.5"), "{payload}");

    let payload = String::from_utf8(letters[0].payload.clone().unwrap()).unwrap();
    assert!(payload.contains("1.5"), "{payload}");
    for (reason, number) in [("late", 1), ("future", 0)] {
        let asked = NewestLetters { number: 10, reason: Some(reason.to_owned()), payloads: false };
        let parts = Parts { letters: Some(asked), ..Parts::default() };
        let letters = Snapshot::read_in(&mut session, pipeline, &parts).await.unwrap().detail.letters.unwrap();
        assert_eq!(letters.len(), number);
        assert!(letters.iter().all(|letter| letter.payload.is_none()));
    }

    // One closed window; the amounts of groups in the two open ones.
    let some = Parts {
        windows: Some(WindowRange { closed: 1, most: None }),
        groups: Some(LargestGroups { most: 1, closed: Some(0) }),
        ..Parts::default()
    };
    let detail = Snapshot::read_in(&mut session, pipeline, &some).await.unwrap().detail;
    assert_eq!(detail.windows.unwrap(), windows[1..]);
    assert_eq!(detail.groups, Some(Groups { largest: groups(&[("A", "3.000000")], 15.0), number: 4 }));
    assert_eq!((detail.letters, detail.reasons, detail.late), (None, None, None));

    // Of all windows, and as the view totals has them.
    let totals = Parts {
        windows: Some(WindowRange { closed: 48, most: Some(1) }),
        groups: Some(LargestGroups { most: 10, closed: None }),
        ..Parts::default()
    };
    let detail = Snapshot::read_in(&mut session, pipeline, &totals).await.unwrap().detail;
    assert_eq!(detail.windows.unwrap(), windows[3..]);
    let largest = case
        .query("SELECT category, running_total::text FROM totals ORDER BY running_total DESC, category")
        .await
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect::<Vec<(String, String)>>();
    let largest: Vec<(&str, &str)> = largest.iter().map(|(category, amount)| (&**category, &**amount)).collect();
    assert_eq!(detail.groups, Some(Groups { largest: groups(&largest, 33.0), number: 4 }));
}
