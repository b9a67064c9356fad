//! Hot standbys of Postgres.

use tokio_postgres::{Client, NoTls};

use crate::servers::Postgres;
use crate::wait::eventually;

/// A read-only copy of a server that follows it by streaming replication, as an operator for Postgres keeps for a failover.
/// Dropping the value stops it and deletes its data.
#[derive(Debug)]
pub struct Standby {
    postgres: Postgres,
}

impl Standby {
    /// Copies a private server, and starts the copy.
    pub fn of(primary: &Postgres) -> Self {
        Self { postgres: Postgres::standby_of(primary) }
    }

    /// Copies a private server to a file system of its own, and starts the copy. Returns `None` without the right to mount.
    pub fn on_disk(primary: &Postgres, mib: u32) -> Option<Self> {
        Some(Self { postgres: Postgres::standby_on_disk(primary, mib)? })
    }

    /// Returns the server, to read from it.
    pub const fn server(&self) -> &Postgres {
        &self.postgres
    }

    /// Ends the connection to the primary: from now on the standby lacks its commits.
    pub async fn disconnect(&self) {
        let standby = superuser(&self.postgres).await;
        standby.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        standby.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let receives = "SELECT count(*) > 0 FROM pg_stat_wal_receiver";
        eventually("the standby is disconnected", async || (!value::<bool>(&standby, receives).await).then_some(()))
            .await;
    }

    /// Waits until the standby shows everything that the primary has committed so far.
    pub async fn catches_up_with(&self, primary: &Postgres) {
        let (primary, standby) = (superuser(primary).await, superuser(&self.postgres).await);
        let end: String = value(&primary, "SELECT pg_current_wal_lsn()::text").await;
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
        eventually("the standby replays the log", async || value::<bool>(&standby, &replayed).await.then_some(()))
            .await;
    }

    /// Ends the replication. From now on the server accepts writes.
    pub fn promote(self) -> Postgres {
        self.postgres.promote();
        self.postgres
    }
}

async fn superuser(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.superuser_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, sql: &str) -> T {
    client.query_one(sql, &[]).await.unwrap().get(0)
}
