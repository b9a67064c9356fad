//! The log of campaigns, one JSON line for each round, and the table of a tally.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::kind::KINDS;
use crate::round::Played;
use crate::tally::Tally;

/// The text before and behind the table of a page.
const BEGIN: &str = "<!-- begin: written by dev/trial --docs -->";
const END: &str = "<!-- end: written by dev/trial --docs -->";

/// Appends a round to the log.
pub fn append(log: &Path, played: &Played) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(log).context("opening the log")?;
    writeln!(file, "{}", serde_json::to_string(played)?).context("writing the log")
}

/// The table of a tally, in Markdown.
pub fn table(tally: &Tally) -> String {
    let Tally { seeds, revisions, rounds, seconds, drawn, observed, compared, differences, standstills, broken } =
        tally;
    let of = |counts: &BTreeMap<_, u64>, kind| counts.get(kind).copied().unwrap_or_default();
    let mut text = String::from("| Kind | Drawn | Observed | Effect that counts |\n|---|---:|---:|---|\n");
    for (kind, _, effect) in KINDS {
        row(&mut text, format_args!("{} | {} | {} | {effect} |", kind.name(), of(drawn, kind), of(observed, kind)));
    }
    let totals = (drawn.values().sum::<u64>(), observed.values().sum::<u64>());
    row(&mut text, format_args!("**all** | {} | {} | |", totals.0, totals.1));
    text.push('\n');
    let names = |names: Vec<String>| names.join(", ");
    let facts = [
        ("Seeds", names(seeds.iter().map(u64::to_string).collect())),
        ("Revisions", names(revisions.iter().cloned().collect())),
        ("Rounds", rounds.values().sum::<u64>().to_string()),
        (
            "Rounds by fields",
            names(rounds.iter().map(|(layout, count)| format!("{count} {}", layout.name())).collect()),
        ),
        ("Hours", format!("{:.1}", *seconds as f64 / 3600.0)),
        ("Records", compared.records.to_string()),
        ("Rows compared", compared.rows.to_string()),
        ("Dead letters compared", compared.letters.to_string()),
        ("Filtered records compared", compared.filtered.to_string()),
        ("Duplicates compared", compared.duplicates.to_string()),
        ("Decisions to close windows compared", compared.closes.to_string()),
        ("Slowest recovery after the last fault", format!("{:.1} s", compared.caught_up_ms as f64 / 1000.0)),
        ("Differences", differences.to_string()),
        ("Standstills", standstills.to_string()),
        ("Rounds that failed for another reason", broken.to_string()),
    ];
    text.push_str("| | |\n|---|---|\n");
    facts.iter().for_each(|(name, value)| row(&mut text, format_args!("{name} | {value} |")));
    text
}

/// Replaces the table of a page by that of a tally.
pub fn in_page(page: &str, tally: &Tally) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("the page lacks the beginning of the table")?;
    let (_, after) = rest.split_once(END).context("the page lacks the end of the table")?;
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", table(tally)))
}

fn row(text: &mut String, cells: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "| {cells}");
}
