//! A worker is killed, disconnected or delayed at each step of a commit. Every purchase counts once.

use retail_testbed::{Case, Moment, Postgres, Program, Proxy, eventually};
use tokio_postgres::Client;

use crate::programs::{LIMIT, http, start, until, until_consumed};

/// A processor that has committed one record, with a connection to Postgres that a proxy can cut.
struct ProxiedProcessor {
    case: Case,
    proxy: Proxy,
    processor: Program,
}

impl ProxiedProcessor {
    async fn start() -> Self {
        let case = Case::shared().partitions(1).start().await;
        let proxy = Proxy::to(&Postgres::shared().address());
        let through = case.with_database(&proxy.url(&Postgres::shared().url()));
        let arguments = ["--workers", "1", "--session-timeout", "6s", "--http", "127.0.0.1:0"];
        let processor = start(&through, &arguments);
        case.topic.purchases(0, &[("A", "1", 0)]);
        until_consumed(&case, 1).await;
        Self { case, proxy, processor }
    }

    /// Sends two more records, and stops their commit at this moment.
    async fn hold(&self, moment: Moment) {
        self.proxy.stop_at(moment);
        self.case.topic.purchases(0, &[("A", "1", 1), ("A", "1", 2)]);
        self.proxy.holds_a_commit().await;
    }

    async fn consumed(&self) -> String {
        self.case.text("SELECT consumed FROM ledger").await
    }

    /// The processor continues, and its batch is committed once.
    async fn assert_continues_and_counts_once(self) {
        self.case.topic.purchases(0, &[("A", "1", 3)]);
        until_consumed(&self.case, 4).await;
        assert!(!self.processor.output().contains("fenced"), "{}", self.processor.output());
        self.case.assert_exact().await;
    }

    /// The processor is killed, another one starts, and every record is counted once.
    async fn assert_next_owner_counts_once(self) {
        self.processor.kill();
        self.proxy.cut();
        let _next_owner = start(&self.case, &["--workers", "1"]);
        self.case.topic.purchases(0, &[("A", "1", 3)]);
        until_consumed(&self.case, 4).await;
        assert_eq!(self.case.retail().await, ["0 300 A 4 4 4 open"]);
        self.case.assert_exact().await;
    }
}

#[tokio::test]
async fn worker_killed_before_commit_sent_loses_nothing() {
    let proxied = ProxiedProcessor::start().await;
    proxied.hold(Moment::BeforeTheCommit).await;
    assert_eq!(proxied.consumed().await, "1");
    proxied.assert_next_owner_counts_once().await;
}

#[tokio::test]
async fn worker_killed_during_commit_counts_once() {
    let proxied = ProxiedProcessor::start().await;
    proxied.hold(Moment::HalfOfTheCommit).await;
    assert_eq!(proxied.consumed().await, "1");
    proxied.assert_next_owner_counts_once().await;
}

#[tokio::test]
async fn worker_killed_before_commit_reply_counts_once() {
    let proxied = ProxiedProcessor::start().await;
    proxied.hold(Moment::AfterTheCommit).await;
    assert_eq!(proxied.consumed().await, "3");
    proxied.assert_next_owner_counts_once().await;
}

#[tokio::test]
async fn windows_of_killed_worker_are_closed_by_next_owner() {
    let proxied = ProxiedProcessor::start().await;
    proxied.proxy.stop_at(Moment::AfterTheCommit);
    proxied.case.topic.purchases(0, &[("A", "1", 4000)]);
    proxied.proxy.holds_a_commit().await;
    proxied.processor.kill();
    proxied.proxy.cut();
    assert_eq!(proxied.case.text("SELECT count(*) FROM final_rows").await, "0");
    let _next_owner = start(&proxied.case, &["--workers", "1"]);
    until(&proxied.case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    proxied.case.assert_exact().await;
}

#[tokio::test]
async fn commit_with_lost_reply_is_not_sent_twice() {
    let proxied = ProxiedProcessor::start().await;
    proxied.hold(Moment::AfterTheCommit).await;
    proxied.proxy.cut();
    // The offsets have moved, so a second commit would have been fenced.
    proxied.assert_continues_and_counts_once().await;
}

#[tokio::test]
async fn commit_that_never_arrived_is_sent_again() {
    for moment in [Moment::BeforeTheCommit, Moment::HalfOfTheCommit] {
        let proxied = ProxiedProcessor::start().await;
        proxied.hold(moment).await;
        proxied.proxy.cut();
        until_consumed(&proxied.case, 3).await;
        proxied.assert_continues_and_counts_once().await;
    }
}

/// Waits until this number of the processor's sessions waits for a lock.
async fn until_waiting(case: &Case, superuser: &Client, processor: &Program, sessions: i64) {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '%/{}/%'",
        processor.pid()
    );
    eventually(&format!("{sessions} sessions wait in {}", case.topic.name), async || {
        let row = superuser.query_one(&waiting, &[]).await.unwrap();
        (row.get::<_, i64>(0) == sessions).then_some(())
    })
    .await;
}

#[tokio::test]
async fn commit_that_arrives_late_counts_once() {
    let ProxiedProcessor { case, proxy, processor } = ProxiedProcessor::start().await;
    let lock = case.client().await;
    lock.batch_execute("BEGIN; SELECT FROM partition_progress FOR UPDATE").await.unwrap();
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    case.topic.purchases(0, &[("A", "1", 1), ("A", "1", 2)]);
    until_waiting(&case, &superuser, &processor, 1).await;
    // The worker reads the outcome, not committed, and sends the commit again.
    proxy.cut_unnoticed_by_the_server();
    until_waiting(&case, &superuser, &processor, 2).await;
    lock.batch_execute("COMMIT").await.unwrap();
    until_consumed(&case, 3).await;
    ProxiedProcessor { case, proxy, processor }.assert_continues_and_counts_once().await;
}

#[tokio::test]
async fn zombie_is_fenced_and_continues() {
    let ProxiedProcessor { case, proxy, processor: zombie } = ProxiedProcessor::start().await;
    proxy.stop_at(Moment::BeforeTheCommit);
    case.topic.purchases(0, &[("A", "1", 1), ("A", "1", 2)]);
    proxy.holds_a_commit().await;
    zombie.signal("STOP");
    let next_owner = start(&case, &["--workers", "1", "--session-timeout", "6s"]);
    until_consumed(&case, 3).await;
    // The commit that it sent before it was suspended arrives now.
    proxy.release();
    zombie.signal("CONT");
    zombie.says("fenced").await;
    let (_, metrics) = http(&zombie, "/metrics").await;
    assert!(metrics.contains("retail_commits_total{result=\"fenced\"} 1"), "{metrics}");
    case.topic.purchases(0, &[("A", "1", 3)]);
    until_consumed(&case, 4).await;
    next_owner.kill();
    let owned = format!("SELECT bool_and(owner LIKE '%/{}/%') FROM partition_progress", zombie.pid());
    until(&case, "the partition is the zombie's again", &owned).await;
    case.topic.purchases(0, &[("A", "1", 4)]);
    until_consumed(&case, 5).await;
    assert_eq!(case.retail().await, ["0 300 A 5 5 5 open"]);
    case.assert_exact().await;
}

/// A fenced batch has waited for a trigger already. Its records are committed once they are read again.
#[tokio::test]
async fn fenced_batch_is_committed_without_another_trigger() {
    let case = Case::shared().spec("trigger: 1h").start().await;
    let mut processor = start(&case, &["--workers", "1"]);
    until(&case, "both partitions are claimed", "SELECT count(owner) = 2 FROM partition_progress").await;
    // As a close of another worker does. The first batch, which needs no trigger, is judged by the old floor.
    let raise = "WITH raised AS (UPDATE partition_progress SET lateness_floor = '2025-01-01 00:05Z' RETURNING *) \
                 INSERT INTO fate_rules SELECT partition, next_offset, lateness_floor, max_future, keeps_late FROM raised \
                 ON CONFLICT (partition, \"offset\") DO UPDATE SET lateness_floor = excluded.lateness_floor";
    case.client().await.batch_execute(raise).await.unwrap();
    case.topic.purchases(0, &[("A", "1", 400)]);
    processor.says("a commit was fenced").await;
    until_consumed(&case, 1).await;
    // Not verified: no decision to close has raised the floor.
    assert_eq!(case.retail().await, ["300 600 A 1 1 1 open"]);
    processor.signal("TERM");
    assert_eq!(processor.exit_code(LIMIT).await, 0);
}
