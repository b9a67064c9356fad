//! The dead letters by reason.

use maud::{Markup, html};

use crate::format::{ago, between, count};
use crate::parts::MAX_LETTERS;
use crate::state::State;

pub(super) fn letters(state: &State<'_>) -> Markup {
    let Some(facts) = state.facts else { return html! {} };
    if state.reasons().is_empty() {
        return html! { p.empty { "No record is stored as a dead letter." } };
    }
    html! {
        table.letters {
            thead { tr { th scope="col" { "Reason" } th.number scope="col" { "Stored" } th.number scope="col" { "Newest" } } }
            tbody {
                @for reason in state.reasons() {
                    tr data-reason=(reason.reason) {
                        th scope="row" { (reason.reason) }
                        td.number { (count(reason.number)) }
                        td.number { (ago(between(reason.newest, facts.taken_at))) }
                    }
                    @if let Some(example) = &reason.example { tr.example { td colspan="3" { "For example, " bdi { (example) } } } }
                    @if let Some(payload) = &reason.payload { tr.example { td colspan="3" { code { bdi { (String::from_utf8_lossy(payload)) } } } } }
                }
            }
        }
        @if state.has_more_letters() { p.small { "Of the newest " (count(MAX_LETTERS)) " dead letters." } }
        @if !state.payloads { p.small { "The table dead_letter has the payloads; --ui-payloads shows the newest of each reason here." } }
    }
}
