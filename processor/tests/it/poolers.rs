//! Processors that reach Postgres through PgBouncer in transaction mode: their statements share sessions with each other.

use retail_testbed::{Case, Kafka, Pooler, Postgres, Program, purchase};
use retail_testbed::{Sent, eventually};

use crate::programs::{LIMIT, start, until, until_consumed, until_ready};

/// Records of each pipeline.
const RECORDS: i64 = 400;

/// A pipeline whose processor uses the pooler; tests look at the schema without it.
struct Pooled {
    case: Case,
    through: Case,
    category: &'static str,
    sent: i64,
}

impl Pooled {
    fn build(postgres: &Postgres, pooler: &Pooler, category: &'static str) -> Self {
        let case = Case::on(&Kafka::shared().address(), &postgres.url()).build();
        let through = case.with_database(&pooler.url());
        Self { case, through, category, sent: 0 }
    }

    fn start(&self) -> Program {
        start(&self.through, &["--workers", "1", "--http", "127.0.0.1:0"])
    }

    fn send(&mut self, count: i64) {
        let record = |number: i64| Sent {
            partition: (number % 2) as i32,
            timestamp: number,
            value: Some(purchase(self.category, "1", number)),
        };
        self.case.topic.send(&(self.sent..self.sent + count).map(record).collect::<Vec<_>>());
        self.sent += count;
    }

    /// Asserts that the schema contains the records of this pipeline only.
    async fn assert_own_rows(&self) {
        until_consumed(&self.case, self.sent).await;
        let rows = "SELECT string_agg(DISTINCT category, ' ') || ' ' || sum(total_quantity) FROM retail";
        assert_eq!(self.case.text(rows).await, format!("{} {}", self.category, self.sent));
        self.case.assert_exact().await;
    }
}

/// Both send their records in rounds, so that each commits many times while the other does.
async fn share_a_pool(pool_size: u32) {
    let postgres = Postgres::private();
    let pooler = Pooler::to(&postgres, pool_size);
    let mut pipelines = [Pooled::build(&postgres, &pooler, "A"), Pooled::build(&postgres, &pooler, "B")];
    for pipeline in &pipelines {
        pipeline.case.apply_topic().await;
        pipeline.through.apply_schema().await;
    }
    let mut processors = pipelines.each_ref().map(Pooled::start);
    for _ in 0..20 {
        for pipeline in &mut pipelines {
            pipeline.send(RECORDS / 20);
        }
        for Pooled { case, sent, .. } in &pipelines {
            until_consumed(case, *sent).await;
        }
    }
    for pipeline in &pipelines {
        assert_eq!(pipeline.sent, RECORDS);
        pipeline.assert_own_rows().await;
    }
    for processor in &mut processors {
        processor.signal("TERM");
        assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
        assert!(!processor.output().contains("fenced"), "{}", processor.output());
    }
    // `verify` keeps a session of the pool for a transaction.
    for pipeline in &pipelines {
        pipeline.through.assert_exact().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_share_a_pool_of_one_and_are_exact() {
    share_a_pool(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_share_a_pool_of_twenty_and_are_exact() {
    share_a_pool(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pooler_restarted_under_load_counts_once() {
    let postgres = Postgres::private();
    let pooler = Pooler::to(&postgres, 3);
    let mut pipelines = [Pooled::build(&postgres, &pooler, "A"), Pooled::build(&postgres, &pooler, "B")];
    for pipeline in &pipelines {
        pipeline.case.apply_topic().await;
        pipeline.through.apply_schema().await;
    }
    let processors = pipelines.each_ref().map(Pooled::start);
    for _ in 0..5 {
        let before = pipelines[0].case.text("SELECT coalesce(sum(consumed), 0) FROM ledger").await;
        for pipeline in &mut pipelines {
            pipeline.send(2000);
        }
        let more = format!("SELECT coalesce(sum(consumed), 0) > {before} FROM ledger");
        until(&pipelines[0].case, "a commit has passed the pooler", &more).await;
        pooler.stop();
        for pipeline in &mut pipelines {
            pipeline.send(100);
        }
        until_ready(&processors[0], 503, "cannot reach postgres").await;
        pooler.start();
    }
    for pipeline in &pipelines {
        pipeline.assert_own_rows().await;
    }
    for processor in &processors {
        until_ready(processor, 200, "ready").await;
    }
}

/// A pool that is smaller than the number of workers makes them wait for each other, not fail.
#[tokio::test(flavor = "multi_thread")]
async fn pool_smaller_than_the_workers_is_exact() {
    let postgres = Postgres::private();
    let pooler = Pooler::to(&postgres, 1);
    let case = Case::on(&Kafka::shared().address(), &postgres.url()).partitions(4).build();
    let through = case.with_database(&pooler.url());
    case.apply_topic().await;
    through.apply_schema().await;
    let _processors = [start(&through, &["--workers", "2"]), start(&through, &["--workers", "2"])];
    eventually("all partitions have an owner", async || {
        (case.text("SELECT count(DISTINCT owner) FROM partition_progress").await == "4").then_some(())
    })
    .await;
    crate::programs::produce(&case, 20_000, 1).await;
    until_consumed(&case, 20_000).await;
    case.assert_exact().await;
}
