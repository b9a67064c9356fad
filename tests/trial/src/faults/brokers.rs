//! Faults of one broker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::PATIENCE;
use crate::kind::Kind;
use crate::schedule::Fault;
use crate::stage::{Stage, seen, soon};

/// A broker that starts on a busy machine needs seconds.
const START: Duration = Duration::from_secs(30);

/// A broker ends and starts again, after other replicas lead its partitions.
pub(super) async fn restart(stage: &Stage, fault: Fault) -> Result<String> {
    let brokers = stage.servers.brokers.lock().await;
    let index = fault.choose(0, 3);
    let (id, broker) = (index as i32 + 1, &brokers.brokers[index]);
    let how = if fault.kind == Kind::BrokerKilled {
        broker.kill();
        "killed"
    } else {
        broker.stop();
        "stopped"
    };
    let ended = soon(PATIENCE / 5, async || !broker.runs()).await;
    let leads = async || stage.tap.leaders().is_some_and(|leaders| leaders.iter().all(|(leader, _)| *leader != id));
    let left = seen(PATIENCE, "other leaders in the metadata", leads).await;
    broker.start();
    ensure!(ended, "broker {id} did not end");
    left?;
    Ok(format!("broker {id} was {how}"))
}

/// Another replica of a partition becomes its leader.
pub(super) async fn move_leader(stage: &Stage, fault: Fault) -> Result<String> {
    let brokers = stage.servers.brokers.lock().await;
    let partition = fault.choose(0, stage.schedule.partitions as usize);
    let leaders = || stage.tap.leaders();
    seen(PATIENCE, "three replicas in sync", async || leaders().is_some_and(|leaders| leaders[partition].1.len() == 3))
        .await?;
    let (from, _) = leaders().context("the brokers do not answer")?[partition];
    let to = 1 + (from + fault.choose(1, 2) as i32) % 3;
    let rest = [1, 2, 3].into_iter().filter(|id| *id != to);
    let replicas: Vec<i32> = std::iter::once(to).chain(rest).collect();
    let address = brokers.brokers[to as usize - 1].address();
    crate::wire::move_leader(&address, &stage.topic(), partition as i32, &replicas)?;
    let moved = async || leaders().is_some_and(|leaders| leaders[partition].0 == to);
    seen(PATIENCE, "the new leader in the metadata", moved).await?;
    Ok(format!("partition {partition}: leader {to} after {from}"))
}

/// A broker comes back with an older copy of its disk, and copies the missing records from the other replicas.
pub(super) async fn restore_disk(stage: &Stage, fault: Fault) -> Result<String> {
    let brokers = stage.servers.brokers.lock().await;
    let index = fault.choose(0, 3);
    let (id, broker) = (index + 1, &brokers.brokers[index]);
    let in_sync = async || {
        let leaders = stage.tap.leaders();
        leaders.is_some_and(|leaders| leaders.iter().all(|(leader, replicas)| *leader > 0 && replicas.len() == 3))
    };
    seen(START, "three replicas in sync", in_sync).await?;
    broker.pause();
    broker.back_up();
    broker.resume();
    let count = stage.tap.count();
    let more = soon(PATIENCE / 2, async || stage.tap.count() > count + 100).await;
    // The others must have everything, or the records would be lost.
    let safe = soon(START, in_sync).await;
    ensure!(more && safe, "the other replicas are not in sync");
    broker.kill();
    let missing = broker.missing_in_copy(&stage.topic());
    broker.restore_topics();
    broker.start();
    seen(START, "three replicas in sync again", in_sync).await?;
    ensure!(missing > 0, "the copy had all records");
    Ok(format!("broker {id} came back without {missing} bytes of the topic"))
}
