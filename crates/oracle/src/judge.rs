//! Determines the fate of one record after another, and keeps nothing but the counts of each partition.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, TimeZone, Utc};

use crate::framing::{OracleSchema, OracleSchemaId};
use crate::mapping::{self, OracleMapping, Purchases, Reader};
use crate::purchase::{OraclePurchase, TimedPurchase, purchase};
use crate::recent::{OracleMilestone, RecentIds};

/// One Kafka record.
#[derive(Clone, Debug)]
pub struct OracleRecord<'a> {
    /// Position in the partition.
    pub offset: i64,
    /// The timestamp of the record in milliseconds since the epoch, if it has one.
    pub timestamp_millis: Option<i64>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The value of the header `__value_schema_id`.
    pub schema: Option<&'a [u8]>,
}

/// The fate of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// `applied`, `late`, `duplicate`, `future`, `filtered`, or why the record is invalid.
    pub fate: &'static str,
    /// The event; `None` if the record is filtered, invalid or a duplicate.
    pub event: Option<OracleEvent>,
    /// For a late event: the time from the end of its window to the bound that closed it.
    pub missed_by: Option<Duration>,
    /// With deduplication, the id of an event that can be a duplicate, or have one.
    pub id: Option<String>,
    /// For a duplicate: the offset of the last earlier record with its id.
    pub duplicate_of: Option<i64>,
}

impl Judgement {
    const fn without_event(fate: &'static str) -> Self {
        Self { fate, event: None, missed_by: None, id: None, duplicate_of: None }
    }

    /// Whether the record is a dead letter.
    pub fn is_dead(&self) -> bool {
        !matches!(self.fate, "applied" | "filtered" | "duplicate")
    }
}

/// The purchases of a record, with their window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleEvent {
    /// Event time.
    pub time: DateTime<Utc>,
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// One purchase, or those of the elements of an array.
    pub purchases: Vec<OraclePurchase>,
    /// Whether the purchases are the elements of an array.
    pub is_exploded: bool,
}

impl OracleEvent {
    /// The purchase, as a dead letter keeps it: `None` for the elements of an array.
    pub fn purchase(&self) -> Option<&OraclePurchase> {
        self.purchases.first().filter(|_| !self.is_exploded)
    }
}

/// The counts of one partition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OracleLedger {
    /// The offset of the next record.
    pub next_offset: i64,
    /// Events added to a window.
    pub applied: i64,
    /// Events whose window was closed.
    pub late: i64,
    /// Invalid records.
    pub invalid: i64,
    /// Events too far ahead of the timestamp of their record.
    pub future: i64,
    /// Records for which the condition of the mapping is not true.
    pub filtered: i64,
    /// Events with the id of an earlier event.
    pub duplicate: i64,
    /// Offsets without a record.
    pub gaps: i64,
    /// The latest observed time.
    pub max_observed: Option<DateTime<Utc>>,
}

/// Judges records. Its memory does not grow with them, except for the ids of deduplication.
#[derive(Clone, Debug)]
pub struct Judge {
    window: Duration,
    delay: Duration,
    reader: Option<Reader>,
    /// With deduplication.
    recent: Option<RecentIds>,
    ledgers: BTreeMap<i32, OracleLedger>,
}

impl Judge {
    /// A judge for windows of length `window`, and a watermark at the distance `delay`.
    pub fn new(window: Duration, delay: Duration) -> Self {
        Self { window, delay, reader: None, recent: None, ledgers: BTreeMap::new() }
    }

    /// The judge of records that have the fields of a mapping.
    #[must_use]
    pub fn with_mapping(self, mapping: Option<OracleMapping>) -> Self {
        Self { reader: mapping.map(Reader::new), ..self }
    }

    /// The judge of records with ids, which count for `within`: whole seconds. `None` without deduplication.
    #[must_use]
    pub fn deduplicating(self, within: Option<Duration>) -> Self {
        Self { recent: within.map(RecentIds::new), ..self }
    }

    /// Adds a schema; `None`: its registry does not know it.
    pub fn learn_schema(&mut self, id: OracleSchemaId, schema: Option<&OracleSchema>) {
        if let Some(reader) = &mut self.reader {
            reader.learn_schema(id, schema);
        }
    }

    /// The schema of a record, if it must be learnt before the record is judged.
    pub fn missing_schema(&self, record: &OracleRecord<'_>) -> Option<OracleSchemaId> {
        self.reader.as_ref()?.missing_schema((record.value, record.schema))
    }

    /// The length of a window.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// The distance of the watermark from the latest observed time.
    pub const fn delay(&self) -> Duration {
        self.delay
    }

    /// Sets the state of a partition before its first record.
    pub fn start(&mut self, partition: i32, ledger: OracleLedger) {
        self.ledgers.insert(partition, ledger);
    }

    /// With deduplication, sets the milestones of a partition before its first record. [`Self::learn`] then takes the earlier records.
    pub fn start_recent(&mut self, partition: i32, milestones: Vec<OracleMilestone>) {
        if let Some(recent) = &mut self.recent {
            recent.start(partition, milestones);
        }
    }

    /// Takes the id of a record before the start of its partition, in order from the first milestone on.
    pub fn learn(&mut self, partition: i32, record: &OracleRecord<'_>, max_future: Duration) {
        let Some(recent) = &mut self.recent else { return };
        let Some(time) = record.timestamp_millis.map(record_time) else { return };
        if let Ok((event, Some(id))) = event(self.reader.as_ref(), record, self.window, true)
            && time.checked_add_signed(max_future).is_none_or(|latest| event.time <= latest)
        {
            recent.learn(partition, id, record.offset);
        }
    }

    /// The ids of records of a partition before `offset` do not count any more.
    pub fn forget_ids(&mut self, partition: i32, offset: i64) {
        if let Some(recent) = &mut self.recent {
            recent.forget(partition, offset);
        }
    }

    /// With deduplication, the milestones of a partition: the first record of each step of the latest observed time that counts.
    pub fn milestones(&self, partition: i32) -> &[OracleMilestone] {
        self.recent.as_ref().map_or(&[], |recent| recent.milestones(partition))
    }

    /// Moves a partition to `offset`, and counts the skipped offsets as gaps.
    pub fn skip_to(&mut self, partition: i32, offset: i64) {
        let ledger = self.ledgers.entry(partition).or_default();
        ledger.gaps += offset - ledger.next_offset;
        ledger.next_offset = offset;
    }

    /// The counts, by partition.
    pub const fn ledgers(&self) -> &BTreeMap<i32, OracleLedger> {
        &self.ledgers
    }

    /// Judges the next record of a partition.
    ///
    /// `floor` and `max_future` are those that apply to the partition at this offset.
    pub fn record(
        &mut self,
        partition: i32,
        record: &OracleRecord<'_>,
        floor: DateTime<Utc>,
        max_future: Duration,
    ) -> Judgement {
        self.skip_to(partition, record.offset);
        let (window, delay) = (self.window, self.delay);
        let ledger = self.ledgers.entry(partition).or_default();
        ledger.next_offset += 1;
        let (event, id) = match event(self.reader.as_ref(), record, window, self.recent.is_some()) {
            Ok(event) => event,
            Err("filtered") => {
                ledger.filtered += 1;
                return Judgement::without_event("filtered");
            }
            Err(reason) => {
                ledger.invalid += 1;
                return Judgement::without_event(reason);
            }
        };
        let before = ledger.clone();
        let (mut fate, mut missed_by) = judge(ledger, &event, record, floor, max_future, (window, delay));
        let can_be_duplicate = matches!(fate, "applied" | "late") && record.timestamp_millis.is_some();
        let id = id.filter(|_| can_be_duplicate);
        let mut duplicate_of = None;
        if let (Some(recent), Some(id)) = (&mut self.recent, id.clone()) {
            duplicate_of = recent.duplicate_of(partition, &id, before.max_observed);
            if duplicate_of.is_some() {
                (fate, missed_by) = ("duplicate", None);
                *ledger = OracleLedger { duplicate: before.duplicate + 1, ..before };
            }
            recent.add(partition, id, record.offset, ledger.max_observed.expect("a valid event moves it"));
        }
        let event = (fate != "duplicate").then_some(event);
        Judgement { fate, event, missed_by, id, duplicate_of }
    }
}

fn judge(
    ledger: &mut OracleLedger,
    event: &OracleEvent,
    record: &OracleRecord<'_>,
    floor: DateTime<Utc>,
    max_future: Duration,
    (window, delay): (Duration, Duration),
) -> (&'static str, Option<Duration>) {
    let record_time = record.timestamp_millis.map(record_time);
    if record_time.is_none() && ledger.max_observed.is_none_or(|max| event.time > max) {
        ledger.invalid += 1;
        return ("no_record_time", None);
    }
    let latest = record_time.and_then(|record_time| record_time.checked_add_signed(max_future));
    if latest.is_some_and(|latest| event.time > latest) {
        ledger.future += 1;
        return ("future", None);
    }
    let closed = ledger.max_observed.map(|max| max - delay);
    let closed = closed.map_or(floor, |closed| closed.max(floor));
    let observed = record_time.map_or(event.time, |record_time| event.time.min(record_time));
    ledger.max_observed = ledger.max_observed.max(Some(observed));
    let end = event.window_start + window;
    if end <= closed {
        ledger.late += 1;
        return ("late", Some(closed - end));
    }
    ledger.applied += 1;
    ("applied", None)
}

/// The event of a record, and its id.
fn event(
    reader: Option<&Reader>,
    record: &OracleRecord<'_>,
    window: Duration,
    needs_id: bool,
) -> Result<(OracleEvent, Option<String>), &'static str> {
    let (time, id, purchases) = match reader {
        None => {
            let TimedPurchase { time, id, purchase } = purchase(record.value, needs_id)?;
            (time, id, vec![purchase])
        }
        Some(reader) => {
            let Purchases { time, id, purchases } =
                mapping::read(reader, (record.value, record.schema), record.timestamp_millis.map(record_time))?;
            (time, id, purchases)
        }
    };
    let micros = window.num_microseconds().expect("a window is shorter than a day");
    let start = time.timestamp_micros() / micros * micros;
    let event = OracleEvent {
        time,
        window_start: DateTime::from_timestamp_micros(start).expect("within the years of event time"),
        purchases,
        is_exploded: reader.is_some_and(Reader::is_exploded),
    };
    Ok((event, id))
}

/// The timestamp of a record. Values beyond the calendar of chrono are later than any event.
fn record_time(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(millis).single().unwrap_or(DateTime::<Utc>::MAX_UTC)
}
