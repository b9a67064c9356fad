//! Cases from the tests or the behaviour of other engines, with our result.
//!
//! Names begin with the source: S Spark, F Flink, K Kafka Streams, Q Quix, A Arroyo, X across engines. Times are in seconds.
//! Cases of features that we do not have are left out: hopping windows, watermarks per key, batch lag.

use std::collections::BTreeMap;
use std::time::Duration;

use retail_engine::{Clocks, Engine, Fate, Mark, Reason, Record, Rules, Span, Start, Timestamp, watermark};
use retail_oracle::{Oracle, OracleRecord};

use crate::model::Store;
use crate::payloads::purchase;

/// The timestamp of records in streams whose cases have only event times: later than all events, as in a topic that is
/// filled from a history.
const APPENDED: Timestamp = Timestamp::from_millis(crate::judge::APPENDED);

fn span(seconds: f64) -> Span {
    Span::from(Duration::from_secs_f64(seconds))
}

/// One partition that receives events at the given times.
struct Stream {
    engine: Engine,
    store: Store,
    offset: i64,
}

impl Stream {
    fn new(window: f64, delay: f64) -> Self {
        let rules = Rules { window: span(window), delay: span(delay), max_future: span(3600.0) };
        let mut store = Store::new(span(window), span(delay), &[0]);
        let mut engine = Engine::new(rules, true);
        engine.assign(0, store.claim(0).1);
        Self { engine, store, offset: 0 }
    }

    fn send(&mut self, value: &[u8]) -> Fate {
        self.offset += 1;
        let record = Record { offset: self.offset - 1, timestamp: Some(APPENDED), value: Some(value), schema: None };
        self.engine.partition(0).unwrap().record(&record).unwrap()
    }

    fn event(&mut self, key: &str, time: &str) -> Fate {
        self.send(&purchase(key, "m", 1, "1", time))
    }

    /// Sends events, and returns the times of the late ones.
    fn late(&mut self, times: &[&str]) -> Vec<String> {
        let late = times.iter().filter(|time| self.event("k", time) == Fate::Late);
        late.map(|time| (*time).to_owned()).collect()
    }

    /// Commits, closes windows, and returns all windows as `start:events`, open ones with a `?`.
    fn windows(&mut self) -> Vec<String> {
        self.store.commit(&self.engine.take_batch(), &BTreeMap::from([(0, 1)])).unwrap();
        self.store.close_windows(&[false]);
        self.store
            .rows()
            .iter()
            .map(|row| {
                let (start, quantity) = (row.split(' ').next().unwrap(), row.split(' ').nth(3).unwrap());
                let start = Timestamp::from_micros(start.parse().unwrap());
                let open = start.plus(self.store.window) > self.store.closed_until;
                format!("{}:{quantity}{}", start.as_micros() as f64 / 1e6, if open { "?" } else { "" })
            })
            .collect()
    }
}

#[test]
fn s6_window_closes_when_the_watermark_reaches_its_end() {
    let mut stream = Stream::new(5.0, 10.0);
    assert_eq!(stream.late(&["14.999", "25.000"]), [""; 0]);
    assert_eq!(stream.windows(), ["10:1", "25:1?"]);
    assert_eq!(stream.late(&["14.0", "16.0"]), ["14.0"]);
    assert_eq!(stream.windows(), ["10:1", "15:1?", "25:1?"]);
}

#[test]
fn s7_window_is_open_one_millisecond_before() {
    let mut stream = Stream::new(5.0, 10.0);
    assert_eq!(stream.late(&["14.999", "24.999", "14.0", "16.0"]), [""; 0]);
    assert_eq!(stream.windows(), ["10:2?", "15:1?", "20:1?"]);
}

#[test]
fn s8_window_is_open_one_microsecond_before() {
    let mut stream = Stream::new(5.0, 10.0);
    assert_eq!(stream.late(&["14.999", "24.999999", "14.0"]), [""; 0]);
    assert_eq!(stream.windows(), ["10:2?", "20:1?"]);
}

#[test]
fn s9_windows_include_their_start_and_not_their_end() {
    let mut stream = Stream::new(5.0, 10.0);
    stream.late(&["0", "4.999999", "5", "9.999", "10"]);
    assert_eq!(stream.windows(), ["0:2?", "5:2?", "10:1?"]);
}

#[test]
fn s12_null_timestamp_is_counted_as_invalid() {
    let mut stream = Stream::new(5.0, 10.0);
    assert_eq!(stream.event("k", "10"), Fate::Applied);
    assert_eq!(stream.event("k", "null"), Fate::Invalid(Reason::BadTimestamp));
    let batch = stream.engine.take_batch();
    assert_eq!((batch.rows.len(), batch.partitions[0].counts.invalid), (1, 1));
}

#[test]
fn f2_out_of_order_events_close_with_their_window() {
    // Flink's watermark of x ms excludes further events up to and including x, as ours of x + 1 ms does.
    let mut stream = Stream::new(3.0, 4.0);
    for (key, time) in [
        ("k2", "3.999"),
        ("k2", "3.000"),
        ("k1", "0.020"),
        ("k1", "0"),
        ("k1", "0.999"),
        ("k2", "1.998"),
        ("k2", "1.999"),
        ("k2", "1.000"),
    ] {
        assert_eq!(stream.event(key, time), Fate::Applied);
    }
    for (flink_watermark, closed) in
        [(0.999, 0), (1.999, 0), (2.999, 2), (3.999, 2), (4.999, 2), (5.999, 3), (6.999, 3)]
    {
        stream.event("marker", &format!("{:.3}", flink_watermark + 0.001 + 4.0));
        stream.windows();
        let rows = stream.store.rows();
        let end = |row: &str| row.split(' ').next().unwrap().parse::<i64>().unwrap() + 3_000_000;
        let open_until = stream.store.closed_until.as_micros();
        let done = rows.iter().filter(|row| !row.contains("marker") && end(row) <= open_until);
        assert_eq!(done.count(), closed, "at {flink_watermark}");
    }
    let rows: Vec<String> =
        stream.store.rows().iter().map(|row| row.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows[..3], ["0 k1 m 3", "0 k2 m 3", "3000000 k2 m 2"]);
}

#[test]
fn k2_events_up_to_and_including_the_bound_are_late() {
    let mut stream = Stream::new(10.0, 90.0);
    let late = ["100", "101", "102", "103", "104", "105", "6"];
    assert_eq!(stream.late(&["200"]), [""; 0]);
    assert_eq!(stream.late(&late), late);
    assert_eq!(stream.late(&["110"]), [""; 0]);
}

#[test]
fn k9_windows_are_aligned_to_the_epoch() {
    let mut stream = Stream::new(12.0, 10.0);
    stream.late(&["21"]);
    assert_eq!(stream.windows(), ["12:1?"]);
}

#[test]
fn k10_null_key_is_counted_as_invalid() {
    let mut stream = Stream::new(5.0, 10.0);
    let payload = String::from_utf8(purchase("k", "m", 1, "1", "1")).unwrap().replace("\"k\"", "null");
    assert_eq!(stream.send(payload.as_bytes()), Fate::Invalid(Reason::BadKey));
}

#[test]
fn q1_without_delay_the_next_window_closes_the_previous() {
    let mut stream = Stream::new(0.010, 0.0);
    stream.late(&["0.002", "0.004", "0.012"]);
    assert_eq!(stream.windows(), ["0:2", "0.01:1?"]);
}

#[test]
fn a2_window_is_open_until_the_watermark_reaches_its_end() {
    let mut stream = Stream::new(5.0, 0.0);
    assert_eq!(stream.late(&["4.999", "3", "5.0", "4.9"]), ["4.9"]);
}

/// Several inputs of one watermark, as in the tests of Flink's valve and Arroyo's holder.
struct Inputs {
    marks: Vec<Mark>,
    reached: Option<i64>,
}

impl Inputs {
    fn new(inputs: usize) -> Self {
        Self { marks: vec![Mark { max_observed: None, idle: false }; inputs], reached: None }
    }

    /// The watermark if it advanced. An event from an idle input makes it active: a partition with data is not idle.
    fn event(&mut self, input: usize, seconds: i64) -> Option<i64> {
        let mark = &mut self.marks[input];
        mark.idle = false;
        mark.max_observed = mark.max_observed.max(Some(Timestamp::from_secs(seconds)));
        self.advanced()
    }

    fn idle(&mut self, input: usize) -> Option<i64> {
        self.marks[input].idle = true;
        self.advanced()
    }

    fn active(&mut self, input: usize) -> Option<i64> {
        self.marks[input].idle = false;
        self.advanced()
    }

    fn advanced(&mut self) -> Option<i64> {
        let now = watermark(&self.marks, Span::ZERO, None).map(|time| time.as_micros() / 1_000_000);
        let advanced = now.filter(|now| Some(*now) > self.reached);
        self.reached = self.reached.max(now);
        advanced
    }
}

#[test]
fn f1_the_watermark_is_the_delay_behind_the_latest_event() {
    let mark = |seconds| watermark(&[Mark { max_observed: seconds, idle: false }], span(3.0), None);
    assert_eq!(mark(None), None);
    // Flink's watermark is one millisecond lower.
    assert_eq!(mark(Some(Timestamp::from_secs(1))), Some(Timestamp::from_secs(-2)));
    assert_eq!(mark(Some(Timestamp::from_secs(5))), Some(Timestamp::from_secs(2)));
}

#[test]
fn f5_the_watermark_never_falls() {
    let mut inputs = Inputs::new(1);
    assert_eq!([0, 25, 18, 42].map(|time| inputs.event(0, time)), [Some(0), Some(25), None, Some(42)]);
}

#[test]
fn f6_no_watermark_before_every_input_has_an_event() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 0), inputs.event(1, 0), inputs.event(2, 0)], [None, None, Some(0)]);
}

#[test]
fn f7_slowest_input_determines_the_watermark() {
    let mut inputs = Inputs::new(3);
    for input in 0..3 {
        inputs.event(input, 0);
    }
    let moves = [(0, 12), (2, 8), (2, 10), (1, 15), (2, 17), (0, 20)].map(|(input, time)| inputs.event(input, time));
    assert_eq!(moves, [None, None, None, Some(10), Some(12), Some(15)]);
}

#[test]
fn f8_older_event_does_not_move_the_watermark() {
    let mut inputs = Inputs::new(3);
    let moves = [(0, 25), (1, 10), (2, 17), (0, 12), (1, 8), (2, 15)].map(|(input, time)| inputs.event(input, time));
    assert_eq!(moves, [None, None, Some(10), None, None, None]);
}

#[test]
fn f9_idle_input_is_ignored() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 15), inputs.event(1, 10), inputs.idle(2)], [None, None, Some(10)]);
    assert_eq!([inputs.event(1, 18), inputs.event(0, 20)], [Some(15), Some(18)]);
}

#[test]
fn f10_inputs_become_idle_one_by_one() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 25), inputs.event(1, 10), inputs.event(2, 17)], [None, None, Some(10)]);
    assert_eq!([inputs.idle(1), inputs.idle(2)], [Some(17), Some(25)]);
}

#[test]
fn f11_all_idle_watermark_holds_or_follows_the_clock() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 10), inputs.event(1, 5), inputs.event(2, 3)], [None, None, Some(3)]);
    // Flink would advance to the maximum, 10, at the last step, although an event of 4 may still be in time.
    assert_eq!([inputs.idle(0), inputs.idle(1), inputs.idle(2)], [None, None, None]);
    let follow = |worker, server| {
        let clocks = Clocks { worker: Timestamp::from_secs(worker), server: Timestamp::from_secs(server) };
        watermark(&inputs.marks, span(3600.0), Some(clocks)).map(|time| time.as_micros() / 1_000_000)
    };
    assert_eq!([follow(7200, 7200), follow(7200, 7230), follow(7230, 7200)], [Some(3600); 3]);
    assert_eq!([follow(7200, 7231), follow(7231, 7200)], [Some(3 - 3600); 2], "the clocks disagree");
}

#[test]
fn f12_event_ends_idleness() {
    let mut inputs = Inputs::new(1);
    // Flink ignores the watermarks of an input that is marked idle; our inputs are idle only while they have no events.
    assert_eq!(
        [inputs.event(0, 25), inputs.idle(0), inputs.event(0, 50), inputs.active(0)],
        [Some(25), None, Some(50), None]
    );
}

#[test]
fn f13_resuming_input_does_not_move_the_watermark_back() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 100), inputs.event(1, 50), inputs.event(2, 70)], [None, None, Some(50)]);
    assert_eq!(
        [inputs.idle(1), inputs.active(1), inputs.event(1, 60), inputs.event(1, 75)],
        [Some(70), None, None, None]
    );
    assert_eq!(inputs.event(2, 80), Some(75));
}

#[test]
fn a1_idle_inputs_are_ignored_until_all_are_idle() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 1), inputs.event(1, 2), inputs.event(2, 3)], [None, None, Some(1)]);
    assert_eq!([inputs.idle(0), inputs.idle(1), inputs.idle(2)], [Some(2), Some(3), None]);
}

#[test]
fn x1_money_is_exact_in_any_order() {
    let prices = ["0.10", "0.10", "0.10", "0.20"];
    for rotation in 0..4 {
        let mut stream = Stream::new(300.0, 3600.0);
        let mut oracle = Oracle::new(chrono::Duration::minutes(5), chrono::Duration::hours(1));
        oracle.start(0, 0);
        for i in 0..4 {
            let payload = purchase("k", "m", 3, prices[(i + rotation) % 4], "1");
            stream.send(&payload);
            let record = OracleRecord {
                offset: i as i64,
                timestamp_millis: Some(crate::judge::APPENDED),
                value: Some(&payload),
                schema: None,
            };
            oracle.record(0, &record, chrono::DateTime::UNIX_EPOCH, chrono::Duration::hours(1));
        }
        let sums = stream.engine.take_batch().rows[0].sums;
        assert_eq!((sums.amount.to_string(), sums.price.to_string()), ("1.500000".into(), "0.500000".into()));
        assert_eq!(oracle.rows()[0].avg_price.to_string(), "0.125000");
    }
}

#[test]
fn x2_rows_do_not_depend_on_the_number_of_partitions() {
    let events: Vec<Vec<u8>> = (0..500)
        .map(|i| {
            purchase(
                ["a", "b", "c"][i % 3],
                ["x", "y"][i % 2],
                1 + i as i64 % 7,
                &format!("{}.{:02}", i % 90, i % 100),
                &(i * 37 % 3600).to_string(),
            )
        })
        .collect();
    let rows = |partitions: usize| {
        let rules = Rules { window: span(300.0), delay: span(3600.0), max_future: span(3600.0) };
        let mut store = Store::new(rules.window, rules.delay, &vec![0; partitions]);
        let mut engine = Engine::new(rules, true);
        for partition in 0..partitions {
            engine.assign(partition as i32, store.claim(partition).1);
        }
        for (i, event) in events.iter().enumerate() {
            let record =
                Record { offset: (i / partitions) as i64, timestamp: Some(APPENDED), value: Some(event), schema: None };
            engine.partition((i % partitions) as i32).unwrap().record(&record);
        }
        store.commit(&engine.take_batch(), &(0..partitions as i32).map(|partition| (partition, 1)).collect()).unwrap();
        store.rows()
    };
    assert_eq!(rows(1).len(), 72);
    assert_eq!(rows(2), rows(1));
    assert_eq!(rows(7), rows(1));
}

#[test]
fn x5_empty_partition_holds_the_watermark_until_idle() {
    let mut inputs = Inputs::new(3);
    assert_eq!([inputs.event(0, 1000), inputs.event(1, 2000), inputs.idle(2)], [None, None, Some(1000)]);
}

#[test]
fn x6_offsets_without_a_record_are_counted_as_gaps() {
    let mut stream = Stream::new(5.0, 10.0);
    stream.event("k", "1");
    stream.offset += 3;
    stream.event("k", "2");
    stream.engine.partition(0).unwrap().skip_to(10);
    let progress = stream.engine.take_batch().partitions[0];
    assert_eq!((progress.counts.applied, progress.counts.gaps, progress.to), (2, 8, 10));
    assert_eq!(progress.counts.total(), progress.to);
}

#[test]
fn x7_event_for_an_earlier_window_corrects_later_running_totals() {
    let mut stream = Stream::new(5.0, 100.0);
    let running = |stream: &mut Stream| -> Vec<String> {
        stream.windows();
        stream.store.rows().iter().map(|row| row.rsplit(' ').next().unwrap().to_owned()).collect()
    };
    stream.late(&["1", "6", "11"]);
    assert_eq!(running(&mut stream), ["1.000000", "2.000000", "3.000000"]);
    stream.late(&["2"]);
    assert_eq!(running(&mut stream), ["2.000000", "3.000000", "4.000000"]);
}

#[test]
fn event_beyond_max_future_does_not_move_the_watermark() {
    let rules = Rules { window: span(300.0), delay: span(3600.0), max_future: span(3600.0) };
    let mut engine = Engine::new(rules, true);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let mut at = |offset, event: &str| {
        let value = purchase("k", "m", 1, "1", event);
        let record =
            Record { offset, timestamp: Some(Timestamp::from_secs(10_000)), value: Some(&value), schema: None };
        engine.partition(0).unwrap().record(&record).unwrap()
    };
    assert_eq!(at(0, "13600"), Fate::Applied);
    assert_eq!(at(1, "13600.000001"), Fate::Future);
    assert_eq!(at(2, "253402300799"), Fate::Future);
    // The producer's clock was an hour ahead, but the record proves only that time has reached 10,000.
    assert_eq!(at(3, "6300"), Fate::Applied);
    assert_eq!(engine.take_batch().partitions[0].max_observed, Some(Timestamp::from_secs(10_000)));
}

#[test]
fn event_without_record_time_never_moves_time() {
    let rules = Rules { window: span(300.0), delay: span(3600.0), max_future: span(3600.0) };
    let mut engine = Engine::new(rules, true);
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let mut at = |offset, event: &str, record: Option<i64>| {
        let value = purchase("k", "m", 2, "3", event);
        let record = Record { offset, timestamp: record.map(Timestamp::from_secs), value: Some(&value), schema: None };
        engine.partition(0).unwrap().record(&record).unwrap()
    };
    let no_record_time = Fate::Invalid(Reason::NoRecordTime);
    assert_eq!(at(0, "1", None), no_record_time, "no event has moved time yet");
    assert_eq!(at(1, "10000", Some(10_000)), Fate::Applied);
    // An event of the year 2100 would close all windows until then.
    assert_eq!(at(2, "4102444800", None), no_record_time);
    assert_eq!(at(3, "10000.000001", None), no_record_time);
    assert_eq!(at(4, "10000", None), Fate::Applied);
    assert_eq!(at(5, "6300", None), Fate::Applied);
    assert_eq!(at(6, "100", None), Fate::Late);
    let batch = engine.take_batch();
    assert_eq!(batch.partitions[0].max_observed, Some(Timestamp::from_secs(10_000)));
    assert_eq!(batch.lateness.buckets.iter().sum::<u64>(), 4);
    let letter = &batch.dead_letters[0];
    assert_eq!((letter.reason, letter.event_time), ("no_record_time", Some(Timestamp::from_secs(1))));
    assert_eq!(letter.purchase.as_ref().unwrap().amount.to_string(), "6.000000");
}
