//! The summary: ready or not, watermark, closed windows, rates, unprocessed records, shares, and the last proof.

use std::time::Duration;

use maud::{Markup, html};
use retail_api::duration;

use super::svg::percent;
use crate::format::{between, clock, count, day, share, span, time};
use crate::problems;
use crate::state::{Kafka, State};

/// Height of a sparkline.
const SPARK_HEIGHT: f64 = 28.0;

/// Ready, or the number of problems.
pub(super) fn status(state: &State<'_>) -> Markup {
    let problems = problems::problems(state).len();
    html! {
        @match (state.facts.is_some() || state.error.is_some(), problems) {
            (false, _) => span.pill.waiting { "waiting for Postgres" },
            (true, 0) => span.pill.ready { "ready" },
            (true, 1) => span.pill.unready { "1 problem" },
            (true, number) => span.pill.unready { (number) " problems" },
        }
    }
}

/// The time of the snapshot.
pub(super) fn taken(state: &State<'_>) -> Markup {
    let at = state.status.map(|status| time(status.taken_at));
    html! { @if let Some(at) = at { (at) } @else { "no snapshot yet" } }
}

pub(super) fn tiles(state: &State<'_>) -> Markup {
    html! {
        (watermark(state))
        (closed(state))
        (rate(state))
        (lag(state))
        (shares(state))
    }
}

fn tile(name: &str, id: &str, value: &Markup, detail: &Markup) -> Markup {
    html! {
        div.tile {
            h2 { (name) }
            p.value #(id) { (value) }
            p.detail { (detail) }
        }
    }
}

fn watermark(state: &State<'_>) -> Markup {
    let watermark = state.status.and_then(|status| status.watermark);
    let delay = duration::write(state.pipeline.rules.delay.into());
    let held_by = state.status.and_then(|status| status.hold.as_ref()).map(|hold| hold.partition);
    let value = html! { @if let Some(at) = watermark { (clock(at)) small { " " (day(at)) } } @else { "none yet" } };
    let detail = html! {
        @match (watermark, held_by) {
            (None, Some(partition)) => { "Partition " (partition) " has shown no event" },
            (None, None) => { "Waiting for the first event" },
            (Some(_), Some(partition)) => { (delay) " behind the newest event of partition " (partition) },
            (Some(_), None) => { "All partitions are idle" },
        }
    };
    tile("Watermark", "watermark", &value, &detail)
}

fn closed(state: &State<'_>) -> Markup {
    let until = state.status.and_then(|status| status.closed_until);
    let value = html! { @if let Some(at) = until { (clock(at)) small { " " (day(at)) } } @else { "nothing yet" } };
    let next = state.status.and_then(|status| status.next_close);
    let detail = html! {
        @match (next, state.next_close_in()) {
            (None, _) => { "No open window has rows" },
            (Some(end), None) => { "The next window closes when the watermark reaches " (clock(end)) },
            (Some(end), Some(wait)) => { "The window until " (clock(end)) " closes in about " (span(Duration::from_secs(wait.as_secs() + 1))) },
        }
    };
    tile("Final up to", "closed-until", &value, &detail)
}

fn rate(state: &State<'_>) -> Markup {
    let rate = state.history.processed_per_second();
    let value =
        html! { @if let Some(rate) = rate { (count(rate.round() as i64)) small { " /s" } } @else { "measuring" } };
    let rates = state.history.sparkline();
    let largest = rates.iter().copied().fold(1.0, f64::max);
    let slots = rates.len().max(20) as f64;
    let first = slots - rates.len() as f64;
    let detail = html! {
        svg.spark width="100%" height=(SPARK_HEIGHT) aria-hidden="true" {
            @for (at, rate) in rates.iter().enumerate() {
                @let height = (rate.max(0.0) / largest * SPARK_HEIGHT).max(1.0);
                rect x=(percent((first + at as f64) / slots)) width=(percent(0.8 / slots)) y=(format!("{:.1}", SPARK_HEIGHT - height)) height=(format!("{height:.1}")) {}
            }
        }
    };
    tile("Processed", "rate", &value, &detail)
}

fn lag(state: &State<'_>) -> Markup {
    let lag = state.lag();
    let value = html! { @if let Some(lag) = lag { (count(lag)) } @else { "unknown" } };
    let wait = lag.zip(state.history.processed_per_second()).filter(|(lag, rate)| *lag > 0 && *rate > 0.0);
    let detail = html! {
        @match (state.kafka, lag, wait) {
            (Kafka::Fails, ..) => { "Kafka does not answer" },
            (Kafka::Asked, ..) => { "Waiting for Kafka" },
            (_, Some(0), _) => { "All records are processed" },
            (.., Some((lag, rate))) => { "About " (span(Duration::from_secs_f64((lag as f64 / rate).max(1.0)))) " of work" },
            _ => { "Records in the topic" },
        }
    };
    tile("Not processed", "lag", &value, &detail)
}

fn shares(state: &State<'_>) -> Markup {
    let counts = state.counts();
    let records = (counts.total() - counts.gaps) as f64;
    let value = html! { (share(counts.late as f64, records)) };
    let detail =
        html! { (share(counts.invalid as f64, records)) " invalid, " (share(counts.future as f64, records)) " future" };
    tile("Late", "late-share", &value, &detail)
}

/// The last proof of `retail verify --record`.
pub(super) fn proof(state: &State<'_>) -> Markup {
    let Some(status) = state.status else { return html! {} };
    html! {
        @if let Some(proof) = &status.proof {
            p { "Proof " (proof.number) " of " time { (time(proof.recorded_at)) } ", "
                (span(between(proof.recorded_at, status.taken_at))) " ago: every row, fate and dead letter was equal to a second computation from the topic." }
        } @else {
            p { "No proof is recorded yet. " code { "retail verify --record" } " computes every row, fate and dead letter from the topic once more, compares them, and records the result." }
        }
    }
}
