//! Judging an event does not allocate, with any decoder.

use allocation_counter::measure;
use retail_engine::{Counts, Engine, Readers, Record, Rules, Span, Start, Timestamp};

use crate::mapped_judge::{engines_mapping, items};
use crate::payloads::{BASE, purchase};

const EVENTS: i64 = 1000;

/// One valid purchase per second.
fn purchases(begin: i64) -> impl Iterator<Item = String> {
    (0..EVENTS).map(move |i| {
        let category =
            ["Skincare", "Makeup", "Bath & Body", "Łódź", "a category of more than sixteen bytes"][i as usize % 5];
        let method = ["COD", "Credit Card", "PayPal"][i as usize % 3];
        let time = format!("{}.{i:06}", begin + i);
        String::from_utf8(purchase(category, method, 1 + i % 99, &format!("{}.{:02}", i % 7, i % 100), &time)).unwrap()
    })
}

/// The number of allocations for judging the values when their groups exist, and the resulting counts.
fn allocations(values: impl IntoIterator<Item = String>) -> (u64, Counts) {
    let (count, _, counts) = allocations_in(Engine::new(rules(), false), values);
    (count, counts)
}

fn rules() -> Rules {
    let hour = Span::from_secs(3600);
    Rules { window: Span::from_secs(300), delay: hour, max_future: hour }
}

/// As [`allocations`], in this engine, and with the readers of mapped records.
fn allocations_in(mut engine: Engine, values: impl IntoIterator<Item = String>) -> (u64, Option<Readers>, Counts) {
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let values: Vec<String> = values.into_iter().collect();
    let timestamp = Some(Timestamp::from_secs(BASE + EVENTS));
    let mut offsets = 0..;
    let mut judge = || {
        let mut feed = engine.partition(0).unwrap();
        for value in &values {
            feed.record(&Record {
                offset: offsets.next().unwrap(),
                timestamp,
                value: Some(value.as_bytes()),
                schema: None,
            });
        }
    };
    judge();
    let allocations = measure(&mut judge);
    (allocations.count_total, engine.readers(), engine.take_batch().partitions[0].counts)
}

#[test]
fn events_do_not_allocate_with_any_decoder() {
    let all = Counts { applied: 2 * EVENTS, ..Counts::default() };
    let compact = |purchase: String| purchase.replace(": ", ":");
    let with_escapes = |purchase: String| purchase.replace(r#""brand": "b""#, r#""brand": "\"\u00e9\"""#);
    assert_eq!(allocations(purchases(BASE)), (0, all), "by layout");
    let in_turns =
        purchases(BASE).enumerate().map(|(i, purchase)| if i % 2 == 0 { purchase } else { compact(purchase) });
    assert_eq!(allocations(in_turns), (0, all), "by layout and by the scanner");
    assert_eq!(allocations(purchases(BASE).map(with_escapes)), (0, all), "by serde_json");
}

#[test]
fn mapped_records_do_not_allocate_with_the_fast_readers() {
    let order = |(at, items): (i64, usize)| {
        let item = r#"{"sku":{"category":"Makeup"},"qty":2,"cents":1999}"#;
        let items = vec![item; items].join(",");
        format!(r#"{{"created":{},"order":{{"items":[{items}]}},"payment":{{"method":"COD"}}}}"#, BASE + at)
    };
    let all = Counts { applied: 2 * EVENTS, ..Counts::default() };
    let engine = || Engine::with_mapping(rules(), false, &engines_mapping(&items()));
    let (allocated, readers, counts) = allocations_in(engine(), (0..EVENTS).map(|at| order((at, 3))));
    assert_eq!((allocated, counts), (0, all));
    assert_eq!(readers, Some(Readers { line: 1999, graph: 0, slow: 1 }));
    let (allocated, readers, counts) = allocations_in(engine(), (0..EVENTS).map(|at| order((at, 1 + at as usize % 5))));
    assert_eq!((allocated, counts), (0, all));
    assert!(readers.is_some_and(|readers| readers.graph > 1900 && readers.slow < 10), "{readers:?}");
}

#[test]
fn dropped_late_events_do_not_allocate_dead_letters_do() {
    let late = purchases(BASE - 3 * 3600);
    let (allocated, counts) = allocations(purchases(BASE).zip(late).flat_map(|(purchase, late)| [purchase, late]));
    assert_eq!((allocated, counts), (0, Counts { applied: 2 * EVENTS, late: 2 * EVENTS, ..Counts::default() }));
    let (allocated, counts) = allocations((0..EVENTS).map(|_| "{}".to_owned()));
    assert_eq!(counts, Counts { invalid: 2 * EVENTS, ..Counts::default() });
    assert!(allocated >= EVENTS as u64, "{allocated}: does the counter count?");
}
