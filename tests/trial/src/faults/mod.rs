//! The faults. Each returns the effect that it has observed, or an error that names the missing observation.

mod brokers;
mod clusters;
mod databases;
mod network;
mod processes;
mod registries;
mod tables;

use std::time::Duration;

use anyhow::Result;

pub(crate) use clusters::lose_records;

use crate::kind::Kind;
use crate::schedule::Fault;
use crate::stage::Stage;

/// The effect of a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It was observed: these are the details.
    Seen(String),
    /// The dead letters of this burst of records show it at the end of the round.
    Burst(usize),
}

/// How long faults last and their observations wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays one fault from its beginning to its end.
pub(crate) async fn play(stage: &Stage, fault: Fault) -> Result<Effect> {
    let details = match fault.kind {
        Kind::Killed => processes::kill(stage, fault).await?,
        Kind::Suspended => processes::suspend(stage, fault).await?,
        Kind::ClockJumped => processes::jump_clock(stage, fault).await?,
        Kind::KafkaSilent | Kind::PostgresSilent => network::silence(stage, fault).await?,
        Kind::KafkaCut | Kind::PostgresCut => network::cut(stage, fault).await?,
        Kind::KafkaDelayed | Kind::PostgresDelayed => network::delay(stage, fault).await?,
        Kind::Trickled => network::trickle(stage, fault).await?,
        Kind::HalfOpen => network::half_open(stage, fault).await?,
        Kind::BrokerKilled | Kind::BrokerRestarted => brokers::restart(stage, fault).await?,
        Kind::LeaderMoved => brokers::move_leader(stage, fault).await?,
        Kind::BrokerDiskRestored => brokers::restore_disk(stage, fault).await?,
        Kind::FailedOver => databases::fail_over(stage).await?,
        Kind::CommitsLost => databases::lose_commits(stage).await?,
        Kind::DiskFull => databases::fill_disk(stage, fault).await?,
        Kind::SessionTerminated => databases::terminate_session(stage, fault).await?,
        Kind::PoolerRestarted => databases::restart_pooler(stage).await?,
        Kind::TableLocked => tables::lock(stage, fault).await?,
        Kind::LogStartMoved => tables::delete_records(stage, fault).await?,
        Kind::BadRecords => return Ok(Effect::Burst(tables::send_bad_records(stage, fault))),
        Kind::RegistryAway | Kind::RegistrySilent | Kind::RegistryKilled => registries::disturb(stage, fault).await?,
        Kind::ClusterDiskRestored => anyhow::bail!("it is played after the other faults"),
    };
    Ok(Effect::Seen(details))
}
