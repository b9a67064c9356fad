//! Sums of any size are exact: in rows of the delta log, compacted, closed, and as running totals.

use std::collections::BTreeMap;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use retail_engine::{Money, Row, Sums, Timestamp};
use retail_testbed::{Case, at};

use crate::delta_log::assert_open_rows_agree;
use crate::steps::{commit, group_key, owner};

/// Millionths of any magnitude, of both signs.
fn amount() -> impl Strategy<Value = i128> {
    let edge = i128::from(i64::MAX);
    prop_oneof![
        4 => (any::<i128>(), 0..38_u32).prop_map(|(number, digits)| (number >> 2) / 10_i128.pow(digits)),
        1 => edge - 3..edge + 3,
        1 => -edge - 4..-edge + 2,
        1 => Just(0),
    ]
}

/// Window, group, events, price sum, quantity, amount.
type Added = (i64, usize, i64, i128, i64, i128);

fn batches() -> impl Strategy<Value = Vec<Vec<Added>>> {
    let row = (0..4_i64, 0..70_usize, 1..5_i64, amount(), 0..1000_i64, amount());
    prop::collection::vec(prop::collection::vec(row, 1..80), 12)
}

/// The expected rows, as `retail` shows them, from exact sums by window and group.
fn expected(sums: &BTreeMap<(i64, usize), (i64, BigInt, i64, BigInt)>) -> Vec<String> {
    let mut running = BTreeMap::<usize, BigInt>::new();
    sums.iter()
        .map(|((window, group), (events, price_sum, quantity, amount))| {
            let total = running.entry(*group).or_default();
            *total += amount;
            let average = BigDecimal::new(price_sum.clone(), 6) / BigDecimal::from(*events);
            let average = average.with_scale_round(6, RoundingMode::HalfUp);
            let money = |millionths: &BigInt| BigDecimal::new(millionths.clone(), 6).to_plain_string();
            let (amount, total) = (money(amount), money(total));
            format!("{window} {group:06} {} {quantity} {amount} {total} {events}", average.to_plain_string())
        })
        .collect()
}

#[tokio::test]
async fn sums_of_any_size_and_sign_are_exact() {
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..Default::default()
    });
    for _ in 0..3 {
        exact(batches().new_tree(&mut runner).unwrap().current()).await;
    }
}

async fn exact(batches: Vec<Vec<Added>>) {
    let case = Case::shared().partitions(1).start().await;
    let (mut store, epoch) = owner(&case).await;
    let mut sums = BTreeMap::new();
    let rows = async || -> Vec<String> {
        assert_open_rows_agree(&case).await;
        let rows = "
            SELECT concat_ws(' ', (extract(epoch FROM window_start)::bigint - 1735689600) / 300, category, avg_price,
                             total_quantity, total_amount, running_total, events)
            FROM retail ORDER BY window_start, category";
        case.query(rows).await.iter().map(|row| row.get(0)).collect()
    };
    let mut offset = 0;
    for batch in &batches {
        let mut added = BTreeMap::<(i64, usize), Row>::new();
        for (window, group, events, price, quantity, amount) in batch {
            let sum = Sums {
                events: *events,
                price: Money::from_millionths(*price),
                quantity: *quantity,
                amount: Money::from_millionths(*amount),
            };
            let window_start = Timestamp::from_secs(at(window * 300));
            let row = Row { window_start, dimensions: group_key(*group), sums: sum, more: Box::default() };
            added.insert((*window, *group), row);
        }
        for (key, Row { sums: sum, .. }) in &added {
            let total = sums.entry(*key).or_insert((0, BigInt::from(0), 0, BigInt::from(0)));
            total.0 += sum.events;
            total.1 += sum.price.as_millionths();
            total.2 += sum.quantity;
            total.3 += sum.amount.as_millionths();
        }
        store.commit(&commit(epoch, offset, added.into_values().collect(), 0)).await.unwrap();
        offset += 1;
        assert_eq!(rows().await, expected(&sums));
        store.compact().await.unwrap();
        assert_eq!(rows().await, expected(&sums), "after compaction");
    }
    for window in 0..4 {
        store.commit(&commit(epoch, offset, Vec::new(), window * 300 + 300 + 3600)).await.unwrap();
        offset += 1;
        store.close_windows(true).await.unwrap().unwrap();
        assert_eq!(rows().await, expected(&sums), "after closing window {window}");
    }
    let totals = "SELECT bool_and(t.total_amount = r.running_total) FROM totals t JOIN LATERAL (
        SELECT running_total FROM retail WHERE category = t.category ORDER BY window_start DESC LIMIT 1) r ON true";
    assert_eq!(case.text(totals).await, "true");
    assert_eq!(case.text("SELECT count(*) FROM delta_log").await, "0");
}
