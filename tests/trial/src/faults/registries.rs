//! Faults of the schema registry.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::PATIENCE;
use crate::kind::Kind;
use crate::lane::Mode;
use crate::schedule::Fault;
use crate::stage::{Stage, seen};
use crate::writers::Version;

/// The registry does not answer while the first records of a new writer come. Their partitions must wait.
pub(super) async fn disturb(stage: &Stage, fault: Fault) -> Result<String> {
    let registry = stage.servers.registry.get().context("the round has no registry")?;
    let _exclusive = registry.lane.exclusively().await;
    let version = Version::ALL[fault.choose(0, Version::ALL.len())];
    let partition = fault.choose(1, stage.schedule.partitions as usize) as i32;
    // A writer of half of the faults sends to all partitions.
    let writer = registry.new_writer(version, (fault.choose(2, 2) == 0).then_some(partition));
    let how = if fault.kind == Kind::RegistrySilent {
        registry.lane.set_all(Mode::Hold);
        "silent"
    } else if fault.kind == Kind::RegistryKilled {
        registry.kill();
        registry.lane.cut();
        "killed"
    } else {
        registry.lane.set_all(Mode::Cut);
        "away"
    };
    stage.writers.add(writer);
    // The last schema before this one may be missing still.
    let waits = seen(PATIENCE * 2, "a worker that waits for a schema", async || stage.waits_for_schema().await).await;
    // The start of a killed registry takes seconds by itself.
    let lasts_ms = if fault.kind == Kind::RegistryKilled { fault.lasts_ms / 4 } else { fault.lasts_ms };
    tokio::time::sleep(Duration::from_millis(lasts_ms)).await;
    let still = seen(PATIENCE, "a worker that still waits", async || stage.waits_for_schema().await).await;
    if fault.kind == Kind::RegistryKilled {
        let forgotten = registry.start_again();
        ensure!(forgotten.is_empty(), "the registry has forgotten {forgotten:?}");
    } else {
        registry.lane.set_all(Mode::Pass);
    }
    waits.and(still)?;
    Ok(format!("a worker waited for a schema while the registry was {how}, {} is new", writer.id))
}
