//! The summary: ready or not, watermark, closed windows, rates, unprocessed records, shares, and the last proof.

use std::time::Duration;

use maud::{Markup, html};
use retail_api::duration;

use super::svg::percent;
use crate::format::{between, clock, count, day, share, span, time};
use crate::problems;
use crate::state::State;

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
    let at = state.snapshot().map(|snapshot| time(snapshot.taken_at));
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
    let progress = state.snapshot().map(|snapshot| &snapshot.progress);
    let watermark = progress.and_then(|progress| progress.watermark);
    let delay = duration::write(state.pipeline.rules.delay.into());
    let held_by = state.snapshot().and_then(|snapshot| snapshot.held_by);
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
    let until = state.snapshot().and_then(|snapshot| snapshot.progress.complete_through);
    let value = html! { @if let Some(at) = until { (clock(at)) small { " " (day(at)) } } @else { "nothing yet" } };
    let next = state.snapshot().and_then(|snapshot| snapshot.next_close);
    let detail = html! {
        @match (next, state.next_close_in()) {
            (None, _) => { "No open window has rows" },
            (Some(end), None) => { "The next window closes when the watermark reaches " (clock(end)) },
            (Some(end), Some(wait)) => { "The window until " (clock(end)) " closes in about " (span(wait)) },
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
        @match (state.logs, lag, wait) {
            (Some(Err(_)), ..) => { "Kafka does not answer" },
            (None, ..) => { "Waiting for Kafka" },
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
    let Some(snapshot) = state.snapshot() else { return html! {} };
    html! {
        @if let Some(proof) = snapshot.proof {
            p { "Proof " (proof.number) " of " time { (time(proof.recorded_at)) } ", "
                (span(between(proof.recorded_at, snapshot.taken_at))) " ago: every row, fate and dead letter was equal to a second computation from the topic." }
        } @else {
            p { "No proof is recorded yet. " code { "retail verify --record" } " computes every row, fate and dead letter from the topic once more, compares them, and records the result." }
        }
    }
}
