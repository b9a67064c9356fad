//! A failover of Postgres: the address leads to a standby, first read-only, then promoted.

use retail_testbed::{Case, Kafka, Postgres, Program, Proxy, Standby};

use crate::programs::{produce, start, until_consumed, until_ready};

/// Records of each step.
const RECORDS: i64 = 2000;

/// A pipeline on a server that is followed by a standby. The processor reaches the server through an address that moves.
struct Served {
    case: Case,
    server: Postgres,
    sent: i64,
}

impl Served {
    async fn send(&mut self) {
        self.sent += RECORDS;
        produce(&self.case, RECORDS as u64, self.sent as u64).await;
    }

    async fn assert_all(&self) {
        until_consumed(&self.case, self.sent).await;
        self.case.assert_exact().await;
    }

    /// The server fails, its standby takes over the address, and is promoted while the processor waits.
    async fn fail_over(mut self, processor: &Program, address: &Proxy, fail: fn(&Postgres)) -> Self {
        let standby = Standby::of(&self.server);
        self.send().await;
        self.assert_all().await;
        standby.catches_up_with(&self.server).await;
        fail(&self.server);
        address.point_to(&standby.server().address());
        // Until the promotion, the server answers, and refuses each commit.
        self.send().await;
        until_ready(processor, 503, "read-only").await;
        let server = standby.promote();
        self.case = self.case.with_database(&server.url());
        until_ready(processor, 200, "ready").await;
        self.assert_all().await;
        Self { server, ..self }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_to_a_read_only_standby_and_back_counts_once() {
    let server = Postgres::private();
    let case = Case::on(&Kafka::shared().address(), &server.url()).start().await;
    let address = Proxy::to(&server.address());
    let through = case.with_database(&address.url(&server.url()));
    let mut processor = start(&through, &["--workers", "1", "--http", "127.0.0.1:0"]);
    let served = Served { case, server, sent: 0 };
    let served = served.fail_over(&processor, &address, Postgres::kill).await;
    // The way back, with a shutdown, as in a planned switchover.
    let served = served.fail_over(&processor, &address, Postgres::stop).await;
    assert_eq!(processor.try_wait(), None, "{}", processor.output());
    assert_eq!(served.sent, 4 * RECORDS);
}

/// An asynchronous standby may lack the last commits of its primary. The records behind them are read again.
#[tokio::test(flavor = "multi_thread")]
async fn failover_that_loses_commits_reads_their_records_again() {
    let server = Postgres::private();
    let case = Case::on(&Kafka::shared().address(), &server.url()).start().await;
    let address = Proxy::to(&server.address());
    let through = case.with_database(&address.url(&server.url()));
    let processor = start(&through, &["--workers", "1", "--http", "127.0.0.1:0"]);
    let mut served = Served { case, server, sent: 0 };
    served.send().await;
    served.assert_all().await;
    let standby = Standby::of(&served.server);
    standby.catches_up_with(&served.server).await;
    standby.server().stop();
    served.send().await;
    served.assert_all().await;
    served.server.kill();
    standby.server().start();
    let server = standby.promote();
    let case = served.case.with_database(&server.url());
    assert_eq!(case.text("SELECT sum(consumed) FROM ledger").await, RECORDS.to_string(), "the standby lacks commits");
    address.point_to(&server.address());
    let mut served = Served { case, server, sent: served.sent };
    served.send().await;
    served.assert_all().await;
    until_ready(&processor, 200, "ready").await;
}
