//! The fate of one record: where it is, the replay of the records before it, and the dead letter.

use chrono::{DateTime, Duration, Utc};
use retail_oracle::Judgement;
use retail_runtime::args::Settings;
use retail_store::{TransactionMode, provision};
use serde::Serialize;

use super::cause::{Facts, FloorDecision, ObservedTime, WindowSpan};
use super::stored::{self, Letter};
use crate::error::VerifyError;
use crate::mapping;
use crate::observed::{Latest, ObservedTimes};
use crate::replay::Replay;
use crate::resume::{FoundStart, Resumes};
use crate::start::Start;
use crate::state::{self, Partition, Rule};
use crate::topic::Topic;
use crate::units::{rfc3339, time, window_start, written};

/// The fate of a record, and why it has this fate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordExplanation {
    /// A fate, or `gap`: no record; `unprocessed`: not read yet; `skipped`: before the first offset of the pipeline; `unknown`: Kafka
    /// has deleted the record, or those that its fate depends on.
    pub fate: &'static str,
    /// Why it is invalid, as in `dead_letter.reason`.
    pub reason: Option<String>,
    /// The window of its event.
    pub window: Option<WindowSpan>,
    /// Number of the partition.
    pub partition: i32,
    /// Position in the partition.
    pub offset: i64,
    /// The arithmetic that decided the fate, in words.
    pub because: String,
    /// Event time.
    pub event_time: Option<String>,
    /// The timestamp of the record.
    pub record_time: Option<String>,
    /// The latest observed time of the partition before the record.
    pub observed_before: Option<ObservedTime>,
    /// The delay of the watermark.
    pub delay: String,
    /// Windows that end at or before this time were closed for the partition by a decision.
    pub floor: Option<String>,
    /// For a late event: the time from the end of its window to the bound that closed it.
    pub missed_by: Option<String>,
    /// For a late event: a delay with which it counts.
    pub counted_by_delay: Option<String>,
    /// For a duplicate: the last earlier record with its id.
    pub duplicate_of: Option<i64>,
    /// Whether the table `dead_letter` has it.
    pub is_dead_letter: bool,
    /// How the table `dead_letter` differs from this fate.
    pub contradiction: Option<String>,
    /// The record, if Kafka has it.
    #[serde(skip)]
    pub record: Option<ReadRecord>,
}

/// A record as Kafka has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRecord {
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// The timestamp in milliseconds since the epoch, if it has one.
    pub timestamp_millis: Option<i64>,
}

/// A record that was judged again.
struct Target {
    read: ReadRecord,
    judgement: Judgement,
    before: Option<Latest>,
    rule: Rule,
}

/// One offset, as Kafka and one snapshot of the store have it.
struct Place {
    partition: i32,
    offset: i64,
    log_start: i64,
    window: Duration,
    delay: Duration,
    closed_until: DateTime<Utc>,
    /// `None` if no processor has read the partition yet.
    known: Option<Partition>,
    /// `None` if Kafka has deleted records that the fate can depend on.
    start: Option<FoundStart>,
    letter: Letter,
    decision: Option<FloorDecision>,
}

/// Explains the fate of the record at `offset`. Calls `progress` with the number of offsets read and the number of all offsets.
pub async fn explain_record(
    settings: &Settings,
    partition: i32,
    offset: i64,
    progress: impl Fn(i64, i64) + Send + 'static,
) -> Result<RecordExplanation, VerifyError> {
    let asked = settings.clone();
    let topic = tokio::task::spawn_blocking(move || Topic::describe(&asked)).await.expect("requests do not panic")?;
    let name = || topic.name().to_owned();
    match topic.log_end(partition) {
        None => return Err(VerifyError::NoPartition { topic: name(), partition, partitions: topic.partitions() }),
        Some(log_end) if offset >= log_end => {
            return Err(VerifyError::BeyondLog { topic: name(), partition, offset, log_end });
        }
        Some(_) => {}
    }
    let mut place = read_store(settings, &topic, partition, offset).await?;
    if let Some(explained) = place.without_record() {
        return Ok(explained);
    }
    let Some(known) = place.known.take() else { return Ok(place.unclaimed()) };
    let next_offset = known.ledger.next_offset;
    let is_processed = offset < next_offset;
    let found = place.start.take().filter(|_| is_processed);
    let lacks_ids = found.as_ref().is_some_and(|found| found.lacks_ids);
    let is_alone = found.is_none();
    let start = found.map_or_else(|| Start::at(offset, None), |found| found.start);
    let (replayed, window, delay) = (settings.clone(), place.window, place.delay);
    let replay = move || replay(&replayed, (window, delay), known, &start, offset, &progress);
    let target = tokio::task::spawn_blocking(replay).await.expect("the replay does not panic")?;
    Ok(match target {
        _ if !is_processed => place.unprocessed(next_offset, target.map(|target| target.read)),
        None => place.gap(),
        Some(target) if is_alone && depends_on_earlier(&target.judgement) => {
            RecordExplanation { record: Some(target.read.clone()), ..place.by_letter() }
        }
        Some(target) => place.judged(settings, target, lacks_ids),
    })
}

/// Whether the fate of a record that was judged alone can be another one with the records before it.
fn depends_on_earlier(judgement: &Judgement) -> bool {
    matches!(judgement.fate, "applied" | "late" | "duplicate" | "no_record_time")
}

async fn read_store(settings: &Settings, topic: &Topic, partition: i32, offset: i64) -> Result<Place, VerifyError> {
    let mut session = settings.database.connect("retail explain").await?;
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    let state = state::read(&transaction, settings, &identity).await?;
    topic.check_id(&state)?;
    let known = state.partitions.into_iter().find(|known| known.partition == partition);
    let log_start = topic.log_start(partition);
    let (mut start, mut decision) = (None, None);
    if let Some(known) = &known {
        let within = within(settings);
        start = Resumes { session: &transaction, partition: known, log_start, within }.before_offset(offset).await?;
        if let Some(rule) = known.rules.iter().rev().find(|rule| rule.offset <= offset) {
            decision = stored::decision(&transaction, partition, rule.floor).await?;
        }
    }
    let letter = stored::letter(&transaction, partition, offset).await?;
    transaction.rollback().await?;
    let (window, delay, closed_until) = (state.window, state.delay, state.closed_until);
    Ok(Place { partition, offset, log_start, window, delay, closed_until, known, start, letter, decision })
}

/// The time for which an id counts.
fn within(settings: &Settings) -> Option<Duration> {
    settings.pipeline.deduplicate_within.map(|within| Duration::microseconds(within.as_micros()))
}

/// Judges the records from a start on up to an offset. Returns the last one; `None` if the offset has no record. Blocks.
fn replay(
    settings: &Settings,
    (window, delay): (Duration, Duration),
    mut partition: Partition,
    start: &Start,
    offset: i64,
    progress: &dyn Fn(i64, i64),
) -> Result<Option<Target>, VerifyError> {
    let judge = mapping::judge(&settings.pipeline, window, delay);
    let mut observed = ObservedTimes::default();
    observed.start(partition.partition, start.ledger.max_observed);
    partition.ledger.next_offset = offset + 1;
    let mut target = None;
    let replay = Replay { settings, judge, partitions: vec![(&partition, start.clone())] };
    replay.run(progress, &mut |judged| {
        let before = observed.take(judged);
        if judged.record.offset == offset {
            let (value, timestamp_millis) = (judged.record.value.map(<[u8]>::to_vec), judged.record.timestamp_millis);
            let read = ReadRecord { value, timestamp_millis };
            target = Some(Target { read, judgement: judged.judgement.clone(), before, rule: judged.rule });
        }
    })?;
    Ok(target)
}

impl Place {
    /// The explanation without a record.
    fn explained(&self, fate: &'static str, because: String) -> RecordExplanation {
        RecordExplanation {
            fate,
            reason: None,
            window: None,
            partition: self.partition,
            offset: self.offset,
            because,
            event_time: None,
            record_time: None,
            observed_before: None,
            delay: written(self.delay),
            floor: None,
            missed_by: None,
            counted_by_delay: None,
            duplicate_of: None,
            is_dead_letter: matches!(self.letter, Letter::Present(_)),
            contradiction: None,
            record: None,
        }
    }

    /// The explanation of an offset that is not read again.
    fn without_record(&self) -> Option<RecordExplanation> {
        let known = self.known.as_ref()?;
        if self.offset < known.start_offset {
            let (partition, first) = (self.partition, known.start_offset);
            let because = format!("The pipeline began to read partition {partition} at offset {first}.");
            return Some(self.explained("skipped", because));
        }
        (self.offset < self.log_start).then(|| self.by_letter())
    }

    fn unclaimed(&self) -> RecordExplanation {
        self.explained("unprocessed", format!("No processor has read partition {} yet.", self.partition))
    }

    fn unprocessed(&self, next_offset: i64, record: Option<ReadRecord>) -> RecordExplanation {
        let records = match self.offset - next_offset {
            0 => "this is the next offset".to_owned(),
            1 => "one offset comes before this one".to_owned(),
            before => format!("{before} offsets come before this one"),
        };
        let because =
            format!("The pipeline has processed partition {} up to offset {next_offset}: {records}.", self.partition);
        RecordExplanation { record, ..self.explained("unprocessed", because) }
    }

    fn gap(&self) -> RecordExplanation {
        let because = "The offset holds no record for readers: it is the marker of a transaction, or a record of an aborted transaction, \
                       or compaction has removed it.";
        let contradiction =
            matches!(self.letter, Letter::Present(_)).then(|| "table dead_letter has a row for it".to_owned());
        RecordExplanation { contradiction, ..self.explained("gap", because.to_owned()) }
    }

    /// The explanation without the records before.
    fn by_letter(&self) -> RecordExplanation {
        let log_start = self.log_start;
        let deleted =
            format!("Kafka has deleted the records of partition {} before offset {log_start}", self.partition);
        match &self.letter {
            Letter::Present(letter) => {
                let (fate, reason) = match letter.reason.as_str() {
                    "late" => ("late", None),
                    "future" => ("future", None),
                    reason => ("invalid", Some(reason.to_owned())),
                };
                let window = letter
                    .event_time
                    .map(|event_time| WindowSpan::new(window_start(event_time, self.window), self.window));
                let mut because = format!("The table dead_letter has it with the reason {}", letter.reason);
                if let Some((missed_by, window)) = letter.missed_by.zip(window.as_ref()) {
                    let WindowSpan { start, end } = window;
                    because +=
                        &format!("; it belongs to the window {start} to {end}, and missed by {}", written(missed_by));
                }
                if let Some(detail) = &letter.detail {
                    because += &format!(": {detail}");
                }
                RecordExplanation {
                    reason,
                    window,
                    event_time: letter.event_time.map(rfc3339),
                    record_time: letter.record_time.map(rfc3339),
                    missed_by: letter.missed_by.map(written),
                    ..self.explained(fate, format!("{because}. {deleted}."))
                }
            }
            Letter::Absent { deleted: is_deleted } => {
                let or = if *is_deleted { ", or its dead letter was deleted" } else { "" };
                let because = format!(
                    "{deleted}, and table dead_letter has no row for this one: it was applied, filtered or a duplicate, or late without \
                     being stored{or}."
                );
                self.explained("unknown", because)
            }
        }
    }

    fn judged(self, settings: &Settings, target: Target, lacks_ids: bool) -> RecordExplanation {
        let Target { read, judgement, before, rule } = target;
        let events = settings.pipeline.events.as_ref();
        let facts = Facts {
            partition: self.partition,
            window: self.window,
            delay: self.delay,
            closed_until: self.closed_until,
            judgement: &judgement,
            record_time: read.timestamp_millis.map(|millis| time(millis.saturating_mul(1000))),
            before,
            rule,
            decision: self.decision,
            condition: events.and_then(|events| events.events.condition.as_deref()),
            within: within(settings),
        };
        let mut because = facts.because();
        if lacks_ids && matches!(judgement.fate, "applied" | "late") {
            because += " Kafka has deleted records before it whose transaction ids count: it can be a duplicate of one of them.";
        }
        let event = judgement.event.as_ref();
        let (fate, reason) = match judgement.fate {
            fate @ ("applied" | "late" | "future" | "filtered" | "duplicate") => (fate, None),
            reason => ("invalid", Some(reason.to_owned())),
        };
        RecordExplanation {
            reason,
            window: event.map(|event| WindowSpan::new(event.window_start, self.window)),
            event_time: event.map(|event| rfc3339(event.time)),
            record_time: facts.record_time.map(rfc3339),
            observed_before: before.map(|Latest { time, offset }| ObservedTime { time: rfc3339(time), offset }),
            floor: (rule.floor > DateTime::UNIX_EPOCH).then(|| rfc3339(rule.floor)),
            missed_by: judgement.missed_by.map(written),
            counted_by_delay: facts.counted_by().map(written),
            duplicate_of: judgement.duplicate_of,
            contradiction: self.letter.contradiction(&judgement, rule),
            record: Some(read),
            ..self.explained(fate, because)
        }
    }
}
