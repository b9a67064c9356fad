//! Reads the processed records once more, and answers for each delay.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use retail_runtime::args::Settings;
use retail_store::{Snapshot, TransactionMode, provision};
use serde::Serialize;

use super::lateness::{Lateness, Sum, ValidEvent};
use crate::error::VerifyError;
use crate::mapping;
use crate::observed::ObservedTimes;
use crate::replay::{Judged, Replay};
use crate::resume::{FoundStart, Resumes};
use crate::start::Start;
use crate::state::{self, State};
use crate::topic::Topic;
use crate::units::{decimal, exact_millionths, rfc3339, written};

/// The longest delay that the resource accepts.
const MOST: Duration = Duration::hours(168);

/// What to answer.
#[derive(Clone, PartialEq, Debug)]
pub struct WhatIfOptions {
    /// Other delays than that of the pipeline.
    pub delays: Vec<std::time::Duration>,
    /// Also find the least delay with a smaller share of late events: 0.001 is 0.1 %.
    pub max_late: Option<f64>,
    /// Only the records that were processed in this time.
    pub last: Option<std::time::Duration>,
}

/// The late events with several delays.
#[derive(Clone, PartialEq, Debug)]
pub struct WhatIf {
    /// By delay, the shortest first.
    pub answers: Vec<DelayAnswer>,
    /// Number of events, applied and late.
    pub events: i64,
    /// Sum of their amounts, a plain decimal.
    pub amount: String,
    /// Time from which records were read; `None` for all records.
    pub since: Option<String>,
    /// With `max_late`: whether a delay keeps that share.
    pub has_least: Option<bool>,
    /// Whether the late events with the delay of the pipeline are those of the ledger; `None` if not all records were read.
    pub equals_ledger: Option<bool>,
    /// The late events of the ledger.
    pub ledger_late: i64,
    /// Limits of the answers, as sentences.
    pub notes: Vec<String>,
}

/// The late events with one delay.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DelayAnswer {
    /// The delay, such as `1h30m`.
    pub delay: String,
    /// Number of late events.
    pub late: i64,
    /// Sum of their amounts, a plain decimal.
    pub late_amount: String,
    /// Their share of all events: 0.001 is 0.1 %.
    pub late_share: f64,
    /// Time for which a row stays open after the end of its window, in event time: the delay, and the distance of the partitions.
    pub open_for: String,
    /// Whether this is the delay of the pipeline.
    pub today: bool,
    /// Whether this is the least delay below the wanted share.
    pub least: bool,
    /// Whether floors would be others with this delay, so that the answer is an estimate.
    pub estimate: bool,
}

/// The records to read.
struct Plan {
    state: State,
    /// For each partition, the start of the replay, and the first offset that counts.
    starts: Vec<(FoundStart, i64)>,
    notes: Vec<String>,
    is_whole: bool,
}

/// Reads the processed records once, and counts the late events with each delay. Calls `progress` with the number of offsets read and
/// the number of all offsets.
pub async fn what_if(
    settings: &Settings,
    options: WhatIfOptions,
    progress: impl Fn(i64, i64) + Send + 'static,
) -> Result<WhatIf, VerifyError> {
    let asked = settings.clone();
    let topic = tokio::task::spawn_blocking(move || Topic::describe(&asked)).await.expect("requests do not panic")?;
    let last = options.last.map(|last| Duration::from_std(last).unwrap_or(Duration::MAX));
    let Plan { state, starts, notes, is_whole } = plan(settings, &topic, last).await?;
    let snapshot = Snapshot::read(&settings.database, &settings.pipeline).await?;
    let distance = distance(&snapshot, state.delay);
    let (today, now) = (state.delay, state.now);
    let delays = options.delays.iter().map(|delay| Duration::from_std(*delay).unwrap_or(MOST)).collect();
    let ledger_late = state.partitions.iter().map(|partition| partition.ledger.late).sum();
    let has_floors = state.partitions.iter().any(|partition| partition.floor > DateTime::UNIX_EPOCH);
    let replayed = settings.clone();
    let lateness = Lateness::new(today, MOST, delays);
    let replay = tokio::task::spawn_blocking(move || replay(&replayed, &state, &starts, lateness, &progress));
    let lateness = replay.await.expect("the replay does not panic")?;
    let least = options.max_late.map(|share| lateness.least_below(share));
    Ok(WhatIf {
        equals_ledger: is_whole.then(|| lateness.today().events == ledger_late),
        answers: answers(&lateness, today, least.flatten(), distance, has_floors),
        events: lateness.all.events,
        amount: plain(lateness.all.amount),
        since: last.filter(|_| !is_whole).and_then(|last| now.checked_sub_signed(last)).map(rfc3339),
        has_least: least.map(|least| least.is_some()),
        ledger_late,
        notes,
    })
}

async fn plan(settings: &Settings, topic: &Topic, last: Option<Duration>) -> Result<Plan, VerifyError> {
    let mut session = settings.database.connect("retail what-if").await?;
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    let state = state::read(&transaction, settings, &identity).await?;
    topic.check_id(&state)?;
    let within = settings.pipeline.deduplicate_within.map(|within| Duration::microseconds(within.as_micros()));
    let instant = last.and_then(|last| state.now.checked_sub_signed(last));
    let (mut starts, mut notes, mut is_whole) = (Vec::new(), Vec::new(), true);
    for partition in &state.partitions {
        let number = partition.partition;
        let log_start = topic.log_start(number);
        let resumes = Resumes { session: &transaction, partition, log_start, within };
        let recent = match instant {
            Some(instant) => resumes.before_instant(instant).await?,
            None => None,
        };
        let found = match recent {
            Some(recent) => Some(recent),
            None => resumes.earliest().await?,
        };
        let (found, counted_from) = found.unwrap_or_else(|| {
            notes.push(format!(
                "Kafka has deleted the records of partition {number} before offset {log_start}: events after them are counted as if they \
                 were its first ones."
            ));
            let from = log_start.min(partition.ledger.next_offset);
            (FoundStart { start: Start::at(from, None), lacks_ids: false }, from)
        });
        if found.lacks_ids {
            notes.push(format!(
                "Kafka has deleted records of partition {number} whose transaction ids count for the first ones read: duplicates of them \
                 are counted as events."
            ));
        }
        is_whole &= counted_from == partition.start_offset;
        starts.push((found, counted_from));
    }
    transaction.rollback().await?;
    Ok(Plan { state, starts, notes, is_whole })
}

fn replay(
    settings: &Settings,
    state: &State,
    starts: &[(FoundStart, i64)],
    mut lateness: Lateness,
    progress: &dyn Fn(i64, i64),
) -> Result<Lateness, VerifyError> {
    let judge = mapping::judge(&settings.pipeline, state.window, state.delay);
    let mut observed = ObservedTimes::default();
    let mut counted_from = BTreeMap::new();
    let mut partitions = Vec::new();
    for (partition, (found, first)) in state.partitions.iter().zip(starts) {
        observed.start(partition.partition, found.start.ledger.max_observed);
        counted_from.insert(partition.partition, *first);
        partitions.push((partition, found.start.clone()));
    }
    Replay { settings, judge, partitions }.run(progress, &mut |judged| {
        let before = observed.take(judged);
        if judged.record.offset < counted_from[&judged.partition] {
            return;
        }
        if let Some((window_end, amount)) = valid(judged, state.window) {
            lateness.add(ValidEvent { window_end, before, rule: judged.rule, amount });
        }
    })?;
    Ok(lateness)
}

/// The end of the window and the amount of an event that is applied or late.
fn valid(judged: &Judged<'_>, window: Duration) -> Option<(DateTime<Utc>, i128)> {
    let event = judged.judgement.event.as_ref().filter(|_| matches!(judged.judgement.fate, "applied" | "late"))?;
    let amount = event.purchases.iter().filter_map(|purchase| exact_millionths(&purchase.amount)).sum();
    Some((event.window_start + window, amount))
}

/// The distance from the newest event of all partitions to that of the partition which the watermark waits for.
fn distance(snapshot: &Snapshot, delay: Duration) -> Duration {
    let newest = snapshot.partitions.iter().filter_map(|partition| partition.newest_event).max();
    let between = newest
        .zip(snapshot.progress.watermark)
        .map(|(newest, watermark)| Duration::microseconds(newest.as_micros().saturating_sub(watermark.as_micros())));
    between.map_or(Duration::zero(), |between| (between - delay).max(Duration::zero()))
}

fn answers(
    lateness: &Lateness,
    today: Duration,
    least: Option<Duration>,
    distance: Duration,
    has_floors: bool,
) -> Vec<DelayAnswer> {
    let mut answers = lateness.answers();
    if let Some(least) = least.filter(|least| answers.iter().all(|(delay, _)| delay != least)) {
        answers.push((least, lateness.late_with_step(least)));
        answers.sort_by_key(|(delay, _)| *delay);
    }
    let all = lateness.all.events.max(1) as f64;
    let answer = |(delay, late): (Duration, Sum)| DelayAnswer {
        delay: written(delay),
        late: late.events,
        late_amount: plain(late.amount),
        late_share: late.events as f64 / all,
        open_for: written(delay + distance),
        today: delay == today,
        least: least == Some(delay),
        estimate: has_floors && delay != today,
    };
    answers.into_iter().map(answer).collect()
}

/// Millionths as a plain decimal without zeros at its end.
fn plain(amount: i128) -> String {
    decimal(amount).normalized().to_plain_string()
}
