//! The records of a round: purchases, and records of every kind that is not applied.

use std::collections::VecDeque;
use std::fmt::Write;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::layout::Layout;
use crate::writers::Writers;
use crate::{avro, orders};

/// Event time runs this much faster than the clock, so that windows of a minute close four times in a second.
const SPEED: u64 = 240;

/// Event time begins this long before the clock. No round lasts so long that it catches up.
const BEHIND_MS: i64 = 24 * 3_600_000;

/// `watermark.delay` of the pipelines.
pub(crate) const DELAY_MS: i64 = 120_000;

const CATEGORIES: [&str; 7] = ["Toys", "Books", "Käse", "Home \\u0026 Garden", "a", "数", "\\\"quoted\\\""];
const METHODS: [&str; 4] = ["COD", "Credit Card", "UPI", "Net'Banking"];

/// Records that can be sent again: those of about ten seconds, in which event time passes all spans of deduplication.
const KEPT: usize = 6000;

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
    draws: Draws,
    layout: Layout,
    /// With [`Layout::Avro`], the writers of the records.
    writers: Writers,
    partitions: i32,
    began_ms: i64,
    /// With deduplication, the last purchases and their ids.
    sent: Option<VecDeque<(u64, Draft)>>,
}

/// Draws numbers and texts.
#[derive(Debug)]
pub(crate) struct Draws(Xoshiro256PlusPlus);

impl Draws {
    /// A number below this one.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// One of some texts.
    pub(crate) fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len() as u64) as usize]
    }

    /// Puts texts into another order.
    pub(crate) fn shuffle(&mut self, texts: &mut [String]) {
        for at in (1..texts.len()).rev() {
            texts.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

impl Purchases {
    /// Purchases of a layout for a topic with this number of partitions. `began_ms` is the present time.
    pub(crate) fn new(seed: u64, layout: Layout, partitions: i32, began_ms: i64) -> Self {
        Self {
            draws: Draws(Xoshiro256PlusPlus::seed_from_u64(seed)),
            layout,
            writers: Writers::default(),
            partitions,
            began_ms,
            sent: None,
        }
    }

    /// These writers write the records in Avro.
    pub(crate) fn by(self, writers: Writers) -> Self {
        Self { writers, ..self }
    }

    /// Sends five of a hundred purchases again.
    pub(crate) fn repeating(self, repeats: bool) -> Self {
        Self { sent: repeats.then(VecDeque::new), ..self }
    }

    /// A purchase, or a record that the condition of the mapping filters. Three of a hundred are later than the delay allows.
    pub(crate) fn next_purchase(&mut self, elapsed_ms: u64) -> Draft {
        if self.sent.is_some() && self.draws.below(20) == 0 {
            return self.again(elapsed_ms);
        }
        let id = self.draws.below(u64::MAX);
        let draft = self.purchase(elapsed_ms, id);
        if let Some(sent) = &mut self.sent {
            sent.push_back((id, draft.clone()));
            if sent.len() > KEPT {
                sent.pop_front();
            }
        }
        draft
    }

    fn purchase(&mut self, elapsed_ms: u64, id: u64) -> Draft {
        let late = self.draws.below(100) < 3;
        let behind = if late { DELAY_MS * 3 } else { self.draws.below(DELAY_MS as u64 - 1000) as i64 };
        let time = self.event_time(elapsed_ms) - behind;
        self.draft(elapsed_ms, time, id, None)
    }

    /// A record that was sent before: the same one, in another partition, or another purchase with its id.
    fn again(&mut self, elapsed_ms: u64) -> Draft {
        let count = self.sent.as_ref().map_or(0, VecDeque::len) as u64;
        // Half of them soon after the first one, the others at any time.
        let span = if self.draws.below(2) == 0 { count.min(200) } else { count };
        let back = self.draws.below(span.max(1)) as usize;
        let earlier = self.sent.as_ref().and_then(|sent| sent.iter().rev().nth(back).cloned());
        let Some((id, mut draft)) = earlier else { return self.purchase(elapsed_ms, 0) };
        match self.draws.below(10) {
            0 => draft.partition = self.draws.below(self.partitions as u64) as i32,
            1 | 2 => draft.value = self.purchase(elapsed_ms, id).value,
            _ => {}
        }
        draft.timestamp_ms = self.record_time(elapsed_ms);
        draft
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
        let id = self.draws.below(u64::MAX);
        let mut draft = self.draft(elapsed_ms, time, id, Some(reason));
        match reason {
            "empty" => draft.value = if self.draws.below(2) == 0 { None } else { Some(Vec::new()) },
            "no_record_time" => draft.timestamp_ms = -1,
            _ => {}
        }
        draft
    }

    fn event_time(&self, elapsed_ms: u64) -> i64 {
        self.began_ms - BEHIND_MS + (elapsed_ms * SPEED) as i64
    }

    fn record_time(&self, elapsed_ms: u64) -> i64 {
        self.event_time(elapsed_ms) + 1000
    }

    fn draft(&mut self, elapsed_ms: u64, time: i64, id: u64, reason: Option<&str>) -> Draft {
        let mut partition = self.draws.below(self.partitions as u64) as i32;
        let value = match self.layout {
            Layout::Tutorial => object(&mut self.draws, id, time, reason).into_bytes(),
            Layout::Orders | Layout::Items => {
                orders::object(&mut self.draws, self.layout, id, time, reason).into_bytes()
            }
            Layout::Avro => {
                let (value, only) = avro::record(&mut self.draws, &self.writers, id, time, reason);
                partition = only.unwrap_or(partition);
                value
            }
        };
        Draft { partition, timestamp_ms: self.record_time(elapsed_ms), value: Some(value) }
    }
}

/// One of the documented spellings of a time.
fn timestamp(draws: &mut Draws, millis: i64) -> String {
    let (seconds, rest) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    match draws.below(3) {
        0 => format!("{seconds}.{rest:03}"),
        1 => format!("{seconds}"),
        _ => format!("\"{}\"", rfc3339(seconds, rest)),
    }
}

/// The object of a purchase, with the fault that gives a record this reason.
fn object(draws: &mut Draws, id: u64, time: i64, reason: Option<&str>) -> String {
    let timestamp = &*timestamp(draws, time);
    let is = |other: &str| reason == Some(other);
    let mut text = String::from("{");
    let category = if is("bad_key") {
        draws.one_of(&["\"\"", "7", "null", "\"a\\u0000b\"", "[\"a\"]"]).to_owned()
    } else {
        format!("\"{}\"", draws.one_of(&CATEGORIES))
    };
    let price = if is("bad_price") {
        draws.one_of(&["-1", "1e12", "\"5\"", "null", "true"]).to_owned()
    } else {
        format!("{}.{}", draws.below(500), draws.below(100_000_000))
    };
    let quantity = if is("bad_quantity") {
        draws.one_of(&["0", "-3", "1.0", "2147483648", "\"1\"", "1e2"]).to_owned()
    } else {
        (1 + draws.below(9)).to_string()
    };
    let timestamp = if is("bad_timestamp") {
        draws.one_of(&["\"yesterday\"", "null", "-1", "\"2025-01-01T00:00:00\"", "1e15"])
    } else {
        timestamp
    };
    let method = draws.one_of(&METHODS);
    // Writing to a String cannot fail.
    let _written = write!(text, r#""transaction_id":"{id:x}","category":{category},"price":{price},"#);
    if !is("missing_field") {
        let _written = write!(text, r#""quantity":{quantity},"#);
    }
    let _written = write!(text, r#""payment_method":"{method}","timestamp":{timestamp}}}"#);
    if is("malformed_json") {
        match draws.below(3) {
            0 => drop(text.pop()),
            1 => text.push('!'),
            _ => text.insert_str(1, "\"quantity\":1,\"quantity\":1,"),
        }
    }
    text
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
    use crate::writers::{Version, Writer};

    #[test]
    fn times_are_spelled_as_in_the_calendar() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(rfc3339(1_735_689_599, 7), "2024-12-31T23:59:59.007+00:00");
        assert_eq!(rfc3339(1_709_164_800, 0), "2024-02-29T00:00:00.000+00:00");
    }

    #[test]
    fn seed_repeats_the_records() {
        let records = |seed, layout| {
            let writer = |version| Writer { id: 1, version, has_extra: false, partition: None };
            let writers = Writers::of(Version::ALL.map(writer).to_vec());
            let mut purchases = Purchases::new(seed, layout, 3, 1_800_000_000_000).by(writers).repeating(true);
            (0..50).map(|at| purchases.next_purchase(at)).collect::<Vec<_>>()
        };
        for layout in [Layout::Tutorial, Layout::Orders, Layout::Items, Layout::Avro] {
            assert_eq!(records(1, layout), records(1, layout));
            assert_ne!(records(1, layout), records(2, layout));
        }
    }

    #[test]
    fn some_records_are_sent_again() {
        let distinct = |repeats| {
            let mut purchases = Purchases::new(1, Layout::Orders, 1, 1_800_000_000_000).repeating(repeats);
            let values = (0..1000).map(|at| purchases.next_purchase(at).value);
            values.collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(distinct(false), 1000);
        assert!((920..990).contains(&distinct(true)), "{}", distinct(true));
    }
}
