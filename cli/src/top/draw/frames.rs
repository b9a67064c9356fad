//! The elements of all parts of the screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

use super::super::colours::Colours;

/// One line each, cut at the right.
pub(super) fn lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

/// A frame with a title; returns the area in it.
pub(super) fn framed(frame: &mut Frame<'_>, area: Rect, title: String, colours: Colours) -> Rect {
    let block = Block::bordered().border_style(colours.faint()).title(Span::styled(title, colours.strong()));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}
