//! The contents of the store according to the records: digests of rows and dead letters.

use std::collections::{BTreeMap, HashSet};

use bigdecimal::BigDecimal;
use retail_oracle::OracleEvent;

use crate::buckets::{Bucket, Layout};
use crate::checkpoint::Checkpoint;
use crate::closes::Closes;
use crate::differences::Differences;
use crate::digest::{EventSums, Key, Values};
use crate::letters::{Letter, LetterSum};
use crate::replay::Judged;
use crate::state::State;
use crate::units::exact_millionths;

pub(crate) struct Expected<'a> {
    pipeline_id: &'a str,
    columns: &'a retail_api::Layout,
    key: &'a Key,
    layout: Layout,
    closes: &'a Closes,
    retained_from: i64,
    pub(crate) buckets: BTreeMap<Bucket, EventSums>,
    /// Windows whose rows retention has dropped.
    pub(crate) dropped_windows: HashSet<i64>,
    /// Of stored dead letters, by partition.
    pub(crate) letters: BTreeMap<i32, LetterSum>,
    pub(crate) differences: Differences,
    /// Partitions whose proofs of idleness cannot be checked.
    pub(crate) unchecked_idle: HashSet<i32>,
}

impl<'a> Expected<'a> {
    /// The state before the first record: the open sums of the checkpoint.
    pub(crate) fn new(state: &'a State, base: &'a Checkpoint, layout: Layout, closes: &'a Closes) -> Self {
        let mut buckets = BTreeMap::<Bucket, EventSums>::new();
        let retained_from = state.retained_from.timestamp_micros();
        let mut dropped_windows = HashSet::new();
        for window in &base.open {
            *buckets.entry(layout.bucket(window.start)).or_default() += window.sums;
            if window.start < retained_from {
                dropped_windows.insert(window.start);
            }
        }
        let letters = state.partitions.iter().map(|p| (p.partition, base.letters(p.partition))).collect();
        Self {
            pipeline_id: &state.pipeline_id,
            columns: &state.columns,
            key: &base.key,
            layout,
            closes,
            retained_from,
            buckets,
            dropped_windows,
            letters,
            differences: Differences::default(),
            unchecked_idle: HashSet::new(),
        }
    }

    pub(crate) fn take(&mut self, judged: &Judged<'_>) {
        let Judged { partition, record, judgement, rule, is_append_time } = judged;
        if record.offset < rule.offset {
            let offset = record.offset;
            self.differences
                .add(|| format!("partition {partition}, offset {offset}: fate_rules has no rule for the record"));
        }
        let is_late = judgement.fate == "late";
        if judgement.is_dead() && (!is_late || rule.keeps_late) {
            let letter = Letter {
                pipeline_id: self.pipeline_id,
                columns: self.columns,
                partition: *partition,
                record,
                judgement,
            };
            self.letters.entry(*partition).or_default().add(&letter);
        }
        let Some(event) = judgement.event.as_ref().filter(|_| is_late || !judgement.is_dead()) else { return };
        if self.closes.has_idle_proofs(*partition) {
            self.check_idle(*partition, record.offset, record.timestamp_millis, *is_append_time);
        }
        if !is_late {
            self.add(event, *partition, record.offset);
        }
    }

    fn add(&mut self, event: &OracleEvent, partition: i32, offset: i64) {
        let window_start = event.window_start.timestamp_micros();
        let bucket = self.layout.bucket(window_start);
        if bucket.is_old {
            self.differences.add(|| {
                format!("partition {partition}, offset {offset}: the event belongs to a window that was closed before it was committed")
            });
        }
        if window_start < self.retained_from {
            self.dropped_windows.insert(window_start);
        }
        let exact = |amount: &BigDecimal| {
            exact_millionths(amount).expect("prices have six decimals and 18 digits, quantities ten")
        };
        for purchase in &event.purchases {
            let values = Values {
                events: 1,
                price_sum: exact(&purchase.price),
                quantity: purchase.quantity.into(),
                amount: exact(&purchase.amount),
                more: purchase.more.iter().map(exact).collect(),
            };
            let row = self.key.row(window_start, &purchase.dimensions);
            self.buckets.entry(bucket).or_default().add(row, self.key.group(&purchase.dimensions), &values);
        }
    }

    fn check_idle(&mut self, partition: i32, offset: i64, timestamp_millis: Option<i64>, is_append_time: bool) {
        match timestamp_millis {
            Some(millis) if is_append_time => {
                if let Some(contradiction) = self.closes.contradiction(partition, offset, millis.saturating_mul(1000)) {
                    self.differences.add(|| contradiction);
                }
            }
            _ => {
                self.unchecked_idle.insert(partition);
            }
        }
    }
}
