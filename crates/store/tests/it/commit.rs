//! A commit writes sums, offsets and dead letters together, or nothing.

use retail_connection::ErrorKind;
use retail_engine::{RecordIdentity, Timestamp};
use retail_store::Outcome;
use retail_testbed::Feeder;
use retail_testbed::{Case, Sent, at};

#[tokio::test]
async fn commit_writes_sums_offsets_and_dead_letters_together() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "0.10", &[10, 20, 310]);
    feeder.feed(&[Sent { partition: 1, timestamp: 0, value: Some(b"{".to_vec()) }]);
    feeder.engine.partition(1).unwrap().skip_to(4);
    feeder.commit(&[]).await.unwrap();
    feeder.purchases(1, "1000", &[30]);
    feeder.commit(&[]).await.unwrap();

    assert_eq!(case.retail().await, ["0 300 A 3 1000.2 1000.2 open", "300 600 A 1 0.1 1000.3 open"]);
    assert_eq!(
        case.ledger().await,
        [
            "3 = 3 applied + 0 late + 0 invalid + 0 future + 0 gaps",
            "5 = 1 applied + 0 late + 1 invalid + 0 future + 3 gaps",
        ]
    );
    assert_eq!(
        case.text("SELECT (partition, \"offset\", reason, payload) FROM dead_letter").await,
        r#"(1,0,malformed_json,"\\x7b")"#
    );
    assert_eq!(case.text("SELECT avg_price FROM retail WHERE total_quantity = 3").await, "333.400000");
}

#[tokio::test]
async fn commit_stores_the_last_record_of_each_partition() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    let stored = async |feeder: &Feeder| {
        let rows = feeder.store.progress().await.unwrap();
        rows.iter().map(|row| row.last_record).collect::<Vec<_>>()
    };
    assert_eq!(stored(&feeder).await, [None, None]);
    let record =
        |offset| RecordIdentity { offset, leader_epoch: 3, timestamp_millis: i64::MAX, digest: [offset as u8; 32] };
    feeder.purchases(0, "1", &[10, 20]);
    let mut commit = feeder.take_commit(&[]);
    commit.last_records.insert(0, record(1));
    feeder.store.commit(&commit).await.unwrap();
    assert_eq!(stored(&feeder).await, [Some(record(1)), None]);
    // Only gaps: the record stays the last one.
    feeder.engine.partition(0).unwrap().skip_to(5);
    feeder.commit(&[]).await.unwrap();
    assert_eq!(stored(&feeder).await, [Some(record(1)), None]);

    // A fenced batch leaves it as it is, and a claim returns it.
    feeder.purchases(0, "1", &[30]);
    let mut fenced = feeder.take_commit(&[]);
    fenced.last_records.insert(0, RecordIdentity { leader_epoch: -1, timestamp_millis: -1, ..record(5) });
    let claimed = feeder.store.claim(&[0], "b").await.unwrap();
    assert_eq!(claimed[0].last_record, Some(record(1)));
    assert_eq!(feeder.store.commit(&fenced).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(stored(&feeder).await, [Some(record(1)), None]);
}

#[tokio::test]
async fn commit_of_a_former_owner_changes_nothing() {
    let case = Case::shared().start().await;
    let mut zombie = Feeder::new(&case, "zombie").await;
    zombie.claim(&[0, 1]).await;
    zombie.purchases(0, "1", &[10]);
    zombie.purchases(1, "1", &[10]);
    let mut heir = Feeder::new(&case, "heir").await;
    heir.claim(&[1]).await;
    heir.purchases(1, "1", &[10, 20]);

    let commit = zombie.take_commit(&[]);
    let error = zombie.store.commit(&commit).await.unwrap_err();
    assert_eq!((error.kind, case.retail().await.len()), (ErrorKind::Fenced, 0));
    assert_eq!(zombie.store.outcome(&commit).await.unwrap(), Outcome::Fenced);
    heir.commit(&[]).await.unwrap();
    let error = zombie.store.commit(&commit).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced);
    assert_eq!(case.retail().await, ["0 300 A 2 2 2 open"]);
}

#[tokio::test]
async fn repeated_batch_counts_once() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1", &[10]);
    let commit = feeder.take_commit(&[]);
    assert_eq!(feeder.store.outcome(&commit).await.unwrap(), Outcome::NotCommitted);
    feeder.store.commit(&commit).await.unwrap();
    assert_eq!(feeder.store.outcome(&commit).await.unwrap(), Outcome::Committed);
    assert_eq!(feeder.store.commit(&commit).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open"]);
}

#[tokio::test]
async fn concurrent_first_starts_begin_once() {
    let case = Case::shared().start().await;
    let (mut a, b) = (Feeder::new(&case, "a").await, Feeder::new(&case, "b").await);
    a.claim(&[0, 1]).await;
    a.purchases(0, "1", &[10]);
    a.commit(&[]).await.unwrap();
    b.store.begin_partitions(&[7, 7]).await.unwrap();
    let offsets: Vec<i64> = b.store.progress().await.unwrap().iter().map(|row| row.start.next_offset).collect();
    assert_eq!(offsets, [1, 0]);
}

#[tokio::test]
async fn extreme_values_are_exact() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let value = |category: &str, quantity: i64, price: &str| {
        let time = at(0);
        let value = format!(
            r#"{{"category":"{category}","payment_method":"日\n","quantity":{quantity},"price":{price},"ts":{time}}}"#
        );
        Sent { partition: 0, timestamp: 0, value: Some(value.into_bytes()) }
    };
    for _ in 0..3 {
        feeder.feed(&[
            value("max", 2_147_483_647, "999999999999.999999"),
            value("min", 1, "0.000001"),
            value("'; DROP\\t\\\\", 1, "0"),
        ]);
    }
    // The average is half a millionth: rounded away from zero, without an earlier rounding to zero.
    feeder.feed(&[value("tie", 1, "0.000001"), value("tie", 1, "0")]);
    feeder.commit(&[]).await.unwrap();
    let rows = case
        .query("SELECT concat_ws(' ', category, avg_price, total_quantity, total_amount) FROM retail ORDER BY 1")
        .await;
    let rows: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        rows,
        [
            "'; DROP\t\\ 0.000000 3 0.000000",
            "max 999999999999.999999 6442450941 6442450940999999993557.549059",
            "min 0.000001 3 0.000003",
            "tie 0.000001 2 0.000001",
        ]
    );
}

#[tokio::test]
async fn earliest_and_latest_event_times_are_kept() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    for time in ["0", "253402300799.999999"] {
        let value = format!(r#"{{"category":"A","payment_method":"m","quantity":1,"price":1,"ts":{time}}}"#);
        let record = retail_engine::Record {
            offset: feeder.engine.position(0).unwrap(),
            timestamp: Some(Timestamp::from_millis(i64::MAX)),
            value: Some(value.as_bytes()),
            schema: None,
        };
        feeder.engine.partition(0).unwrap().record(&record);
    }
    feeder.commit(&[]).await.unwrap();
    assert_eq!(
        case.text("SELECT array_agg(window_end ORDER BY window_end) FROM retail").await,
        r#"{"1970-01-01 00:05:00+00","10000-01-01 00:00:00+00"}"#
    );
}

#[tokio::test]
async fn dead_letters_contain_what_was_missed() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let sent = |timestamp: i64, value: Vec<u8>| Sent { partition: 0, timestamp, value: Some(value) };
    feeder.feed(&[
        sent(4000, retail_testbed::purchase("A", "1", 4000)),
        sent(4000, retail_testbed::purchase("B", "2.5", 299)),
        sent(4000, retail_testbed::purchase("C", "3", 100_000)),
        sent(4000, b"{}".to_vec()),
    ]);
    feeder.commit(&[]).await.unwrap();
    let letters = "
        SELECT concat_ws(' ', \"offset\", reason, d1, d2, quantity, amount, missed_by, num_nulls(d1, d2, quantity, amount, missed_by))
        FROM dead_letter ORDER BY \"offset\"";
    let letters: Vec<String> = case.query(letters).await.iter().map(|row| row.get(0)).collect();
    // The window of the late event ended at 300, and windows up to 400 are closed.
    assert_eq!(letters, ["1 late B COD 1 2.500000 00:01:40 0", "2 future C COD 1 3.000000 1", "3 missing_field 5"]);
}

#[tokio::test]
async fn other_isolation_levels_are_refused() {
    let case = Case::shared().start().await;
    let feeder = Feeder::new(&case, "a").await;
    let session = feeder.store.session();
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let error = feeder.store.claim(&[0], "a").await.unwrap_err();
    assert!(error.message.contains("set default_transaction_isolation of the role to \"read committed\""), "{error}");
}
