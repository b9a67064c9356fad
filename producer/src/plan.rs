//! What the producer sends: the pipeline's `producer` section, overridden by flags.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use retail_api::resource::{self, Producer};
use retail_api::{EventMapping, Pipeline};
use retail_engine::{Rules, Span, Timestamp};
use retail_registry::RegistryConnection;

use crate::purchases::{Faults, PurchaseProfile};

/// As in the tutorial: a purchase arrives up to an hour after its event time.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Start of event time in a run that does not follow the clock. A constant, so that a seed gives the same bytes in every run.
const EPOCH_OF_PURCHASES: Timestamp = Timestamp::from_secs(1_735_689_600); // 2025-01-01T00:00:00Z

/// The time after which event time has caught up with the clock: at speed `s` it starts `s - 1` times this behind the clock.
const HEAD_START: Duration = Duration::from_secs(24 * 3600);

/// Spreads the start of a run over all bits: an odd number from the golden ratio.
const RUN_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The flags as given on the command line.
#[derive(Args, Clone, Copy, Default, Debug)]
pub struct PlanArgs {
    /// Number of purchases [default: unlimited]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// Purchases per second, or max for as fast as possible; overrides producer.eventsPerSecond
    #[arg(long, value_name = "R|max", value_parser = rate, env = "RETAIL_RATE")]
    pub rate: Option<Rate>,

    /// Seed of the random purchases: the same seed gives the same purchases; overrides producer.seed
    #[arg(long, env = "RETAIL_SEED")]
    pub seed: Option<u64>,

    /// Speed of event time relative to the clock; overrides producer.speed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub speed: Option<u32>,

    /// Longest delay between event time and arrival; delays are evenly distributed [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = retail_api::duration::read)]
    pub max_delay: Option<Duration>,

    /// Percentage that arrives later than watermark.delay allows; overrides producer.faults.tooLate
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub too_late: Option<u32>,

    /// Percentage of malformed records; overrides producer.faults.malformed
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub malformed: Option<u32>,

    /// Percentage far ahead of the clock; overrides producer.faults.future
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub future: Option<u32>,

    /// Percentage sent twice; overrides producer.faults.duplicated
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub duplicated: Option<u32>,

    /// Arrival time of the first purchase, RFC 3339 [default: now; 2025-01-01T00:00:00Z with --events or --rate max]
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<DateTime<Utc>>,
}

/// The rate at which purchases are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// Purchases per second, at least 1.
    PerSecond(u32),
    /// As fast as the brokers acknowledge them.
    Max,
}

/// Reads `max` or a number, as people write it: `2000`, `2,000`, `2000/s`, `2k` or `1.5k`.
fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || "not a number of purchases per second (1 or more), such as 2000, 2k or 2000/s, nor max".to_owned();
    if text == "max" {
        return Ok(Rate::Max);
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = match number.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1000),
        None => (number, 1),
    };
    let number = thousands(number).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    // A fraction must leave a whole number.
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 || (unit == 1 && !fraction.is_empty()) {
        return Err(wrong());
    }
    let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
    let whole = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(unit));
    let number = whole.and_then(|whole| whole.checked_add(thousandths));
    number.filter(|number| *number > 0).map(Rate::PerSecond).ok_or_else(wrong)
}

/// A number without the separators between its thousands; `None` if one is elsewhere.
fn thousands(number: &str) -> Option<String> {
    let (whole, _) = number.split_once('.').unwrap_or((number, ""));
    let mut groups = whole.split(',').skip(1);
    groups.all(|group| group.len() == 3).then(|| number.replace(',', ""))
}

/// What the producer sends.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Number of purchases; `None` without a limit.
    pub(crate) events: Option<u64>,
    pub(crate) rate: Rate,
    pub(crate) profile: PurchaseProfile,
    /// The fields of the records; `None` for the tutorial's.
    pub(crate) mapping: Option<Arc<EventMapping>>,
    /// Registers the schema of the records, for formats that have one.
    pub(crate) registry: Option<RegistryConnection>,
    /// By these, the newest event is found.
    pub(crate) rules: Rules,
    /// Arrival time of the first purchase.
    start: Timestamp,
    /// Event time between two purchases, in seconds.
    step: f64,
    /// Whether event time never overtakes the clock.
    live: bool,
    /// Whether event time is faster than the clock.
    is_fast: bool,
}

impl Plan {
    /// Combines pipeline and flags. `now` is the current time of the clock.
    ///
    /// # Errors
    ///
    /// If the faults add up to more than 100 percent.
    pub fn new(pipeline: &Pipeline, args: PlanArgs, now: Timestamp) -> Result<Self, String> {
        let PlanArgs { events, rate, seed, speed, max_delay, too_late, malformed, future, duplicated, start_time } =
            args;
        // One producer has no use for the pods' number and resources; `enabled` is whether the pipeline has a producer at all.
        let Producer {
            enabled: _,
            replicas: _,
            template: _,
            events_per_second,
            seed: file_seed,
            speed: file_speed,
            faults,
            resources: _,
        } = pipeline.producer.clone().unwrap_or_default();
        let resource::Faults {
            too_late: file_too_late,
            malformed: file_malformed,
            future: file_future,
            duplicated: file_duplicated,
        } = faults;
        let rate = rate.unwrap_or(Rate::PerSecond(events_per_second.unsigned_abs()));
        let speed = speed.unwrap_or(file_speed.unsigned_abs());
        let live = events.is_none() && rate != Rate::Max && start_time.is_none();
        let start = match start_time {
            Some(time) => Timestamp::from_micros(time.timestamp_micros()),
            None if live => now.minus(Span::from(HEAD_START * (speed - 1))),
            None => EPOCH_OF_PURCHASES,
        };
        let per_second = match rate {
            Rate::PerSecond(rate) => f64::from(rate),
            Rate::Max => f64::from(events_per_second),
        };
        let faults = Faults {
            too_late: too_late.unwrap_or(file_too_late.unsigned_abs()),
            malformed: malformed.unwrap_or(file_malformed.unsigned_abs()),
            future: future.unwrap_or(file_future.unsigned_abs()),
            duplicated: duplicated.unwrap_or(file_duplicated.unsigned_abs()),
        };
        if faults.too_late + faults.malformed + faults.future + faults.duplicated > 100 {
            return Err(
                "the faults add up to more than 100 percent: lower --too-late, --malformed, --future or --duplicated"
                    .to_owned(),
            );
        }
        let too_late = Duration::from(pipeline.rules.window) + Duration::from(pipeline.rules.delay);
        Ok(Self {
            events,
            rate,
            profile: PurchaseProfile {
                seed: seed.unwrap_or(file_seed.unsigned_abs()),
                // A pod that starts again, or next to another one, sends other purchases, and no duplicates.
                run: if live { (now.as_micros() as u64).wrapping_mul(RUN_FACTOR) } else { 0 },
                max_delay: max_delay.unwrap_or(MAX_DELAY).into(),
                too_late: too_late.into(),
                faults,
            },
            mapping: pipeline.events.clone().map(Arc::new),
            registry: None,
            rules: pipeline.rules,
            start,
            step: f64::from(speed) / per_second,
            live,
            is_fast: speed > 1,
        })
    }

    /// With the registry for the schema of the records. A format with schemas needs one.
    #[must_use]
    pub fn with_registry(self, registry: Option<RegistryConnection>) -> Self {
        Self { registry, ..self }
    }

    /// Whether event time runs faster than the clock, from the past. A later run must then go on from the newest event: events
    /// from before it are late.
    pub(crate) fn is_accelerated(&self) -> bool {
        self.live && self.is_fast
    }

    /// Starts at the newest event of the topic, if that is later.
    pub(crate) fn resume_at(self, newest: Timestamp) -> Self {
        Self { start: self.start.max(newest), ..self }
    }

    /// Arrival time of purchase `n`. `now` is the current time of the clock, which live purchases never overtake.
    pub(crate) fn arrival(&self, n: u64, now: impl FnOnce() -> Timestamp) -> Timestamp {
        // Microseconds in a double are exact for 285 years.
        let time = Timestamp::from_micros(self.start.as_micros() + (n as f64 * self.step * 1e6) as i64);
        if self.live { time.min(now()) } else { time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn pipeline(producer: &str) -> Pipeline {
        Pipeline::parse(&format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail}}\nspec:\n  \
             kafka: {{bootstrapServers: \"kafka:9092\"}}\n  topic: {{name: retail}}\n  database: {{host: db, name: db}}\n  {producer}\n"
        ))
        .unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn rate_is_read_as_people_write_it() {
        for (text, number) in
            [("2000", 2000), ("2,000", 2000), ("2000/s", 2000), ("2k", 2000), ("1.5k/s", 1500), ("0.25k", 250)]
        {
            assert_eq!(rate(text), Ok(Rate::PerSecond(number)), "{text}");
        }
        assert_eq!(rate("max"), Ok(Rate::Max));
        for wrong in ["", "0", "-1", "1.5", "20,00", "k", "2 k", "9999999k", "0.0001k", "1e3", "2000/min"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_override_the_file_and_the_file_defaults() {
        let plan =
            |args| Plan::new(&pipeline("producer: {seed: 7, eventsPerSecond: 5, faults: {future: 3}}"), args, NOW);
        let from_file = plan(PlanArgs::default()).unwrap();
        assert_eq!(
            (from_file.profile.seed, from_file.rate, from_file.profile.faults.future),
            (7, Rate::PerSecond(5), 3)
        );
        let args = PlanArgs { seed: Some(8), rate: Some(Rate::Max), future: Some(4), ..PlanArgs::default() };
        let typed = plan(args).unwrap();
        assert_eq!((typed.profile.seed, typed.rate, typed.profile.faults.future), (8, Rate::Max, 4));
        let default = Plan::new(&pipeline(""), PlanArgs::default(), NOW).unwrap();
        assert_eq!((default.profile.seed, default.rate), (42, Rate::PerSecond(100)));
        assert!(plan(PlanArgs { malformed: Some(98), ..PlanArgs::default() }).is_err());
    }

    #[test]
    fn live_event_time_is_faster_but_never_ahead_of_the_clock() {
        let plan =
            Plan::new(&pipeline("producer: {eventsPerSecond: 10, speed: 60}"), PlanArgs::default(), NOW).unwrap();
        let arrival = |n: u64| plan.arrival(n, || NOW.plus(Span::from_secs(n as u32 / 10)));
        assert_eq!(arrival(10).since(arrival(0)), Span::from_secs(60));
        // A day later it has caught up.
        let day = 24 * 3600 * 10;
        assert_eq!(arrival(day), NOW.plus(Span::from_secs(24 * 3600)));
        assert_eq!(arrival(2 * day), NOW.plus(Span::from_secs(2 * 24 * 3600)));
    }

    #[test]
    fn only_accelerated_live_runs_go_on_from_the_newest_event() {
        let plan = |producer, args| Plan::new(&pipeline(producer), args, NOW).unwrap();
        let fast = "producer: {speed: 60}";
        assert!(plan(fast, PlanArgs::default()).is_accelerated());
        assert!(!plan("producer: {speed: 1}", PlanArgs::default()).is_accelerated());
        assert!(!plan(fast, PlanArgs { events: Some(10), ..PlanArgs::default() }).is_accelerated());
        assert!(!plan(fast, PlanArgs { start_time: Some(Utc::now()), ..PlanArgs::default() }).is_accelerated());

        let start = |newest| plan(fast, PlanArgs::default()).resume_at(newest).arrival(0, || NOW);
        assert_eq!(start(NOW.minus(Span::from_secs(3600))), NOW.minus(Span::from_secs(3600)));
        let first = NOW.minus(Span::from(HEAD_START * 59));
        assert_eq!(start(first.minus(Span::from_secs(1))), first);
    }

    /// Two pods of a pipeline have the same seed, and so does a pod that starts again: their purchases are no duplicates.
    #[test]
    fn live_runs_of_a_seed_have_other_transaction_ids() {
        let run = |now| Plan::new(&pipeline(""), PlanArgs::default(), now).unwrap().profile.run;
        assert_ne!(run(NOW), run(Timestamp::from_micros(NOW.as_micros() + 1)));
    }

    #[test]
    fn counted_run_does_not_depend_on_the_clock() {
        let args = PlanArgs { events: Some(10), ..PlanArgs::default() };
        let plan = |now| Plan::new(&pipeline(""), args, now).unwrap();
        assert_eq!(plan(NOW), plan(NOW.plus(Span::from_secs(1))));
        assert_eq!(plan(NOW).arrival(100, || NOW), EPOCH_OF_PURCHASES.plus(Span::from_secs(1)));
    }
}
