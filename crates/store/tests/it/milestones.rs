//! The state of deduplication: stored with a batch, returned by a claim, limited by the start of the log.

use std::time::Duration;

use retail_connection::ErrorKind;
use retail_engine::{Milestone, Recent, Span};
use retail_testbed::{Case, Feeder};

fn milestones(steps: &[(i64, i64)]) -> Vec<Milestone> {
    steps.iter().map(|&(offset, step)| Milestone { offset, step }).collect()
}

async fn stored(feeder: &Feeder) -> Vec<Recent> {
    feeder.store.progress().await.unwrap().into_iter().map(|row| row.recent).collect()
}

#[tokio::test]
async fn commit_stores_the_milestones_that_changed() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    assert_eq!(stored(&feeder).await, vec![Recent::default(); 2]);
    feeder.purchases(0, "1", &[10, 20]);
    feeder.purchases(1, "1", &[10]);
    let mut commit = feeder.take_commit(&[]);
    commit.batch.milestones = vec![(0, milestones(&[(0, 7), (1, 9)])), (1, milestones(&[(0, 5)]))];
    feeder.store.commit(&commit).await.unwrap();
    let limit = vec![(0, Span::from_secs(3600))];
    let of = |steps: &[(i64, i64)]| Recent { milestones: milestones(steps), from: 0, max_future: limit.clone() };
    assert_eq!(stored(&feeder).await, [of(&[(0, 7), (1, 9)]), of(&[(0, 5)])]);

    feeder.purchases(0, "1", &[30]);
    feeder.purchases(1, "1", &[30, 40]);
    let mut commit = feeder.take_commit(&[]);
    commit.batch.milestones = vec![(1, milestones(&[(1, 70), (2, 80)]))];
    feeder.store.commit(&commit).await.unwrap();
    let expected = [of(&[(0, 7), (1, 9)]), of(&[(1, 70), (2, 80)])];
    assert_eq!(stored(&feeder).await, expected);

    // A fenced batch leaves them as they are.
    feeder.purchases(0, "1", &[50]);
    let mut fenced = feeder.take_commit(&[]);
    fenced.batch.milestones = vec![(0, milestones(&[(3, 99)]))];
    let claimed = feeder.store.claim(&[0, 1], "b").await.unwrap();
    assert_eq!(claimed.into_iter().map(|row| row.recent).collect::<Vec<_>>(), expected);
    assert_eq!(feeder.store.commit(&fenced).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(stored(&feeder).await, expected);
}

/// The records that are read again are judged by the values of max_future that applied to them.
#[tokio::test]
async fn claim_returns_the_limits_since_the_first_milestone() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    let client = case.client().await;
    let rules = "INSERT INTO fate_rules
        SELECT 0, o, 'epoch'::timestamptz + o * interval '1 hour', m * interval '1 second', true
        FROM unnest(ARRAY[2, 4, 6, 8], ARRAY[10, 20, 20, 30]) r (o, m)";
    client.batch_execute(rules).await.unwrap();
    client
        .batch_execute(
            "UPDATE partition_progress SET next_offset = 9, dedup_offsets = '{5, 7}', dedup_steps = '{1, 2}'",
        )
        .await
        .unwrap();
    let limits = |recent: &Recent| recent.max_future.clone();
    let second = |seconds| Span::from(Duration::from_secs(seconds));
    // The rule at 4 applies to the first milestone; the one at 6 has the same value.
    assert_eq!(limits(&stored(&feeder).await[0]), [(4, second(20)), (8, second(30))]);
    // The rules of deleted records are not needed.
    feeder.store.forget_rules(&[6]).await.unwrap();
    assert_eq!(limits(&stored(&feeder).await[0]), [(6, second(20)), (8, second(30))]);
}

#[tokio::test]
async fn claim_records_where_deleted_records_end() {
    let case = Case::shared().partitions(2).start().await;
    let feeder = Feeder::new(&case, "a").await;
    let client = case.client().await;
    let state = "UPDATE partition_progress SET next_offset = 20, dedup_offsets = '{5, 15}', dedup_steps = '{1, 2}' WHERE partition = 0";
    client.batch_execute(state).await.unwrap();
    let claim = async |log_starts: &[i64]| {
        let claimed = feeder.store.claim_in_logs(&[0, 1], "a", Some(log_starts)).await.unwrap();
        let from: Vec<i64> = claimed.iter().map(|row| row.recent.from).collect();
        let rules = "SELECT string_agg(concat_ws(' ', partition, \"offset\", dedup_from), ', ' ORDER BY partition, \"offset\") FROM fate_rules";
        (from, case.text(rules).await)
    };
    let no_rule = "0 0 0, 0 20 0, 1 0 0".to_owned();
    // The log contains all records that are read again, or nothing is read again.
    assert_eq!(claim(&[5, 0]).await, (vec![0, 0], no_rule.replace("0 20 0, ", "")));
    assert_eq!(claim(&[7, 9]).await, (vec![7, 0], no_rule.replace("20 0", "20 7")));
    assert_eq!(claim(&[7, 9]).await, (vec![7, 0], no_rule.replace("20 0", "20 7")), "no new rule");
    client.batch_execute("UPDATE partition_progress SET next_offset = 30 WHERE partition = 0").await.unwrap();
    assert_eq!(claim(&[8, 9]).await, (vec![8, 0], "0 0 0, 0 20 7, 0 30 8, 1 0 0".to_owned()));
    // The first milestone has passed it.
    client
        .batch_execute("UPDATE partition_progress SET dedup_offsets = '{15}', dedup_steps = '{2}' WHERE partition = 0")
        .await
        .unwrap();
    assert_eq!(claim(&[12, 9]).await, (vec![8, 0], "0 0 0, 0 20 7, 0 30 8, 1 0 0".to_owned()));
    let incomplete = "SELECT count(*) FROM partition_progress WHERE dedup_from > dedup_offsets[1]";
    assert_eq!(case.text(incomplete).await, "0");
}
