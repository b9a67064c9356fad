//! All brokers lose records.

use std::time::Duration;

use anyhow::Result;
use retail_testbed::Kafka;

use crate::check::{Differs, read_all};
use crate::feeder::Feeder;
use crate::processors::readyz;
use crate::stage::{Stage, seen, soon};
use crate::tap::Tap;

/// Brokers restart, and processors check the last record again at most 30 seconds later.
const NOTICED: Duration = Duration::from_secs(60);

/// The message of docs/how-to/troubleshoot.md.
const LOST: &str = "the brokers have lost records. Nothing was changed";

/// All brokers come back with copies of their disks that lack processed records, and other records take the offsets. The
/// processors must notice it and change nothing. Then the documented repair: the schema is dropped and applied again.
///
/// The stage must have caught up. Afterwards it plays on the shorter topic, with a producer that has just begun.
pub(crate) async fn lose_records(stage: &mut Stage) -> Result<String> {
    let lost = lose(stage).await;
    // In every case, so that the round can go on.
    repair(stage).await?;
    lost
}

async fn lose(stage: &mut Stage) -> Result<String> {
    let brokers = stage.servers.brokers.lock().await;
    brokers.brokers.iter().for_each(Kafka::pause);
    brokers.brokers.iter().for_each(Kafka::back_up);
    brokers.brokers.iter().for_each(Kafka::resume);
    let before = stage.committed().await;
    let mut feeder = Feeder::start(stage.feed());
    let more = async || stage.committed().await > before.map(|count| count + 300);
    let grown = soon(NOTICED, more).await;
    let last = feeder.finish();
    let ends = read_all(stage).await;
    let total: Option<i64> = ends.as_ref().ok().map(|ends| ends.iter().sum());
    let processed = soon(NOTICED, async || stage.committed().await == total).await;
    brokers.brokers.iter().for_each(Kafka::kill);
    brokers.brokers.iter().for_each(Kafka::restore);
    // A partition that was read to its end is committed once more: not a change, if it was before the loss.
    let settled = soon(NOTICED, async || stage.is(NO_TRANSACTION).await).await;
    let (state, lost_at) = (stage.text(STATE).await, stage.text("SELECT clock_timestamp()").await.unwrap_or_default());
    brokers.start_all();
    let mut others = Feeder::start(stage.feed());
    let noticed = seen(NOTICED, "the message about lost records", async || says_lost(stage).await).await;
    let sent = others.finish();
    let unchanged = stage.text(STATE).await;
    let later = stage.text(&format!("SELECT count(*) FROM partition_progress WHERE committed_at > '{lost_at}'")).await;
    drop((last?, sent?, ends?));
    anyhow::ensure!(grown && processed, "the processors had not processed the records that were lost");
    anyhow::ensure!(settled, "a transaction did not end");
    anyhow::ensure!(state == unchanged, Differs(format!("after lost records, {state:?} became {unchanged:?}")));
    anyhow::ensure!(later.as_deref() == Some("0"), Differs(format!("commits after lost records: {later:?}")));
    noticed?;
    Ok("the processors stopped and changed nothing".to_owned())
}

/// What a commit of records changes.
const STATE: &str = "SELECT concat(sum(next_offset), ' ', sum(applied), ' ', sum(letters), ' ', \
                     (SELECT count(*) FROM dead_letter)) FROM partition_progress";

/// No processor is about to commit.
const NO_TRANSACTION: &str = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE xact_start IS NOT NULL \
                              AND backend_type = 'client backend' AND pid <> pg_backend_pid())";

async fn says_lost(stage: &Stage) -> bool {
    for slot in &stage.slots {
        let program = slot.program.lock().await;
        if let Some(program) = program.as_ref()
            && readyz(program).await.is_ok_and(|(status, body)| status == 503 && body.contains(LOST))
        {
            return true;
        }
    }
    false
}

async fn repair(stage: &mut Stage) -> Result<()> {
    stage.stop_processors().await;
    let case = stage.case();
    let session = crate::servers::session(case.database_url()).await?;
    session.batch_execute(&format!("DROP SCHEMA \"{}\" CASCADE", case.settings.pipeline.schema)).await?;
    case.apply_schema().await;
    stage.forget_rules();
    stage.tap = Tap::start(&stage.servers.internal, &case.topic.name, stage.schedule.partitions)?;
    stage.feeder = Feeder::start(stage.feed());
    stage.start_processors().await;
    Ok(())
}
