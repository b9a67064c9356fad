//! The raw results, as stored in `.dev/bench/results.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::curves::{freshness, groups, rates, recovery, start_up};
use crate::race::Run;
use crate::setup::Loaded;
use crate::{sql, verification};

/// The latest results of each part. Parts can come from different runs.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Results {
    pub(crate) race: Option<Dated<Race>>,
    pub(crate) workers: Option<Dated<Race>>,
    pub(crate) producer: Option<Dated<Vec<Loaded>>>,
    pub(crate) rates: Option<Dated<Vec<rates::Row>>>,
    pub(crate) groups: Option<Dated<Vec<groups::Row>>>,
    pub(crate) freshness: Option<Dated<Vec<freshness::Row>>>,
    pub(crate) start_up: Option<Dated<start_up::Figures>>,
    pub(crate) recovery: Option<Dated<Vec<recovery::Row>>>,
    pub(crate) sql: Option<Dated<sql::Figures>>,
    pub(crate) verify: Option<Dated<Vec<verification::Row>>>,
}

/// Figures, and the circumstances of their measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Dated<T> {
    pub(crate) setting: Setting,
    pub(crate) figures: T,
}

/// The circumstances of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) date: String,
    pub(crate) machine: String,
    /// The load averages before the measurement.
    pub(crate) load: String,
    /// Name and version of the servers and libraries.
    pub(crate) versions: Vec<(String, String)>,
    /// The command that started the measurement.
    pub(crate) command: String,
}

/// The runs of all systems on the same topics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Race {
    /// Name and title of each system, in the order of the table.
    pub(crate) systems: Vec<(String, String)>,
    /// Rows of the correct result on the first topic.
    pub(crate) rows: usize,
    pub(crate) runs: Vec<Run>,
    /// Systems that were not measured, with the reason.
    pub(crate) absent: Vec<String>,
}

impl Results {
    /// Reads stored results. A missing file returns empty results.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("cannot read {}", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}
