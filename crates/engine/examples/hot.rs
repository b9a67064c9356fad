//! Runs the hot path on a fixed input and one core, to count instructions or nanoseconds.
//!
//! `hot [EVENTS [DIFFERENT]]` reads EVENTS purchases, as the producer writes them, repeatedly from DIFFERENT distinct ones, and
//! prints the time per event.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it is a program for people, and not the engine")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use retail_engine::{Engine, Record, Rules, Span, Start, Timestamp};

/// More than fits into a CPU cache: 52 MB.
const DIFFERENT: usize = 200_000;

/// 2025-01-01T00:00:00Z.
const BEGIN: i64 = 1_735_689_600;

const CATEGORIES: [(&str, &str, &str); 5] = [
    ("Skincare", "CeraVe", "Moisturizing Cream"),
    ("Makeup", "Maybelline", "Fit Me Foundation"),
    ("Hair Care", "Moroccanoil", "Argan Oil Treatment"),
    ("Fragrance", "Dior", "Sauvage"),
    ("Bath & Body", "Dove", "Body Wash"),
];

const PAYMENT_METHODS: [&str; 4] = ["Credit Card", "Debit Card", "PayPal", "COD"];

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse().expect("a number"));
    let events = numbers.next().unwrap_or(5_000_000);
    let purchases = purchases(numbers.next().unwrap_or(DIFFERENT));
    let begun = Instant::now();
    let applied = add_up(&purchases, events);
    let nanos = begun.elapsed().as_nanos() as f64 / events as f64;
    assert_eq!(applied, events as i64, "all purchases are good");
    println!("{events} events, {nanos:.1} ns each");
}

fn add_up(purchases: &[Vec<u8>], events: usize) -> i64 {
    let hour = Span::from_secs(3600);
    let mut engine = Engine::new(Rules { window: Span::from_secs(300), delay: hour, max_future: hour }, true);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let timestamp = Some(Timestamp::from_secs(BEGIN));
    let mut offsets = 0..;
    let mut applied = 0;
    // As many as arrive within one trigger.
    let mut values = purchases.iter().cycle().take(events);
    while applied < events as i64 {
        if let Some(mut feed) = engine.partition(0) {
            for value in values.by_ref().take(100_000) {
                feed.record(&Record {
                    offset: offsets.next().unwrap_or_default(),
                    timestamp,
                    value: Some(value),
                    schema: None,
                });
            }
        }
        applied +=
            black_box(engine.take_batch()).partitions.iter().map(|partition| partition.counts.applied).sum::<i64>();
    }
    applied
}

/// Purchases as the producer writes them, up to an hour old when they arrive.
fn purchases(n: usize) -> Vec<Vec<u8>> {
    let mut state = 7_u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let purchase = |_| {
        let (category, brand, product) = CATEGORIES[below(5) as usize];
        let time = Timestamp::from_micros(BEGIN * 1_000_000 - 1 - below(3_599_000_000).cast_signed());
        let time = time.to_string();
        let time = time.strip_suffix('Z').unwrap_or(&time);
        let mut id = String::new();
        for (length, max) in [(8, 1 << 32), (4, 1 << 16), (4, 1 << 16), (4, 1 << 16), (12, 1 << 31)] {
            let dash = if id.is_empty() { "" } else { "-" };
            let _never_fails = write!(id, "{dash}{:0length$x}", below(max));
        }
        format!(
            "{{\"transaction_id\": \"{id}\", \"customer_id\": {}, \"category\": \"{category}\", \"brand\": \"{brand}\", \
             \"product_name\": \"{product}\", \"quantity\": {}, \"price\": {}.{:02}, \"payment_method\": \"{}\", \
             \"timestamp\": \"{time}+00:00\"}}",
            1 + below(5000),
            1 + below(5),
            5 + below(95),
            below(100),
            PAYMENT_METHODS[below(4) as usize],
        )
        .into_bytes()
    };
    (0..n).map(purchase).collect()
}
