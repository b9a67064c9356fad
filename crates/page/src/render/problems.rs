//! Problems with their fixes.

use maud::{Markup, html};

use crate::problems;
use crate::state::State;

pub(super) fn problems(state: &State<'_>) -> Markup {
    let problems = problems::problems(state);
    html! {
        @if !problems.is_empty() {
            ul.problems aria-label="Problems" {
                @for problem in problems {
                    li { (problem) "." }
                }
            }
        }
    }
}
