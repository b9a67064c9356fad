//! Generates purchases that depend only on seed and number.
//!
//! Purchase `n` arrives at a given moment, up to an hour after its event time, as in the tutorial. A configured share is
//! faulty, in ways that a consumer must handle.

use retail_api::EventMapping;
use retail_engine::{Span, Timestamp};

use crate::draft::{Draft, Form};
use crate::mapped::MappedRecords;
use crate::random::Random;
use crate::tutorial::{Tutorial, corrupt};

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
    random: Random,
    profile: PurchaseProfile,
    content: Content,
    draft: Draft,
}

/// What the records contain.
#[derive(Debug)]
enum Content {
    Tutorial(Tutorial),
    Mapped(Box<MappedRecords>),
}

/// A record to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Purchase<'a> {
    /// The customer's number, which keeps the purchases of a customer in order.
    pub(crate) key: &'a [u8],
    /// The purchase in the format of the pipeline, or a faulty value.
    pub(crate) value: &'a [u8],
    /// The timestamp of the record, if it is the event time.
    pub(crate) timestamp: Option<Timestamp>,
}

impl Purchases {
    /// Starts with the first purchase, with the tutorial's fields or those of a mapping. `schema` is the id of the schema of the
    /// records, for formats that have one.
    pub(crate) fn new(profile: PurchaseProfile, mapping: Option<&EventMapping>, schema: u32) -> Self {
        let content = match mapping {
            None => Content::Tutorial(Tutorial::new(profile.run)),
            Some(mapping) => Content::Mapped(Box::new(MappedRecords::new(mapping, profile.run, schema))),
        };
        Self { random: Random::new(profile.seed), profile, content, draft: Draft::default() }
    }

    /// The next purchase, which arrives at `arrival`.
    pub(crate) fn next(&mut self, arrival: Timestamp) -> Purchase<'_> {
        let Faults { too_late, malformed, future, duplicated } = self.profile.faults;
        let dice = self.random.below(100) as u32;
        let kinds = [duplicated, future, too_late, malformed];
        let kind = kinds.iter().scan(0, |sum, share| {
            *sum += share;
            Some(*sum)
        });
        match kind.take_while(|sum| *sum <= dice).count() {
            // The value of the purchase before is still in the buffer; the first purchase has none before it.
            0 if !self.draft.value.is_empty() => {}
            1 if self.can_be_future() => self.write(arrival.plus(CENTURY), Form::Kept),
            2 => {
                let delay = self.profile.too_late.as_micros() as u64;
                let more = self.random.below(delay + 1);
                self.write(arrival.minus(micros(delay + more)), Form::Kept);
            }
            fault => {
                let time = self.event_time(arrival);
                self.write(time, if fault == 3 { Form::Malformed } else { Form::Any });
            }
        }
        let Draft { key, value, timestamp } = &self.draft;
        Purchase { key, value, timestamp: *timestamp }
    }

    /// Kafka refuses records with a timestamp in the future.
    fn can_be_future(&self) -> bool {
        match &self.content {
            Content::Tutorial(_) => true,
            Content::Mapped(records) => !records.is_of_record_time(),
        }
    }

    fn event_time(&mut self, arrival: Timestamp) -> Timestamp {
        let delay = self.random.below(self.profile.max_delay.as_micros() as u64 + 1);
        arrival.minus(micros(delay))
    }

    fn write(&mut self, time: Timestamp, form: Form) {
        let Self { random, content, draft, .. } = self;
        match content {
            Content::Tutorial(tutorial) => {
                tutorial.write(draft, random, time);
                if form == Form::Malformed {
                    corrupt(&mut draft.value, random);
                }
            }
            Content::Mapped(records) => records.write(draft, random, time, form),
        }
    }
}

fn micros(micros: u64) -> Span {
    Span::from(std::time::Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use retail_engine::Decoder;

    use super::*;
    use crate::catalogue::CATEGORIES;

    const START: i64 = 1_735_689_600;

    fn profile(faults: Faults) -> PurchaseProfile {
        PurchaseProfile { seed: 7, run: 0, max_delay: Span::from_secs(3600), too_late: Span::from_secs(3900), faults }
    }

    fn values(profile: PurchaseProfile, n: usize) -> Vec<Vec<u8>> {
        let mut purchases = Purchases::new(profile, None, 0);
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
