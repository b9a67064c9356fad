//! Judging an event does not allocate, with any decoder.

use allocation_counter::measure;
use retail_engine::{Counts, Engine, Record, Rules, Span, Start, Timestamp};

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
    let hour = Span::from_secs(3600);
    let mut engine = Engine::new(Rules { window: Span::from_secs(300), delay: hour, max_future: hour }, false);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let values: Vec<String> = values.into_iter().collect();
    let timestamp = Some(Timestamp::from_secs(BASE + EVENTS));
    let mut offsets = 0..;
    let mut judge = || {
        let mut feed = engine.partition(0).unwrap();
        for value in &values {
            feed.record(&Record { offset: offsets.next().unwrap(), timestamp, value: Some(value.as_bytes()) });
        }
    };
    judge();
    let allocations = measure(&mut judge);
    (allocations.count_total, engine.take_batch().partitions[0].counts)
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
fn dropped_late_events_do_not_allocate_dead_letters_do() {
    let late = purchases(BASE - 3 * 3600);
    let (allocated, counts) = allocations(purchases(BASE).zip(late).flat_map(|(purchase, late)| [purchase, late]));
    assert_eq!((allocated, counts), (0, Counts { applied: 2 * EVENTS, late: 2 * EVENTS, ..Counts::default() }));
    let (allocated, counts) = allocations((0..EVENTS).map(|_| "{}".to_owned()));
    assert_eq!(counts, Counts { invalid: 2 * EVENTS, ..Counts::default() });
    assert!(allocated >= EVENTS as u64, "{allocated}: does the counter count?");
}
