//! What will be sent: the pipeline's `producer` section, and what was typed beside it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use retail_api::Pipeline;
use retail_api::resource::Producer;
use retail_engine::{Span, Timestamp};

use crate::purchases::{Faults, Habits};

/// The tutorial's: a purchase arrives up to an hour after it was made.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Where event time begins when nothing ties it to the clock: the same in every run, so that a seed means the same bytes.
const EPOCH_OF_PURCHASES: Timestamp = Timestamp::from_secs(1_735_689_600); // 2025-01-01T00:00:00Z

/// How long event time that runs faster than the clock can do so before it has caught up with it.
const HEAD_START: Duration = Duration::from_secs(24 * 3600);

/// What was typed.
#[derive(Args, Clone, Copy, Default, Debug)]
pub struct PlanArgs {
    /// How many purchases; without end if left out
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// Purchases per second, or max; instead of producer.eventsPerSecond
    #[arg(long, value_name = "R|max", value_parser = rate, env = "RETAIL_RATE")]
    pub rate: Option<Rate>,

    /// The same seed gives the same purchases; instead of producer.seed
    #[arg(long, env = "RETAIL_SEED")]
    pub seed: Option<u64>,

    /// How many times faster than the clock event time runs; instead of producer.speed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub speed: Option<u32>,

    /// The longest that a purchase arrives after it was made, all delays up to it as likely [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = retail_api::duration::read)]
    pub max_delay: Option<Duration>,

    /// Percent that arrive later than the watermark's delay allows; instead of producer.faults.tooLate
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub too_late: Option<u32>,

    /// Percent that are no purchases; instead of producer.faults.malformed
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub malformed: Option<u32>,

    /// Percent that are far ahead of the clock; instead of producer.faults.future
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub future: Option<u32>,

    /// Percent that are sent twice; instead of producer.faults.duplicated
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub duplicated: Option<u32>,

    /// When the first purchase arrives, RFC 3339 [default: now; 2025-01-01T00:00:00Z with --events or --rate max]
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<DateTime<Utc>>,
}

/// How fast purchases are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// So many in a second.
    PerSecond(u32),
    /// As fast as the broker takes them.
    Max,
}

fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "max" => Ok(Rate::Max),
        number => match number.parse() {
            Ok(number) if number > 0 => Ok(Rate::PerSecond(number)),
            _ => Err("neither a number above zero nor max".to_owned()),
        },
    }
}

/// What will be sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// How many; without end if nothing.
    pub events: Option<u64>,
    /// How fast.
    pub rate: Rate,
    /// What they look like.
    pub habits: Habits,
    /// When the first arrives.
    start: Timestamp,
    /// Event time from one to the next.
    step: f64,
    /// Whether event time stays behind the clock.
    live: bool,
}

impl Plan {
    /// Puts the pipeline and what was typed together. `now` is the clock's time.
    pub fn new(pipeline: &Pipeline, args: PlanArgs, now: Timestamp) -> Result<Self, String> {
        let PlanArgs { events, rate, seed, speed, max_delay, too_late, malformed, future, duplicated, start_time } =
            args;
        let Producer { events_per_second, seed: default_seed, speed: default_speed, faults, .. } =
            pipeline.producer.clone().unwrap_or_default();
        let rate = rate.unwrap_or(Rate::PerSecond(events_per_second.unsigned_abs()));
        let speed = speed.unwrap_or(default_speed.unsigned_abs());
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
            too_late: too_late.unwrap_or(faults.too_late.unsigned_abs()),
            malformed: malformed.unwrap_or(faults.malformed.unsigned_abs()),
            future: future.unwrap_or(faults.future.unsigned_abs()),
            duplicated: duplicated.unwrap_or(faults.duplicated.unsigned_abs()),
        };
        if faults.too_late + faults.malformed + faults.future + faults.duplicated > 100 {
            return Err("faults add up to more than 100 percent".to_owned());
        }
        let too_late = Duration::from(pipeline.rules.window) + Duration::from(pipeline.rules.delay);
        Ok(Self {
            events,
            rate,
            habits: Habits {
                seed: seed.unwrap_or(default_seed.unsigned_abs()),
                max_delay: max_delay.unwrap_or(MAX_DELAY).into(),
                too_late: too_late.into(),
                faults,
            },
            start,
            step: f64::from(speed) / per_second,
            live,
        })
    }

    /// When purchase `n` arrives. `now` is the clock's time, which live purchases never overtake.
    pub fn arrival(&self, n: u64, now: impl FnOnce() -> Timestamp) -> Timestamp {
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
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let plan =
            |args| Plan::new(&pipeline("producer: {seed: 7, eventsPerSecond: 5, faults: {future: 3}}"), args, NOW);
        let from_file = plan(PlanArgs::default()).unwrap();
        assert_eq!((from_file.habits.seed, from_file.rate, from_file.habits.faults.future), (7, Rate::PerSecond(5), 3));
        let args = PlanArgs { seed: Some(8), rate: Some(Rate::Max), future: Some(4), ..PlanArgs::default() };
        let typed = plan(args).unwrap();
        assert_eq!((typed.habits.seed, typed.rate, typed.habits.faults.future), (8, Rate::Max, 4));
        let default = Plan::new(&pipeline(""), PlanArgs::default(), NOW).unwrap();
        assert_eq!((default.habits.seed, default.rate), (42, Rate::PerSecond(100)));
        assert!(plan(PlanArgs { malformed: Some(98), ..PlanArgs::default() }).is_err());
    }

    #[test]
    fn live_event_time_runs_faster_than_the_clock_and_never_ahead_of_it() {
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
    fn a_counted_run_does_not_depend_on_the_clock() {
        let args = PlanArgs { events: Some(10), ..PlanArgs::default() };
        let plan = |now| Plan::new(&pipeline(""), args, now).unwrap();
        assert_eq!(plan(NOW), plan(NOW.plus(Span::from_secs(1))));
        assert_eq!(plan(NOW).arrival(100, || NOW), EPOCH_OF_PURCHASES.plus(Span::from_secs(1)));
    }
}
