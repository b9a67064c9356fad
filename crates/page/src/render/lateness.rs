//! A histogram of the stored late events by the additional delay that would have counted them. The slider of the page chooses one.

use std::time::Duration;

use maud::{Markup, html};
use retail_api::duration;

use super::svg::percent;
use crate::format::{count, money, share};
use crate::lateness::{self, Choice};
use crate::parts::MAX_LETTERS;
use crate::state::State;

const HEIGHT: f64 = 90.0;

pub(super) fn lateness(state: &State<'_>) -> Markup {
    let Some(late) = state.facts.and_then(|facts| facts.detail.late.as_ref()) else { return html! {} };
    let choices = lateness::choices(late);
    let stored = choices[0].lost;
    if stored == 0 {
        return html! { p.empty { "No late event is stored." } };
    }
    let beyond = choices.last().map_or(0, |choice| choice.lost);
    // The first choice is the present delay. The last bar has the events that no choice would count.
    let gains = choices.iter().skip(1).map(|choice| choice.gained);
    let bars: Vec<i64> = gains.chain((beyond > 0).then_some(beyond)).collect();
    let largest = bars.iter().copied().max().unwrap_or(1).max(1) as f64;
    let slots = bars.len() as f64;
    let every = bars.len().div_ceil(5).max(1);
    html! {
        p { "By how much longer the delay should have been, to count " (count(stored)) " late events"
            @if state.has_more_letters() { " among the newest " (count(MAX_LETTERS)) " dead letters" } ":" }
        svg.late width="100%" height=(HEIGHT + 20.0) aria-hidden="true" {
            line.base x1="0" x2="100%" y1=(HEIGHT) y2=(HEIGHT) {}
            @for (at, number) in bars.iter().enumerate() {
                @let tall = if *number > 0 { (*number as f64 / largest * (HEIGHT - 6.0)).max(2.0) } else { 0.0 };
                rect.bar x=(percent((at as f64 + 0.08) / slots)) width=(percent(0.84 / slots)) y=(format!("{:.1}", HEIGHT - tall)) height=(format!("{tall:.1}")) rx="2" {}
                @if at % every == 0 {
                    text.label x=(percent((at as f64 + 0.5) / slots)) y=(HEIGHT + 14.0) text-anchor="middle" {
                        @match choices.get(at + 1) { Some(choice) => { "+" (duration::write(choice.added)) }, None => { "more" } }
                    }
                }
            }
        }
    }
}

/// The events that each delay would have lost. The slider reads the rows.
pub(super) fn table(state: &State<'_>) -> Markup {
    let Some(late) = state.facts.and_then(|facts| facts.detail.late.as_ref()) else { return html! {} };
    let choices = lateness::choices(late);
    let stored = choices[0].lost;
    let counts = state.counts();
    let delay = |choice: &Choice| duration::write(Duration::from(state.pipeline.rules.delay) + choice.added);
    html! {
        table {
            thead { tr { th scope="col" { "Delay" } th.number scope="col" { "Lost" } th.number scope="col" { "Amount" } th.number scope="col" { "Share" } } }
            tbody {
                @for choice in &choices {
                    // Late events that are not stored any more stay lost.
                    @let lost = counts.late - (stored - choice.lost);
                    @let share = share(lost.max(0) as f64, (counts.applied + counts.late) as f64);
                    tr.choice data-delay=(delay(choice)) data-counted=(count(stored - choice.lost)) data-lost=(count(choice.lost))
                        data-amount=(money(&format!("{:.2}", choice.lost_amount))) data-share=(share) {
                        th scope="row" { (delay(choice)) }
                        td.number { (count(choice.lost)) }
                        td.number { (money(&format!("{:.2}", choice.lost_amount))) }
                        td.number { (share) }
                    }
                }
            }
        }
    }
}
