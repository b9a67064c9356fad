//! Invalid records: the cause of each in its dead letter, a warning about the first one of each reason, and the share of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use retail_api::Pipeline;
use retail_engine::{Counts, DeadLetter, SchemaId, SchemaText};
use retail_sample::{Diagnosis, SchemaAnswer, reason_named};

/// Size of the dead letters of a batch whose cause is looked for, each counted as its payload and [`LETTER_BYTES`]: a batch can have
/// 16 MiB, and their causes are alike.
const MAX_EXPLAINED_BYTES: usize = 4 << 20;

/// The same for looking for fields that look like missing ones. It takes up to half a millisecond for each kibibyte in a build for
/// tests.
const MAX_THOROUGH_BYTES: usize = 256 << 10;

/// Size of a dead letter without its payload.
const LETTER_BYTES: usize = 256;

/// Period over which shares are computed.
const PERIOD: Duration = Duration::from_secs(60);

/// Fills in the details of dead letters.
#[derive(Debug)]
pub(crate) struct Explainer {
    diagnosis: Diagnosis,
}

impl Explainer {
    /// For the records of a pipeline.
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        let diagnosis = match &pipeline.events {
            None if pipeline.deduplicate_within.is_some() => Diagnosis::of_purchases_with_ids(),
            events => Diagnosis::new(events.as_ref().map(|events| &events.mapping)),
        };
        Self { diagnosis }
    }

    /// Takes the durable verdict on a schema.
    pub(crate) fn learn_schema(&mut self, id: SchemaId, schema: Option<&SchemaText>) {
        // Only the text of a schema that exceeds the limits of the registry's client is empty.
        let answer = match schema {
            None => SchemaAnswer::Unknown,
            Some(schema) if schema.text.is_empty() => SchemaAnswer::Unusable("is too large"),
            Some(schema) => SchemaAnswer::Found(schema),
        };
        self.diagnosis.learn_schema(id, &answer);
    }

    /// Explains the invalid records among these. The others have no detail.
    pub(crate) fn explain(&self, letters: &mut [DeadLetter]) {
        let invalid = letters.iter_mut().filter_map(|letter| Some((reason_named(letter.reason)?, letter)));
        let mut bytes = 0;
        for (reason, letter) in invalid {
            bytes += LETTER_BYTES + letter.payload.as_ref().map_or(0, |payload| payload.len());
            if bytes > MAX_EXPLAINED_BYTES {
                break;
            }
            let (value, header) = (letter.payload.as_deref(), letter.schema.as_deref());
            letter.detail = Some(self.diagnosis.detail(value, header, reason, bytes <= MAX_THOROUGH_BYTES).into());
        }
    }
}

/// The text of a warning about a record.
pub(crate) fn warning(letter: &DeadLetter) -> String {
    let DeadLetter { partition, offset, reason, detail, .. } = letter;
    let detail = detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("the first record with the reason {reason} is at partition {partition}, offset {offset}{detail}")
}

/// What the fates of the last minute say; `None` without records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    /// Whether more than half of the records that are not filtered are invalid.
    pub(crate) mostly_invalid: Option<bool>,
    /// Whether more than 99 % of the records are filtered.
    pub(crate) mostly_filtered: Option<bool>,
}

/// Computes the shares of invalid and filtered records over at least a minute.
#[derive(Default, Debug)]
pub(crate) struct ShareTracker {
    /// The oldest sample is at least a period old, if there is one so old.
    samples: VecDeque<(Instant, Counts)>,
}

impl ShareTracker {
    /// Takes the fates of all offsets so far into account.
    pub(crate) fn observe(&mut self, now: Instant, counts: Counts) -> Shares {
        self.samples.push_back((now, counts));
        while self.samples.get(1).is_some_and(|(then, _)| now.saturating_duration_since(*then) >= PERIOD) {
            self.samples.pop_front();
        }
        let (then, before) = self.samples[0];
        if now.saturating_duration_since(then) < PERIOD {
            return Shares { mostly_invalid: None, mostly_filtered: None };
        }
        let records = |counts: Counts| counts.total() - counts.gaps;
        let all = records(counts) - records(before);
        let filtered = counts.filtered - before.filtered;
        let invalid = counts.invalid - before.invalid;
        let share = |part: i64, all: i64, percent: i64| (all > 0).then_some(100 * part > percent * all);
        Shares { mostly_invalid: share(invalid, all - filtered, 50), mostly_filtered: share(filtered, all, 99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Observer {
        began: Instant,
        tracker: ShareTracker,
    }

    impl Observer {
        fn new() -> Self {
            Self { began: Instant::now(), tracker: ShareTracker::default() }
        }

        fn at(&mut self, seconds: u64, applied: i64, invalid: i64, filtered: i64) -> (Option<bool>, Option<bool>) {
            let counts = Counts { applied, invalid, filtered, gaps: 1_000_000, ..Counts::default() };
            let Shares { mostly_invalid, mostly_filtered } =
                self.tracker.observe(self.began + Duration::from_secs(seconds), counts);
            (mostly_invalid, mostly_filtered)
        }
    }

    #[test]
    fn share_of_invalid_records_needs_a_minute() {
        let mut observer = Observer::new();
        for second in (0..60).step_by(5) {
            assert_eq!(observer.at(second, 10, second as i64, 0), (None, None), "second {second}");
        }
        assert_eq!(observer.at(60, 10, 60, 0), (Some(true), Some(false)));
        assert_eq!(observer.at(65, 65, 65, 0), (Some(true), Some(false)), "60 of 115");
        assert_eq!(observer.at(70, 70, 70, 0), (Some(false), Some(false)), "exactly half");
        assert_eq!(observer.at(600, 70, 70, 0), (None, None), "no record");
    }

    #[test]
    fn filtered_records_do_not_hide_invalid_ones() {
        let mut observer = Observer::new();
        observer.at(0, 0, 0, 0);
        assert_eq!(observer.at(60, 1, 2, 97), (Some(true), Some(false)));
        assert_eq!(observer.at(120, 1, 2, 500), (None, Some(true)));
        let mut observer = Observer::new();
        observer.at(0, 0, 0, 0);
        assert_eq!(observer.at(60, 1, 0, 99), (Some(false), Some(false)), "exactly 99 %");
        assert_eq!(observer.at(120, 2, 0, 198), (Some(false), Some(false)));
        assert_eq!(observer.at(180, 3, 0, 299), (Some(false), Some(true)));
    }

    #[test]
    fn details_are_those_of_invalid_records_only() {
        let letter = |reason, payload: Option<&[u8]>| DeadLetter {
            partition: 3,
            offset: 17,
            reason,
            detail: None,
            event_time: None,
            record_time: None,
            purchase: None,
            missed_by: None,
            payload: payload.map(Box::from),
            schema: None,
        };
        let foreign = br#"{"category":"A","payment_method":"B","price":1,"qty":2,"timestamp":1}"#;
        let mut letters = [
            letter("late", Some(foreign)),
            letter("future", Some(foreign)),
            letter("missing_field", Some(foreign)),
            letter("empty", None),
        ];
        Explainer { diagnosis: Diagnosis::new(None) }.explain(&mut letters);
        let details: Vec<Option<&str>> = letters.iter().map(|letter| letter.detail.as_deref()).collect();
        let missing = "quantity missing; has \"qty\": 2";
        assert_eq!(details, [None, None, Some(missing), Some("the record has no value")]);
        assert_eq!(
            warning(&letters[2]),
            format!("the first record with the reason missing_field is at partition 3, offset 17: {missing}")
        );
    }
}
