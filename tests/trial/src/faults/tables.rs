//! Faults of tables and of the topic's records.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use retail_verify::Options;

use super::PATIENCE;
use crate::check::Differs;
use crate::schedule::Fault;
use crate::servers::{Servers, session};
use crate::stage::{Stage, seen, soon};

/// A reader keeps a table, a change of the table waits for it, and commits wait for the change.
pub(super) async fn lock(stage: &Stage, fault: Fault) -> Result<String> {
    let _databases = stage.servers.databases.lock().await;
    let (case, schema) = (stage.case(), stage.case().settings.pipeline.schema);
    let table = ["partition_progress", "delta_log", "dead_letter"][fault.choose(0, 3)];
    let url = case.database_url();
    let reader = session(url).await?;
    let change = session(url).await?;
    reader.batch_execute(&format!("BEGIN; SELECT count(*) FROM \"{schema}\".{table}")).await?;
    let waiting = tokio::spawn({
        let statement = format!("BEGIN; LOCK TABLE \"{schema}\".{table} IN ACCESS EXCLUSIVE MODE; ROLLBACK");
        async move { change.batch_execute(&statement).await }
    });
    let waits =
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%commit_batch(%'";
    // The dead letters of a burst are written to every table.
    let _burst = stage.feeder.burst("bad_price", 5);
    let result = seen(PATIENCE, "a commit that waits", async || stage.is(waits).await).await;
    tokio::time::sleep(Duration::from_millis(fault.lasts_ms / 2)).await;
    reader.batch_execute("ROLLBACK").await?;
    waiting.await??;
    result.map(|()| format!("a commit waited for {table}"))
}

/// Records that a proof covers are deleted, as by retention.
pub(super) async fn delete_records(stage: &Stage, fault: Fault) -> Result<String> {
    let partition = fault.choose(0, stage.schedule.partitions as usize) as i32;
    // With deduplication, the ids from the first milestone on are read again, by the next owner and from a proof on.
    let needed = async || {
        let sql = format!(
            "SELECT coalesce(dedup_offsets[1], next_offset) FROM partition_progress WHERE partition = {partition}"
        );
        stage.text(&sql).await.and_then(|offset| offset.parse::<i64>().ok()).unwrap_or_default()
    };
    let mut before = None;
    let answers = async || {
        before = stage.tap.bounds(partition);
        before.is_some()
    };
    seen(PATIENCE * 2, "an answer of the brokers", answers).await?;
    let before = before.map_or(0, |(start, _)| start);
    seen(PATIENCE, "processed records", async || needed().await > before).await?;
    // The proof must not be lost by a promotion.
    let databases = stage.servers.databases_with_standby().await?;
    let offset = needed().await;
    ensure!(offset > before, "no record is without use");
    let case = stage.case();
    let options = Options { record: true, ..Options::default() };
    let verified = tokio::time::timeout(PATIENCE * 2, retail_verify::verify(&case.settings, options, |_, _| {})).await;
    let report = verified.context("the verification takes too long")?.context("the verification failed")?;
    ensure!(report.equal, Differs(format!("verify while the pipeline runs: {report:?}")));
    stage.keep_rules(partition, offset, crate::dump::rules(&case).await?);
    Servers::replicate(&databases).await?;
    ensure!(soon(PATIENCE / 2, async || stage.tap.has_read_to(partition, offset)).await, "the tap is behind");
    let _brokers = stage.servers.brokers.lock().await;
    stage.case().topic.truncate(partition, offset).await;
    let moved = async || stage.tap.bounds(partition).is_some_and(|(start, _)| start >= offset);
    seen(PATIENCE / 2, "a later beginning of the log", moved).await?;
    Ok(format!("partition {partition} begins at {offset}"))
}

/// Sends records of one reason. Returns the number of the burst.
pub(super) fn send_bad_records(stage: &Stage, fault: Fault) -> usize {
    let reasons = stage.schedule.layout.reasons();
    let reason = match reasons[fault.choose(0, reasons.len())] {
        // Brokers that set the timestamps leave no record without one.
        "no_record_time" if !stage.schedule.create_time => "bad_key",
        reason => reason,
    };
    stage.feeder.burst(reason, 5 + fault.choose(1, 60))
}
