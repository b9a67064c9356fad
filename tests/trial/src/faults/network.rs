//! Faults of connections.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::PATIENCE;
use crate::kind::Kind;
use crate::lane::{Lane, Mode};
use crate::schedule::Fault;
use crate::stage::{Stage, soon};

/// The lane of a fault, and its name.
fn lane(stage: &Stage, fault: Fault) -> (&Lane, String) {
    let of_either = matches!(fault.kind, Kind::HalfOpen | Kind::Trickled) && fault.choose(2, 2) == 0;
    let of_kafka = of_either || matches!(fault.kind, Kind::KafkaSilent | Kind::KafkaCut | Kind::KafkaDelayed);
    if of_kafka {
        let broker = fault.choose(0, 3);
        return (&stage.servers.kafka_lanes[broker], format!("broker {}", broker + 1));
    }
    // The last one is that of the server, which all processors share.
    match fault.choose(0, stage.slots.len() + 1) {
        slot if slot < stage.slots.len() => (&stage.slots[slot].lane, format!("Postgres for processor {slot}")),
        _ => (&stage.servers.postgres_lane, "Postgres".to_owned()),
    }
}

fn duration(fault: Fault) -> Duration {
    Duration::from_millis(fault.lasts_ms)
}

/// Sets the mode of a lane until the fault has lasted and bytes were disturbed. Returns the number of these bytes.
async fn disturb(lane: &Lane, mode: Mode, fault: Fault) -> Result<u64> {
    let before = lane.disturbed();
    ensure!(soon(PATIENCE, async || lane.live_links() > 0).await, "there is no live connection");
    lane.set_all(mode);
    tokio::time::sleep(duration(fault)).await;
    let disturbed = soon(PATIENCE, async || lane.disturbed() > before).await;
    if mode == Mode::Swallow {
        lane.set_future(Mode::Pass);
    } else {
        lane.set_all(Mode::Pass);
    }
    ensure!(disturbed, "no byte came on the live connections");
    Ok(lane.disturbed() - before)
}

/// Nothing passes. Afterwards the bytes arrive, or the connections stay silent for ever and new ones work.
pub(super) async fn silence(stage: &Stage, fault: Fault) -> Result<String> {
    let (lane, name) = lane(stage, fault);
    let _exclusive = lane.exclusively().await;
    let (mode, done) = if fault.choose(1, 2) == 0 { (Mode::Hold, "kept") } else { (Mode::Swallow, "swallowed") };
    let bytes = disturb(lane, mode, fault).await?;
    Ok(format!("{bytes} bytes {done}, {name}"))
}

/// Bytes pass late.
pub(super) async fn delay(stage: &Stage, fault: Fault) -> Result<String> {
    let (lane, name) = lane(stage, fault);
    let _exclusive = lane.exclusively().await;
    let millis = 20 + fault.choose(1, 400) as u64;
    let bytes = disturb(lane, Mode::Delay(millis), fault).await?;
    Ok(format!("{bytes} bytes delayed by {millis} ms, {name}"))
}

/// Bytes pass one by one.
pub(super) async fn trickle(stage: &Stage, fault: Fault) -> Result<String> {
    let (lane, name) = lane(stage, fault);
    let _exclusive = lane.exclusively().await;
    let bytes = disturb(lane, Mode::Trickle(1 + fault.choose(1, 50) as u64), fault).await?;
    Ok(format!("{bytes} bytes one by one, {name}"))
}

/// All connections are closed. New ones work.
pub(super) async fn cut(stage: &Stage, fault: Fault) -> Result<String> {
    let (lane, name) = lane(stage, fault);
    let _exclusive = lane.exclusively().await;
    ensure!(soon(PATIENCE, async || lane.live_links() > 0).await, "there is no live connection");
    let links = lane.cut();
    Ok(format!("{links} connections closed, {name}"))
}

/// One side of each connection is closed, and the other side learns nothing of it.
pub(super) async fn half_open(stage: &Stage, fault: Fault) -> Result<String> {
    let (lane, name) = lane(stage, fault);
    let _exclusive = lane.exclusively().await;
    let before = lane.disturbed();
    ensure!(soon(PATIENCE, async || lane.live_links() > 0).await, "there is no live connection");
    let (mode, side) =
        if fault.choose(1, 2) == 0 { (Mode::DropServer, "server") } else { (Mode::DropProgram, "program") };
    let links = lane.set_present(mode);
    // The open side is used, or the program has connected again while the server still has the old connection.
    let used = async || lane.disturbed() > before || (lane.half_open() > 0 && lane.live_links() > lane.half_open());
    ensure!(soon(PATIENCE, used).await, "nothing came on the side that stayed open");
    Ok(format!("{links} connections closed at the side of the {side} only, {name}"))
}
