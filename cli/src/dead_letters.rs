//! `retail dead-letters`: the stored records that no row counts. It reads Postgres, and writes nothing.

use std::process::ExitCode;

use clap::Args;
use retail_api::duration;
use retail_api::resource::LateEvents;
use retail_engine::Timestamp;
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use retail_store::snapshot::{Letter, LetterReasons, NewestLetters, Parts, ReasonCount, SEARCHED};
use retail_store::{DatabaseError, Snapshot};
use serde::Serialize;

use crate::text::{count, number_of, table};

/// Shows the newest dead letters, and counts them by reason.
#[derive(Args, Debug)]
pub(crate) struct DeadLettersArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Show only those with this reason, such as late or missing_field
    #[arg(long)]
    reason: Option<String>,

    /// Number of dead letters to show, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(..=10_000))]
    limit: u16,

    /// Also show the beginning of each payload, which may contain personal data
    #[arg(long)]
    payloads: bool,

    /// Print all facts as one line of JSON
    #[arg(long)]
    json: bool,
}

/// The answer as JSON. Counts are of the newest [`SEARCHED`] dead letters.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
    reasons: Vec<PrintedReason<'a>>,
    letters: Vec<PrintedLetter<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrintedReason<'a> {
    reason: &'a str,
    number: i64,
    newest: String,
    example: Option<&'a str>,
}

/// A dead letter; times in UTC.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrintedLetter<'a> {
    partition: i32,
    offset: i64,
    reason: &'a str,
    detail: Option<&'a str>,
    event_time: Option<String>,
    missed_by_seconds: Option<f64>,
    stored_at: String,
    /// Its first bytes; those that are no UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

pub(crate) fn dead_letters(args: DeadLettersArgs) -> ExitCode {
    let DeadLettersArgs { pipeline, reason, limit, payloads, json } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let parts = Parts {
        letters: Some(NewestLetters { number: limit.into(), reason: reason.clone(), payloads }),
        reasons: Some(LetterReasons { among: SEARCHED, payloads: false }),
        ..Parts::default()
    };
    let read = async {
        let mut session = settings.database.connect("retail dead-letters").await?;
        Snapshot::read_in(&mut session, &settings.pipeline, &parts).await
    };
    let snapshot: Result<Snapshot, DatabaseError> = process::run(read);
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(error) => return process::failed(&error),
    };
    let (reasons, letters) = (snapshot.detail.reasons.unwrap_or_default(), snapshot.detail.letters.unwrap_or_default());
    let printed = if json {
        process::print_json(&in_json(&reasons, &letters))
    } else {
        let dropped = if settings.pipeline.late_events == LateEvents::Drop { snapshot.progress.counts.late } else { 0 };
        process::print_text(&in_words(&reasons, &letters, reason.as_deref(), dropped))
    };
    process::finished(printed, ExitCode::SUCCESS)
}

fn in_json<'a>(reasons: &'a [ReasonCount], letters: &'a [Letter]) -> Printed<'a> {
    let reason = |reason: &'a ReasonCount| PrintedReason {
        reason: &reason.reason,
        number: reason.number,
        newest: reason.newest.to_string(),
        example: reason.example.as_deref(),
    };
    let letter = |letter: &'a Letter| PrintedLetter {
        partition: letter.partition,
        offset: letter.offset,
        reason: &letter.reason,
        detail: letter.detail.as_deref(),
        event_time: letter.event_time.map(|time| time.to_string()),
        missed_by_seconds: letter.missed_by.map(|missed| missed.as_secs_f64()),
        stored_at: letter.stored_at.to_string(),
        payload: letter.payload.as_deref().map(text_of),
    };
    Printed { reasons: reasons.iter().map(reason).collect(), letters: letters.iter().map(letter).collect() }
}

/// `dropped` is the number of late events that are counted and not stored.
fn in_words(reasons: &[ReasonCount], letters: &[Letter], reason: Option<&str>, dropped: i64) -> String {
    let all: i64 = reasons.iter().map(|reason| reason.number).sum();
    let mut text = match all {
        0 => "no dead letters are stored\n".to_owned(),
        SEARCHED.. => format!("the newest {} dead letters, by reason:\n", count(all)),
        _ => format!("{}, by reason:\n", number_of(all, "dead letter")),
    };
    let rows = reasons.iter().map(|reason| {
        [format!("  {}", reason.reason), count(reason.number), reason.example.clone().unwrap_or_default()]
    });
    text += &table(&rows.collect::<Vec<_>>());
    if dropped > 0 {
        text += &format!("{} only counted: `lateEvents: DeadLetter` stores them\n", number_of(dropped, "late event"));
    }
    if all == 0 {
        return text;
    }
    if let (Some(reason), []) = (reason, letters) {
        text += &format!("none of them has the reason {reason}\n");
        return text;
    }
    let mut rows = vec![["STORED", "RECORD", "REASON", "EVENT TIME", "CAUSE"].map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        let missed = letter.missed_by.map(|missed| format!("missed its window by {}", duration::approximate(missed)));
        let payload = letter.payload.as_deref().map(text_of);
        let causes = [missed, letter.detail.clone(), payload];
        [
            seconds(letter.stored_at),
            format!("{}:{}", letter.partition, letter.offset),
            letter.reason.clone(),
            letter.event_time.map_or_else(|| "-".to_owned(), seconds),
            causes.into_iter().flatten().collect::<Vec<_>>().join("; ").replace(['\n', '\t'], " "),
        ]
    }));
    text += &format!("\n{}\n", table(&rows));
    text += "`retail explain --offset` shows how one of these records was judged\n";
    text
}

/// An instant without fractions.
fn seconds(instant: Timestamp) -> String {
    let text = instant.to_string();
    text.get(..19).map_or(text.clone(), |text| format!("{text}Z"))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
