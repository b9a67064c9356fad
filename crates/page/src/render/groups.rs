//! The groups with the largest running totals.

use maud::{Markup, html};

use super::svg::percent;
use crate::format::{count, money, share};
use crate::state::State;

pub(super) fn groups(state: &State<'_>) -> Markup {
    let Some(groups) = state.facts.and_then(|facts| facts.detail.groups.as_ref()) else { return html! {} };
    let largest = groups.largest.first().map_or(0.0, |group| group.share).max(f64::MIN_POSITIVE);
    html! {
        @if groups.largest.is_empty() {
            p.empty { "No group has events yet." }
        } @else {
            table.groups {
                thead { tr { th scope="col" { (state.pipeline.layout.dimensions().join(", ")) } th.number scope="col" { "Running total" } th.number.narrow scope="col" { "Share" } } }
                tbody {
                    @for group in &groups.largest {
                        tr.group {
                            th scope="row" {
                                @for (at, value) in group.dimensions.iter().enumerate() { @if at > 0 { span.separator { " · " } } bdi { (value) } }
                                svg.share width="100%" height="4" aria-hidden="true" { rect x="0" y="0" height="4" rx="2" width=(percent((group.share / largest).clamp(0.0, 1.0))) {} }
                            }
                            td.number { (money(&group.amount)) }
                            td.number.narrow { (share(group.share, 1.0)) }
                        }
                    }
                }
            }
            @if groups.number > groups.largest.len() as i64 { p.small { "The largest " (groups.largest.len()) " of " (count(groups.number)) " groups." } }
        }
    }
}
