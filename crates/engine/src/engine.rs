//! The machine one worker feeds: records of its partitions in, batches for the store out.

use std::collections::BTreeMap;

use crate::decode::{Decoder, FindQuotes, SimdTask};
use crate::deltas::{Deltas, Row};
use crate::fate::{Counts, Fate};
use crate::lateness::Lateness;
use crate::rules::{Rules, observed_time};
use crate::time::{Span, Timestamp};

/// What a dead letter keeps of a record's value, in bytes.
pub const MAX_DEAD_LETTER_PAYLOAD: usize = 64 * 1024;

/// About what a dead letter costs besides its payload.
const DEAD_LETTER_BYTES: usize = 128;

/// One Kafka record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Position in the partition.
    pub offset: i64,
    /// The record's own timestamp, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The value; none for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Where a partition continues: what the store knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The first offset to judge.
    pub next_offset: i64,
    /// The latest observed time among the applied and late events before it.
    pub max_observed: Option<Timestamp>,
    /// Windows that end at or before it are closed for this partition, whatever it has shown.
    pub floor: Timestamp,
}

/// How far a batch takes one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Which partition.
    pub partition: i32,
    /// The offset at which the batch began.
    pub from: i64,
    /// The offset after its last record.
    pub to: i64,
    /// The latest observed time, all earlier batches included.
    pub max_observed: Option<Timestamp>,
    /// The floor by which the batch was judged.
    pub floor: Timestamp,
    /// The fates of the offsets `from..to`.
    pub counts: Counts,
}

impl Progress {
    /// Whether the batch has any offset of this partition.
    pub const fn moved(&self) -> bool {
        self.from != self.to
    }
}

/// A record that was not applied, kept for whoever wants to know why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Where it came from.
    pub partition: i32,
    /// Where it came from.
    pub offset: i64,
    /// Why it was not applied.
    pub reason: &'static str,
    /// Event time, if it could be read.
    pub event_time: Option<Timestamp>,
    /// The record's own timestamp.
    pub record_time: Option<Timestamp>,
    /// The value, cut to [`MAX_DEAD_LETTER_PAYLOAD`].
    pub payload: Option<Box<[u8]>>,
}

/// Everything that happened since the last cut: one transaction for the store.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    /// All assigned partitions, in order, those that did not move included.
    pub partitions: Vec<Progress>,
    /// Sums to add, ordered by key.
    pub rows: Vec<Row>,
    /// Records that were not applied.
    pub dead_letters: Vec<DeadLetter>,
    /// How late the applied and late events were.
    pub lateness: Lateness,
}

/// Judges records and adds them up. No clock, no network; the same records give the same sums in any split into batches.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    keep_late: bool,
    decoder: Decoder,
    partitions: BTreeMap<i32, Partition>,
    deltas: Deltas,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    lateness: Lateness,
}

#[derive(Debug)]
struct Partition {
    /// Where the current batch began.
    from: i64,
    next: i64,
    max_observed: Option<Timestamp>,
    floor: Timestamp,
    counts: Counts,
}

impl Engine {
    /// An engine without partitions. `keep_late` says whether late events become dead letters; they are counted anyway.
    pub fn new(rules: Rules, keep_late: bool) -> Self {
        Self {
            rules,
            keep_late,
            decoder: Decoder::default(),
            partitions: BTreeMap::new(),
            deltas: Deltas::default(),
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            lateness: Lateness::default(),
        }
    }

    /// Begins to take records of a partition, or begins again elsewhere.
    pub fn assign(&mut self, partition: i32, start: Start) {
        let Start { next_offset, max_observed, floor } = start;
        let counts = Counts::default();
        self.partitions
            .insert(partition, Partition { from: next_offset, next: next_offset, max_observed, floor, counts });
    }

    /// Takes no more records of a partition.
    ///
    /// # Panics
    ///
    /// If the current batch has offsets of it: cut or abandon them first, or their sums would be kept without them.
    pub fn release(&mut self, partition: i32) {
        if let Some(partition) = self.partitions.remove(&partition) {
            assert_eq!(partition.from, partition.next, "a partition was released with uncut offsets");
        }
    }

    /// Drops everything since the last cut, and all partitions: what was dropped must be read again.
    pub fn reset(&mut self) {
        self.partitions.clear();
        self.deltas.clear();
        self.dead_letters.clear();
        self.dead_letter_bytes = 0;
        self.lateness = Lateness::default();
    }

    /// The partition's end of the machine, if it is assigned.
    pub fn partition(&mut self, partition: i32) -> Option<PartitionInput<'_>> {
        let Self { rules, keep_late, decoder, partitions, deltas, dead_letters, dead_letter_bytes, lateness } = self;
        let state = partitions.get_mut(&partition)?;
        Some(PartitionInput {
            partition,
            state,
            rules: *rules,
            keep_late: *keep_late,
            decoder,
            deltas,
            dead_letters,
            dead_letter_bytes,
            lateness,
        })
    }

    /// The offset that a partition waits for.
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition).map(|partition| partition.next)
    }

    /// Whether anything happened since the last cut.
    pub fn has_uncommitted(&self) -> bool {
        self.partitions.values().any(|partition| partition.from != partition.next)
    }

    /// Whether nothing happened to a partition since the last cut.
    pub fn is_committed(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_none_or(|partition| partition.from == partition.next)
    }

    /// About what the current batch costs in memory.
    pub fn bytes(&self) -> usize {
        self.deltas.bytes() + self.dead_letter_bytes
    }

    /// Takes over a floor that the store has raised, if no record was judged by the old one since the last cut;
    /// otherwise the store will refuse the batch, and the records are judged again.
    pub fn raise_floor(&mut self, partition: i32, floor: Timestamp) {
        if let Some(partition) = self.partitions.get_mut(&partition)
            && partition.from == partition.next
        {
            partition.floor = partition.floor.max(floor);
        }
    }

    /// Takes out everything since the last cut and begins the next batch.
    pub fn take_batch(&mut self) -> Batch {
        let partitions = self
            .partitions
            .iter_mut()
            .map(|(&partition, state)| Progress {
                partition,
                from: std::mem::replace(&mut state.from, state.next),
                to: state.next,
                max_observed: state.max_observed,
                floor: state.floor,
                counts: std::mem::take(&mut state.counts),
            })
            .collect();
        self.dead_letter_bytes = 0;
        Batch {
            partitions,
            rows: self.deltas.take_rows(),
            dead_letters: std::mem::take(&mut self.dead_letters),
            lateness: std::mem::take(&mut self.lateness),
        }
    }
}

/// Takes the records of one partition, in offset order.
#[derive(Debug)]
pub struct PartitionInput<'a> {
    partition: i32,
    state: &'a mut Partition,
    rules: Rules,
    keep_late: bool,
    decoder: &'a mut Decoder,
    deltas: &'a mut Deltas,
    dead_letters: &'a mut Vec<DeadLetter>,
    dead_letter_bytes: &'a mut usize,
    lateness: &'a mut Lateness,
}

impl PartitionInput<'_> {
    /// Judges one record. Nothing is said of a record from before the position: it was judged already.
    #[inline]
    pub fn record(&mut self, record: &Record<'_>) -> Option<Fate> {
        self.decoder.simd().run(JudgeRecord { input: self, record })
    }

    #[inline(always)]
    fn take(&mut self, record: &Record<'_>, find: impl FindQuotes) -> Option<Fate> {
        if record.offset < self.state.next {
            return None;
        }
        self.skip_to(record.offset);
        self.state.next += 1;
        let (fate, event_time) = self.judge(record, find);
        self.state.counts.count(fate);
        let keep = match fate {
            Fate::Applied => false,
            Fate::Late => self.keep_late,
            Fate::Invalid(_) | Fate::Future => true,
        };
        if keep {
            self.keep(record, fate, event_time);
        }
        Some(fate)
    }

    /// Learns that no record for us lies before `offset`: what was skipped is counted as gaps.
    pub fn skip_to(&mut self, offset: i64) {
        if offset > self.state.next {
            self.state.counts.gaps += offset - self.state.next;
            self.state.next = offset;
        }
    }

    #[inline(always)]
    fn judge(&mut self, record: &Record<'_>, find: impl FindQuotes) -> (Fate, Option<Timestamp>) {
        let event = match self.decoder.decode_by(record.value, find) {
            Ok(event) => event,
            Err(reason) => return (Fate::Invalid(reason), None),
        };
        let time = event.timestamp;
        if self.rules.is_future(time, record.timestamp) {
            return (Fate::Future, Some(time));
        }
        let earlier = self.state.max_observed;
        self.lateness.observe(earlier.map_or(Span::ZERO, |earlier| earlier.since(time)));
        self.state.max_observed = earlier.max(Some(observed_time(time, record.timestamp)));
        let window_start = time.floor(self.rules.window);
        if self.rules.is_late(window_start.plus(self.rules.window), earlier, self.state.floor) {
            return (Fate::Late, Some(time));
        }
        self.deltas.add(window_start, &event);
        (Fate::Applied, Some(time))
    }

    #[cold]
    fn keep(&mut self, record: &Record<'_>, fate: Fate, event_time: Option<Timestamp>) {
        let payload = record.value.map(|value| &value[..value.len().min(MAX_DEAD_LETTER_PAYLOAD)]);
        *self.dead_letter_bytes += DEAD_LETTER_BYTES + payload.map_or(0, <[u8]>::len);
        self.dead_letters.push(DeadLetter {
            partition: self.partition,
            offset: record.offset,
            reason: fate.reason(),
            event_time,
            record_time: record.timestamp,
            payload: payload.map(Box::from),
        });
    }
}

/// A record to be judged: all that is done with one is compiled for the way that its bytes are looked at.
struct JudgeRecord<'a, 'b> {
    input: &'a mut PartitionInput<'b>,
    record: &'a Record<'a>,
}

impl SimdTask for JudgeRecord<'_, '_> {
    type Output = Option<Fate>;

    #[inline(always)]
    fn run(self, find: impl FindQuotes) -> Option<Fate> {
        self.input.take(self.record, find)
    }
}
