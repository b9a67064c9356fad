//! What campaigns have played, in sums. Those of long sittings are committed under `tests/trial/results/`, so that their counts add
//! up across machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::check::{Compared, Failure};
use crate::kind::Kind;
use crate::layout::Layout;
use crate::round::Played;

/// The sums of some rounds.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tally {
    /// Seeds of the campaigns.
    pub seeds: BTreeSet<u64>,
    /// Revisions of the product, as `git describe --always --dirty` names them.
    pub revisions: BTreeSet<String>,
    /// Rounds by the fields of their records.
    pub rounds: BTreeMap<Layout, u64>,
    /// Seconds of all rounds.
    pub seconds: u64,
    /// Drawn faults.
    pub drawn: BTreeMap<Kind, u64>,
    /// Observed faults.
    pub observed: BTreeMap<Kind, u64>,
    /// The sizes of the comparisons; the time is the longest one.
    pub compared: Compared,
    /// Rounds with a difference.
    pub differences: u64,
    /// Rounds that did not catch up.
    pub standstills: u64,
    /// Rounds that failed for another reason. They compared nothing, so that their faults do not count.
    pub broken: u64,
}

impl Tally {
    /// The sums of the rounds that a revision has played.
    pub fn of(rounds: &[Played], revision: &str) -> Self {
        let mut tally = Self::default();
        rounds.iter().for_each(|round| tally.add_round(round));
        if !revision.is_empty() {
            tally.revisions.insert(revision.to_owned());
        }
        tally
    }

    fn add_round(&mut self, round: &Played) {
        let Played { seed, round: _, seconds, parts: _, layout, drawn, observed, unobserved: _, compared, failure } =
            round;
        self.seeds.insert(*seed);
        self.seconds += seconds.round() as u64;
        match failure {
            Some(Failure::Harness(_)) => {
                self.broken += 1;
                return;
            }
            Some(Failure::Difference(_)) => self.differences += 1,
            Some(Failure::Standstill { .. }) => self.standstills += 1,
            None => {}
        }
        *self.rounds.entry(*layout).or_default() += 1;
        add_counts(&mut self.drawn, drawn);
        add_counts(&mut self.observed, observed);
        self.compared.add(compared);
    }

    /// Adds the sums of other rounds.
    pub fn add(&mut self, other: &Self) {
        let Self { seeds, revisions, rounds, seconds, drawn, observed, compared, differences, standstills, broken } =
            other;
        self.seeds.extend(seeds);
        self.revisions.extend(revisions.iter().cloned());
        add_counts(&mut self.rounds, rounds);
        self.seconds += seconds;
        add_counts(&mut self.drawn, drawn);
        add_counts(&mut self.observed, observed);
        self.compared.add(compared);
        self.differences += differences;
        self.standstills += standstills;
        self.broken += broken;
    }

    /// Writes the sums, in place of earlier ones.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let new = file.with_extension("new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file)).context("writing the tally")
    }

    /// Adds up some files: tallies (`.json`), and logs of campaigns (other names).
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for file in files {
            let named = || format!("reading {}", file.display());
            let text = std::fs::read_to_string(file).with_context(named)?;
            let tally = if file.extension().is_some_and(|extension| extension == "json") {
                serde_json::from_str(&text).with_context(named)?
            } else {
                let rounds: Result<Vec<Played>, _> = text.lines().map(serde_json::from_str).collect();
                Self::of(&rounds.with_context(named)?, "")
            };
            all.add(&tally);
        }
        Ok(all)
    }
}

/// The tallies in a directory, by name.
pub fn committed(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

fn add_counts<K: Copy + Ord>(sums: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    counts.iter().for_each(|(key, count)| *sums.entry(*key).or_default() += count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Draws;
    use crate::weights::Weights;

    fn played(seed: u64, failure: Option<Failure>) -> Played {
        let schedule = Draws::of(seed, &Weights::default()).next_round();
        let mut played = Played::new(&schedule, seed, 1);
        played.observed = BTreeMap::from([(Kind::Killed, 2)]);
        played.compared = Compared { records: 10, caught_up_ms: seed * 1000, ..Compared::default() };
        played.failure = failure;
        played
    }

    #[test]
    fn sums_of_parts_are_the_sums_of_all() {
        let rounds = [1, 2, 3].map(|seed| played(seed, None));
        let mut parts = Tally::of(&rounds[..1], "a");
        parts.add(&Tally::of(&rounds[1..], "a"));
        assert_eq!(parts, Tally::of(&rounds, "a"));
        assert_eq!((parts.compared.records, parts.compared.caught_up_ms), (30, 3000));
        assert_eq!(parts.observed[&Kind::Killed], 6);
        let text = serde_json::to_string(&parts).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), parts);
    }

    #[test]
    fn faults_of_rounds_without_comparison_do_not_count() {
        let broken = played(2, Some(Failure::Harness("no broker".to_owned())));
        let tally = Tally::of(&[played(1, None), broken], "");
        assert_eq!((tally.observed[&Kind::Killed], tally.broken, tally.rounds.values().sum::<u64>()), (2, 1, 1));
        let tally = Tally::of(&[played(1, Some(Failure::Difference("a row".to_owned())))], "");
        assert_eq!((tally.observed[&Kind::Killed], tally.differences), (2, 1));
    }
}
