//! The fates of all offsets, which add up.

use maud::{Markup, html};
use retail_engine::Counts;

use super::svg::percent;
use crate::format::{count, share};
use crate::state::State;

/// The fates in the order of the page, with their meaning. Those that only some pipelines have are shown if they occur.
fn shown(counts: Counts) -> Vec<(&'static str, i64, &'static str)> {
    let Counts { applied, late, invalid, future, filtered, duplicate, gaps } = counts;
    let all = [
        ("applied", applied, "added to a window", true),
        ("late", late, "the window was closed", true),
        ("invalid", invalid, "not a purchase", true),
        ("future", future, "too far ahead of the record", true),
        ("filtered", filtered, "not selected", false),
        ("duplicate", duplicate, "sent before", false),
        ("gaps", gaps, "offsets without a record", false),
    ];
    all.into_iter().filter(|(_, number, _, always)| *always || *number > 0).map(|(a, b, c, _)| (a, b, c)).collect()
}

pub(super) fn fates(state: &State<'_>) -> Markup {
    let Some(status) = state.status else { return html! {} };
    let (counts, consumed, balanced) = (state.counts(), status.offsets, state.is_balanced());
    let fates = shown(counts);
    let all = consumed.max(1) as f64;
    let starts = fates.iter().scan(0.0, |sum, (_, number, _)| {
        let start = *sum;
        *sum += *number as f64 / all;
        Some(start)
    });
    html! {
        svg.stack width="100%" height="20" aria-hidden="true" {
            @for ((name, number, _), start) in fates.iter().zip(starts) {
                rect class=(name) x=(percent(start)) width=(percent(*number as f64 / all)) y="0" height="20" {}
            }
        }
        table.fates {
            thead.hidden { tr { th scope="col" { "Fate" } th scope="col" { "Offsets" } th scope="col" { "Share" } } }
            tbody {
                @for (name, number, meaning) in &fates {
                    tr data-fate=(name) {
                        th scope="row" { span class={ "key " (name) } {} (name) " " small { (meaning) } }
                        td.number { (count(*number)) }
                        td.number { (share(*number as f64, all)) }
                    }
                }
            }
            tfoot {
                tr data-fate="consumed" {
                    th scope="row" { "offsets" " " small {
                        @if balanced { span.yes { "✓" } " the fates add up" } @else { span.no { "≠" } " the fates do not add up" }
                    } }
                    td.number { (count(consumed)) }
                    td.number { (share(counts.total() as f64, all)) }
                }
            }
        }
    }
}
