//! `retail explain`: the fate of one record, or the origin of one row. It reads Kafka and Postgres, and writes nothing.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use retail_engine::{Record, Timestamp};
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::process;
use retail_sample::{Report, Reporter};
use retail_verify::{RecordExplanation, RowExplanation, RowPart, explain_record, explain_row, window_time};
use serde::Serialize;

use crate::progress;
use crate::schemas::FoundSchemas;
use crate::text::{count, number_of, table};

/// Explains one record or one row, by the records before and the decisions in the database.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Record to explain: its partition and its offset, such as 2:48113
    #[arg(long, value_name = "PARTITION:OFFSET", required_unless_present = "row", conflicts_with = "row")]
    offset: Option<Place>,

    /// Row to explain: the start of its window, and the values of its dimensions in their order
    #[arg(long, num_args = 2..=9, value_names = ["WINDOW", "DIMENSION"])]
    row: Option<Vec<String>>,

    /// Print all facts as one line of JSON
    #[arg(long)]
    json: bool,
}

/// A place in the topic.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: i32,
    offset: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.split_once(':').and_then(|(partition, offset)| {
            let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
            (partition >= 0 && offset >= 0).then_some(Self { partition, offset })
        });
        place.ok_or_else(|| {
            format!("{text:?} is not a place in the topic: write it as PARTITION:OFFSET, such as 2:48113")
        })
    }
}

/// A record as JSON.
#[derive(Serialize)]
struct PrintedRecord<'a> {
    #[serde(flatten)]
    explanation: &'a RecordExplanation,
    /// Its contents, without the fates that depend on earlier records.
    record: Option<&'a Report>,
}

pub(crate) fn explain(args: ExplainArgs) -> ExitCode {
    let ExplainArgs { pipeline, offset, row, json } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    match (offset, row.as_deref()) {
        (Some(place), _) => record(&settings, place, json),
        (None, Some([window, dimensions @ ..])) => self::row(&settings, window, dimensions, json),
        (None, _) => process::misused(&"give --offset or --row"),
    }
}

fn record(settings: &Settings, Place { partition, offset }: Place, json: bool) -> ExitCode {
    let bar = progress::bar("read");
    let explained = process::run(explain_record(settings, partition, offset, progress::moving(&bar)));
    bar.finish_and_clear();
    let mut explanation = match explained {
        Ok(explanation) => explanation,
        Err(error) => return process::failed(&error),
    };
    let mut reporter = Reporter::new(settings.pipeline.events.as_ref());
    let record = explanation.record.take();
    let record = record.as_ref().map(|record| Record {
        offset,
        timestamp: record.timestamp_millis.map(Timestamp::from_millis),
        value: record.value.as_deref(),
        schema: None,
    });
    if let Some(registry) = &settings.registry {
        let schemas = FoundSchemas::find(&reporter, record, registry, Some(&settings.database));
        process::run(schemas).teach(&mut reporter);
    }
    let report = record.map(|record| reporter.report(&record));
    if let Some(report) = report.as_ref().filter(|report| report.reason.is_some() && explanation.reason.is_some()) {
        explanation.because = report.notes.join(" | ");
    }
    let is_answer = explanation.fate != "unknown" && explanation.contradiction.is_none();
    let printed = if json {
        process::print_json(&PrintedRecord { explanation: &explanation, record: report.as_ref() })
    } else {
        process::print_text(&record_in_words(&explanation, report.as_ref(), &reporter))
    };
    process::finished(printed, if is_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn record_in_words(explanation: &RecordExplanation, report: Option<&Report>, reporter: &Reporter) -> String {
    let RecordExplanation { fate, reason, partition, offset, because, contradiction, .. } = explanation;
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(", {reason}"));
    let mut text = format!("partition {partition} offset {offset}: {fate}{reason}\n{because}\n");
    if let Some(facts) = report.and_then(|report| report.facts.as_ref()) {
        text += &format!("contents: {}, {}\n", facts.event_time, reporter.purchases(&facts.purchases));
    }
    if let Some(report) = report.filter(|report| report.facts.is_none() && *fate == "unprocessed") {
        let notes = report.notes.join(" | ");
        text += &format!("contents: {}\n", if notes.is_empty() { report.fate } else { &notes });
    }
    if let Some(contradiction) = contradiction {
        text += &format!("DIFFERENT: {contradiction}; `retail verify` compares everything\n");
    }
    text
}

fn row(settings: &Settings, window: &str, dimensions: &[String], json: bool) -> ExitCode {
    let names = settings.pipeline.layout.dimensions();
    if dimensions.len() != names.len() {
        let (wanted, names) = (names.len(), names.join(", "));
        return process::misused(&format_args!("--row takes the start of a window and {wanted} values: {names}"));
    }
    let instant = match window_time(window) {
        Ok(instant) => instant,
        Err(error) => return process::misused(&error),
    };
    let bar = progress::bar("read");
    let explained = process::run(explain_row(settings, instant, dimensions, progress::moving(&bar)));
    bar.finish_and_clear();
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(error) => return process::failed(&error),
    };
    let is_answer = explanation.state != "none" && explanation.contradiction.is_none();
    let printed = if json {
        process::print_json(&explanation)
    } else {
        process::print_text(&row_in_words(&explanation, dimensions))
    };
    process::finished(printed, if is_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row_in_words(explanation: &RowExplanation, dimensions: &[String]) -> String {
    let RowExplanation { state, window, because, events, quantity, amount, partitions, late, contradiction, .. } =
        explanation;
    let state = if *state == "none" { "no row" } else { state };
    let mut text = format!("{} to {}, {}: {state}\n", window.start, window.end, dimensions.join(", "));
    text += &format!("{}, quantity {}, amount {amount}\n{because}\n", number_of(*events, "event"), count(*quantity));
    match partitions {
        None => text += "Kafka has deleted records that can be among those of the row.\n",
        Some(parts) if parts.is_empty() => {}
        Some(parts) => text += &format!("\n{}", parts_table(parts)),
    }
    if *late > 0 {
        text += &format!("In table dead_letter: {} of the row.\n", number_of(*late, "late event"));
    }
    if let Some(contradiction) = contradiction {
        text += &format!("DIFFERENT: {contradiction}; `retail verify` compares everything\n");
    }
    text
}

fn parts_table(parts: &[RowPart]) -> String {
    let header = ["PARTITION", "RECORDS", "EVENTS", "AMOUNT", "OFFSETS"].map(str::to_owned);
    let rows = parts.iter().map(|part| {
        let offsets = format!("{} to {}", part.first_offset, part.last_offset);
        [part.partition.to_string(), count(part.records), count(part.events), part.amount.clone(), offsets]
    });
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_a_partition_and_an_offset() {
        let place: Place = "2:48113".parse().unwrap();
        assert_eq!((place.partition, place.offset), (2, 48_113));
        for wrong in ["", "2", "2:", ":3", "a:1", "-1:1", "1:-1", "1:2:3", "99999999999:1"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
