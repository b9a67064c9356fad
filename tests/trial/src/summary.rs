//! The log of campaigns, one JSON line for each round, and the table that adds it up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::check::Failure;
use crate::kind::KINDS;
use crate::layout::Layout;
use crate::round::Played;

/// Appends a round to the log.
pub fn append(log: &Path, played: &Played) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(log).context("opening the log")?;
    writeln!(file, "{}", serde_json::to_string(played)?).context("writing the log")
}

/// Reads the rounds of some logs.
pub fn read(logs: &[impl AsRef<Path>]) -> Result<Vec<Played>> {
    let mut rounds = Vec::new();
    for log in logs {
        let log = log.as_ref();
        let text = std::fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
        for line in text.lines() {
            rounds.push(serde_json::from_str(line).with_context(|| format!("reading {}", log.display()))?);
        }
    }
    Ok(rounds)
}

/// The table of these rounds, in Markdown.
pub fn table(rounds: &[Played]) -> String {
    let (mut drawn, mut observed) = (BTreeMap::new(), BTreeMap::new());
    for round in rounds {
        round.drawn.iter().for_each(|(kind, count)| *drawn.entry(*kind).or_default() += count);
        round.observed.iter().for_each(|(kind, count)| *observed.entry(*kind).or_default() += count);
    }
    let of = |counts: &BTreeMap<_, u64>, kind| counts.get(kind).copied().unwrap_or_default();
    let mut text = String::from("| Kind | Drawn | Observed | Effect that counts |\n|---|---:|---:|---|\n");
    for (kind, _, effect) in KINDS {
        row(&mut text, format_args!("{} | {} | {} | {effect} |", kind.name(), of(&drawn, kind), of(&observed, kind)));
    }
    let totals = (drawn.values().sum::<u64>(), observed.values().sum::<u64>());
    row(&mut text, format_args!("**all** | {} | {} | |", totals.0, totals.1));
    text.push('\n');
    let mapped = rounds.iter().filter(|round| round.layout != Layout::Tutorial).count();
    let seeds: BTreeSet<u64> = rounds.iter().map(|round| round.seed).collect();
    let sum = |part: fn(&Played) -> u64| rounds.iter().map(part).sum::<u64>();
    let slowest = rounds.iter().map(|round| round.compared.caught_up_ms).max().unwrap_or_default();
    let hours = rounds.iter().map(|round| round.seconds).sum::<f64>() / 3600.0;
    let facts = [
        ("Seeds", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        ("Rounds", rounds.len().to_string()),
        ("Rounds with a nested mapping and deduplication", mapped.to_string()),
        ("Hours", format!("{hours:.1}")),
        ("Records", sum(|round| round.compared.records).to_string()),
        ("Rows compared", sum(|round| round.compared.rows).to_string()),
        ("Dead letters compared", sum(|round| round.compared.letters).to_string()),
        ("Filtered records compared", sum(|round| round.compared.filtered).to_string()),
        ("Duplicates compared", sum(|round| round.compared.duplicates).to_string()),
        ("Decisions to close windows compared", sum(|round| round.compared.closes).to_string()),
        ("Slowest recovery after the last fault", format!("{:.1} s", slowest as f64 / 1000.0)),
        ("Differences", failures(rounds, |failure| matches!(failure, Failure::Difference(_)))),
        ("Standstills", failures(rounds, |failure| matches!(failure, Failure::Standstill { .. }))),
        ("Rounds that failed for another reason", failures(rounds, |failure| matches!(failure, Failure::Harness(_)))),
    ];
    text.push_str("| | |\n|---|---|\n");
    facts.iter().for_each(|(name, value)| row(&mut text, format_args!("{name} | {value} |")));
    text
}

fn row(text: &mut String, cells: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "| {cells}");
}

fn failures(rounds: &[Played], is: impl Fn(&Failure) -> bool) -> String {
    rounds.iter().filter_map(|round| round.failure.as_ref()).filter(|failure| is(failure)).count().to_string()
}
