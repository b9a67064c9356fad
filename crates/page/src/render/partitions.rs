//! The partitions against the watermark: which one holds it, and why.

use maud::{Markup, html};
use retail_engine::Timestamp;
use retail_observe::PartitionStatus;

use super::svg::percent;
use crate::format::{between, clock, count, day, span, time};
use crate::state::State;

/// Number of partitions that are shown. Of more, those with the earliest events and the most records are.
const SHOWN: usize = 64;

pub(super) fn partitions(state: &State<'_>) -> Markup {
    let mut partitions: Vec<&PartitionStatus> = state.partitions().iter().collect();
    if partitions.is_empty() {
        return html! { p.empty { "No partition is known yet." } };
    }
    let delay = state.pipeline.rules.delay;
    let own = |partition: &&PartitionStatus| partition.newest_event.map(|newest| newest.minus(delay));
    let watermarks: Vec<Timestamp> = partitions.iter().filter_map(own).collect();
    let held = state.status.and_then(|status| status.watermark);
    let scale = Scale::new(&watermarks, held);
    let hidden = partitions.len().saturating_sub(SHOWN);
    if hidden > 0 {
        partitions.sort_by_key(|partition| {
            (!partition.holds_watermark, partition.newest_event, std::cmp::Reverse(partition.lag))
        });
        partitions.truncate(SHOWN);
    }
    html! {
        (reason(state))
        div.scroll.tall tabindex="0" role="region" aria-label="Table of partitions" {
            table {
                thead { tr {
                    th scope="col" { abbr title="Partition" { "P" } }
                    th scope="col" { "State" }
                    th.track scope="col" { "Ahead of the watermark" }
                    th.number.narrow scope="col" { "Newest event" }
                    th.number scope="col" { "Not processed" }
                } }
                tbody { @for partition in &partitions { (row(partition, state, scale.as_ref())) } }
            }
        }
        @if hidden > 0 { p.small { (hidden) " more partitions are not shown." } }
    }
}

/// The range of the partitions' own watermarks.
struct Scale {
    first: Timestamp,
    micros: f64,
}

impl Scale {
    fn new(watermarks: &[Timestamp], held: Option<Timestamp>) -> Option<Self> {
        let all = || watermarks.iter().copied().chain(held);
        let (first, last) = (all().min()?, all().max()?);
        Some(Self { first, micros: last.since(first).as_micros() as f64 })
    }

    fn at(&self, time: Timestamp) -> f64 {
        if self.micros > 0.0 { (time.since(self.first).as_micros() as f64 / self.micros).min(1.0) } else { 0.0 }
    }
}

fn row(partition: &PartitionStatus, state: &State<'_>, scale: Option<&Scale>) -> Markup {
    let own = partition.newest_event.map(|newest| newest.minus(state.pipeline.rules.delay));
    let watermark = state.status.and_then(|status| status.watermark);
    let kind = partition.state.as_str();
    let ahead = own.zip(watermark).map(|(own, watermark)| between(watermark, own));
    // Circles stay within the track.
    let inner = |part: f64| percent(0.02 + 0.96 * part);
    html! {
        tr data-partition=(partition.partition) {
            th scope="row" { (partition.partition) }
            td { span class={ "state " (kind) } { (kind) } @if partition.holds_watermark { " " span.holds { "holds" } } }
            td.track {
                @if let (Some(own), Some(scale)) = (own, scale) {
                    svg width="100%" height="16" aria-hidden="true" {
                        line.rail x1="2%" x2="98%" y1="8" y2="8" {}
                        @if let Some(watermark) = watermark { line.watermark x1=(inner(scale.at(watermark))) x2=(inner(scale.at(watermark))) y1="0" y2="16" {} }
                        circle class={ (kind) @if partition.holds_watermark { " holder" } } cx=(inner(scale.at(own))) cy="8" r="4.5" {}
                    }
                }
                @match (partition.holds_watermark, ahead) {
                    (true, _) => span.small { "holds it" },
                    (false, Some(ahead)) if !ahead.is_zero() => span.small { "+" (span(ahead)) },
                    _ => span.small { "–" },
                }
            }
            td.number.narrow { @if let Some(newest) = partition.newest_event { (clock(newest)) small { " " (day(newest)) } } @else { "none" } }
            td.number title=[partition.owner.as_ref().map(|owner| format!("owner {owner}, last commit {}", partition.last_commit.map_or_else(|| "never".to_owned(), time)))] {
                @if let Some(lag) = partition.lag { (count(lag)) } @else { "unknown" }
            }
        }
    }
}

/// The partition that holds the watermark: why, since when, and until what.
fn reason(state: &State<'_>) -> Markup {
    let Some(hold) = state.status.and_then(|status| status.hold.as_ref()) else {
        return html! { p #holder { "All partitions are idle: none holds the watermark." } };
    };
    let owner = state.partitions().iter().find(|partition| partition.partition == hold.partition);
    html! {
        p #holder {
            strong { "Partition " (hold.partition) " holds the watermark" }
            @if let Some(since) = hold.since { " since " (time(since)) }
            ": " (hold.why) ". The watermark moves when " (hold.until) "."
            @if let Some(owner) = owner.and_then(|partition| partition.owner.as_ref()) { " " span.small { "Worker " bdi { (owner) } "." } }
        }
    }
}
