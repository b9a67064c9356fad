//! Draws the screen: a pure function of the model, the size of the terminal, and whether colours are allowed.
//!
//! Texts of records, servers and other processes are escaped. From 60 columns and 15 lines, everything has its place; a smaller
//! terminal shows the beginning.

mod curves;
mod frames;
mod header;
mod overview;
mod pages;
mod words;

use frames::lines;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::{Line, Span};

use super::colours::Colours;
use super::model::{Model, Page};

/// Lines of the fates at most.
const FATES: usize = 3;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, colours: Colours) {
    let area = frame.area();
    let width = usize::from(area.width);
    let head = header::lines(model, colours, width, usize::from(area.height));
    let fates: Vec<String> = words::fates(model, width.saturating_sub(1)).into_iter().take(FATES).collect();
    let is_low = area.height < 20;
    let heights = [
        Constraint::Length(head.len() as u16),
        Constraint::Length(if is_low { 1 } else { 3 }),
        Constraint::Min(0),
        Constraint::Length(fates.len() as u16),
        Constraint::Length(1),
    ];
    let [top, curve, body, fate, key] = Layout::vertical(heights).areas(area);
    lines(frame, top, head);
    curves::draw(frame, curve, model, colours);
    match model.page {
        Page::Overview => overview::draw(frame, body, model, colours),
        Page::Partitions => pages::partitions(frame, body, model, colours),
        Page::Letters => pages::letters(frame, body, model, colours),
        Page::WhatIf => pages::what_if(frame, body, model, colours),
        Page::Log => pages::log(frame, body, model, colours),
    }
    lines(frame, fate, fates.into_iter().map(|line| Line::raw(format!(" {line}"))).collect());
    lines(frame, key, vec![keys(model, colours)]);
}

fn keys(model: &Model, colours: Colours) -> Line<'static> {
    if model.is_stopping {
        return Line::styled(" stopping: the last records are committed; Ctrl-C ends at once", colours.next());
    }
    let keys = [
        ("q", "quit", None),
        ("p", "partitions", Some(Page::Partitions)),
        ("d", "dead letters", Some(Page::Letters)),
        ("w", "what if", Some(Page::WhatIf)),
        ("l", "log", Some(Page::Log)),
    ];
    let mut spans = Vec::new();
    for (key, name, page) in keys {
        let style = if page == Some(model.page) { colours.next() } else { colours.faint() };
        spans.extend([Span::styled(format!(" {key} "), colours.strong()), Span::styled(format!("{name} "), style)]);
    }
    spans.extend(model.web_page.map(|address| Span::styled(format!(" http://{address}"), colours.faint())));
    Line::from(spans)
}

#[cfg(test)]
pub(super) mod tests;
