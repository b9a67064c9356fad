//! The engine of one worker: takes the records of its partitions, and returns batches for the store.

use std::collections::BTreeMap;

use crate::batch::{Batch, DeadLetter, Progress, Purchase};
use crate::decode::{Decoder, FindQuotes, FormatDecoder, Mapped, Readers, SimdTask};
use crate::deltas::{MappedDeltas, PurchaseDeltas};
use crate::fate::{Counts, Fate};
use crate::lateness::Lateness;
use crate::mapping::Mapping;
use crate::partition::{Partition, Record, Start};
use crate::recent_records::{Deduplication, Recent, RecentRecords};
use crate::rules::Rules;
use crate::schema::{SchemaId, SchemaText};
use crate::time::Timestamp;

/// Maximum length of the payload of a dead letter, in bytes; longer values are truncated.
const MAX_DEAD_LETTER_PAYLOAD: usize = 64 * 1024;

/// Length of the header of a dead letter. A GUID and the place of a message take less.
const MAX_SCHEMA_HEADER: usize = 1024;

/// Approximate memory of a dead letter in bytes, without its texts.
const DEAD_LETTER_BYTES: usize = 256;

/// Memory of the id of a record in the current batch, in bytes.
const ID_BYTES: usize = 24;

/// Judges records and sums them up. The sums of the same records do not depend on their split into batches.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    keep_late: bool,
    decoder: Decoder,
    partitions: BTreeMap<i32, Partition>,
    deltas: PurchaseDeltas,
    /// With a mapping, it replaces `decoder` and `deltas`.
    mapped: Option<Box<MappedRecords>>,
    deduplication: Option<Deduplication>,
    /// The ids of partitions that were reset, as of the last commit.
    kept: BTreeMap<i32, RecentRecords>,
    dead_letters: Vec<DeadLetter>,
    /// Approximate memory of dead letters and of ids.
    other_bytes: usize,
    lateness: Lateness,
}

/// Reads and sums up records by a mapping.
#[derive(Debug)]
struct MappedRecords {
    decoder: FormatDecoder,
    deltas: MappedDeltas,
}

impl MappedRecords {
    #[inline(always)]
    fn judge(
        &mut self,
        record: &Record<'_>,
        state: &mut Partition,
        rules: &Rules,
        lateness: &mut Lateness,
        find: impl FindQuotes,
    ) -> (Fate, Option<Timestamp>) {
        let Self { decoder, deltas } = self;
        let mapped = match decoder.decode_by(record.value, record.schema, record.timestamp, find) {
            Err(reason) => return (Fate::Invalid(reason), None),
            Ok(Mapped::Filtered) => return (Fate::Filtered, None),
            Ok(Mapped::Purchases(mapped)) => mapped,
        };
        let fate = match state.window_start_unless_duplicate(mapped.time(), mapped.id(), record, rules, lateness) {
            Ok(window_start) => {
                for purchase in mapped.iter() {
                    deltas.add_mapped(window_start, &purchase);
                }
                Fate::Applied
            }
            Err(fate) => fate,
        };
        (fate, Some(mapped.time()))
    }
}

impl Engine {
    /// An engine without partitions. With `keep_late`, late events become dead letters; they are counted in any case.
    pub fn new(rules: Rules, keep_late: bool) -> Self {
        Self {
            rules,
            keep_late,
            decoder: Decoder::default(),
            partitions: BTreeMap::new(),
            deltas: PurchaseDeltas::new(2, 0),
            mapped: None,
            deduplication: None,
            kept: BTreeMap::new(),
            dead_letters: Vec::new(),
            other_bytes: 0,
            lateness: Lateness::default(),
        }
    }

    /// As [`Self::new`], for records that have the fields of a mapping.
    pub fn with_mapping(rules: Rules, keep_late: bool, mapping: &Mapping) -> Self {
        let deltas = MappedDeltas::new(mapping.dimensions.len(), mapping.sums.len());
        let mapped = MappedRecords { decoder: FormatDecoder::new(mapping), deltas };
        Self { mapped: Some(Box::new(mapped)), ..Self::new(rules, keep_late) }
    }

    /// Finds duplicates: by the id of the mapping, or by `transaction_id`.
    ///
    /// # Panics
    ///
    /// If the mapping has no id.
    #[must_use]
    pub fn deduplicating(self, deduplication: Deduplication) -> Self {
        assert!(self.mapped.as_ref().is_none_or(|mapped| mapped.decoder.has_id()), "deduplication needs ids");
        Self { deduplication: Some(deduplication), ..self }
    }

    /// Starts to take records of a partition, or restarts it at another offset.
    pub fn assign(&mut self, partition: i32, start: Start) {
        self.assign_recent(partition, start, Recent::default());
    }

    /// As [`Self::assign`], with deduplication. Returns the offset from which records must be passed: those before the position are
    /// read for their ids only.
    pub fn assign_recent(&mut self, partition: i32, start: Start, recent: Recent) -> i64 {
        let Start { next_offset, max_observed, floor } = start;
        let kept = self.kept.remove(&partition);
        let recent = self.deduplication.map(|how| RecentRecords::at(next_offset, how, recent, kept));
        let from = recent.as_ref().and_then(|recent| recent.first_offset(next_offset)).unwrap_or(next_offset);
        let counts = Counts::default();
        self.partitions
            .insert(partition, Partition { recent, from: next_offset, next: next_offset, max_observed, floor, counts });
        from
    }

    /// Stops taking records of a partition.
    ///
    /// # Panics
    ///
    /// If the current batch contains offsets of the partition: call [`Self::take_batch`] or [`Self::reset`] first. Otherwise
    /// the batch would contain sums without their offsets.
    pub fn release(&mut self, partition: i32) {
        if let Some(partition) = self.partitions.remove(&partition) {
            assert_eq!(partition.from, partition.next, "a partition was released with offsets in the current batch");
        }
    }

    /// Drops the current batch and all partitions. The records of the batch must be read again.
    ///
    /// Their ids are taken back. The others are kept for the case that this worker goes on with a partition.
    pub fn reset(&mut self) {
        for (partition, state) in std::mem::take(&mut self.partitions) {
            if let Some(mut recent) = state.recent.filter(|recent| recent.is_complete) {
                recent.ids.abandon(recent.committed);
                self.kept.insert(partition, recent);
            }
        }
        self.deltas.clear();
        if let Some(mapped) = &mut self.mapped {
            mapped.deltas.clear();
        }
        self.dead_letters.clear();
        self.other_bytes = 0;
        self.lateness = Lateness::default();
    }

    /// The input for records of a partition; `None` if the partition is not assigned.
    pub fn partition(&mut self, partition: i32) -> Option<PartitionInput<'_>> {
        let Self { rules, keep_late, decoder, partitions, deltas, mapped, dead_letters, other_bytes, lateness, .. } =
            self;
        let state = partitions.get_mut(&partition)?;
        Some(PartitionInput {
            partition,
            state,
            rules: *rules,
            keep_late: *keep_late,
            decoder,
            deltas,
            mapped: mapped.as_deref_mut(),
            dead_letters,
            other_bytes,
            lateness,
        })
    }

    /// The next offset of a partition; `None` if the partition is not assigned.
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition).map(|partition| partition.next)
    }

    /// Whether the current batch contains offsets.
    pub fn has_uncommitted(&self) -> bool {
        self.partitions.values().any(|partition| partition.from != partition.next)
    }

    /// The first offset of the current batch of a partition, if the batch contains no applied or late event of it. `None` also if
    /// the partition is not assigned.
    pub fn start_without_valid(&self, partition: i32) -> Option<i64> {
        let partition = self.partitions.get(&partition)?;
        (!partition.counts.has_valid()).then_some(partition.from)
    }

    /// Approximate memory of the current batch, in bytes.
    pub fn bytes(&self) -> usize {
        let mapped = self.mapped.as_ref().map_or(0, |mapped| mapped.deltas.bytes());
        self.deltas.bytes() + mapped + self.other_bytes
    }

    /// With deduplication, the number of ids that are kept for each partition, and their memory in bytes.
    pub fn recent_ids(&self) -> impl Iterator<Item = (i32, usize, usize)> {
        let recent = self.partitions.iter().filter_map(|(&partition, state)| Some((partition, state.recent.as_ref()?)));
        let kept = self.kept.iter().map(|(&partition, recent)| (partition, recent));
        recent.chain(kept).map(|(partition, recent)| (partition, recent.ids.len(), recent.ids.bytes()))
    }

    /// How many records each reader has read; `None` without a mapping.
    pub fn readers(&self) -> Option<Readers> {
        self.mapped.as_ref().map(|mapped| mapped.decoder.readers())
    }

    /// Whether records name schemas that the engine must learn first.
    pub fn needs_schemas(&self) -> bool {
        self.mapped.as_ref().is_some_and(|mapped| mapped.decoder.needs_schemas())
    }

    /// The schema with this id; `None`: the registry does not know it. If the engine cannot use it, its records are invalid.
    ///
    /// At most 1,024 schemas are kept. One that was dropped is [missing](PartitionInput::missing_schema) again.
    pub fn learn_schema(&mut self, id: SchemaId, schema: Option<&SchemaText>) {
        if let Some(mapped) = &mut self.mapped {
            mapped.decoder.learn_schema(id, schema);
        }
    }

    /// All schemas must be learnt again, because their verdicts may be lost.
    pub fn forget_schemas(&mut self) {
        if let Some(mapped) = &mut self.mapped {
            mapped.decoder.forget_schemas();
        }
    }

    /// Takes over a floor that the store has raised, if the current batch contains no event judged by the old one: none that is
    /// applied or late. Otherwise the store fences the batch, and the records are judged again.
    pub fn raise_floor(&mut self, partition: i32, floor: Timestamp) {
        if let Some(partition) = self.partitions.get_mut(&partition)
            && !partition.counts.has_valid()
        {
            partition.floor = partition.floor.max(floor);
        }
    }

    /// Returns the current batch, and starts the next one.
    pub fn take_batch(&mut self) -> Batch {
        let milestones = self.partitions.iter_mut().filter_map(|(&partition, state)| {
            let recent = state.recent.as_mut()?;
            Some((partition, recent.ids.take_batch()?))
        });
        let milestones = milestones.collect();
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
        let rows = match &mut self.mapped {
            None => self.deltas.take_rows(),
            Some(mapped) => mapped.deltas.take_rows(),
        };
        let schemas = self.mapped.as_mut().map(|mapped| mapped.decoder.take_used_schemas()).unwrap_or_default();
        self.other_bytes = 0;
        Batch {
            partitions,
            rows,
            dead_letters: std::mem::take(&mut self.dead_letters),
            lateness: std::mem::take(&mut self.lateness),
            milestones,
            schemas,
        }
    }

    /// The last batch is committed.
    pub fn committed(&mut self) {
        self.kept.clear();
        for state in self.partitions.values_mut() {
            // The next batch begins after the last one.
            let next = state.from;
            if let Some(recent) = &mut state.recent {
                recent.ids.committed(next);
                recent.committed = next;
            }
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
    deltas: &'a mut PurchaseDeltas,
    mapped: Option<&'a mut MappedRecords>,
    dead_letters: &'a mut Vec<DeadLetter>,
    other_bytes: &'a mut usize,
    lateness: &'a mut Lateness,
}

impl PartitionInput<'_> {
    /// The schema that the record names, if it is not known yet: the engine must learn it before [`Self::record`] takes this record.
    pub fn missing_schema(&self, record: &Record<'_>) -> Option<SchemaId> {
        let is_read = record.offset >= self.state.next || self.state.recent.is_some();
        self.mapped.as_ref().filter(|_| is_read)?.decoder.missing_schema(record.value, record.schema)
    }

    /// Judges one record. Returns `None` for a record before the position, which was judged already.
    ///
    /// # Panics
    ///
    /// If its schema is [missing](Self::missing_schema).
    #[inline]
    pub fn record(&mut self, record: &Record<'_>) -> Option<Fate> {
        let simd = self.decoder.simd();
        match self.mapped {
            None => simd.run(JudgeRecord { input: self, record }),
            Some(_) => simd.run(JudgeMapped { input: self, record }),
        }
    }

    #[inline(always)]
    fn take(&mut self, record: &Record<'_>, find: impl FindQuotes) -> Option<Fate> {
        if !self.reach(record, &find) {
            return None;
        }
        let (fate, event_time) = if self.state.recent.is_some() {
            *self.other_bytes += ID_BYTES;
            self.judge_with_id(record, find)
        } else {
            self.judge(record, find)
        };
        Some(self.count(record, fate, event_time))
    }

    /// As [`Self::take`], with a mapping.
    #[inline(always)]
    fn take_mapped(&mut self, record: &Record<'_>, find: impl FindQuotes) -> Option<Fate> {
        if !self.reach(record, &find) {
            return None;
        }
        if self.state.recent.is_some() {
            *self.other_bytes += ID_BYTES;
        }
        let mapped = self.mapped.as_mut()?;
        let (fate, event_time) = mapped.judge(record, self.state, &self.rules, self.lateness, find);
        Some(self.count(record, fate, event_time))
    }

    /// Moves the position behind a record. Returns false if it was there already.
    #[inline(always)]
    fn reach(&mut self, record: &Record<'_>, find: impl FindQuotes) -> bool {
        if record.offset < self.state.next {
            self.read_again(record, find);
            return false;
        }
        self.skip_to(record.offset);
        self.state.next += 1;
        true
    }

    /// Counts a record, and keeps it if it is to become a dead letter.
    #[inline(always)]
    fn count(&mut self, record: &Record<'_>, fate: Fate, event_time: Option<Timestamp>) -> Fate {
        self.state.counts.count(fate);
        let keep = match fate {
            Fate::Applied | Fate::Filtered | Fate::Duplicate => false,
            Fate::Late => self.keep_late,
            Fate::Invalid(_) | Fate::Future => true,
        };
        if keep {
            self.keep(record, fate, event_time);
        }
        fate
    }

    /// Registers the id of a record before the position, with deduplication.
    #[cold]
    fn read_again(&mut self, record: &Record<'_>, find: impl FindQuotes) {
        let (Some(recent), Some(record_time)) = (&mut self.state.recent, record.timestamp) else { return };
        let Some(rules) = recent.rules_before(record.offset, self.rules) else { return };
        let mut register = |time, id: &[u8]| recent.read_again(id, record.offset, time, record_time, rules);
        match &mut self.mapped {
            Some(mapped) => {
                if let Ok(Mapped::Purchases(mapped)) =
                    mapped.decoder.decode(record.value, record.schema, record.timestamp)
                {
                    register(mapped.time(), mapped.id());
                }
            }
            None => {
                if let Ok((event, id)) = self.decoder.decode_with_id(record.value, find) {
                    register(event.timestamp, id.as_bytes());
                }
            }
        }
    }

    /// The position, and the number of applied and late events in the current batch.
    pub fn position_and_valid(&self) -> (i64, i64) {
        (self.state.next, self.state.counts.applied + self.state.counts.late)
    }

    /// Approximate memory of the current batch of all partitions, in bytes.
    pub fn bytes(&self) -> usize {
        let mapped = self.mapped.as_ref().map_or(0, |mapped| mapped.deltas.bytes());
        self.deltas.bytes() + mapped + *self.other_bytes
    }

    /// All records before `offset` were passed. Moves the position there, as [`Self::skip_to`].
    pub fn end(&mut self, offset: i64) {
        if let Some(recent) = &mut self.state.recent
            && offset >= self.state.next
        {
            recent.is_complete = true;
        }
        self.skip_to(offset);
    }

    /// Moves the position to `offset`, if it is larger. The skipped offsets contain no record, and are counted as gaps.
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
        match self.state.window_start(event.timestamp, record.timestamp, &self.rules, self.lateness) {
            Ok(window_start) => {
                self.deltas.add(window_start, &event);
                (Fate::Applied, Some(event.timestamp))
            }
            Err(fate) => (fate, Some(event.timestamp)),
        }
    }

    #[inline(never)]
    fn judge_with_id(&mut self, record: &Record<'_>, find: impl FindQuotes) -> (Fate, Option<Timestamp>) {
        let (event, id) = match self.decoder.decode_with_id(record.value, find) {
            Ok(decoded) => decoded,
            Err(reason) => return (Fate::Invalid(reason), None),
        };
        match self.state.window_start_unless_duplicate(
            event.timestamp,
            id.as_bytes(),
            record,
            &self.rules,
            self.lateness,
        ) {
            Ok(window_start) => {
                self.deltas.add(window_start, &event);
                (Fate::Applied, Some(event.timestamp))
            }
            Err(fate) => (fate, Some(event.timestamp)),
        }
    }

    /// The purchase of a record, which is decoded once more; `None` for the elements of an array.
    fn purchase(&mut self, record: &Record<'_>) -> Option<Purchase> {
        let Some(mapped) = &mut self.mapped else {
            return self.decoder.decode(record.value).ok().map(|event| Purchase {
                dimensions: Box::new([event.category.into(), event.payment_method.into()]),
                quantity: event.quantity,
                amount: event.amount(),
                more: Box::default(),
            });
        };
        match mapped.decoder.decode(record.value, record.schema, record.timestamp) {
            Ok(Mapped::Purchases(mapped)) => mapped.only().map(|purchase| Purchase {
                dimensions: purchase.texts().map(Box::from).collect(),
                quantity: purchase.quantity,
                amount: purchase.amount,
                more: purchase.more.into(),
            }),
            Ok(Mapped::Filtered) | Err(_) => None,
        }
    }

    /// Decodes the record once more: for applied events, keeping its contents until here would cost time.
    #[cold]
    fn keep(&mut self, record: &Record<'_>, fate: Fate, event_time: Option<Timestamp>) {
        let payload = record.value.map(|value| &value[..value.len().min(MAX_DEAD_LETTER_PAYLOAD)]);
        let purchase = match event_time {
            Some(_) => self.purchase(record),
            None => None,
        };
        let missed_by = match (fate, event_time) {
            (Fate::Late, Some(time)) => {
                let window_end = time.floor(self.rules.window).plus(self.rules.window);
                // A late event is older than this bound, so that it has not moved it.
                Some(self.rules.closed_until(self.state.max_observed, self.state.floor).since(window_end))
            }
            _ => None,
        };
        let schema = record.schema.map(|header| &header[..header.len().min(MAX_SCHEMA_HEADER)]);
        let keys = purchase.as_ref().map_or(0, |purchase| purchase.dimensions.iter().map(|key| key.len()).sum());
        *self.other_bytes += DEAD_LETTER_BYTES + keys + payload.map_or(0, <[u8]>::len) + schema.map_or(0, <[u8]>::len);
        self.dead_letters.push(DeadLetter {
            partition: self.partition,
            offset: record.offset,
            reason: fate.reason(),
            detail: None,
            event_time,
            record_time: record.timestamp,
            purchase,
            missed_by,
            payload: payload.map(Box::from),
            schema: schema.map(Box::from),
        });
    }
}

/// The task of judging a record, compiled for each SIMD backend.
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

/// The task of judging a record with a mapping.
struct JudgeMapped<'a, 'b> {
    input: &'a mut PartitionInput<'b>,
    record: &'a Record<'a>,
}

impl SimdTask for JudgeMapped<'_, '_> {
    type Output = Option<Fate>;

    #[inline(always)]
    fn run(self, find: impl FindQuotes) -> Option<Fate> {
        self.input.take_mapped(self.record, find)
    }
}
