//! Copies of a pipeline's database while the original is in use: restored dumps, and a promoted standby.

use retail_store::provision;
use retail_testbed::{Case, Kafka, Postgres, Standby, eventually};

use crate::programs::{LIMIT, start, until, until_consumed, until_ready};

const PROBES: [&str; 6] = ["--workers", "1", "--session-timeout", "6s", "--http", "127.0.0.1:0"];

async fn group(case: &Case) -> String {
    let session = case.settings.database.connect("test").await.unwrap();
    provision::check(&session, &case.settings.pipeline).await.unwrap().group_id
}

#[tokio::test]
async fn restored_dump_takes_no_partition_from_production() {
    let (postgres, elsewhere) = (Postgres::private(), Postgres::private());
    let production = Case::on(&Kafka::shared().address(), &postgres.url()).start().await;
    let processor = start(&production, &PROBES);
    let both = [("A", "1", 0), ("B", "2", 0)];
    (0..2).for_each(|partition| production.topic.purchases(partition, &both));
    until_consumed(&production, 4).await;
    let epochs = "SELECT string_agg(concat(epoch, ' ', owner), ', ' ORDER BY partition) FROM partition_progress";
    let before = production.text(epochs).await;

    let dump = postgres.dump(&[&format!("--schema={}", production.settings.pipeline.schema)]);
    let clone = production.with_database(&postgres.create_database("clone").await);
    postgres.restore("clone", &dump);
    let copy = production.with_database(&elsewhere.url());
    elsewhere.restore("retail", &dump);
    let groups = [group(&production).await, group(&clone).await, group(&copy).await];
    assert!(groups[0] != groups[1] && groups[0] != groups[2] && groups[1] != groups[2], "{groups:?}");
    assert_eq!(group(&production).await, groups[0]);

    let _copies = [start(&clone, &PROBES), start(&copy, &PROBES)];
    (0..2).for_each(|partition| production.topic.purchases(partition, &both));
    for case in [&production, &clone, &copy] {
        until_consumed(case, 8).await;
        case.assert_exact().await;
    }
    assert_eq!(production.text(epochs).await, before, "production has kept its partitions");
    assert!(!processor.output().contains("fenced"), "{}", processor.output());
}

#[tokio::test]
async fn promoted_copy_makes_the_processors_of_both_unready() {
    let postgres = Postgres::private();
    let standby = Standby::of(&postgres);
    let production = Case::on(&Kafka::shared().address(), &postgres.url()).start().await;
    let processor = start(&production, &PROBES);
    (0..2).for_each(|partition| production.topic.purchases(partition, &[("A", "1", 0)]));
    until_consumed(&production, 2).await;
    standby.catches_up_with(&postgres).await;
    let promoted = standby.promote();
    let copy = production.with_database(&promoted.url());
    assert_eq!(group(&copy).await, group(&production).await, "nothing in a physical copy tells");
    let mut other = start(&copy, &PROBES);
    until(&copy, "the copy has a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;

    let mut sent = 2;
    for program in [&processor, &other] {
        eventually("the processor notices the other one", async || {
            (0..2).for_each(|partition| production.topic.purchases(partition, &[("A", "1", 0)]));
            sent += 2;
            let (status, body) = crate::programs::http(program, "/readyz").await;
            (status == 503 && body.contains("is read by a member that does not write here")).then_some(())
        })
        .await;
    }

    // Production continues where its own database stands.
    other.signal("TERM");
    assert_eq!(other.exit_code(LIMIT).await, 0);
    until_consumed(&production, sent).await;
    until_ready(&processor, 200, "ready").await;
    production.assert_exact().await;

    // The statement of docs/how-to/back-up-and-restore.md, for a copy that stays.
    let separate = "UPDATE pipeline SET id = gen_random_uuid()::text, group_prefix = group_prefix || '-' || left(gen_random_uuid()::text, 8)";
    copy.client().await.batch_execute(separate).await.unwrap();
    assert_ne!(group(&copy).await, group(&production).await);
    let _copy = start(&copy, &PROBES);
    until_consumed(&copy, sent).await;
    copy.assert_exact().await;
}
