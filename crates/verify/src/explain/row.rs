//! How a row came about: the records that were added to it, the decision that closed it, or the partition that keeps it open.

use std::collections::BTreeMap;

use bigdecimal::{BigDecimal, Zero};
use chrono::{DateTime, NaiveDateTime, Utc};
use retail_runtime::args::Settings;
use retail_store::{Snapshot, TransactionMode, provision};
use serde::Serialize;

use super::cause::WindowSpan;
use super::row_cause::{Closing, Holder, RowState};
use super::stored_row::{self, StoredRow, WindowDecision};
use crate::error::VerifyError;
use crate::mapping;
use crate::replay::{Judged, Replay};
use crate::resume::{FoundStart, Resumes};
use crate::state::{self, Partition, State};
use crate::topic::Topic;
use crate::units::{rfc3339, window_start};

/// How a row came about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowExplanation {
    /// `final`, `closing`, `open`, `dropped`, or `none` for a row that does not exist.
    pub state: &'static str,
    /// The window.
    pub window: WindowSpan,
    /// The values of the dimensions, by their names.
    pub dimensions: BTreeMap<String, String>,
    /// Whether the row can still change, and why.
    pub because: String,
    /// Number of events.
    pub events: i64,
    /// Sum of the quantities.
    pub quantity: i64,
    /// Sum of the amounts, a plain decimal.
    pub amount: String,
    /// Time of the last change.
    pub changed_at: Option<String>,
    /// The partitions whose records made the row; `None` if Kafka has deleted records that can be among them.
    pub partitions: Option<Vec<RowPart>>,
    /// Number of late events of the row in `dead_letter`, without those of exploded records.
    pub late: i64,
    /// The decision that closed the window.
    pub closed: Option<Closing>,
    /// The watermark, for a window that is not closed.
    pub watermark: Option<String>,
    /// The partition that keeps the window open.
    pub held_by: Option<Holder>,
    /// How the row differs from the records.
    pub contradiction: Option<String>,
}

/// The records of one partition in a row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowPart {
    /// Number of the partition.
    pub partition: i32,
    /// Number of records.
    pub records: i64,
    /// Number of purchases, of which a record of an array can have several.
    pub events: i64,
    /// The first of these records.
    pub first_offset: i64,
    /// The last of these records.
    pub last_offset: i64,
    /// Sum of their amounts, a plain decimal.
    pub amount: String,
}

/// A text that is no instant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not the start of a window: write it as retail.window_start shows it, such as 2025-01-01T12:00:00Z")]
pub struct WindowError(String);

/// The instant in a text: in RFC 3339 or as Postgres prints it; without an offset, in UTC.
pub fn window_time(text: &str) -> Result<DateTime<Utc>, WindowError> {
    let zoned = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z"];
    let zoned = zoned.iter().find_map(|form| DateTime::parse_from_str(&text.replace('Z', "+00"), form).ok());
    let plain = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let plain =
        || plain.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|time| time.and_utc());
    zoned.map(|time| time.to_utc()).or_else(plain).ok_or_else(|| WindowError(text.to_owned()))
}

/// What one snapshot of the store contains about a row.
struct Stored {
    state: State,
    row: Option<StoredRow>,
    late: i64,
    decision: Option<WindowDecision>,
    /// The partitions with a start before the window; `None` if Kafka has deleted records after it.
    starts: Option<Vec<FoundStart>>,
}

/// The records of a row, by partition.
#[derive(Clone, Default, Debug)]
struct Made {
    parts: BTreeMap<i32, Part>,
}

#[derive(Clone, Debug)]
struct Part {
    records: i64,
    events: i64,
    first: i64,
    last: i64,
    amount: BigDecimal,
}

impl Made {
    fn take(&mut self, judged: &Judged<'_>, window_start: DateTime<Utc>, dimensions: &[String]) {
        let Some(event) = judged.judgement.event.as_ref().filter(|_| judged.judgement.fate == "applied") else {
            return;
        };
        if event.window_start != window_start {
            return;
        }
        let own: Vec<_> = event.purchases.iter().filter(|purchase| purchase.dimensions == dimensions).collect();
        if own.is_empty() {
            return;
        }
        let offset = judged.record.offset;
        let new = Part { records: 0, events: 0, first: offset, last: offset, amount: BigDecimal::zero() };
        let part = self.parts.entry(judged.partition).or_insert(new);
        part.records += 1;
        part.events += i64::try_from(own.len()).unwrap_or(i64::MAX);
        part.last = offset;
        own.iter().for_each(|purchase| part.amount += &purchase.amount);
    }

    /// How the row of the store differs from these records.
    fn contradiction(&self, row: Option<&StoredRow>) -> Option<String> {
        let events: i64 = self.parts.values().map(|part| part.events).sum();
        let amount: BigDecimal = self.parts.values().map(|part| &part.amount).sum();
        let (is, of) = row.map_or((0, BigDecimal::zero()), |row| (row.events, row.amount.clone()));
        (is != events || of != amount).then(|| {
            format!(
                "the records add up to {events} events and the amount {}, but retail has {is} and {}",
                plain(&amount),
                plain(&of)
            )
        })
    }

    fn parts(self) -> Vec<RowPart> {
        let part = |(partition, part): (i32, Part)| RowPart {
            partition,
            records: part.records,
            events: part.events,
            first_offset: part.first,
            last_offset: part.last,
            amount: plain(&part.amount),
        };
        self.parts.into_iter().map(part).collect()
    }
}

/// A plain decimal without zeros at its end.
fn plain(amount: &BigDecimal) -> String {
    amount.normalized().to_plain_string()
}

/// Explains the row of a group in the window that contains `instant`. `dimensions` has a value for each dimension of the pipeline.
/// Calls `progress` with the number of offsets read and the number of all offsets.
pub async fn explain_row(
    settings: &Settings,
    instant: DateTime<Utc>,
    dimensions: &[String],
    progress: impl Fn(i64, i64) + Send + 'static,
) -> Result<RowExplanation, VerifyError> {
    let asked = settings.clone();
    let topic = tokio::task::spawn_blocking(move || Topic::describe(&asked)).await.expect("requests do not panic")?;
    let Stored { state, row, late, decision, starts } = read_store(settings, &topic, instant, dimensions).await?;
    let (window, delay, columns) = (state.window, state.delay, state.columns.clone());
    let is_dropped = window_start(instant, window) < state.retained_from;
    let start = window_start(instant, window);
    let made = match starts {
        Some(starts) => {
            let (settings, dimensions) = (settings.clone(), dimensions.to_vec());
            let partitions = state.partitions;
            let replay = move || {
                let judge = mapping::judge(&settings.pipeline, window, delay);
                let partitions = partitions.iter().zip(starts).map(|(partition, found)| (partition, found.start));
                let mut made = Made::default();
                let replay = Replay { settings: &settings, judge, partitions: partitions.collect() };
                replay.run(&progress, &mut |judged| made.take(judged, start, &dimensions)).map(|_| made)
            };
            Some(tokio::task::spawn_blocking(replay).await.expect("the replay does not panic")?)
        }
        None => None,
    };
    let closed = decision.map(|decision| Closing {
        watermark: rfc3339(decision.watermark),
        decided_at: rfc3339(decision.closed_at),
        closed_at: row.as_ref().filter(|row| row.is_final).map(|row| rfc3339(row.changed_at)),
    });
    let (watermark, held_by) = if closed.is_some() { (None, None) } else { holder(settings).await? };
    let row_state = RowState {
        exists: row.is_some(),
        window_end: start + window,
        delay,
        is_dropped,
        closing: closed.as_ref(),
        watermark: watermark.as_deref(),
        holder: held_by.as_ref(),
    };
    let (name, because) = (row_state.name(), row_state.because());
    let contradiction = made.as_ref().filter(|_| !is_dropped).and_then(|made| made.contradiction(row.as_ref()));
    Ok(RowExplanation {
        state: name,
        window: WindowSpan::new(start, window),
        dimensions: columns.dimensions().iter().cloned().zip(dimensions.iter().cloned()).collect(),
        because,
        events: row.as_ref().map_or(0, |row| row.events),
        quantity: row.as_ref().map_or(0, |row| row.quantity),
        amount: row.as_ref().map_or_else(|| "0".to_owned(), |row| plain(&row.amount)),
        changed_at: row.as_ref().map(|row| rfc3339(row.changed_at)),
        partitions: made.map(Made::parts),
        late,
        closed,
        watermark,
        held_by,
        contradiction,
    })
}

async fn read_store(
    settings: &Settings,
    topic: &Topic,
    instant: DateTime<Utc>,
    dimensions: &[String],
) -> Result<Stored, VerifyError> {
    let mut session = settings.database.connect("retail explain").await?;
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    let mut state = state::read(&transaction, settings, &identity).await?;
    topic.check_id(&state)?;
    let start = window_start(instant, state.window);
    let end = start + state.window;
    let row = stored_row::row(&transaction, &state.columns, start, dimensions).await?;
    let late = stored_row::late(&transaction, &state.columns, (start, end), dimensions).await?;
    let decision = stored_row::decision(&transaction, end).await?;
    if let Some(decision) = &decision {
        state.partitions.retain(|partition| decision.next_offsets.contains_key(&partition.partition));
        for partition in &mut state.partitions {
            partition.ledger.next_offset = decision.next_offsets[&partition.partition];
        }
    }
    let mut starts = Some(Vec::new());
    for partition in &state.partitions {
        let found = start_of(settings, topic, &transaction, partition, start).await?;
        starts = starts.zip(found).map(|(mut starts, found)| {
            starts.push(found);
            starts
        });
    }
    transaction.rollback().await?;
    Ok(Stored { state, row, late, decision, starts })
}

async fn start_of(
    settings: &Settings,
    topic: &Topic,
    session: &retail_store::Session,
    partition: &Partition,
    window_start: DateTime<Utc>,
) -> Result<Option<FoundStart>, VerifyError> {
    let log_start = topic.log_start(partition.partition);
    let within = settings.pipeline.deduplicate_within.map(|within| chrono::Duration::microseconds(within.as_micros()));
    let found = Resumes { session, partition, log_start, within }.before_window(window_start).await?;
    // A duplicate would be counted.
    Ok(found.filter(|found| !found.lacks_ids))
}

/// The watermark, and the partition that it waits for.
async fn holder(settings: &Settings) -> Result<(Option<String>, Option<Holder>), VerifyError> {
    let snapshot = Snapshot::read(&settings.database, &settings.pipeline).await?;
    let held = snapshot.partitions.iter().find(|partition| snapshot.held_by == Some(partition.partition));
    let held = held
        .map(|held| Holder { partition: held.partition, newest_event: held.newest_event.map(|time| time.to_string()) });
    Ok((snapshot.progress.watermark.map(|watermark| watermark.to_string()), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_read_in_the_forms_of_postgres_and_rfc_3339() {
        let expected: DateTime<Utc> = "2025-01-01T12:05:00Z".parse().unwrap();
        for text in [
            "2025-01-01T12:05:00Z",
            "2025-01-01T13:05:00+01:00",
            "2025-01-01 12:05:00+00",
            "2025-01-01 19:05:00+07",
            "2025-01-01 12:05+00",
            "2025-01-01 12:05:00",
            "2025-01-01 12:05",
        ] {
            assert_eq!(window_time(text), Ok(expected), "{text}");
        }
        for text in ["", "today", "12:05", "2025-13-01 12:05"] {
            assert!(window_time(text).is_err(), "{text}");
        }
    }
}
