//! HTML and SVG of the page. Every text is escaped by the templates.

mod fates;
mod frame;
mod groups;
mod lateness;
mod letters;
mod partitions;
mod problems;
mod summary;
mod svg;
mod windows;

#[cfg(test)]
mod tests;

use maud::Markup;

pub(crate) use frame::{Frame, whole};

use crate::state::State;

/// A part of the page that is replaced when it has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// The id of the element that contains it.
    pub(crate) id: &'static str,
    /// The content of this element.
    pub(crate) html: String,
}

/// All parts, in the order of the page.
pub(crate) fn parts(state: &State<'_>) -> Vec<Part> {
    let part = |id, html: Markup| Part { id, html: html.into_string() };
    vec![
        part("status", summary::status(state)),
        part("taken", summary::taken(state)),
        part("problems", problems::problems(state)),
        part("tiles", summary::tiles(state)),
        part("windows", windows::chart(state)),
        part("windows-table", windows::table(state)),
        part("partitions", partitions::partitions(state)),
        part("fates", fates::fates(state)),
        part("lateness", lateness::lateness(state)),
        part("lateness-table", lateness::table(state)),
        part("letters", letters::letters(state)),
        part("groups", groups::groups(state)),
        part("proof", summary::proof(state)),
    ]
}
