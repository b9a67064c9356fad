//! The servers of a campaign: three brokers, a primary with its standby, and the lanes in front of them.

use anyhow::{Context, Result};
use retail_testbed::{Postgres, Replicas, Standby};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio_postgres::{Client, NoTls};

use crate::lane::Lane;
use crate::registry::Registry;

/// Size of the file system of each Postgres server, which a fault fills.
const DISK_MIB: u32 = 320;

/// The servers of all rounds.
#[derive(Debug)]
pub(crate) struct Servers {
    /// The brokers. Faults that stop one of them hold the lock.
    pub brokers: Mutex<Replicas>,
    /// Addresses of the brokers without a lane.
    pub internal: String,
    /// The lane of each broker.
    pub kafka_lanes: [Lane; 3],
    /// The databases. Faults that stop one of them hold the lock.
    pub databases: Mutex<Databases>,
    /// The lane of the primary, behind all other ones.
    pub postgres_lane: Lane,
    /// The schema registry, from the first round on that needs it.
    pub registry: OnceCell<Registry>,
}

/// A primary and its standby.
#[derive(Debug)]
pub(crate) struct Databases {
    /// The server that accepts writes.
    pub primary: Postgres,
    /// Its copy. It is missing for a moment after a failover.
    pub standby: Option<Standby>,
}

impl Servers {
    /// Starts all servers.
    pub(crate) fn start(lanes: &tokio::runtime::Handle) -> Result<Self> {
        let kafka_lanes = [(); 3].map(|()| Lane::start(lanes));
        let postgres_lane = Lane::start(lanes);
        let (brokers, databases) = std::thread::scope(|scope| {
            let brokers = scope.spawn(|| Replicas::start(kafka_lanes.each_ref().map(|lane| &*lane.address)));
            let databases = Databases::start();
            (brokers.join(), databases)
        });
        let brokers = brokers.map_err(|_| anyhow::anyhow!("the brokers did not start"))?;
        for (lane, port) in kafka_lanes.iter().zip(brokers.client_ports) {
            lane.point_to(&format!("127.0.0.1:{port}"));
        }
        postgres_lane.point_to(&databases.primary.address());
        let internal = brokers.addresses();
        Ok(Self {
            brokers: Mutex::new(brokers),
            internal,
            kafka_lanes,
            databases: Mutex::new(databases),
            postgres_lane,
            registry: OnceCell::new(),
        })
    }

    /// The schema registry, which is started if it is missing.
    pub(crate) async fn registry(&self, lanes: &tokio::runtime::Handle) -> &Registry {
        self.registry.get_or_init(async || Registry::start(lanes)).await
    }

    /// The addresses of the brokers for processors.
    pub(crate) fn advertised(&self) -> String {
        self.kafka_lanes.each_ref().map(|lane| &*lane.address).join(",")
    }

    /// The databases, once no other fault disturbs them, with a standby that receives what the primary commits.
    pub(crate) async fn databases_with_standby(&self) -> Result<MutexGuard<'_, Databases>> {
        let databases = self.databases.lock().await;
        Self::replicate(&databases).await?;
        Ok(databases)
    }

    /// Waits until the standby has received everything that was committed so far.
    pub(crate) async fn replicate(databases: &Databases) -> Result<()> {
        let standby = databases.standby.as_ref().context("there is no standby")?;
        standby.catches_up_with(&databases.primary).await;
        Ok(())
    }

    /// Waits for the end of all faults, and starts the stopped servers.
    pub(crate) async fn all_up(&self) {
        let brokers = self.brokers.lock().await;
        let mut databases = self.databases.lock().await;
        brokers.start_all();
        databases.primary.start();
        if databases.standby.is_none() {
            databases.add_standby();
        }
    }
}

impl Databases {
    fn start() -> Self {
        let primary = Postgres::private_on_disk(DISK_MIB).unwrap_or_else(Postgres::private);
        let mut databases = Self { primary, standby: None };
        databases.add_standby();
        databases
    }

    /// Copies the primary to a new standby.
    pub(crate) fn add_standby(&mut self) {
        let standby = Standby::on_disk(&self.primary, DISK_MIB).unwrap_or_else(|| Standby::of(&self.primary));
        self.standby = Some(standby);
    }

    /// A session of the superuser.
    pub(crate) async fn superuser(&self) -> Result<Client> {
        session(&self.primary.superuser_url()).await
    }
}

/// A session without a lane.
pub(crate) async fn session(url: &str) -> Result<Client> {
    let connecting = tokio_postgres::connect(url, NoTls);
    let connected = tokio::time::timeout(std::time::Duration::from_secs(10), connecting).await;
    let (client, connection) = connected.context("Postgres does not answer")?.context("connecting to Postgres")?;
    tokio::spawn(connection);
    Ok(client)
}
