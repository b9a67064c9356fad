//! One record at a time: whatever the bytes, engine and oracle say the same of them.

use chrono::DateTime;
use proptest::prelude::*;
use retail_engine::oracle::{Oracle, OracleRecord};
use retail_engine::{Engine, Fate, Record, Rules, Span, Start, Timestamp};

use crate::{cases, payloads};

const WINDOW: u32 = 300;
const DELAY: u32 = 3600;
const MAX_FUTURE: u32 = 3600;

/// What the engine makes of one record: its fate or reason, and the row it adds, in words.
fn engine_says(value: Option<&[u8]>, timestamp_millis: Option<i64>) -> String {
    let rules = Rules {
        window: Span::from_secs(WINDOW),
        delay: Span::from_secs(DELAY),
        max_future: Span::from_secs(MAX_FUTURE),
    };
    let mut engine = Engine::new(rules, true);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let record = Record { offset: 0, timestamp: timestamp_millis.map(Timestamp::from_millis), value };
    let fate = engine.feed(0).unwrap().record(&record).unwrap();
    let batch = engine.cut();
    let observed = batch.partitions[0].max_observed.map(Timestamp::as_micros);
    match fate {
        Fate::Applied => {
            let row = &batch.rows[0];
            let (start, quantity, amount) = (row.window_start.as_micros(), row.sums.quantity, row.sums.amount);
            format!(
                "{start} {} {} {quantity} {} {amount} {observed:?}",
                row.category, row.payment_method, row.sums.price
            )
        }
        Fate::Late | Fate::Future | Fate::Invalid(_) => {
            format!("{} {observed:?}", batch.dead_letters[0].reason)
        }
    }
}

fn oracle_says(value: Option<&[u8]>, timestamp_millis: Option<i64>) -> String {
    let seconds = |seconds: u32| chrono::Duration::seconds(seconds.into());
    let mut oracle = Oracle::new(seconds(WINDOW), seconds(DELAY));
    oracle.start(0, 0);
    let record = OracleRecord { offset: 0, timestamp_millis, value };
    let fate = oracle.record(0, &record, DateTime::UNIX_EPOCH, seconds(MAX_FUTURE));
    let observed = oracle.ledgers()[&0].max_observed.map(|time| time.timestamp_micros());
    match fate {
        "applied" => {
            let row = &oracle.rows()[0];
            let (start, quantity, amount) =
                (row.window_start.timestamp_micros(), &row.total_quantity, &row.total_amount);
            let price = &row.avg_price;
            format!("{start} {} {} {quantity} {price:.6} {amount:.6} {observed:?}", row.category, row.payment_method)
        }
        reason => format!("{reason} {observed:?}"),
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn any_bytes_are_read_as_the_oracle_reads_them(
        value in payloads::hostile(),
        timestamp in prop_oneof![Just(None), Just(Some(payloads::BASE * 1000)), any::<i64>().prop_map(|t| Some(t.max(0)))],
    ) {
        prop_assert_eq!(engine_says(value.as_deref(), timestamp), oracle_says(value.as_deref(), timestamp));
    }
}

#[test]
fn a_payload_of_any_depth_or_length_has_a_fate() {
    let deep = |depth| format!("{{\"category\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let long_number = |digits| format!("{{\"price\":0.{}1,\"category\":\"c\"}}", "0".repeat(digits));
    for payload in [deep(10), deep(100_000), deep(500_000), long_number(100_000)] {
        let payload = Some(payload.as_bytes());
        assert_eq!(engine_says(payload, None), "missing_field None");
        assert_eq!(oracle_says(payload, None), "missing_field None");
    }
}
