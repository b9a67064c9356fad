//! Determines the fate of one record after another, and keeps nothing but the counts of each partition.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Duration, TimeZone, Utc};

use crate::mapping::{self, OracleMapping, Purchases, Reader};
use crate::purchase::{OraclePurchase, TimedPurchase, purchase};

/// One Kafka record.
#[derive(Clone, Debug)]
pub struct OracleRecord<'a> {
    /// Position in the partition.
    pub offset: i64,
    /// The timestamp of the record in milliseconds since the epoch, if it has one.
    pub timestamp_millis: Option<i64>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// The fate of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// `applied`, `late`, `duplicate`, `future`, `filtered`, or why the record is invalid.
    pub fate: &'static str,
    /// The event; `None` if the record is filtered or invalid.
    pub event: Option<OracleEvent>,
    /// For a late event: the time from the end of its window to the bound that closed it.
    pub missed_by: Option<Duration>,
}

impl Judgement {
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
    /// The span in which an id counts.
    within: Option<Duration>,
    /// By partition and id: the latest observed time after its last record.
    seen: BTreeMap<i32, HashMap<String, DateTime<Utc>>>,
    ledgers: BTreeMap<i32, OracleLedger>,
}

impl Judge {
    /// A judge for windows of length `window`, and a watermark at the distance `delay`.
    pub fn new(window: Duration, delay: Duration) -> Self {
        let (seen, ledgers) = Default::default();
        Self { window, delay, reader: None, within: None, seen, ledgers }
    }

    /// The judge of records that have the fields of a mapping.
    #[must_use]
    pub fn with_mapping(self, mapping: Option<OracleMapping>) -> Self {
        Self { reader: mapping.map(Reader::new), ..self }
    }

    /// The judge of records with ids, some of which are duplicates: whole seconds.
    #[must_use]
    pub fn deduplicating(self, within: Duration) -> Self {
        Self { within: Some(within), ..self }
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
        let (event, id) = match event(self.reader.as_ref(), record, window, self.within.is_some()) {
            Ok(event) => event,
            Err("filtered") => {
                ledger.filtered += 1;
                return Judgement { fate: "filtered", event: None, missed_by: None };
            }
            Err(reason) => {
                ledger.invalid += 1;
                return Judgement { fate: reason, event: None, missed_by: None };
            }
        };
        let before = ledger.clone();
        let (mut fate, mut missed_by) = judge(ledger, &event, record, floor, max_future, (window, delay));
        let can_be_duplicate = matches!(fate, "applied" | "late") && record.timestamp_millis.is_some();
        if let (Some(within), Some(id), true) = (self.within, id, can_be_duplicate) {
            let seen = self.seen.entry(partition).or_default();
            if is_duplicate(seen.get(&id).copied(), before.max_observed, within) {
                (fate, missed_by) = ("duplicate", None);
                *ledger = OracleLedger { duplicate: before.duplicate + 1, ..before };
            }
            seen.insert(id, ledger.max_observed.expect("a valid event moves it"));
        }
        Judgement { fate, event: Some(event), missed_by }
    }
}

/// Whether the latest observed time has moved by at most `within` since the earlier record, in steps of `within` / 64.
fn is_duplicate(then: Option<DateTime<Utc>>, now: Option<DateTime<Utc>>, within: Duration) -> bool {
    let step = within.num_microseconds().expect("hours") / 64;
    let steps = |time: DateTime<Utc>| time.timestamp_micros().div_euclid(step);
    then.zip(now).is_some_and(|(then, now)| steps(now) - steps(then) <= 64)
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
                mapping::read(reader, record.value, record.timestamp_millis.map(record_time))?;
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
