//! Digests of the rows and dead letters of a store with three dimensions and two further sums.

use std::collections::BTreeMap;

use chrono::DateTime;
use retail_api::Layout;
use retail_engine::{Batch, Counts, DeadLetter, Money, Progress, Purchase, Row, Sums, Timestamp};
use retail_oracle::{Judgement, OracleEvent, OraclePurchase, OracleRecord};
use retail_store::{Commit, Session, Store, provision};
use retail_testbed::{Case, Postgres, at};

use crate::buckets::{self, StoredRows};
use crate::closes;
use crate::digest::{EventSums, Key, Values};
use crate::letters::{self, Letter, LetterSum};
use crate::rows;
use crate::state::{self, State};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A case with a schema, but without a topic.
async fn case() -> Case {
    let mut case = Case::on("127.0.0.1:1", &Postgres::shared().url()).partitions(1).build();
    case.settings.pipeline.layout =
        Layout::new(names(&["store", "d1", "group_id"]), names(&["discount", "amount"])).unwrap();
    case.apply_schema().await;
    case
}

/// A further sum that does not fit bigint millionths.
const LARGE: i128 = 1 << 64;

/// The event of a group, and the values of its sums.
fn event(window: i64, group: &str) -> (Row, Values) {
    let sums =
        Sums { events: 1, price: Money::from_millionths(5), quantity: 2, amount: Money::from_millionths(-LARGE) };
    let more = [LARGE + 7, -3];
    let dimensions = Box::new([group.into(), "b".into(), "".into()]);
    let more_of_row = Box::new(more.map(Money::from_millionths));
    let row = Row { window_start: Timestamp::from_secs(at(window * 300)), dimensions, sums, more: more_of_row };
    (row, Values { events: 1, price_sum: 5, quantity: 2, amount: -LARGE, more: more.to_vec() })
}

/// Commits a batch that observes a time.
async fn commit(store: &mut Store, epoch: i64, from: i64, seconds: i64, batch: Batch) {
    let counts = Counts { applied: 1, ..Counts::default() };
    let max_observed = Some(Timestamp::from_secs(at(seconds)));
    let progress = Progress { partition: 0, from, to: from + 1, max_observed, floor: Timestamp::EPOCH, counts };
    let batch = Batch { partitions: vec![progress], ..batch };
    let commit = Commit { batch, epochs: BTreeMap::from([(0, epoch)]), ..Commit::default() };
    store.commit(&commit).await.unwrap();
}

async fn store(case: &Case) -> (Store, i64) {
    let store = Store::open(&case.settings.database, &case.settings.pipeline, "test").await.unwrap();
    store.begin_partitions(&[0]).await.unwrap();
    let epoch = store.claim(&[0], "test").await.unwrap()[0].epoch;
    (store, epoch)
}

async fn state(case: &Case, session: &Session) -> State {
    let identity = provision::check_rules(session, &case.settings.pipeline).await.unwrap();
    state::read(session, &case.settings, &identity).await.unwrap()
}

async fn read_rows(case: &Case, key: &Key) -> StoredRows {
    let session = case.settings.database.connect("test").await.unwrap();
    let state = state(case, &session).await;
    let decisions = closes::read(&session, &state).await.unwrap().decisions;
    rows::read(&session, &state, buckets::Layout::new(&state, 0), key, &decisions).await.unwrap()
}

#[tokio::test]
async fn digest_of_rows_is_that_of_events_with_all_columns() {
    let case = case().await;
    let (mut store, epoch) = store(&case).await;
    let key = Key::random();
    let mut expected = BTreeMap::<i64, EventSums>::new();
    for (from, (window, group, seconds)) in
        [(0, "a", 0), (0, "ä", 0), (1, "a", 301), (0, "a", 302), (1, "c", 300 + 3600)].into_iter().enumerate()
    {
        let (row, values) = event(window, group);
        let (start, dimensions) = (row.window_start.as_micros(), names(&[group, "b", ""]));
        expected.entry(start).or_default().add(key.row(start, &dimensions), key.group(&dimensions), &values);
        commit(&mut store, epoch, from as i64, seconds, Batch { rows: vec![row], ..Batch::default() }).await;
    }
    store.close_windows(true).await.unwrap().unwrap();
    let digests = async || -> Vec<EventSums> {
        let stored = read_rows(&case, &key).await;
        assert_eq!((stored.count, &stored.differences.first), (4, &None));
        stored.buckets.into_values().map(|bucket| bucket.sums).collect()
    };
    let expected: Vec<EventSums> = expected.into_values().collect();
    assert_eq!(digests().await, expected);

    let sums = case.settings.pipeline.layout.sums();
    let client = case.client().await;
    for (change, undo, window, column) in [
        ("UPDATE final_rows SET sum1 = sum1 + 1", "UPDATE final_rows SET sum1 = sum1 - 1", 0, "discount"),
        ("UPDATE final_rows SET sum2 = sum2 + 1", "UPDATE final_rows SET sum2 = sum2 - 1", 0, "amount"),
        ("UPDATE delta_log SET sums2[1] = 1", "UPDATE delta_log SET sums2[1] = -3", 1, "amount"),
        ("UPDATE delta_log SET sums1_high = NULL", "UPDATE delta_log SET sums1_high = '{1}'", 1, "discount"),
    ] {
        assert!(client.execute(change, &[]).await.unwrap() > 0);
        let changed = digests().await;
        assert_eq!(changed[window].differing(&expected[window], sums), [column], "{change}");
        assert_eq!(changed[1 - window], expected[1 - window], "{change}");
        client.batch_execute(undo).await.unwrap();
    }
    let moved = "UPDATE final_rows SET d3 = 'x' WHERE d1 = 'ä'; UPDATE groups SET d3 = 'x' WHERE d1 = 'ä'";
    client.batch_execute(moved).await.unwrap();
    assert_ne!(digests().await[0], expected[0], "another third dimension");
}

#[tokio::test]
async fn digest_of_dead_letters_covers_all_columns() {
    let case = case().await;
    let (mut store, epoch) = store(&case).await;
    let money = Money::from_millionths;
    let purchase = Purchase {
        dimensions: Box::new(["a".into(), "ä".into(), "c".into()]),
        quantity: 2,
        amount: money(3),
        more: Box::new([money(LARGE), money(-4)]),
    };
    let letter = DeadLetter {
        partition: 0,
        offset: 0,
        reason: "future",
        detail: None,
        event_time: Some(Timestamp::EPOCH),
        record_time: None,
        purchase: Some(purchase),
        missed_by: None,
        payload: Some(Box::from(*b"{}")),
        schema: None,
    };
    commit(&mut store, epoch, 0, 0, Batch { dead_letters: vec![letter], ..Batch::default() }).await;

    let session = case.settings.database.connect("test").await.unwrap();
    let state = state(&case, &session).await;
    let decimal = crate::units::decimal;
    let expected = |last: i128| {
        let purchase = OraclePurchase {
            dimensions: names(&["a", "ä", "c"]),
            quantity: 2,
            price: decimal(1),
            amount: decimal(3),
            more: vec![decimal(LARGE), decimal(last)],
        };
        let (time, window_start) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
        let event = OracleEvent { time, window_start, purchases: vec![purchase], is_exploded: false };
        let judgement = Judgement { fate: "future", event: Some(event), missed_by: None, id: None, duplicate_of: None };
        let record = OracleRecord { offset: 0, timestamp_millis: None, value: Some(b"{}"), schema: None };
        let mut sum = LetterSum::default();
        let (pipeline_id, columns) = (&*state.pipeline_id, &state.columns);
        sum.add(&Letter { pipeline_id, columns, partition: 0, record: &record, judgement: &judgement });
        sum
    };
    let stored = letters::read(&session, &state).await.unwrap();
    assert_eq!(stored.present, BTreeMap::from([(0, expected(-4))]));
    assert_ne!(stored.present, BTreeMap::from([(0, expected(-5))]));
}
