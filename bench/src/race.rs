//! The race: every contender from a cold process to the end of the same topic, again and again, in turns.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::contenders::{Contender, Kind};
use crate::contract::RESULT;
use crate::ground::{Case, Ground, Loaded, PARTITIONS, Said, Shape, unique};
use crate::machine;
use crate::measure::Measured;
use crate::reference::{self, Sums, Totals, Verdict};

/// Event time of a topic: windows enough that many close, whatever the number of purchases.
const HOURS: u64 = 4;

/// How often it is looked for the first row. A look costs Postgres some 50 microseconds.
const LOOK: Duration = Duration::from_millis(20);

/// A topic and what must come out of it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) topic: String,
    pub(crate) events: u64,
    pub(crate) loaded: Loaded,
    reference: Arc<Totals>,
}

/// One contender's way through one topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Finish {
    pub(crate) contender: String,
    pub(crate) events: u64,
    pub(crate) repetition: u32,
    pub(crate) measured: Measured,
    /// Seconds from its start until its table had a row.
    pub(crate) first_row: Option<f64>,
    /// CPU seconds of Postgres meanwhile.
    pub(crate) postgres_cpu: Option<f64>,
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// All records were read, and nothing else was asked.
    ReadAll,
    /// The rows were held against the reference.
    Compared(Verdict),
    /// It did not end as it should.
    Failed(String),
}

impl Finish {
    /// Whether its figures mean anything.
    pub(crate) fn finished(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Track {
    /// Sends the purchases and computes the answer.
    pub(crate) async fn lay(ground: &Ground, events: u64) -> Result<Self> {
        let topic = unique("bench");
        let shape = Shape { events_per_second: events.div_ceil(HOURS * 3600), ..Shape::default() };
        let case = ground.case(&topic, &topic, shape)?;
        case.apply_topic().await?;
        tracing::info!("sending {events} purchases to {topic}");
        let loaded = case.load(events).await?;
        tracing::info!("computing what must come out, by the naive oracle");
        let (kafka, rules, name) = (ground.kafka.clone(), case.rules(), topic.clone());
        let reference = tokio::task::spawn_blocking(move || reference::read(&kafka, &name, PARTITIONS, rules))
            .await
            .expect("reading does not panic")?;
        Ok(Self { topic, events, loaded, reference: Arc::new(reference) })
    }

    pub(crate) fn rows(&self) -> usize {
        self.reference.len()
    }
}

/// Sends as many purchases once more, to a topic that nobody reads.
pub(crate) async fn send_again(ground: &Ground, events: u64) -> Result<Loaded> {
    let topic = unique("unread");
    let case = ground.case(&topic, &topic, Shape::default())?;
    case.apply_topic().await?;
    case.load(events).await
}

/// Lets all contenders run on all tracks, so many times. Each round begins with another contender, so that none always has the
/// same one before it.
pub(crate) async fn run(
    ground: &Ground,
    tracks: &[Track],
    contenders: &[Contender],
    repetitions: u32,
) -> Result<Vec<Finish>> {
    let mut finishes = Vec::new();
    for repetition in 0..repetitions {
        let first = repetition as usize % contenders.len().max(1);
        for contender in contenders[first..].iter().chain(&contenders[..first]) {
            for track in tracks {
                let finish = once(ground, track, contender, repetition).await?;
                tracing::info!(
                    "round {}, {}, {} events: {:.2} CPU-s, {:.2} s, {:.0} MiB: {}",
                    repetition + 1,
                    contender.name,
                    track.events,
                    finish.measured.cpu,
                    finish.measured.wall,
                    finish.measured.peak_mib,
                    finish.outcome.in_words()
                );
                finishes.push(finish);
            }
        }
    }
    Ok(finishes)
}

impl Outcome {
    /// Whether it is as it should be.
    pub(crate) fn is_right(&self) -> bool {
        match self {
            Self::ReadAll => true,
            Self::Compared(verdict) => verdict.is_equal(),
            Self::Failed(_) => false,
        }
    }

    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::ReadAll => "all read".to_owned(),
            Self::Compared(verdict) => verdict.to_string(),
            Self::Failed(why) => format!("**failed**: {why}"),
        }
    }
}

async fn once(ground: &Ground, track: &Track, contender: &Contender, repetition: u32) -> Result<Finish> {
    let name = unique(&contender.name);
    let case = ground.case(&track.topic, &name, Shape::default())?;
    let is_processor = matches!(contender.kind, Kind::Processor { .. });
    if is_processor {
        case.apply_schema().await?;
    } else {
        let session = ground.session("public").await?;
        session.batch_execute(&format!("CREATE SCHEMA {0}; SET search_path TO {0}; {RESULT}", case.schema())).await?;
    }
    let scratch = ground.directory.join("scratch").join(&name);
    std::fs::create_dir_all(&scratch)?;
    let command = contender.command(ground, &case, track.events, &scratch)?;
    let postgres = ground.postgres().await?;
    let postgres_cpu = || postgres.and_then(machine::server_cpu);
    let first_row = watch(case.session().await?, is_processor);
    let before = postgres_cpu();
    let (measured, said) = ground.measure(&command, &name, None).await?;
    let postgres_cpu = before.zip(postgres_cpu()).map(|(before, after)| after - before);
    let mut first_row = first_row.stop().await;
    let outcome = if measured.exit_code == Some(0) {
        let collected = collect(ground, track, contender, &case, &scratch).await;
        let judged = match collected {
            Ok(first) => {
                first_row = first.or(first_row);
                judge(&case, track, contender, &said).await
            }
            Err(error) => Err(error),
        };
        // One contender's bad result is not the end of the race.
        judged.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
    } else if measured.timed_out {
        Outcome::Failed(format!("not at the end after {:.0} s", measured.wall))
    } else {
        Outcome::Failed(format!("exit code {:?}: {}", measured.exit_code, said.last_words()))
    };
    ground.drop_schema(case.schema()).await?;
    std::fs::remove_dir_all(&scratch)?;
    std::fs::remove_file(&case.file)?;
    Ok(Finish {
        contender: contender.name.clone(),
        events: track.events,
        repetition,
        measured,
        first_row: first_row.map(|at| at - measured.started),
        postgres_cpu,
        outcome,
    })
}

/// Has a result that is elsewhere put into the table, and says when its first row was there.
async fn collect(
    ground: &Ground,
    track: &Track,
    contender: &Contender,
    case: &Case,
    scratch: &Path,
) -> Result<Option<f64>> {
    let Some(collect) = contender.collect(ground, case, track.events, scratch)? else { return Ok(None) };
    let (measured, said) = ground.measure(&collect, &format!("{}-collect", case.schema()), None).await?;
    ensure!(measured.exit_code == Some(0), "collecting the result failed: {}", said.last_words());
    let first = "SELECT extract(epoch FROM min(at))::float8 FROM first_row";
    Ok(case.session().await?.query_one(first, &[]).await?.get(0))
}

async fn judge(case: &Case, track: &Track, contender: &Contender, said: &Said) -> Result<Outcome> {
    let view = match contender.kind {
        Kind::Limit { .. } => {
            let read: u64 = std::fs::read_to_string(&said.output)?.trim().parse()?;
            return Ok(if read == track.events {
                Outcome::ReadAll
            } else {
                Outcome::Failed(format!("{read} of {} records read", track.events))
            });
        }
        Kind::Processor { .. } => "retail",
        Kind::Naive | Kind::Peer { .. } => "result",
    };
    let totals = totals(&case.session().await?, view).await?;
    Ok(Outcome::Compared(reference::compare(&track.reference, &totals)))
}

/// Everything in a table or view of sums.
pub(crate) async fn totals(session: &Client, view: &str) -> Result<Totals> {
    let select = format!(
        "SELECT window_start, category, payment_method, coalesce(total_quantity, 0), coalesce(total_amount, 0)::text FROM {view}"
    );
    let rows = session.query(&select, &[]).await?;
    let row = |row: &tokio_postgres::Row| {
        let amount: &str = row.get(4);
        let sums = Sums { quantity: row.get(3), amount: amount.parse().context("an amount is no decimal")? };
        Ok(((row.get(0), row.get(1), row.get(2)), sums))
    };
    rows.iter().map(row).collect::<Result<BTreeMap<_, _>>>()
}

/// Someone who looks for the first row.
struct Watch(JoinHandle<Result<f64>>);

fn watch(session: Client, is_processor: bool) -> Watch {
    let look = if is_processor {
        "SELECT EXISTS (SELECT FROM retail_open) OR EXISTS (SELECT FROM delta_log) OR EXISTS (SELECT FROM retail_final)"
    } else {
        "SELECT EXISTS (SELECT FROM result)"
    };
    Watch(tokio::spawn(async move {
        let look = session.prepare(look).await?;
        loop {
            if session.query_one(&look, &[]).await?.get(0) {
                return Ok(machine::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }))
}

impl Watch {
    /// When the first row was there, if one was.
    async fn stop(self) -> Option<f64> {
        // One more look is due, if it came at the very end.
        tokio::time::sleep(LOOK * 2).await;
        if self.0.is_finished() {
            self.0.await.ok()?.ok()
        } else {
            self.0.abort();
            None
        }
    }
}
