//! Deletions of dead letters are logged.

use retail_store::Expired;
use retail_testbed::{Case, Feeder, Postgres, Sent};

/// Partition, number, bytes, first and last offset of each logged deletion.
async fn log(case: &Case) -> Vec<String> {
    let select = "
        SELECT concat_ws(' ', partition, letters, bytes, first_offset, last_offset) FROM dead_letter_log ORDER BY id";
    case.query(select).await.iter().map(|row| row.get(0)).collect()
}

/// The digest of the dead letters in the table and in the log together.
async fn digest(case: &Case) -> String {
    case.text(
        "SELECT string_agg(concat_ws(' ', s.partition, s.letters, s.digest, s.digest_2), ', ' ORDER BY s.partition) FROM (
             SELECT a.partition, sum(a.letters) AS letters, sum(a.digest) AS digest, sum(a.digest_2) AS digest_2 FROM (
                 SELECT d.partition, 1 AS letters, hash_bits(h.hash, 1) AS digest, hash_bits(h.hash, 16) AS digest_2
                 FROM pipeline p, dead_letter d, LATERAL (SELECT letter_hash(
                     p.id, d.partition, d.\"offset\", d.reason, d.event_time, d.record_time, d.d1, d.d2, d.quantity, d.amount,
                     d.missed_by, d.payload) AS hash) h
                 UNION ALL SELECT l.partition, l.letters, l.digest, l.digest_2 FROM dead_letter_log l
             ) a GROUP BY a.partition
         ) s",
    )
    .await
}

#[tokio::test]
async fn deleted_dead_letters_are_logged_with_their_digest() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    let garbage = |partition| Sent { partition, timestamp: 0, value: Some(b"not a purchase".to_vec()) };
    feeder.feed(&[garbage(0), garbage(1), garbage(0), Sent { partition: 0, timestamp: 1, value: None }, garbage(1)]);
    feeder.commit(&[]).await.unwrap();
    let before = digest(&case).await;
    assert_eq!(before.matches(' ').count(), 7, "{before}");
    let client = case.client().await;
    client
        .batch_execute("DELETE FROM dead_letter WHERE \"offset\" = 1; DELETE FROM dead_letter WHERE false")
        .await
        .unwrap();
    assert_eq!(log(&case).await, ["0 1 14 1 1", "1 1 14 1 1"]);
    client.batch_execute("BEGIN; DELETE FROM dead_letter; ROLLBACK").await.unwrap();
    assert_eq!(log(&case).await.len(), 2);
    assert_eq!(digest(&case).await, before);
    client.batch_execute("TRUNCATE dead_letter").await.unwrap();
    assert_eq!(log(&case).await[2..], ["0 2 14 0 2", "1 1 14 0 0"]);
    assert_eq!(case.text("SELECT count(*) FROM dead_letter").await, "0");
    assert_eq!(digest(&case).await, before);
}

#[tokio::test]
async fn role_without_rights_on_the_log_deletes_and_is_logged() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.feed(&[Sent { partition: 0, timestamp: 0, value: None }]);
    feeder.commit(&[]).await.unwrap();
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let schema = &case.settings.pipeline.schema;
    let role = format!("cleaner_{schema}");
    let grants = format!(
        "CREATE ROLE \"{role}\" LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\";
         GRANT SELECT, DELETE ON dead_letter TO \"{role}\""
    );
    superuser.batch_execute(&grants).await.unwrap();
    let url = Postgres::shared().url().replace("retail:retail@", &format!("{role}:secret@"));
    let cleaner = case.client_at(&url).await;
    cleaner.batch_execute("DELETE FROM dead_letter").await.unwrap();
    assert!(cleaner.batch_execute("DELETE FROM dead_letter_log").await.is_err());
    assert_eq!(case.text("SELECT concat_ws(' ', deleted_by, letters) FROM dead_letter_log").await, format!("{role} 1"));
}

/// Old dead letters and, from the oldest on, those above the size are deleted and logged. The digest of all stays.
#[tokio::test]
async fn dead_letters_above_the_bounds_are_deleted_and_logged() {
    let spec = "deadLetters: {retain: 2d, maxBytes: 1Mi}";
    let case = Case::shared().partitions(2).spec(spec).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    let large = |partition| Sent { partition, timestamp: 0, value: Some(vec![b'x'; 40_000]) };
    let records: Vec<Sent> = (0..20).map(|at| large(at % 2)).collect();
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    let before = digest(&case).await;
    let expire = async |feeder: &Feeder| {
        let Expired { deleted, letters, bytes } = feeder.store.expire_letters().await.unwrap();
        (deleted, letters, bytes)
    };
    assert_eq!(expire(&feeder).await, (0, 20, 20 * 40_128), "within the bounds");
    // More records than 1 MiB of them.
    feeder.feed(&records);
    feeder.commit(&[]).await.unwrap();
    let all = digest(&case).await;
    assert_ne!(all, before);
    assert_eq!(expire(&feeder).await, (14, 26, 26 * 40_128));
    assert_eq!(expire(&feeder).await, (0, 26, 26 * 40_128));
    let oldest = "SELECT min(\"offset\") FROM dead_letter WHERE partition = 1";
    assert_eq!(case.text(oldest).await, "7");
    // By age: nothing before 2 days and 1 percent, then all older than 2 days.
    let client = case.client().await;
    client.batch_execute("UPDATE dead_letter SET stored_at = now() - interval '2 days 28 minutes'").await.unwrap();
    assert_eq!(expire(&feeder).await.0, 0);
    client
        .batch_execute("UPDATE dead_letter SET stored_at = now() - interval '2 days 30 minutes' WHERE \"offset\" = 10")
        .await
        .unwrap();
    client.batch_execute("UPDATE dead_letter SET stored_at = now() WHERE \"offset\" = 19").await.unwrap();
    assert_eq!(expire(&feeder).await, (24, 2, 2 * 40_128));
    assert_eq!(case.text("SELECT string_agg(DISTINCT \"offset\"::text, ' ') FROM dead_letter").await, "19");
    assert_eq!(digest(&case).await, all);
    assert_eq!(case.text("SELECT sum(letters) FROM dead_letter_log").await, "38");
}
