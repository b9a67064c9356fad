//! Faults of processors.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use retail_testbed::Program;
use tokio::sync::MutexGuard;

use super::PATIENCE;
use crate::processors::Slot;
use crate::schedule::Fault;
use crate::stage::{Stage, seen, soon};

/// Seconds by which a clock is wrong; 0 for one that jumps by years and back.
const CLOCKS: [i64; 4] = [0, 315_360_000, -315_360_000, 94_608_000];

fn slot(stage: &Stage, fault: Fault) -> &Slot {
    &stage.slots[fault.choose(0, stage.slots.len())]
}

/// A processor ends without warning, and another one starts.
pub(super) async fn kill(stage: &Stage, fault: Fault) -> Result<String> {
    let slot = slot(stage, fault);
    let mut running = slot.program.lock().await;
    let program = running.take().context("no processor runs")?;
    let pid = program.pid();
    let killed = stage.recipe.kill(program).await;
    *running = Some(slot.next(&stage.recipe, None));
    ensure!(killed, "processor {pid} had ended before");
    Ok(format!("processor {pid} ended by SIGKILL"))
}

/// A processor is stopped beyond its session, and continues.
pub(super) async fn suspend(stage: &Stage, fault: Fault) -> Result<String> {
    let running = owner(stage, fault.choose(0, stage.slots.len())).await.context("no processor owned a partition")?;
    let program = running.as_ref().context("no processor runs")?;
    program.signal("STOP");
    let lost = format!("SELECT ({}) = 0", owned(program));
    let missed = soon(PATIENCE * 2, async || stage.is(&lost).await).await;
    program.signal("CONT");
    let fenced = !missed && soon(PATIENCE / 5, async || program.output().contains("fenced")).await;
    ensure!(missed || fenced, "processor {} has kept its partitions", program.pid());
    Ok(format!("processor {} {}", program.pid(), if missed { "lost its partitions" } else { "was fenced" }))
}

/// The first processor that owns a partition, from this one on: there may be more processors than partitions.
async fn owner(stage: &Stage, first: usize) -> Option<MutexGuard<'_, Option<Program>>> {
    for index in first..first + stage.slots.len() {
        let running = stage.slots[index % stage.slots.len()].program.lock().await;
        let owns = format!("SELECT ({}) > 0", owned(running.as_ref()?));
        if soon(PATIENCE / 5, async || stage.is(&owns).await).await {
            return Some(running);
        }
    }
    None
}

/// A query for the number of partitions of a processor.
fn owned(program: &Program) -> String {
    format!("SELECT count(*) FROM partition_progress WHERE owner LIKE '%/{}/%'", program.pid())
}

/// The next processor has a wrong clock for some seconds.
pub(super) async fn jump_clock(stage: &Stage, fault: Fault) -> Result<String> {
    let slot = slot(stage, fault);
    let mut running = slot.program.lock().await;
    let program = running.take().context("no processor runs")?;
    stage.recipe.kill(program).await;
    let program = slot.next(&stage.recipe, Some(CLOCKS[fault.choose(1, CLOCKS.len())]));
    let result = seen(PATIENCE * 2, "a log line with another year", async || has_other_years(&program)).await;
    tokio::time::sleep(Duration::from_millis(fault.lasts_ms)).await;
    let pid = program.pid();
    stage.recipe.kill(program).await;
    *running = Some(slot.next(&stage.recipe, None));
    result.map(|()| format!("processor {pid} logged another year"))
}

/// Whether a line of the log begins with a time years from now.
fn has_other_years(program: &Program) -> bool {
    let now = crate::feeder::now_ms() / 1000 / 31_556_952 + 1970;
    let year = |line: &str| line.get(..4).and_then(|year| year.parse::<i64>().ok());
    program.output().lines().filter_map(year).any(|year| (year - now).abs() > 1)
}
