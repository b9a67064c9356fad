//! The store through PgBouncer in transaction mode, where statements of several pipelines share sessions of the server.

use std::time::Duration;

use retail_testbed::{Case, Feeder, Pooler, Postgres};

/// Longer than any step, and shorter than the deadlines of a connection together.
const LIMIT: Duration = Duration::from_secs(90);

/// Both pipelines, seen directly and through the pooler.
struct Pair {
    direct: [Case; 2],
    pooled: [Case; 2],
    _pooler: Pooler,
}

impl Pair {
    fn build(postgres: &Postgres, pool_size: u32) -> Self {
        let pooler = Pooler::to(postgres, pool_size);
        let direct = [0, 1].map(|_| Case::on("127.0.0.1:1", &postgres.url()).partitions(1).build());
        let pooled = direct.each_ref().map(|case| case.with_database(&pooler.url()));
        Self { direct, pooled, _pooler: pooler }
    }
}

/// Two pipelines commit in turns and at the same time; each batch must reach the schema of its pipeline.
async fn commits_reach_their_schemas(pool_size: u32) {
    let postgres = Postgres::private();
    let pair = Pair::build(&postgres, pool_size);
    for case in &pair.direct {
        case.apply_schema().await;
    }
    let mut feeders = Vec::new();
    for case in &pair.pooled {
        let mut feeder = Feeder::new(case, "pooled").await;
        feeder.claim(&[0]).await;
        feeders.push(feeder);
    }
    let tasks = feeders.into_iter().zip([200, 300]).map(|(mut feeder, commits)| {
        tokio::spawn(async move {
            for second in 0..commits {
                feeder.purchases(0, "1", &[second]);
                feeder.commit(&[]).await.unwrap();
            }
        })
    });
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.expect("the commits end in time").unwrap();
    }
    for (case, commits) in pair.direct.iter().zip([200, 300]) {
        let stored = "SELECT concat_ws(' ', consumed, applied, (SELECT sum(total_quantity) FROM retail)) FROM ledger";
        assert_eq!(case.text(stored).await, format!("{commits} {commits} {commits}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_through_a_pool_of_one_reach_their_schemas() {
    commits_reach_their_schemas(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_through_a_pool_of_twenty_reach_their_schemas() {
    commits_reach_their_schemas(20).await;
}
