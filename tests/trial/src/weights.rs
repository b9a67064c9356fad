//! How often each kind of fault is drawn.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::kind::{KINDS, Kind};

/// The aims for all campaigns together: faults, and faults of each kind, with a margin over the 300 that are wanted.
const AIM: u64 = 10_000;
const AIM_OF_KIND: u64 = 330;

/// Number of draws after which each kind has come as often as its weight says, if the weights are by need.
const DRAWS: u64 = 200;

/// How often each kind comes, relative to the others. The text form is that of `KINDS`: `killed:7,disk_full:4`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weights(Vec<(Kind, u32)>);

impl Default for Weights {
    fn default() -> Self {
        Self(KINDS.iter().map(|(kind, weight, _)| (*kind, *weight)).collect())
    }
}

impl Weights {
    /// Reads `killed:7,disk_full`: kinds with their weights, or with their usual ones.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let mut weights = Vec::new();
        for text in texts {
            let (name, weight) = text.split_once(':').map_or((&**text, None), |(name, weight)| (name, Some(weight)));
            let kind: Kind = serde_json::from_value(name.into()).with_context(|| format!("KINDS has {name:?}"))?;
            let usual = Self::default().of(kind);
            let weight = weight.map_or(Ok(usual), str::parse).with_context(|| format!("KINDS has {text:?}"))?;
            weights.push((kind, weight));
        }
        anyhow::ensure!(weights.iter().any(|(_, weight)| *weight > 0), "KINDS names no fault");
        Ok(Self(weights))
    }

    /// The weights by which the faults that the aims lack come next, after these drawn and observed ones. A kind whose effect is
    /// seldom observed is drawn more often.
    pub fn needed(drawn: &BTreeMap<Kind, u64>, observed: &BTreeMap<Kind, u64>) -> Self {
        let usual = Self::default();
        let all: u64 = usual.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let count = |counts: &BTreeMap<Kind, u64>, kind| counts.get(&kind).copied().unwrap_or_default();
        let missing = |(kind, weight): &(Kind, u32)| {
            let (drawn, observed) = (count(drawn, *kind), count(observed, *kind));
            let aim = AIM_OF_KIND.max(AIM * u64::from(*weight) / all);
            aim.saturating_sub(observed) * (drawn + 1) / (observed + 1)
        };
        let missing: Vec<u64> = usual.0.iter().map(missing).collect();
        let sum: u64 = missing.iter().sum();
        if sum == 0 {
            return usual;
        }
        let weights = usual.0.iter().zip(missing);
        Self(weights.map(|((kind, _), missing)| (*kind, (missing * DRAWS / sum).max(1) as u32)).collect())
    }

    /// The weight of a kind.
    pub fn of(&self, kind: Kind) -> u32 {
        self.0.iter().find(|(of, _)| *of == kind).map_or(0, |(_, weight)| *weight)
    }

    /// Each kind as often as its weight says.
    pub(crate) fn bag(&self) -> Vec<Kind> {
        self.0.iter().flat_map(|(kind, weight)| std::iter::repeat_n(*kind, *weight as usize)).collect()
    }
}

impl std::fmt::Display for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (kind, weight)) in self.0.iter().enumerate() {
            let name = kind.name().replace(' ', "_");
            write!(f, "{}{name}:{weight}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Weights> {
        Weights::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn text_form_is_read_back() {
        let weights = parse("killed,disk_full:9").unwrap();
        assert_eq!((weights.of(Kind::Killed), weights.of(Kind::DiskFull), weights.of(Kind::Suspended)), (7, 9, 0));
        assert_eq!(weights.to_string(), "killed:7,disk_full:9");
        let all = Weights::default();
        assert_eq!(parse(&all.to_string()).unwrap(), all);
        for wrong in ["killed:x", "unknown", "killed:0", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_that_are_missing_come_more_often() {
        let all = |count: u64| KINDS.iter().map(|(kind, _, _)| (*kind, count)).collect::<BTreeMap<_, _>>();
        let (mut drawn, mut observed) = (all(1000), all(900));
        observed.insert(Kind::DiskFull, 20);
        observed.insert(Kind::Suspended, 200);
        drawn.insert(Kind::TableLocked, 40);
        observed.insert(Kind::TableLocked, 20);
        let weights = Weights::needed(&drawn, &observed);
        // Its effect is seen in one of fifty draws, that of the others in one of five and of two.
        assert!(weights.of(Kind::DiskFull) > 5 * weights.of(Kind::Suspended), "{weights}");
        assert!(weights.of(Kind::Suspended) > weights.of(Kind::TableLocked), "{weights}");
        assert_eq!(weights.of(Kind::SessionTerminated), 1, "{weights}");
        assert_eq!(Weights::needed(&all(1000), &all(1000)), Weights::default());
    }
}
