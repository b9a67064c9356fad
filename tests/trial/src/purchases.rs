//! The records of a round: purchases, and records of every kind that is not applied.

use std::fmt::Write;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Reasons of dead letters, in the order of docs/reference/events.md.
pub(crate) const REASONS: [&str; 10] = [
    "empty",
    "malformed_json",
    "missing_field",
    "bad_timestamp",
    "bad_price",
    "bad_quantity",
    "bad_key",
    "no_record_time",
    "future",
    "late",
];

/// Event time runs this much faster than the clock, so that windows of a minute close four times in a second.
const SPEED: u64 = 240;

/// Event time begins this long before the clock. No round lasts so long that it catches up.
const BEHIND_MS: i64 = 24 * 3_600_000;

/// `watermark.delay` of the pipelines.
pub(crate) const DELAY_MS: i64 = 120_000;

const CATEGORIES: [&str; 7] = ["Toys", "Books", "Käse", "Home \\u0026 Garden", "a", "数", "\\\"quoted\\\""];
const METHODS: [&str; 4] = ["COD", "Credit Card", "UPI", "Net'Banking"];

/// A record that is not sent yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Draft {
    /// The partition.
    pub partition: i32,
    /// The timestamp for a topic with CreateTime, in milliseconds.
    pub timestamp_ms: i64,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Draws records.
#[derive(Debug)]
pub(crate) struct Purchases {
    random: Xoshiro256PlusPlus,
    partitions: i32,
    began_ms: i64,
}

impl Purchases {
    /// Purchases for a topic with this number of partitions. `began_ms` is the present time.
    pub(crate) fn new(seed: u64, partitions: i32, began_ms: i64) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), partitions, began_ms }
    }

    /// A purchase. Three of a hundred are later than the delay allows.
    pub(crate) fn next_purchase(&mut self, elapsed_ms: u64) -> Draft {
        let behind = if self.below(100) < 3 { DELAY_MS * 3 } else { self.below(DELAY_MS as u64 - 1000) as i64 };
        let time = self.event_time(elapsed_ms) - behind;
        let timestamp = self.timestamp(time);
        self.draft(elapsed_ms, |purchases| purchases.object(&timestamp, None))
    }

    /// A record that is not applied for this reason, once its partition has seen events.
    pub(crate) fn next_bad(&mut self, reason: &str, elapsed_ms: u64) -> Draft {
        let now = self.event_time(elapsed_ms);
        let time = match reason {
            "future" => self.began_ms + 86_400_000,
            "late" => now - 3_600_000,
            // Newer than everything: with a timestamp, it would be future.
            "no_record_time" => self.began_ms + 7_200_000,
            _ => now,
        };
        let timestamp = self.timestamp(time);
        let mut draft = self.draft(elapsed_ms, |purchases| purchases.object(&timestamp, Some(reason)));
        match reason {
            "empty" => draft.value = if self.below(2) == 0 { None } else { Some(Vec::new()) },
            "no_record_time" => draft.timestamp_ms = -1,
            _ => {}
        }
        draft
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len() as u64) as usize]
    }

    fn event_time(&self, elapsed_ms: u64) -> i64 {
        self.began_ms - BEHIND_MS + (elapsed_ms * SPEED) as i64
    }

    fn draft(&mut self, elapsed_ms: u64, value: impl FnOnce(&mut Self) -> Vec<u8>) -> Draft {
        let partition = self.below(self.partitions as u64) as i32;
        Draft { partition, timestamp_ms: self.event_time(elapsed_ms) + 1000, value: Some(value(self)) }
    }

    /// One of the documented spellings of a time.
    fn timestamp(&mut self, millis: i64) -> String {
        let (seconds, rest) = (millis.div_euclid(1000), millis.rem_euclid(1000));
        match self.below(3) {
            0 => format!("{seconds}.{rest:03}"),
            1 => format!("{seconds}"),
            _ => format!("\"{}\"", rfc3339(seconds, rest)),
        }
    }

    /// The object of a purchase, with the fault that gives a record this reason.
    fn object(&mut self, timestamp: &str, reason: Option<&str>) -> Vec<u8> {
        let is = |other: &str| reason == Some(other);
        let mut text = String::from("{");
        let category = if is("bad_key") {
            self.one_of(&["\"\"", "7", "null", "\"a\\u0000b\"", "[\"a\"]"]).to_owned()
        } else {
            format!("\"{}\"", self.one_of(&CATEGORIES))
        };
        let price = if is("bad_price") {
            self.one_of(&["-1", "1e12", "\"5\"", "null", "true"]).to_owned()
        } else {
            format!("{}.{}", self.below(500), self.below(100_000_000))
        };
        let quantity = if is("bad_quantity") {
            self.one_of(&["0", "-3", "1.0", "2147483648", "\"1\"", "1e2"]).to_owned()
        } else {
            (1 + self.below(9)).to_string()
        };
        let timestamp = if is("bad_timestamp") {
            self.one_of(&["\"yesterday\"", "null", "-1", "\"2025-01-01T00:00:00\"", "1e15"])
        } else {
            timestamp
        };
        let method = self.one_of(&METHODS);
        let number = self.below(u64::MAX);
        // Writing to a String cannot fail.
        let _written = write!(text, r#""transaction_id":"{number:x}","category":{category},"price":{price},"#);
        if !is("missing_field") {
            let _written = write!(text, r#""quantity":{quantity},"#);
        }
        let _written = write!(text, r#""payment_method":"{method}","timestamp":{timestamp}}}"#);
        if is("malformed_json") {
            match self.below(3) {
                0 => drop(text.pop()),
                1 => text.push('!'),
                _ => text.insert_str(1, "\"quantity\":1,\"quantity\":1,"),
            }
        }
        text.into_bytes()
    }
}

/// A UTC time. Days are counted as in Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: i64, millis: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_as_in_the_calendar() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(rfc3339(1_735_689_599, 7), "2024-12-31T23:59:59.007+00:00");
        assert_eq!(rfc3339(1_709_164_800, 0), "2024-02-29T00:00:00.000+00:00");
    }

    #[test]
    fn seed_repeats_the_records() {
        let records = |seed| {
            let mut purchases = Purchases::new(seed, 3, 1_800_000_000_000);
            (0..50).map(|at| purchases.next_purchase(at)).collect::<Vec<_>>()
        };
        assert_eq!(records(1), records(1));
        assert_ne!(records(1), records(2));
    }
}
