//! The speeds of sending and processing, each with the curve of the last minutes.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Sparkline;

use super::super::colours::Colours;
use super::super::model::Model;
use crate::text::{count, rate};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let [left, right] = Layout::horizontal([Constraint::Percentage(40), Constraint::Percentage(60)]).areas(area);
    let read = if model.local.is_some() { "read" } else { "processed" };
    let lag = match model.status.as_ref().map(|status| status.lag) {
        Some(Some(lag)) => format!("lag {}", count(lag)),
        Some(None) => "lag unknown".to_owned(),
        None => String::new(),
    };
    let sent = [("sent", rate(model.speeds.sent)), ("", String::new())];
    let read = [(read, rate(model.speeds.read)), ("  ", lag)];
    curve(frame, left, &sent, &model.sent_curve, colours.good(), colours);
    curve(frame, right, &read, &model.read_curve, colours.open(), colours);
}

/// The title with the curve below it, or beside it on one line.
fn curve(
    frame: &mut Frame<'_>,
    area: Rect,
    [(name, speed), (gap, more)]: &[(&'static str, String); 2],
    values: &VecDeque<u64>,
    style: Style,
    colours: Colours,
) {
    let title = Line::from(vec![
        Span::styled(format!(" {name} "), colours.faint()),
        Span::styled(speed.clone(), colours.strong()),
        Span::raw(format!("{gap}{more}")),
    ]);
    let width = title.width() as u16 + 1;
    let [title_area, curve_area] = if area.height < 2 {
        Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(area)
    } else {
        Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area)
    };
    frame.render_widget(title, title_area);
    // The newest values, at the right end, with a column of space.
    let columns = usize::from(curve_area.width.saturating_sub(2));
    let shown: Vec<u64> = values.iter().skip(values.len().saturating_sub(columns)).copied().collect();
    let offset = (columns - shown.len()) as u16 + 1;
    let curve_area = Rect {
        x: curve_area.x + offset.min(curve_area.width),
        width: curve_area.width.saturating_sub(offset),
        ..curve_area
    };
    frame.render_widget(Sparkline::default().data(shown).style(style), curve_area);
}
