//! Packs: the sums of a batch as rows of the delta log, one for each window and bucket of groups.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use retail_engine::{Money, Row, Sums, Timestamp};
use tokio_postgres::types::Type;

use crate::groups::Groups;
use crate::session::Parameter;
use crate::time::SqlTime;

/// The bits of a group's id that are its position in its bucket: a bucket has 64 groups.
const POSITION_BITS: u32 = 6;

/// Number of commits of this session to a window and bucket after which compaction looks at it.
const COMMITS_TO_COMPACT: u32 = 4;

/// Number of rows that this session appends to a bucket, over all windows, before compaction adds them to the sums of spans. A
/// running total reads up to this number of rows more for each session.
const ROWS_TO_SPANS: u32 = 8;

/// Maximum number of buckets whose rows one compaction adds to spans. When the 65th window opens, these are the rows of all open
/// windows: some 100,000.
const BUCKETS_TO_SPANS_AT_ONCE: usize = 256;

/// Maximum number of windows and buckets in one compaction, so that it takes less than a second.
const COMPACTED_AT_ONCE: usize = 1000;

/// The rows of the delta log that a commit appends. The sums of all packs are in the same arrays; `firsts` and `lasts` are the
/// indexes of a pack's slice, counted from 1 and inclusive, as in Postgres.
#[derive(Default, Debug)]
pub(super) struct Packs {
    windows: Vec<SqlTime>,
    buckets: Vec<i32>,
    dense: Vec<bool>,
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    groups: Vec<i32>,
    events: Vec<i64>,
    price_sums: Vec<i64>,
    quantities: Vec<i64>,
    amounts: Vec<i64>,
    price_sums_high: Vec<i64>,
    amounts_high: Vec<i64>,
    /// The further sums.
    more: Vec<SumColumn>,
}

/// Multiples of 2^64 to add to the columns of packs; `None` where each is 0.
pub(super) struct High<'a> {
    price_sums: Option<&'a [i64]>,
    amounts: Option<&'a [i64]>,
    more: Vec<Option<&'a [i64]>>,
}

/// A further sum of all packs.
#[derive(Clone, Default, Debug)]
struct SumColumn {
    low: Vec<i64>,
    high: Vec<i64>,
}

impl SumColumn {
    fn push(&mut self, money: Money) {
        let (low, high) = split(money);
        self.low.push(low);
        self.high.push(high);
    }
}

impl Packs {
    /// The packs of a batch, whose rows are sorted by window, and have this number of further sums. All groups must be known.
    pub(super) fn new(rows: &[Row], groups: &Groups, further_sums: usize) -> Self {
        let mut packs = Self { more: vec![SumColumn::default(); further_sums], ..Self::default() };
        for window in rows.chunk_by(|a, b| a.window_start == b.window_start) {
            let mut sums: Vec<(i32, &Row)> = window.iter().map(|row| (groups.id(row), row)).collect();
            sums.sort_unstable_by_key(|(id, _)| *id);
            for bucket in sums.chunk_by(|(a, _), (b, _)| bucket(*a) == bucket(*b)) {
                packs.append(window[0].window_start, bucket);
            }
        }
        packs
    }

    /// Appends one pack. It is dense if that adds less zeros than it has groups.
    fn append(&mut self, window_start: Timestamp, sums: &[(i32, &Row)]) {
        let (Some((first, _)), Some((last, _))) = (sums.first(), sums.last()) else { return };
        let (bucket, length) = (bucket(*first), position(*last) + 1);
        let dense = length < 2 * sums.len();
        self.windows.push(SqlTime(window_start));
        self.buckets.push(bucket);
        self.dense.push(dense);
        self.firsts.push(self.groups.len() as i32 + 1);
        for (id, row) in sums {
            if dense {
                self.fill(bucket, position(*id));
            }
            self.push(*id, &row.sums, &row.more);
        }
        self.lasts.push(self.groups.len() as i32);
    }

    /// Appends zeros up to a position of the last pack.
    fn fill(&mut self, bucket: i32, position: usize) {
        let first = self.firsts.last().map_or(0, |first| *first as usize - 1);
        for absent in self.groups.len() - first..position {
            self.push((bucket << POSITION_BITS) + absent as i32, &Sums::default(), &[]);
        }
    }

    /// Appends a group. Missing further sums are zero.
    fn push(&mut self, id: i32, sums: &Sums, more: &[Money]) {
        self.groups.push(id);
        self.events.push(sums.events);
        self.quantities.push(sums.quantity);
        let ((price, price_high), (amount, amount_high)) = (split(sums.price), split(sums.amount));
        self.price_sums.push(price);
        self.price_sums_high.push(price_high);
        self.amounts.push(amount);
        self.amounts_high.push(amount_high);
        for (at, column) in self.more.iter_mut().enumerate() {
            column.push(more.get(at).copied().unwrap_or_default());
        }
    }

    /// The multiples of 2^64.
    pub(super) fn high(&self) -> High<'_> {
        High {
            price_sums: unless_zero(&self.price_sums_high),
            amounts: unless_zero(&self.amounts_high),
            more: self.more.iter().map(|column| unless_zero(&column.high)).collect(),
        }
    }

    /// The columns in the order of the parameters of `commit_batch`.
    pub(super) fn parameters<'a>(&'a self, high: &'a High<'a>) -> Vec<Parameter<'a>> {
        let mut parameters: Vec<Parameter<'a>> = vec![
            (&self.windows, Type::TIMESTAMPTZ_ARRAY),
            (&self.buckets, Type::INT4_ARRAY),
            (&self.dense, Type::BOOL_ARRAY),
            (&self.firsts, Type::INT4_ARRAY),
            (&self.lasts, Type::INT4_ARRAY),
            (&self.groups, Type::INT4_ARRAY),
            (&self.events, Type::INT8_ARRAY),
            (&self.price_sums, Type::INT8_ARRAY),
            (&self.quantities, Type::INT8_ARRAY),
            (&self.amounts, Type::INT8_ARRAY),
            (&high.price_sums, Type::INT8_ARRAY),
            (&high.amounts, Type::INT8_ARRAY),
        ];
        for (column, high) in self.more.iter().zip(&high.more) {
            parameters.extend([(&column.low as _, Type::INT8_ARRAY), (high as _, Type::INT8_ARRAY)]);
        }
        parameters
    }
}

fn bucket(id: i32) -> i32 {
    id >> POSITION_BITS
}

fn position(id: i32) -> usize {
    (id & ((1 << POSITION_BITS) - 1)) as usize
}

/// Millionths as `low + high × 2^64`, with high 0 for all that fits. It is exact for all but the 2^63 largest amounts of an
/// `i128`, which more events than fit into a batch would have.
fn split(money: Money) -> (i64, i64) {
    let millionths = money.as_millionths();
    let low = millionths as i64;
    let high = (millionths >> 64) as i64 + i64::from(low < 0);
    (low, high)
}

fn unless_zero(values: &[i64]) -> Option<&[i64]> {
    values.iter().any(|value| *value != 0).then_some(values)
}

/// What this session has appended to the delta log, and compaction has not looked at.
#[derive(Default, Debug)]
pub(super) struct Appended {
    /// The number of commits to each window and bucket.
    commits: BTreeMap<(Timestamp, i32), u32>,
    /// The number of rows of each bucket that are in no span.
    outside_spans: BTreeMap<i32, u32>,
}

impl Appended {
    /// Counts the packs of a commit.
    pub(super) fn count(&mut self, packs: &Packs) {
        for (window, bucket) in packs.windows.iter().zip(&packs.buckets) {
            *self.commits.entry((window.0, *bucket)).or_default() += 1;
            *self.outside_spans.entry(*bucket).or_default() += 1;
        }
    }

    /// Forgets closed windows.
    pub(super) fn closed(&mut self, closed_until: Timestamp) {
        self.commits = self.commits.split_off(&(closed_until, 0));
    }

    /// The windows and buckets to look at next; at most as many as fit into one compaction. With `spans`, one window of each
    /// bucket whose rows are to be added to spans comes first.
    pub(super) fn due(&self, spans: bool) -> Vec<(Timestamp, i32)> {
        let mut due = if spans { self.due_for_spans() } else { Vec::new() };
        let first: BTreeMap<i32, Timestamp> = due.iter().map(|(window, bucket)| (*bucket, *window)).collect();
        let repeated = self.commits.iter().filter(|(_, commits)| **commits >= COMMITS_TO_COMPACT).map(|(key, _)| *key);
        let others = repeated.filter(|(window, bucket)| match first.get(bucket) {
            Some(first) => first != window,
            None => !spans,
        });
        due.extend(others.take(COMPACTED_AT_ONCE - due.len()));
        due
    }

    /// A window of each of the buckets with the most rows outside spans.
    fn due_for_spans(&self) -> Vec<(Timestamp, i32)> {
        let mut windows = BTreeMap::new();
        for (window, bucket) in self.commits.keys() {
            windows.entry(*bucket).or_insert(*window);
        }
        let due = self.outside_spans.iter().filter(|(_, rows)| **rows >= ROWS_TO_SPANS);
        let mut due: Vec<_> = due.filter_map(|(bucket, rows)| Some((rows, *windows.get(bucket)?, *bucket))).collect();
        due.sort_by_key(|(rows, _, _)| Reverse(*rows));
        due.into_iter().map(|(_, window, bucket)| (window, bucket)).take(BUCKETS_TO_SPANS_AT_ONCE).collect()
    }

    /// Forgets windows and buckets that were looked at. With `spans`, the rows of these buckets are in spans now.
    pub(super) fn compacted(&mut self, keys: &[(Timestamp, i32)], spans: bool) {
        for key in keys {
            self.commits.remove(key);
            if spans {
                self.outside_spans.remove(&key.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A group whose category is its id, and packs of such groups, given by window.
    fn packs(windows: &[&[i32]]) -> Packs {
        let mut groups = Groups::default();
        let mut rows = Vec::new();
        for (window, ids) in windows.iter().enumerate() {
            for id in *ids {
                let sums = Sums { events: i64::from(*id) + 1, ..Sums::default() };
                let window_start = Timestamp::from_secs(window as i64);
                let dimensions = Box::new([format!("{id:05}").into(), "COD".into()]);
                rows.push(Row { window_start, dimensions, sums, more: Box::default() });
            }
        }
        let missing = groups.missing(&rows);
        let ids: Vec<i32> = missing.iter().map(|key| key[0].parse().unwrap()).collect();
        groups.learn(missing, &ids, SqlTime(Timestamp::EPOCH));
        Packs::new(&rows, &groups, 0)
    }

    /// Each pack: window, bucket, whether it is dense, and its groups with their events.
    fn shown(packs: &Packs) -> Vec<String> {
        (0..packs.windows.len())
            .map(|at| {
                let slice = packs.firsts[at] as usize - 1..packs.lasts[at] as usize;
                let sums: Vec<String> = slice.map(|n| format!("{}:{}", packs.groups[n], packs.events[n])).collect();
                let window = packs.windows[at].0.as_micros() / 1_000_000;
                let form = if packs.dense[at] { "dense" } else { "sparse" };
                format!("{window} {} {form} {}", packs.buckets[at], sums.join(" "))
            })
            .collect()
    }

    #[test]
    fn rows_are_packed_by_window_and_bucket() {
        assert_eq!(shown(&packs(&[])), Vec::<String>::new());
        assert_eq!(
            shown(&packs(&[&[0, 1, 2], &[1, 63, 64, 65, 128]])),
            ["0 0 dense 0:1 1:2 2:3", "1 0 sparse 1:2 63:64", "1 1 dense 64:65 65:66", "1 2 dense 128:129"]
        );
    }

    #[test]
    fn dense_pack_has_zeros_for_absent_groups() {
        assert_eq!(shown(&packs(&[&[65, 66, 68]])), ["0 1 dense 64:0 65:66 66:67 67:0 68:69"]);
        assert_eq!(shown(&packs(&[&[65, 68]])), ["0 1 sparse 65:66 68:69"]);
    }

    #[test]
    fn window_and_bucket_is_due_after_four_commits() {
        let (often, once) = (packs(&[&[0], &[0, 64]]), packs(&[&[], &[64]]));
        let mut appended = Appended::default();
        for _ in 0..3 {
            appended.count(&often);
        }
        assert_eq!(appended.due(false), []);
        appended.count(&once);
        let key = (Timestamp::from_secs(1), 1);
        assert_eq!(appended.due(false), [key]);
        appended.compacted(&[key], false);
        assert_eq!(appended.due(false), []);
        appended.count(&often);
        assert_eq!(appended.due(false), [(Timestamp::EPOCH, 0), (Timestamp::from_secs(1), 0)]);
        appended.closed(Timestamp::from_secs(1));
        assert_eq!(appended.due(false), [(Timestamp::from_secs(1), 0)]);
    }

    #[test]
    fn bucket_is_due_for_spans_after_eight_rows() {
        let mut appended = Appended::default();
        appended.count(&packs(&[&[0], &[0], &[0], &[0], &[0], &[0], &[0, 64], &[64]]));
        assert_eq!(appended.due(true), []);
        appended.count(&packs(&[&[], &[], &[0]]));
        let due = appended.due(true);
        assert_eq!(due, [(Timestamp::EPOCH, 0)]);
        assert_eq!(appended.due(false), []);
        appended.compacted(&due, true);
        assert_eq!(appended.due(true), []);
    }

    #[test]
    fn buckets_with_most_rows_are_due_for_spans_first() {
        let mut appended = Appended::default();
        let buckets: Vec<i32> = (0..300).map(|bucket| bucket << POSITION_BITS).collect();
        for _ in 0..8 {
            appended.count(&packs(&[&buckets]));
        }
        appended.count(&packs(&[&buckets[290..]]));
        let due: Vec<i32> = appended.due(true).into_iter().map(|(_, bucket)| bucket).collect();
        assert_eq!(due, (290..300).chain(0..246).collect::<Vec<_>>());
        assert_eq!(appended.due(false).len(), 300);
    }

    /// Many old windows of other buckets are due, too.
    #[test]
    fn busiest_bucket_is_in_spans_after_one_compaction() {
        let mut appended = Appended::default();
        let buckets: Vec<i32> = (0..200).map(|bucket| bucket << POSITION_BITS).collect();
        for _ in 0..8 {
            appended.count(&packs(&[&buckets, &buckets, &buckets, &buckets, &buckets, &buckets, &buckets]));
        }
        let mut windows: Vec<&[i32]> = vec![&[]; 7];
        windows.resize(100, &[200 << POSITION_BITS]);
        appended.count(&packs(&windows));
        let due = appended.due(true);
        assert_eq!(due.len(), COMPACTED_AT_ONCE);
        assert_eq!(due[0], (Timestamp::from_secs(7), 200));
        appended.compacted(&due, true);
        let due = appended.due(true);
        assert_eq!(due, [], "all rows are in spans");
        assert_eq!(appended.due(false).len(), 7 * 200 - 999, "other windows wait for more rows");
    }

    fn assert_exact(millionths: i128) {
        let (low, high) = split(Money::from_millionths(millionths));
        assert_eq!(i128::from(high) * (1 << 64) + i128::from(low), millionths);
        assert_eq!(high == 0, i64::try_from(millionths).is_ok(), "{millionths}");
    }

    #[test]
    fn extreme_amounts_are_split_exactly() {
        let edge = i128::from(i64::MAX);
        for millionths in [0, 1, -1, edge, edge + 1, -edge - 1, -edge - 2, i128::MAX - (1 << 63), i128::MIN] {
            assert_exact(millionths);
        }
    }

    proptest! {
        #[test]
        fn every_amount_is_split_exactly(amount: i128, digits in 1..38_u32) {
            assert_exact(amount / 10_i128.pow(digits));
        }
    }
}
