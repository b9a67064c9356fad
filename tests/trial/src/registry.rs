//! The schema registry of a campaign, the lane in front of it, and the schemas that the trial has registered.

use std::sync::{Mutex, PoisonError};

use crate::lane::Lane;
use crate::writers::{Schemas, Version, Writer};

/// The subject of all schemas.
const SUBJECT: &str = "trial-value";

/// The registry. A fault that disturbs it holds the right to its lane.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Without the lane.
    server: retail_testbed::Registry,
    /// The lane, by which processors reach it.
    pub lane: Lane,
    known: Mutex<Known>,
}

#[derive(Default, Debug)]
struct Known {
    schemas: Schemas,
    extras: usize,
}

impl Registry {
    /// Starts a registry, and registers the first schemas.
    pub(crate) fn start(lanes: &tokio::runtime::Handle) -> Self {
        let server = retail_testbed::Registry::private();
        let lane = Lane::start(lanes);
        lane.point_to(&server.address());
        Self { server, lane, known: Mutex::default() }
    }

    /// The URL for processors.
    pub(crate) fn url(&self) -> String {
        self.server.url().replace(&self.server.address(), &self.lane.address)
    }

    /// The writers with which a round begins: one for each version.
    pub(crate) fn writers(&self) -> Vec<Writer> {
        Version::ALL.map(|version| self.register(version, None, None)).to_vec()
    }

    /// A writer whose schema no pipeline has seen.
    pub(crate) fn new_writer(&self, version: Version, partition: Option<i32>) -> Writer {
        let extra = {
            let mut known = self.known();
            known.extras += 1;
            format!("extra_{}", known.extras)
        };
        self.register(version, Some(&extra), partition)
    }

    fn register(&self, version: Version, extra: Option<&str>, partition: Option<i32>) -> Writer {
        let schema = version.schema(extra);
        let id = self.server.register_as("AVRO", SUBJECT, &schema);
        self.known().schemas.insert(id, schema);
        Writer { id, version, has_extra: extra.is_some(), partition }
    }

    /// All schemas so far.
    pub(crate) fn schemas(&self) -> Schemas {
        self.known().schemas.clone()
    }

    /// Kills the registry, like a power failure.
    pub(crate) fn kill(&self) {
        self.server.kill();
    }

    /// Starts the registry again, if it does not run. Returns the schemas that it has forgotten.
    pub(crate) fn start_again(&self) -> Vec<u32> {
        self.server.start();
        let last = self.schemas().into_keys().next_back();
        last.into_iter().filter(|id| !self.server.knows(*id)).collect()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
