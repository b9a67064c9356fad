//! Generates purchases that depend only on seed and number.
//!
//! Purchase `n` arrives at a given moment, up to an hour after its event time, as in the tutorial. A configured share is
//! faulty, in ways that a consumer must handle.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use retail_engine::{Span, Timestamp};

use crate::catalogue::{CATEGORIES, PAYMENT_METHODS, Product};
use crate::time::{TimestampWriter, digits};

/// Customers have the numbers from 1 to this.
const CUSTOMERS: u64 = 1000;

/// A hundred years: beyond every value of maxFuture.
const CENTURY: Span = Span::from_secs(3_155_760_000);

/// Faulty purchases, in percent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Faults {
    /// Arrive later than the pipeline's delay allows.
    pub(crate) too_late: u32,
    /// Not a valid purchase.
    pub(crate) malformed: u32,
    /// A century ahead of the clock.
    pub(crate) future: u32,
    /// Repeat the purchase before.
    pub(crate) duplicated: u32,
}

/// The properties of the generated purchases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PurchaseProfile {
    /// The same seed gives the same purchases.
    pub(crate) seed: u64,
    /// Distinguishes the transaction ids of runs with the same seed.
    pub(crate) run: u64,
    /// Longest delay between event time and arrival; delays are evenly distributed.
    pub(crate) max_delay: Span,
    /// Delay from which a purchase is too late: the pipeline's window and delay together.
    pub(crate) too_late: Span,
    /// The faulty ones.
    pub(crate) faults: Faults,
}

/// Generates one purchase after the other.
#[derive(Debug)]
pub(crate) struct Purchases {
    random: Xoshiro256PlusPlus,
    profile: PurchaseProfile,
    timestamps: TimestampWriter,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A record to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Purchase<'a> {
    /// The customer's number, which keeps the purchases of a customer in order.
    pub(crate) key: &'a [u8],
    /// The purchase as JSON, or a faulty value.
    pub(crate) value: &'a [u8],
}

impl Purchases {
    /// Starts with the first purchase.
    pub(crate) fn new(profile: PurchaseProfile) -> Self {
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(profile.seed),
            profile,
            timestamps: TimestampWriter::default(),
            key: Vec::new(),
            value: Vec::with_capacity(512),
        }
    }

    /// The next purchase, which arrives at `arrival`.
    pub(crate) fn next(&mut self, arrival: Timestamp) -> Purchase<'_> {
        let Faults { too_late, malformed, future, duplicated } = self.profile.faults;
        let dice = self.below(100) as u32;
        let kinds = [duplicated, future, too_late, malformed];
        let kind = kinds.iter().scan(0, |sum, share| {
            *sum += share;
            Some(*sum)
        });
        match kind.take_while(|sum| *sum <= dice).count() {
            // The value of the purchase before is still in the buffer; the first purchase has none before it.
            0 if !self.value.is_empty() => {}
            1 => {
                self.write(arrival.plus(CENTURY));
            }
            2 => {
                let delay = self.profile.too_late.as_micros() as u64;
                let more = self.below(delay + 1);
                self.write(arrival.minus(micros(delay + more)));
            }
            3 => {
                let time = self.event_time(arrival);
                self.write(time);
                self.corrupt();
            }
            _ => {
                let time = self.event_time(arrival);
                self.write(time);
            }
        }
        Purchase { key: &self.key, value: &self.value }
    }

    fn event_time(&mut self, arrival: Timestamp) -> Timestamp {
        let delay = self.below(self.profile.max_delay.as_micros() as u64 + 1);
        arrival.minus(micros(delay))
    }

    /// An evenly distributed number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.random.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    fn write(&mut self, time: Timestamp) {
        let category = &CATEGORIES[self.below(CATEGORIES.len() as u64) as usize];
        let Product { brand, name, cents } = category.products[self.below(category.products.len() as u64) as usize];
        let customer = 1 + self.below(CUSTOMERS);
        let quantity = 1 + self.below(10);
        let price = u64::from(cents.0) + self.below(u64::from(cents.1 - cents.0) + 1);
        let payment_method = PAYMENT_METHODS[self.below(PAYMENT_METHODS.len() as u64) as usize];
        let (high, low) = (self.random.next_u64(), self.random.next_u64());

        self.key.clear();
        decimal(&mut self.key, customer);
        let out = &mut self.value;
        out.clear();
        out.extend_from_slice(b"{\"transaction_id\": \"");
        uuid(out, high ^ self.profile.run, low);
        out.extend_from_slice(b"\", \"customer_id\": ");
        out.extend_from_slice(&self.key);
        for (name, text) in [("category", category.name), ("brand", brand), ("product_name", name)] {
            field(out, name, text);
        }
        out.extend_from_slice(b", \"quantity\": ");
        decimal(out, quantity);
        out.extend_from_slice(b", \"price\": ");
        decimal(out, price / 100);
        out.push(b'.');
        digits(out, (price % 100) as i64, 2);
        field(out, "payment_method", payment_method);
        out.extend_from_slice(b", \"timestamp\": \"");
        self.timestamps.write(out, time);
        out.extend_from_slice(b"\"}");
    }

    /// Turns the value in the buffer into an invalid one.
    fn corrupt(&mut self) {
        match self.below(9) {
            0 => {
                let half = self.value.len() / 2;
                self.value.truncate(half);
            }
            1 => self.value = b"GET / HTTP/1.1".to_vec(),
            2 => self.value.clear(),
            3 => self.replace("\"price\"", "\"cost\""),
            4 => self.replace("\"price\": ", "\"price\": -"),
            5 => self.replace("\"quantity\": ", "\"quantity\": 0."),
            6 => self.replace("T", "Z"),
            7 => self.replace("\"category\": \"", "\"category\": [], \"not\": \""),
            _ => self.value[25] = 0xff,
        }
    }

    /// Replaces the first `from` by `to`; a `T` only in the timestamp.
    fn replace(&mut self, from: &str, to: &str) {
        let text = String::from_utf8_lossy(&self.value).into_owned();
        let at = text.find(if from == "T" { "\"timestamp\": \"" } else { from }).unwrap_or_default();
        let (before, after) = text.split_at(at);
        self.value = format!("{before}{}", after.replacen(from, to, 1)).into_bytes();
    }
}

fn micros(micros: u64) -> Span {
    Span::from(std::time::Duration::from_micros(micros))
}

fn field(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(b", \"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\": \"");
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends a number without leading zeros.
fn decimal(out: &mut Vec<u8>, number: u64) {
    let width = number.checked_ilog10().unwrap_or(0) as usize + 1;
    digits(out, number as i64, width);
}

/// Appends a random UUID, version 4.
fn uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | (0b10 << 62);
    for (i, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use retail_engine::Decoder;

    use super::*;

    const START: i64 = 1_735_689_600;

    fn profile(faults: Faults) -> PurchaseProfile {
        PurchaseProfile { seed: 7, run: 0, max_delay: Span::from_secs(3600), too_late: Span::from_secs(3900), faults }
    }

    fn values(profile: PurchaseProfile, n: usize) -> Vec<Vec<u8>> {
        let mut purchases = Purchases::new(profile);
        (0..n).map(|i| purchases.next(Timestamp::from_secs(START + i as i64)).value.to_vec()).collect()
    }

    #[test]
    fn same_seed_gives_the_same_purchases() {
        let faults = Faults { too_late: 10, malformed: 10, future: 10, duplicated: 10 };
        assert_eq!(values(profile(faults), 1000), values(profile(faults), 1000));
        assert_ne!(values(profile(faults), 10), values(PurchaseProfile { seed: 8, ..profile(faults) }, 10));
        assert_ne!(values(profile(faults), 10), values(PurchaseProfile { run: 1, ..profile(faults) }, 10));
        let first = String::from_utf8(values(profile(Faults::default()), 1).remove(0)).unwrap();
        // As a literal, so that a change of the algorithm fails here.
        assert_eq!(
            first,
            "{\"transaction_id\": \"fb797f4d-139c-43dd-92c2-b9fdd9c111ed\", \"customer_id\": 964, \
             \"category\": \"Hair Care\", \"brand\": \"Moroccanoil\", \"product_name\": \"Argan Oil Treatment\", \
             \"quantity\": 5, \"price\": 44.38, \"payment_method\": \"Debit Card\", \
             \"timestamp\": \"2024-12-31T23:49:40.382924+00:00\"}"
        );
    }

    #[test]
    fn purchase_has_nine_consistent_fields() {
        for (i, value) in values(profile(Faults::default()), 2000).iter().enumerate() {
            let purchase: BTreeMap<String, serde_json::Value> = serde_json::from_slice(value).unwrap();
            assert_eq!(purchase.len(), 9);
            let category = CATEGORIES.iter().find(|category| purchase["category"] == category.name).unwrap();
            assert!(
                category.products.iter().any(|p| purchase["brand"] == p.brand && purchase["product_name"] == p.name)
            );
            let event = Decoder::default().decode(Some(value)).unwrap().timestamp;
            let arrival = Timestamp::from_secs(START + i as i64);
            assert!(event <= arrival && event >= arrival.minus(Span::from_secs(3600)));
        }
    }

    #[test]
    fn delays_are_spread_over_the_hour() {
        let mut quarters = [0; 4];
        for (i, value) in values(profile(Faults::default()), 4000).iter().enumerate() {
            let event = Decoder::default().decode(Some(value)).unwrap().timestamp;
            let delay = Timestamp::from_secs(START + i as i64).since(event).as_micros();
            quarters[(delay / 900_000_001) as usize] += 1;
        }
        assert!(quarters.iter().all(|n| (850..1150).contains(n)), "{quarters:?}");
    }

    #[test]
    fn faults_have_their_share_and_every_kind() {
        let faults = Faults { too_late: 5, malformed: 20, future: 5, duplicated: 5 };
        let values = values(profile(faults), 10_000);
        let (mut reasons, mut late, mut future) = (BTreeMap::<_, usize>::new(), 0, 0);
        for (i, value) in values.iter().enumerate() {
            let arrival = Timestamp::from_secs(START + i as i64);
            match Decoder::default().decode(Some(value)) {
                Err(reason) => *reasons.entry(reason.as_str()).or_default() += 1,
                Ok(event) if event.timestamp > arrival => future += 1,
                Ok(event) if event.timestamp <= arrival.minus(Span::from_secs(3900)) => late += 1,
                Ok(_) => {}
            }
        }
        let repeated = values.windows(2).filter(|pair| pair[0].len() > 100 && pair[0] == pair[1]).count();
        assert!((400..600).contains(&repeated), "{repeated}");
        assert!((400..650).contains(&late) && (400..650).contains(&future), "{late} {future}");
        let kinds: Vec<&str> = reasons.keys().copied().collect();
        assert_eq!(
            kinds,
            ["bad_key", "bad_price", "bad_quantity", "bad_timestamp", "empty", "malformed_json", "missing_field"]
        );
        assert!((1800..2400).contains(&reasons.values().sum::<usize>()), "{reasons:?}");
    }
}
