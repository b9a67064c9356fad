//! `retail sample`: what the pipeline understands of real records, and a mapping for records that it does not understand.
//!
//! It reads without a consumer group, and writes nothing anywhere.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use retail_api::{Pipeline, ReadError};
use retail_engine::{Record, Timestamp};
use retail_kafka::{KafkaError, tail};
use retail_runtime::args::{DatabaseArgs, KafkaArgs, RegistryArgs, SettingsError};
use retail_runtime::process;
use retail_sample::{Proposal, Report, Reporter, Summary, propose};
use serde::Serialize;

use crate::schemas::FoundSchemas;

/// Number of records that a file may have; the rest is not read.
const MAX_RECORDS: u32 = 10_000;

/// Number of bytes of a file that are read.
const MAX_BYTES: u64 = 64 << 20;

/// Reads records and shows, for each, its fate and its values, or the fields that are missing and those that look like them.
///
/// Nothing is stored, committed or created. The fates late, future and duplicate depend on earlier records and are not decided: such
/// records are shown as applied.
#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// Path of the pipeline.yaml; - reads standard input. Only --file works without it
    #[arg(short = 'f', long = "pipeline", value_name = "FILE", env = "RETAIL_PIPELINE")]
    pipeline: Option<PathBuf>,

    /// Number of records: the newest ones of all partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RECORDS)))]
    last: u32,

    /// File with records instead of the topic, one JSON object per line; - reads standard input. Their timestamp is the present time
    #[arg(long, value_name = "FILE", conflicts_with = "last")]
    file: Option<PathBuf>,

    /// Print all facts as one line of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    kafka: KafkaArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// The reason of a failure.
#[derive(Debug, thiserror::Error)]
enum SampleError {
    #[error("give a pipeline with -f, or a file of records with --file")]
    NoSource,
    #[error("-f and --file cannot both read standard input")]
    BothStandardInput,
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Pipeline(#[from] ReadError),
    #[error("cannot read {0}: {1}")]
    File(String, #[source] std::io::Error),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// A record, and where it is.
struct Sampled {
    place: Place,
    value: Option<Vec<u8>>,
    timestamp: Option<Timestamp>,
    /// The value of the header `__value_schema_id`.
    schema: Option<Vec<u8>>,
}

impl Sampled {
    fn record(&self) -> Record<'_> {
        let Self { place: _, value, timestamp, schema } = self;
        Record { offset: 0, timestamp: *timestamp, value: value.as_deref(), schema: schema.as_deref() }
    }
}

#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Place {
    Topic { partition: i32, offset: i64 },
    File { line: usize },
}

/// Everything that is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    records: Vec<Placed>,
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposal: Option<Proposal>,
    /// The reason without a proposal, if some records are invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_proposal: Option<String>,
    /// Why the schema of some records was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_schema: Option<String>,
    #[serde(skip)]
    lines: Vec<String>,
}

#[derive(Serialize)]
struct Placed {
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    report: Report,
}

pub(crate) fn sample(args: SampleArgs) -> ExitCode {
    let _log = process::log_to_stderr();
    let json = args.json;
    let printed = match printed(args) {
        Ok(printed) => printed,
        Err(error @ (SampleError::Kafka(_) | SampleError::File(..))) => return process::failed(&error),
        Err(error) => return process::misused(&error),
    };
    let written = if json { process::print_json(&printed) } else { process::print_text(&in_words(&printed)) };
    process::finished(written, ExitCode::SUCCESS)
}

fn printed(args: SampleArgs) -> Result<Printed, SampleError> {
    let SampleArgs { pipeline: path, last, file, json: _, kafka, database, registry } = args;
    let is_stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if is_stdin(&path) && is_stdin(&file) {
        return Err(SampleError::BothStandardInput);
    }
    let pipeline = path.as_deref().map(Pipeline::read).transpose()?;
    let records = match (&pipeline, &file) {
        (_, Some(file)) => read_file(file, retail_store::clock())?,
        (Some(pipeline), None) => read_topic(pipeline, kafka, last)?,
        (None, None) => return Err(SampleError::NoSource),
    };
    let reporter = Reporter::new(pipeline.as_ref().and_then(|pipeline| pipeline.events.as_ref()));
    let registry = pipeline.as_ref().map(|pipeline| registry.connection(pipeline)).transpose()?.flatten();
    let schemas = match (&pipeline, registry) {
        (Some(pipeline), Some(registry)) => {
            // Without a log-in to Postgres, the registry alone is asked.
            let database = database.connection(pipeline).ok();
            let named = records.iter().map(Sampled::record);
            process::run(FoundSchemas::find(&reporter, named, &registry, database.as_ref()))
        }
        _ => FoundSchemas::default(),
    };
    Ok(reported(pipeline.as_ref(), reporter, &schemas, records))
}

fn read_topic(pipeline: &Pipeline, kafka: KafkaArgs, last: u32) -> Result<Vec<Sampled>, SampleError> {
    let records = tail::read(&kafka.connection(pipeline)?, &pipeline.topic.name, last as usize)?;
    let sampled = |tail::TailRecord { partition, offset, timestamp, value, schema }| Sampled {
        place: Place::Topic { partition, offset },
        value,
        timestamp,
        schema,
    };
    Ok(records.into_iter().map(sampled).collect())
}

/// The records of a file, with this timestamp.
fn read_file(path: &Path, now: Timestamp) -> Result<Vec<Sampled>, SampleError> {
    let failed = |error| SampleError::File(path.display().to_string(), error);
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    let lines = BufReader::new(source.take(MAX_BYTES)).split(b'\n');
    let mut records = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let line = line.map_err(failed)?;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let place = Place::File { line: number };
        records.push(Sampled { place, value: Some(line.to_vec()), timestamp: Some(now), schema: None });
        if records.len() == MAX_RECORDS as usize {
            break;
        }
    }
    Ok(records)
}

/// Reports on the records: by the pipeline; without one, by the proposal for them, or by the tutorial's fields.
fn reported(pipeline: Option<&Pipeline>, mut own: Reporter, schemas: &FoundSchemas, records: Vec<Sampled>) -> Printed {
    schemas.teach(&mut own);
    let (own, reports) = reports(own, &records);
    let is_read = |report: &Report| !matches!(report.fate, "invalid" | "waiting");
    let understood = reports.iter().filter(|report| is_read(report)).count();
    let needed = understood < records.len();
    let format = pipeline.and_then(|pipeline| pipeline.events.as_ref()).map(|events| events.events.format.clone());
    let values: Vec<Record<'_>> = records.iter().map(Sampled::record).collect();
    let proposed = || propose(&values, &format.unwrap_or_default(), &schemas.answers());
    let proposal = if needed { proposed().map(Some) } else { Ok(None) };
    let (proposal, no_proposal) = match proposal {
        Ok(proposal) => (proposal.filter(|proposal| proposal.reads + proposal.filters > understood), None),
        Err(why) => (None, Some(why)),
    };
    let (reporter, reports) = match (&proposal, pipeline) {
        (Some(proposal), None) => self::reports(Reporter::new(Some(&proposal.mapping)), &records),
        _ => (own, reports),
    };
    let lines = records.iter().zip(&reports).map(|(record, report)| reporter.line(&record.place.in_words(), report));
    let lines = lines.collect();
    let summary = Summary::of(&reports);
    let places = records.into_iter().map(|record| record.place);
    let records = places.zip(reports).map(|(place, report)| Placed { place, report }).collect();
    Printed { records, summary, proposal, no_proposal, no_schema: schemas.problem.clone(), lines }
}

fn reports(mut reporter: Reporter, records: &[Sampled]) -> (Reporter, Vec<Report>) {
    let reports = records.iter().map(|record| reporter.report(&record.record())).collect();
    (reporter, reports)
}

impl Place {
    fn in_words(self) -> String {
        match self {
            Self::Topic { partition, offset } => format!("partition {partition} offset {offset}"),
            Self::File { line } => format!("line {line}"),
        }
    }
}

fn in_words(printed: &Printed) -> String {
    let Printed { records: _, summary, proposal, no_proposal, no_schema, lines } = printed;
    let mut text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    if !lines.is_empty() {
        text.push('\n');
    }
    text += &summary.in_words();
    if let Some(problem) = no_schema {
        text += &format!("{problem}\n");
    }
    if let Some(Proposal { yaml, reads, filters, of, notes, mapping: _ }) = proposal {
        let filters = if *filters > 0 { format!(" and filters {filters}") } else { String::new() };
        text += &format!(
            "\nThis mapping, to paste into the pipeline.yaml, reads {reads} of {of} records{filters}:\n\n{yaml}"
        );
        notes.iter().for_each(|note| text += &format!("  # {note}\n"));
    }
    if let Some(why) = no_proposal {
        text += &format!("no mapping can be proposed: {why}\n");
    }
    text
}
