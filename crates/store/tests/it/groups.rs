//! Groups get one id each, also from concurrent sessions, and a replaced server cannot give a commit wrong ids.

use retail_connection::ErrorKind;
use retail_testbed::{Case, Feeder};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sessions_give_a_group_one_id() {
    let case = Case::shared().partitions(8).start().await;
    let mut workers = Vec::new();
    for partition in 0..8 {
        let mut feeder = Feeder::new(&case, "worker").await;
        feeder.claim(&[partition]).await;
        workers.push(tokio::spawn(async move {
            for round in 0..10 {
                feeder.groups(partition, round * 20..round * 20 + 30, "1", 10);
                feeder.commit(&[]).await.unwrap();
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(case.text("SELECT (count(*), count(DISTINCT (d1, d2))) FROM groups").await, "(210,210)");
    // A group that exists uses up no id; concurrent sessions may use up some.
    assert_eq!(case.text("SELECT max(id) < 210 * 8 FROM groups").await, "true");
    assert_eq!(case.text("SELECT (count(*), sum(total_quantity)) FROM retail").await, "(210,2400)");
    assert_eq!(case.text("SELECT array_agg(DISTINCT cardinality(totals)) FROM group_totals").await, "{64}");
}

#[tokio::test]
async fn known_groups_use_up_no_ids() {
    let case = Case::shared().start().await;
    for round in 0..20 {
        let mut feeder = Feeder::new(&case, "a").await;
        feeder.claim(&[0]).await;
        feeder.groups(0, 0..10 + round, "1", 10);
        feeder.commit(&[]).await.unwrap();
    }
    assert_eq!(case.text("SELECT (count(*), max(id)) FROM groups").await, "(29,28)");
}

/// As a pooler does that replaces the server behind a session: ids that were learned from the old server belong to other
/// groups on the new one.
#[tokio::test]
async fn commit_with_ids_of_another_server_is_repeated() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.groups(0, 0..3, "1", 10);
    feeder.commit(&[]).await.unwrap();
    // The next answer comes from a server that started earlier and had these groups in another order.
    case.client()
        .await
        .batch_execute(
            "ALTER FUNCTION intern_groups RENAME TO intern_groups_of_this_server;
             CREATE SEQUENCE answers;
             CREATE FUNCTION intern_groups(identity text, d1s text[], d2s text[])
             RETURNS TABLE (ids integer[], server_started timestamptz) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
             BEGIN
                 SELECT * INTO ids, server_started FROM intern_groups_of_this_server(identity, d1s, d2s);
                 IF nextval('answers') = 1 THEN
                     ids := (SELECT array_agg(id ORDER BY n DESC) FROM unnest(ids) WITH ORDINALITY AS i (id, n));
                     server_started := server_started - interval '1 hour';
                 END IF;
                 RETURN NEXT;
             END $$",
        )
        .await
        .unwrap();
    let mut behind_pooler = Feeder::new(&case, "b").await;
    behind_pooler.claim(&[0]).await;
    behind_pooler.groups(0, 0..1, "10", 20);
    behind_pooler.groups(0, 2..3, "1000", 20);
    behind_pooler.commit(&[]).await.unwrap();
    assert_eq!(
        case.retail().await,
        ["0 300 00000 2 11 11 open", "0 300 00001 1 1 1 open", "0 300 00002 2 1001 1001 open"]
    );
    assert_eq!(case.text("SELECT last_value FROM answers").await, "2");
    assert_eq!(case.ledger().await, ["5 = 5 applied + 0 late + 0 invalid + 0 future + 0 gaps"]);
}

#[tokio::test]
async fn another_pipelines_schema_is_never_changed() {
    let case = Case::shared().start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    feeder.purchases(0, "1", &[10]);
    feeder.commit(&[]).await.unwrap();
    // A commit of known groups: nothing but the commit itself names the pipeline.
    feeder.purchases(0, "1", &[20]);
    let commit = feeder.take_commit(&[]);
    let everything = "SELECT (SELECT row(p.epoch, p.owner, p.next_offset) FROM partition_progress p WHERE partition = 0)::text
        || (SELECT count(*) FROM groups) || (SELECT count(*) FROM delta_log) || (SELECT row(p.*) FROM pipeline p)::text";
    // As after a restore of another schema: the id, or the owner, is another one.
    for change in ["id = 'another'", "uid = 'another'"] {
        let before = case.text("SELECT id || ' ' || uid FROM pipeline").await;
        let (id, uid) = before.split_once(' ').unwrap();
        case.client().await.batch_execute(&format!("UPDATE pipeline SET {change}")).await.unwrap();
        let state = case.text(everything).await;
        let store = &mut feeder.store;
        let kinds = [
            store.bind_topic("topic").await.unwrap_err().kind,
            store.begin_partitions(&[0]).await.unwrap_err().kind,
            store.claim(&[0], "b").await.unwrap_err().kind,
            store.commit(&commit).await.unwrap_err().kind,
            store.close_windows(true).await.unwrap_err().kind,
            store.close_step(true).await.unwrap_err().kind,
            store.record_close_failure(Some("no")).await.unwrap_err().kind,
            store.progress().await.unwrap_err().kind,
            store.outcome(&commit).await.unwrap_err().kind,
        ];
        assert_eq!(kinds, [ErrorKind::Foreign; 9], "{change}");
        assert_eq!(case.text(everything).await, state, "{change}");
        let undo = format!("UPDATE pipeline SET id = '{id}', uid = '{uid}'");
        case.client().await.batch_execute(&undo).await.unwrap();
    }
    feeder.store.commit(&commit).await.unwrap();
}
