//! The main part: windows as bars, the largest groups, and the partitions.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use retail_connection::text::amount;
use retail_observe::{PartitionStatus, Status};
use retail_store::snapshot::{GroupSums, WindowSums};

use super::super::colours::Colours;
use super::super::model::Model;
use super::frames::{framed, lines};
use super::words::{clock, columns, cut, span};
use crate::text::{count, number_of};

/// Columns from which groups and partitions stand beside the windows.
const WIDE: u16 = 72;

/// Columns of a bar at most: longer ones show nothing more.
const BAR: usize = 60;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    if area.width < WIDE {
        windows(frame, area, model, colours);
        return;
    }
    let [left, right] = Layout::horizontal([Constraint::Percentage(56), Constraint::Percentage(44)]).areas(area);
    windows(frame, left, model, colours);
    let partitions = model.status.as_ref().map_or(0, |status| status.partitions.len());
    // Partitions take the lines that they need, at most half.
    let wanted = (partitions as u16 + 2).min(right.height / 2).max(3);
    let [upper, lower] = Layout::vertical([Constraint::Min(0), Constraint::Length(wanted)]).areas(right);
    groups(frame, upper, model, colours);
    self::partitions(frame, lower, model, colours);
}

fn windows(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let Some(status) = &model.status else {
        framed(frame, area, " windows ".to_owned(), colours);
        return;
    };
    let final_until = status
        .closed_until
        .map_or_else(|| "none final".to_owned(), |time| format!("final up to {}", clock(time, false)));
    let inner =
        framed(frame, area, format!(" {}, {final_until} ", number_of(status.open_windows, "open window")), colours);
    let rows = usize::from(inner.height);
    let shown = around_the_watermark(&model.windows, rows);
    let most = shown.iter().map(|window| window.events).max().unwrap_or_default();
    let state = |window: &WindowSums| window_state(window, model, status);
    let state_width = shown.iter().map(|window| state(window).chars().count()).max().unwrap_or_default();
    let number_width = shown.iter().map(|window| count(window.events).len()).max().unwrap_or_default();
    let with_seconds = model.pipeline.rules.window.as_micros() < 60_000_000;
    let clock_width = if with_seconds { 8 } else { 5 };
    // A blank before and between the parts.
    let used = clock_width + number_width + state_width + 4;
    let bar_width = usize::from(inner.width).saturating_sub(used).min(BAR);
    let next = shown.iter().find(|window| !window.is_final).map(|window| window.start);
    let bars = shown.iter().map(|window| {
        let style = match window.is_final {
            true => colours.good(),
            false if next == Some(window.start) => colours.next(),
            false => colours.open(),
        };
        Line::from(vec![
            Span::raw(format!(" {} ", clock(window.start, with_seconds))),
            Span::styled(bar(window.events, most, bar_width), style),
            Span::raw(format!(" {:>number_width$} ", count(window.events))),
            Span::styled(state(window), style),
        ])
    });
    lines(frame, inner, bars.collect());
}

/// So many windows, a third of them final: the others are the oldest open ones.
fn around_the_watermark(windows: &[WindowSums], rows: usize) -> &[WindowSums] {
    let closed = windows.iter().take_while(|window| window.is_final).count();
    let open = windows.len() - closed;
    let first = closed.saturating_sub((rows / 3).max(rows.saturating_sub(open)));
    &windows[first..windows.len().min(first + rows)]
}

fn window_state(window: &WindowSums, model: &Model, status: &Status) -> String {
    if window.is_final {
        return "final".to_owned();
    }
    let end = window.end;
    match model.time_until(end) {
        _ if status.watermark.is_some_and(|watermark| watermark >= end) => "closing".to_owned(),
        Some(time) => format!("closes in {}", span(time)),
        None => "open".to_owned(),
    }
}

/// A bar in eighths of a column.
fn bar(value: i64, most: i64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (value.max(0) as f64 / most.max(1) as f64 * (columns * 8) as f64) as usize;
    // An event is seen.
    let eighths = if value > 0 { eighths.max(1) } else { 0 };
    let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    format!("{bar:columns$}")
}

fn groups(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let title = match model.groups.number {
        0 => " groups ".to_owned(),
        number => format!(" largest of {} ", number_of(number, "group")),
    };
    let inner = framed(frame, area, title, colours);
    let rows = model.groups.largest.iter().take(usize::from(inner.height));
    let width = usize::from(inner.width);
    lines(frame, inner, rows.map(|group| group_line(group, width)).collect());
}

fn group_line(group: &GroupSums, width: usize) -> Line<'static> {
    let amount = amount(&group.amount);
    let most = width.saturating_sub(amount.len() + 3);
    let name = cut(&group.dimensions.join(" · "), most);
    let gap = " ".repeat(width.saturating_sub(2 + columns(&name) + amount.len()));
    Line::raw(format!(" {name}{gap}{amount}"))
}

fn partitions(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let Some(status) = &model.status else {
        framed(frame, area, " partitions ".to_owned(), colours);
        return;
    };
    let inner = framed(frame, area, format!(" {} ", number_of(status.partitions.len() as i64, "partition")), colours);
    let rows = usize::from(inner.height);
    let mut shown: Vec<&PartitionStatus> = status.partitions.iter().collect();
    if shown.len() > rows {
        // Those that matter: the holder, and those with the most records to process.
        shown.sort_by_key(|partition| {
            (!partition.holds_watermark, std::cmp::Reverse(partition.lag), partition.partition)
        });
        shown.truncate(rows);
    }
    lines(frame, inner, shown.into_iter().map(|partition| partition_line(partition, colours)).collect());
}

fn partition_line(partition: &PartitionStatus, colours: Colours) -> Line<'static> {
    let lag = partition.lag.map_or_else(|| "lag ?".to_owned(), |lag| format!("lag {}", count(lag)));
    let style = if partition.holds_watermark { colours.next() } else { Style::new() };
    let mark = if partition.holds_watermark { "HOLDS" } else { "" };
    Line::styled(format!(" {:>3} {:9} {lag:11} {mark}", partition.partition, partition.state.as_str()), style)
}

#[cfg(test)]
mod tests {
    use retail_engine::Timestamp;

    use super::*;

    #[test]
    fn bars_have_eighths_of_a_column() {
        assert_eq!(bar(8, 8, 2), "██");
        assert_eq!(bar(4, 8, 2), "█ ");
        assert_eq!(bar(1, 16, 2), "▏ ");
        assert_eq!(
            (bar(1, 1_000_000, 2), bar(0, 5, 2), bar(0, 0, 2)),
            ("▏ ".to_owned(), "  ".to_owned(), "  ".to_owned())
        );
        assert_eq!(bar(i64::MAX, i64::MAX, 60).chars().count(), 60);
    }

    #[test]
    fn a_third_of_the_windows_is_final_if_there_are_more_open_ones() {
        let window = |number: i64, is_final| WindowSums {
            start: Timestamp::from_secs(number),
            end: Timestamp::from_secs(number + 1),
            events: 1,
            quantity: 1,
            amount: String::new(),
            is_final,
        };
        let windows: Vec<WindowSums> = (0..40).map(|number| window(number, number < 20)).collect();
        let shown = |windows: &[WindowSums], rows| {
            let shown = around_the_watermark(windows, rows);
            (shown.first().map(|window| window.start.as_micros() / 1_000_000), shown.len())
        };
        assert_eq!(shown(&windows, 9), (Some(17), 9));
        assert_eq!(shown(&windows, 30), (Some(10), 30));
        assert_eq!(shown(&windows[..22], 9), (Some(13), 9), "few open ones leave room for final ones");
        assert_eq!(shown(&windows, 100), (Some(0), 40));
        assert_eq!(shown(&[], 5), (None, 0));
    }
}
