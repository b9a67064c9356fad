//! Faults of Postgres and its pooler.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use retail_testbed::Postgres;

use super::PATIENCE;
use crate::schedule::Fault;
use crate::servers::Databases;
use crate::stage::{Stage, seen, soon};

/// The primary shuts down after the standby has received everything, and the standby takes over.
pub(super) async fn fail_over(stage: &Stage) -> Result<String> {
    let mut databases = stage.servers.databases_with_standby().await?;
    let before = stage.committed().await.context("Postgres does not answer")?;
    databases.primary.stop();
    let after = promote(stage, &mut databases).await?;
    ensure!(after >= before, "the new primary has {after} of {before} offsets");
    Ok(format!("{after} offsets, of which {before} were committed before the shutdown"))
}

/// The primary is killed while its standby lacks commits, and the standby takes over.
pub(super) async fn lose_commits(stage: &Stage) -> Result<String> {
    let mut databases = stage.servers.databases_with_standby().await?;
    databases.standby.as_ref().context("there is no standby")?.disconnect().await;
    let begin = stage.committed().await.context("Postgres does not answer")?;
    let more = async || stage.committed().await.is_some_and(|committed| committed > begin);
    let _none = soon(PATIENCE * 2, more).await;
    let before = stage.committed().await;
    databases.primary.kill();
    let after = promote(stage, &mut databases).await?;
    let before = before.context("the primary did not answer before it was killed")?;
    ensure!(before > begin, "nothing was committed without the standby");
    ensure!(after < before, "the standby had {after} offsets, more than {begin}");
    Ok(format!("{} offsets lost", before - after))
}

/// The standby accepts writes, programs reach it, and a new standby follows it. Returns its committed offsets at the promotion.
async fn promote(stage: &Stage, databases: &mut Databases) -> Result<i64> {
    let standby = databases.standby.take().context("there is no standby")?;
    let promoted = standby.promote();
    stage.point_to(&promoted.url());
    let committed = stage.committed().await;
    stage.servers.postgres_lane.point_to(&promoted.address());
    stage.servers.postgres_lane.cut();
    databases.primary = promoted;
    databases.add_standby();
    committed.context("the new primary does not answer")
}

/// The disk of the primary is full for some seconds.
pub(super) async fn fill_disk(stage: &Stage, fault: Fault) -> Result<String> {
    let databases = stage.servers.databases.lock().await;
    let primary = &databases.primary;
    let disk = primary.disk().context("a disk can be mounted by root only")?;
    let before = failures(primary);
    disk.fill();
    let full = soon(PATIENCE, async || failures(primary) > before).await;
    tokio::time::sleep(Duration::from_millis(fault.lasts_ms / 2)).await;
    let failed = failures(primary) - before;
    disk.make_room();
    // A server that cannot write its log ends.
    primary.start();
    ensure!(full, "nothing was written to the full disk");
    Ok(format!("{failed} times without space"))
}

/// Number of lines about a full disk in the log of a server.
fn failures(server: &Postgres) -> usize {
    server.log().matches("No space left on device").count()
}

/// The server ends a session of a processor.
pub(super) async fn terminate_session(stage: &Stage, fault: Fault) -> Result<String> {
    let databases = stage.servers.databases.lock().await;
    let superuser = databases.superuser().await?;
    let sessions = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%/%/%' ORDER BY backend_start";
    let mut pids = Vec::new();
    seen(PATIENCE / 2, "a session of a processor", async || {
        pids = superuser.query(sessions, &[]).await.unwrap_or_default();
        !pids.is_empty()
    })
    .await?;
    let pid: i32 = pids[fault.choose(0, pids.len())].get(0);
    superuser.query("SELECT pg_terminate_backend($1)", &[&pid]).await?;
    let gone = async || {
        let present = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1";
        superuser.query_one(present, &[&pid]).await.is_ok_and(|row| row.get(0))
    };
    seen(PATIENCE / 2, "the end of the session", gone).await?;
    Ok(format!("session {pid} ended"))
}

/// The pooler ends with all of its connections, and starts again.
pub(super) async fn restart_pooler(stage: &Stage) -> Result<String> {
    let pooler = stage.pooler.as_ref().context("the round has no pooler")?.lock().await;
    let before = pooler.pid();
    pooler.stop();
    pooler.start();
    let after = pooler.pid();
    ensure!(after != before, "the pooler still has the process {before}");
    Ok(format!("process {after} after {before}"))
}
