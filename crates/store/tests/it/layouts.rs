//! Pipelines with 1 to 8 dimensions and 0 to 8 further sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use bigdecimal::{BigDecimal, RoundingMode};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use retail_api::Layout;
use retail_engine::{DeadLetter, Money, Purchase, Row, Sums, Timestamp};
use retail_store::{RowKey, Store, provision};
use retail_testbed::{Case, at};

use crate::delta_log::assert_open_rows_agree;
use crate::schema::layout;
use crate::steps::{commit, owner};

/// Names of dimensions and of sums. Most are names of the store's own columns and types, which must not matter.
const DIMENSIONS: [&str; 8] = ["store", "d1", "quantity", "group_id", "name", "u", "value", "l"];
const SUMS: [&str; 8] = ["discount", "sum1", "amount", "price_sum", "numeric", "k", "bucket", "total"];

fn numbered(dimensions: usize, sums: usize) -> Layout {
    layout(&DIMENSIONS[..dimensions], &SUMS[..sums])
}

/// Names as a list of quoted columns.
fn columns(names: &[String]) -> String {
    names.iter().map(|name| format!(", \"{name}\"")).collect()
}

async fn case(layout: Layout) -> Case {
    let mut case = Case::shared().partitions(1).build();
    case.settings.pipeline.layout = layout;
    case.apply_schema().await;
    case
}

fn key(group: usize, dimensions: usize) -> Box<[Arc<str>]> {
    (0..dimensions).map(|at| ["", "b", "ä"][group / 3_usize.pow(at as u32) % 3].into()).collect()
}

/// The sums of a group in a window, in millionths.
#[derive(Clone, Default)]
struct Naive {
    events: i64,
    price: i128,
    quantity: i64,
    amount: i128,
    more: Vec<i128>,
}

impl Naive {
    fn add(&mut self, row: &Row) {
        self.events += row.sums.events;
        self.price += row.sums.price.as_millionths();
        self.quantity += row.sums.quantity;
        self.amount += row.sums.amount.as_millionths();
        self.more.resize(row.more.len(), 0);
        for (sum, value) in self.more.iter_mut().zip(&row.more) {
            *sum += value.as_millionths();
        }
    }

    fn average(&self) -> String {
        let average = BigDecimal::new(self.price.into(), 6) / BigDecimal::from(self.events);
        average.with_scale_round(6, RoundingMode::HalfUp).to_plain_string()
    }
}

fn money(millionths: i128) -> String {
    BigDecimal::new(millionths.into(), 6).to_plain_string()
}

fn money_of(sums: &[i128]) -> String {
    sums.iter().map(|sum| format!("|{}", money(*sum))).collect()
}

type ByWindowAndGroup = BTreeMap<(i64, Box<[Arc<str>]>), Naive>;

/// Random commits to one pipeline, and the sums that its rows must have.
struct Model {
    case: Case,
    layout: Layout,
    store: Store,
    epoch: i64,
    offset: i64,
    random: Xoshiro256PlusPlus,
    closed: i64,
    sums: ByWindowAndGroup,
}

impl Model {
    async fn new(layout: Layout) -> Self {
        let case = case(layout.clone()).await;
        let (store, epoch) = owner(&case).await;
        let random = Xoshiro256PlusPlus::seed_from_u64(7);
        Self { case, layout, store, epoch, offset: 0, random, closed: 0, sums: BTreeMap::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound as u64) as usize
    }

    /// Millionths of either sign; a tenth of them exceeds a bigint, alone or with others.
    fn amount(&mut self) -> Money {
        let amount = i128::from(self.random.next_u64() >> 1);
        let amount = if self.below(10) == 0 { amount * 3 } else { amount % 1_000_000 };
        Money::from_millionths(if self.below(3) == 0 { -amount } else { amount })
    }

    /// Commits up to 60 random groups of 100 in windows of the next 80.
    async fn add(&mut self) {
        let mut rows = BTreeMap::new();
        for _ in 0..60 {
            let window = self.closed + self.below(80) as i64;
            let group = self.below(100);
            let sums = Sums {
                events: 1 + self.below(3) as i64,
                price: self.amount(),
                quantity: self.below(9) as i64,
                amount: self.amount(),
            };
            let more = (0..self.layout.sums().len()).map(|_| self.amount()).collect();
            let window_start = Timestamp::from_secs(at(window * 300));
            let dimensions = key(group, self.layout.dimensions().len());
            rows.insert((window, dimensions.clone()), Row { window_start, dimensions, sums, more });
        }
        for (key, row) in &rows {
            self.sums.entry(key.clone()).or_default().add(row);
        }
        self.commit(rows.into_values().collect()).await;
    }

    async fn commit(&mut self, rows: Vec<Row>) {
        let observed = self.closed * 300 + 3600;
        self.store.commit(&commit(self.epoch, self.offset, rows, observed)).await.unwrap();
        self.offset += 1;
    }

    async fn close(&mut self, windows: i64) {
        self.closed += windows;
        self.commit(Vec::new()).await;
        self.store.close_windows(true).await.unwrap().unwrap();
    }

    async fn compact(&mut self) {
        // Closes nothing, but counts the open windows.
        self.store.close_windows(true).await.unwrap().unwrap();
        self.store.compact().await.unwrap();
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        self.case.query(query).await.iter().map(|row| row.get(0)).collect()
    }

    /// Compares all rows of all views with the model.
    async fn assert_exact(&self) {
        let (dimensions, sums) = (columns(self.layout.dimensions()), columns(self.layout.sums()));
        let window = "(extract(epoch FROM window_start)::bigint - 1735689600) / 300";
        assert_open_rows_agree(&self.case).await;
        let rows = format!(
            "SELECT concat_ws('|', {window}{dimensions}, avg_price, total_quantity, total_amount, running_total, events{sums},
                              CASE WHEN final THEN 'final' ELSE 'open' END)
             FROM retail ORDER BY window_start{dimensions}"
        );
        assert_eq!(self.texts(&rows).await, self.expected_rows(), "rows of retail");
        let windows = format!(
            "SELECT concat_ws('|', {window}, avg_price, total_quantity, total_amount, events{sums})
             FROM retail_windows ORDER BY window_start"
        );
        assert_eq!(self.texts(&windows).await, self.expected_windows(), "rows of retail_windows");
        let order = dimensions.trim_start_matches(", ");
        let totals = format!(
            "SELECT concat_ws('|', {order}, total_amount) FROM totals WHERE total_amount <> 0 ORDER BY {order}"
        );
        assert_eq!(self.texts(&totals).await, self.expected_totals(), "rows of totals");
        let differing = format!(
            "SELECT count(*)::text FROM totals
             JOIN (SELECT DISTINCT ON ({order}) {order}, running_total AS latest FROM retail ORDER BY {order}, window_start DESC) r
             USING ({order}) WHERE running_total <> latest"
        );
        assert_eq!(self.texts(&differing).await, ["0"], "running totals of totals");
    }

    fn expected_rows(&self) -> Vec<String> {
        let mut running = BTreeMap::<&[Arc<str>], i128>::new();
        let mut rows = Vec::new();
        for ((window, group), sums) in &self.sums {
            let total = running.entry(group).or_default();
            *total += sums.amount;
            let state = if *window < self.closed { "final" } else { "open" };
            let (average, amount, total) = (sums.average(), money(sums.amount), money(*total));
            let (group, more) = (group.join("|"), money_of(&sums.more));
            rows.push(format!(
                "{window}|{group}|{average}|{}|{amount}|{total}|{}{more}|{state}",
                sums.quantity, sums.events
            ));
        }
        rows
    }

    fn expected_windows(&self) -> Vec<String> {
        let mut windows = BTreeMap::<i64, Naive>::new();
        for ((window, _), sums) in &self.sums {
            let all = windows.entry(*window).or_default();
            all.events += sums.events;
            all.price += sums.price;
            all.quantity += sums.quantity;
            all.amount += sums.amount;
            all.more.resize(sums.more.len(), 0);
            all.more.iter_mut().zip(&sums.more).for_each(|(all, sum)| *all += sum);
        }
        let row = |(window, sums): (i64, Naive)| {
            let (average, amount, more) = (sums.average(), money(sums.amount), money_of(&sums.more));
            format!("{window}|{average}|{}|{amount}|{}{more}", sums.quantity, sums.events)
        };
        windows.into_iter().map(row).collect()
    }

    fn expected_totals(&self) -> Vec<String> {
        let mut totals = BTreeMap::<&[Arc<str>], i128>::new();
        for ((_, group), sums) in self.sums.iter().filter(|((window, _), _)| *window < self.closed) {
            *totals.entry(&**group).or_default() += sums.amount;
        }
        let totals = totals.into_iter().filter(|(_, total)| *total != 0);
        totals.map(|(group, total)| format!("{}|{}", group.join("|"), money(total))).collect()
    }
}

/// Commits, compacts and closes, with spans of windows while many are open.
async fn assert_layout_is_exact(layout: Layout) {
    let mut model = Model::new(layout).await;
    let mut with_spans = 0;
    for step in 0..20 {
        match step % 5 {
            4 => {
                let windows = 1 + model.below(16) as i64;
                model.close(windows).await;
            }
            2 => model.compact().await,
            _ => model.add().await,
        }
        model.assert_exact().await;
        with_spans += i32::from(model.case.text("SELECT count(*) FROM span_sums").await != "0");
    }
    assert!(with_spans > 5, "{with_spans}");
    model.close(80).await;
    model.assert_exact().await;
    assert_eq!(model.case.text("SELECT count(*) FROM delta_log").await, "0");
}

#[tokio::test]
async fn rows_with_one_dimension_equal_naive_sums() {
    assert_layout_is_exact(numbered(1, 0)).await;
}

#[tokio::test]
async fn rows_of_the_default_layout_equal_naive_sums() {
    assert_layout_is_exact(Layout::default()).await;
}

#[tokio::test]
async fn rows_with_three_dimensions_and_two_sums_equal_naive_sums() {
    assert_layout_is_exact(numbered(3, 2)).await;
}

#[tokio::test]
async fn rows_with_eight_dimensions_and_sums_equal_naive_sums() {
    assert_layout_is_exact(numbered(8, 8)).await;
}

/// The columns of a view or table, in their order.
async fn names(case: &Case, relation: &str) -> String {
    let columns = format!(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{relation}'::regclass AND attnum > 0"
    );
    case.text(&columns).await
}

#[tokio::test]
async fn every_layout_has_its_columns_and_processes_rows() {
    for dimensions in 1..=8 {
        for sums in [0, 1, 8] {
            let layout = numbered(dimensions, sums);
            let case = case(layout.clone()).await;
            let (mut store, epoch) = owner(&case).await;
            let (own, more) = (layout.dimensions().join(" "), layout.sums().join(" "));
            let expected = format!(
                "window_start window_end {own} avg_price total_quantity total_amount running_total timestamp final events {more}"
            );
            assert_eq!(names(&case, "retail").await, expected.trim_end());
            assert_eq!(names(&case, "retail_open_all").await, expected.trim_end());
            assert_eq!(names(&case, "totals").await, format!("{own} total_amount running_total"));

            let more: Box<[Money]> = (1..=sums).map(|sum| Money::from_millionths(sum as i128 * 500_000)).collect();
            let sum = Sums { events: 1, quantity: 1, ..Sums::default() };
            let window_start = Timestamp::from_secs(at(0));
            let row = |group| Row { window_start, dimensions: key(group, dimensions), sums: sum, more: more.clone() };
            store.commit(&commit(epoch, 0, vec![row(0), row(1)], 0)).await.unwrap();
            store.commit(&commit(epoch, 1, vec![row(1)], 300 + 3600)).await.unwrap();
            store.compact().await.unwrap();
            store.close_windows(true).await.unwrap().unwrap();
            let last = layout.sums().last().map_or_else(|| "events".to_owned(), |name| format!("\"{name}\" / 0.5"));
            let rows =
                format!("SELECT string_agg(trim_scale({last})::text, ' ' ORDER BY {last}) FROM retail WHERE final");
            let expected = if sums == 8 { "8 16" } else { "1 2" };
            assert_eq!(case.text(&rows.replace("trim_scale(events)", "events")).await, expected, "{layout:?}");
            let month = names(&case, "final_rows_2025_01").await;
            assert_eq!(names(&case, "final_rows").await, month);
            let session = case.settings.database.connect("test").await.unwrap();
            assert!(provision::is_as_made(&session, &case.settings.pipeline).await.unwrap(), "{layout:?}");
        }
    }
}

/// Its row would not fit a page.
#[tokio::test]
async fn full_pack_of_eight_large_sums_is_stored() {
    let mut model = Model::new(numbered(8, 8)).await;
    for _ in 0..6 {
        let mut rows = Vec::new();
        for group in 0..64 {
            let mut amount = || Money::from_millionths(i128::from(model.random.next_u64()) << 32);
            let more = (0..8).map(|_| amount()).collect();
            let sums = Sums { events: 1, price: amount(), quantity: 1, amount: amount() };
            let row = Row { window_start: Timestamp::from_secs(at(0)), dimensions: key(group, 8), sums, more };
            model.sums.entry((0, row.dimensions.clone())).or_default().add(&row);
            rows.push(row);
        }
        model.commit(rows).await;
    }
    model.assert_exact().await;
    model.compact().await;
    assert_eq!(model.case.text("SELECT count(*) FROM delta_log").await, "1");
    model.assert_exact().await;
    model.close(1).await;
    model.assert_exact().await;
}

#[tokio::test]
async fn rows_to_print_are_found_by_all_dimensions() {
    let case = case(numbered(3, 2)).await;
    let (mut store, epoch) = owner(&case).await;
    let window_start = Timestamp::from_secs(at(0));
    let sums = Sums { events: 1, quantity: 1, ..Sums::default() };
    let row = |group| Row { window_start, dimensions: key(group, 3), sums, more: Box::new([Money::ZERO; 2]) };
    store.commit(&commit(epoch, 0, (0..27).map(row).collect(), 0)).await.unwrap();
    let wanted = [RowKey { window_start, dimensions: key(5, 3) }, RowKey { window_start, dimensions: key(14, 3) }];
    let rows = store.rows(&wanted).await.unwrap();
    let found: Vec<_> = rows.iter().map(|row| row.dimensions.join("|")).collect();
    assert_eq!(found, [key(5, 3).join("|"), key(14, 3).join("|")]);
}

#[tokio::test]
async fn dead_letters_have_all_dimensions_sums_and_detail() {
    let case = case(numbered(3, 2)).await;
    let (mut store, epoch) = owner(&case).await;
    let mut batch = commit(epoch, 0, Vec::new(), 0);
    let letter = |offset, purchase, detail: Option<&str>| DeadLetter {
        partition: 0,
        offset,
        reason: "late",
        detail: detail.map(Into::into),
        event_time: None,
        record_time: None,
        purchase,
        missed_by: None,
        payload: None,
        schema: None,
    };
    let purchase = Purchase {
        dimensions: Box::new(["a".into(), "b".into(), "c".into()]),
        quantity: 2,
        amount: Money::from_millionths(3_000_000),
        more: Box::new([Money::from_millionths(-1), Money::from_millionths(i128::from(u64::MAX))]),
    };
    batch.batch.dead_letters = vec![letter(0, Some(purchase), None), letter(1, None, Some("quantity"))];
    store.commit(&batch).await.unwrap();
    let rows = "SELECT string_agg(concat_ws(' ', \"offset\", d1, d2, d3, quantity, amount, sum1, sum2, detail), ', ' ORDER BY \"offset\")
                FROM dead_letter";
    assert_eq!(case.text(rows).await, "0 a b c 2 3.000000 -0.000001 18446744073709.551615, 1 quantity");
    // The digest of a deletion is that of the row, with each of its columns.
    let digest =
        "SELECT sum(hash_bits(letter_hash(p.id, d.partition, d.\"offset\", d.reason, d.event_time, d.record_time, d.d1,
                      d.d2, d.d3, d.quantity, d.amount, d.sum1, d.sum2, d.missed_by, d.payload), 1))
                  FROM dead_letter d, pipeline p";
    let expected = case.text(digest).await;
    for column in ["d3 = 'x'", "sum2 = 0"] {
        let client = case.client().await;
        client.batch_execute(&format!("BEGIN; UPDATE dead_letter SET {column} WHERE \"offset\" = 0")).await.unwrap();
        let changed: String = client.query_one(&format!("SELECT ({digest})::text"), &[]).await.unwrap().get(0);
        assert_ne!(changed, expected, "{column}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    case.client().await.batch_execute("DELETE FROM dead_letter").await.unwrap();
    assert_eq!(case.text("SELECT digest FROM dead_letter_log").await, expected);
}

#[tokio::test]
async fn filtered_and_duplicate_records_balance_the_ledger() {
    let case = case(Layout::default()).await;
    let (mut store, epoch) = owner(&case).await;
    let mut batch = commit(epoch, 0, Vec::new(), 0);
    let progress = &mut batch.batch.partitions[0];
    progress.to = 6;
    progress.counts.filtered = 3;
    progress.counts.duplicate = 2;
    store.commit(&batch).await.unwrap();
    let ledger = "SELECT concat_ws(' ', consumed, applied, filtered, duplicate, gaps, balanced) FROM ledger";
    assert_eq!(case.text(ledger).await, "6 1 3 2 0 t");
}

#[tokio::test]
async fn every_reserved_word_of_the_server_is_refused() {
    let case = Case::shared().build();
    let words = "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')";
    let client = case.client().await;
    let words: Vec<String> = client.query(words, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(words.len() > 90, "{}", words.len());
    for word in words {
        assert!(Layout::new(vec![word.clone()], Vec::new()).is_err(), "{word}");
    }
}
