//! The partitions against the watermark: which one holds it, and why.

use maud::{Markup, html};
use retail_engine::Timestamp;

use super::svg::percent;
use crate::format::{between, clock, count, day, span, time};
use crate::state::{Contribution, Partition, State};

/// Number of partitions that are shown. Of more, those with the earliest events and the most records are.
const SHOWN: usize = 64;

pub(super) fn partitions(state: &State<'_>) -> Markup {
    let mut partitions = state.partitions();
    if partitions.is_empty() {
        return html! { p.empty { "No partition is known yet." } };
    }
    let delay = state.pipeline.rules.delay;
    let watermarks: Vec<Timestamp> = partitions.iter().filter_map(|partition| partition.watermark(delay)).collect();
    let held = state.snapshot().and_then(|snapshot| snapshot.progress.watermark);
    let scale = Scale::new(&watermarks, held);
    let hidden = partitions.len().saturating_sub(SHOWN);
    if hidden > 0 {
        partitions.sort_by_key(|partition| {
            (!partition.holds_watermark, partition.newest_event, std::cmp::Reverse(partition.lag))
        });
        partitions.truncate(SHOWN);
    }
    html! {
        (reason(state, &partitions))
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

fn row(partition: &Partition<'_>, state: &State<'_>, scale: Option<&Scale>) -> Markup {
    let delay = state.pipeline.rules.delay;
    let own = partition.watermark(delay);
    let watermark = state.snapshot().and_then(|snapshot| snapshot.progress.watermark);
    let ahead = own.zip(watermark).map(|(own, watermark)| between(watermark, own));
    // Circles stay within the track.
    let inner = |part: f64| percent(0.02 + 0.96 * part);
    html! {
        tr data-partition=(partition.number) {
            th scope="row" { (partition.number) }
            td { span class={ "state " (partition.contribution.name()) } { (partition.contribution.name()) } @if partition.holds_watermark { " " span.holds { "holds" } } }
            td.track {
                @if let (Some(own), Some(scale)) = (own, scale) {
                    svg width="100%" height="16" aria-hidden="true" {
                        line.rail x1="2%" x2="98%" y1="8" y2="8" {}
                        @if let Some(watermark) = watermark { line.watermark x1=(inner(scale.at(watermark))) x2=(inner(scale.at(watermark))) y1="0" y2="16" {} }
                        circle class={ (partition.contribution.name()) @if partition.holds_watermark { " holder" } } cx=(inner(scale.at(own))) cy="8" r="4.5" {}
                    }
                }
                @match (partition.holds_watermark, ahead) {
                    (true, _) => span.small { "holds it" },
                    (false, Some(ahead)) if !ahead.is_zero() => span.small { "+" (span(ahead)) },
                    _ => span.small { "–" },
                }
            }
            td.number.narrow { @if let Some(newest) = partition.newest_event { (clock(newest)) small { " " (day(newest)) } } @else { "none" } }
            td.number title=[partition.owner.map(|owner| format!("owner {owner}, last commit {}", partition.last_commit.map_or_else(|| "never".to_owned(), time)))] {
                @if let Some(lag) = partition.lag { (count(lag)) } @else { "unknown" }
            }
        }
    }
}

/// Who holds the watermark, and why.
fn reason(state: &State<'_>, partitions: &[Partition<'_>]) -> Markup {
    let holder = partitions.iter().find(|partition| partition.holds_watermark);
    let recorded = state.facts.and_then(|facts| facts.hold.as_ref());
    let owner = holder.and_then(|holder| holder.owner);
    html! {
        p #holder {
            @match holder {
                None => { "All partitions are idle: none holds the watermark." },
                Some(holder) => {
                    strong { "Partition " (holder.number) " holds the watermark: " }
                    @match (holder.contribution, holder.newest_event) {
                        (Contribution::Active, Some(newest)) => { "its newest event, " (clock(newest)) ", is the earliest of the partitions that are not idle." },
                        _ => { "it has shown no event yet, and is not idle." },
                    }
                }
            }
            @if let Some(hold) = recorded {
                " Windows stay open since " (time(hold.since)) ": " (hold.detail) "."
            }
            @if let Some(owner) = owner { " " span.small { "Worker " bdi { (owner) } "." } }
        }
    }
}
