//! What was measured, raw, as it is kept in `.dev/bench/results.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::curves::{freshness, groups, rates, recovery, start_up};
use crate::ground::Loaded;
use crate::race::Finish;

/// Everything that was measured, each part by whichever run measured it last.
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
}

/// Figures, and under which circumstances they were found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Dated<T> {
    pub(crate) setting: Setting,
    pub(crate) figures: T,
}

/// The circumstances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) date: String,
    pub(crate) machine: String,
    /// The load averages before this part.
    pub(crate) load: String,
    /// Of everything that took part.
    pub(crate) versions: Vec<(String, String)>,
    /// What was typed.
    pub(crate) command: String,
}

/// A race.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Race {
    /// Name and title of each contender, in the order of the table.
    pub(crate) contenders: Vec<(String, String)>,
    /// Rows of the right answer.
    pub(crate) rows: usize,
    pub(crate) finishes: Vec<Finish>,
    /// Who should have taken part and could not, and why.
    pub(crate) absent: Vec<String>,
}

impl Results {
    /// Those of earlier runs; nothing if there were none.
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
