//! The windows as bars on the axis of event time, with the watermark as a line.

use maud::{Markup, html};
use retail_engine::Timestamp;
use retail_store::snapshot::WindowSums;

use super::svg::{percent, ticks};
use crate::format::{clock, count, day, money, rough, time};
use crate::parts::MAX_WINDOWS;
use crate::state::State;

/// Height of the bars, and of the space above and below them.
const HEIGHT: f64 = 180.0;
const ABOVE: f64 = 26.0;
const BELOW: f64 = 36.0;

/// Number of times below the axis.
const LABELS: usize = 6;

/// Number of rows of the table, the newest windows.
const ROWS: usize = 60;

/// The axis of event time: whole windows.
struct Axis {
    first: i64,
    window: i64,
    slots: usize,
}

impl Axis {
    fn new(windows: &[WindowSums]) -> Option<Self> {
        let (first, last) = (windows.first()?, windows.last()?);
        let window = first.end.as_micros() - first.start.as_micros();
        let slots = (last.start.as_micros() - first.start.as_micros()) / window + 1;
        Some(Self { first: first.start.as_micros(), window, slots: usize::try_from(slots).ok()? })
    }

    /// The position of an instant, between 0 and 1 on the axis.
    fn at(&self, time: Timestamp) -> f64 {
        (time.as_micros() - self.first) as f64 / self.window as f64 / self.slots as f64
    }

    fn slot(&self, number: usize) -> Timestamp {
        Timestamp::from_micros(self.first + self.window * i64::try_from(number).unwrap_or_default())
    }

    /// The class that gives narrow screens enough room for each bar.
    const fn class(&self) -> &'static str {
        match self.slots {
            0..=45 => "chart",
            46..=120 => "chart wide",
            _ => "chart widest",
        }
    }
}

/// The state of a window: its class, and its name.
fn kind(window: &WindowSums, next_close: Option<Timestamp>) -> &'static str {
    match (window.is_final, next_close == Some(window.end)) {
        (true, _) => "final",
        (false, true) => "closing",
        (false, false) => "open",
    }
}

fn amount(window: &WindowSums) -> f64 {
    window.amount.parse().unwrap_or_default()
}

pub(super) fn chart(state: &State<'_>) -> Markup {
    let windows = state.windows();
    let Some(axis) = Axis::new(windows) else { return html! { p.empty { "No window has rows yet." } } };
    let next_close = state.status.and_then(|status| status.next_close);
    let watermark = state.status.and_then(|status| status.watermark);
    let largest = windows.iter().map(amount).fold(0.0, f64::max);
    let height = |amount: f64| height(amount, largest);
    let finals = windows.iter().filter(|window| window.is_final).count();
    let summary = format!(
        "{} windows with rows from {} to {}: {finals} final, {} open",
        windows.len(),
        time(axis.slot(0)),
        time(axis.slot(axis.slots)),
        windows.len() - finals
    );
    let hidden =
        state.status.map(|status| status.open_windows - (windows.len() - finals) as i64).filter(|hidden| *hidden > 0);
    html! {
        div.axes {
            (scale(largest))
            div.scroll tabindex="0" role="region" aria-label="Chart of windows" {
                svg class=(axis.class()) width="100%" height=(ABOVE + HEIGHT + BELOW) role="img" aria-label=(summary) {
                    @for tick in ticks(largest) {
                        @let y = format!("{:.1}", ABOVE + HEIGHT - height(tick));
                        line.grid x1="0" x2="100%" y1=(y) y2=(y) {}
                    }
                    line.base x1="0" x2="100%" y1=(ABOVE + HEIGHT) y2=(ABOVE + HEIGHT) {}
                    @for window in windows {
                        @let tall = height(amount(window)).max(2.0);
                        rect class={ "bar " (kind(window, next_close)) } x=(percent(axis.at(window.start) + 0.08 / axis.slots as f64))
                            width=(percent(0.84 / axis.slots as f64)) y=(format!("{:.1}", ABOVE + HEIGHT - tall)) height=(format!("{tall:.1}")) rx="2"
                            data-text=(readout(window, kind(window, next_close))) {}
                    }
                    (labels(&axis))
                    @if let Some(watermark) = watermark { (line(&axis, watermark)) }
                }
            }
        }
        @if let Some(hidden) = hidden {
            p.small { (count(hidden)) " open windows are older than the newest " (MAX_WINDOWS) " and not shown." }
        }
    }
}

/// The height of an amount. Sums of refunds have none.
fn height(amount: f64, largest: f64) -> f64 {
    (amount / largest.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0) * HEIGHT
}

/// The amounts of the grid, left of a chart that can be wider than the screen.
fn scale(largest: f64) -> Markup {
    html! {
        svg.scale width="44" height=(ABOVE + HEIGHT + BELOW) aria-hidden="true" {
            @for tick in [0.0].into_iter().chain(ticks(largest)) {
                text x="38" text-anchor="end" y=(format!("{:.1}", ABOVE + HEIGHT - height(tick, largest) + 4.0)) { (rough(tick)) }
            }
        }
    }
}

/// The sums of a window in one line.
fn readout(window: &WindowSums, kind: &str) -> String {
    format!(
        "{} to {}, {kind}: amount {}, {} events, quantity {}",
        time(window.start),
        clock(window.end),
        money(&window.amount),
        count(window.events),
        count(window.quantity)
    )
}

/// Times below the axis, and the day where it begins or changes.
fn labels(axis: &Axis) -> Markup {
    let every = axis.slots.div_ceil(LABELS).max(1);
    // A label at the end would leave the chart.
    let times = (0..axis.slots).step_by(every).map(|slot| axis.slot(slot)).filter(|at| axis.at(*at) < 0.92);
    let times: Vec<Timestamp> = times.collect();
    html! {
        @for (number, at) in times.iter().enumerate() {
            text.label x=(percent(axis.at(*at))) y=(ABOVE + HEIGHT + 16.0) { (clock(*at)) }
            @if number == 0 || day(times[number - 1]) != day(*at) {
                text.label x=(percent(axis.at(*at))) y=(ABOVE + HEIGHT + 31.0) { (day(*at)) }
            }
        }
    }
}

fn line(axis: &Axis, watermark: Timestamp) -> Markup {
    let at = axis.at(watermark).clamp(0.0, 1.0);
    let x = percent(at);
    // The text stays within the chart.
    let (anchor, offset) = if at > 0.6 { ("end", -5) } else { ("start", 5) };
    html! {
        line.watermark x1=(x) x2=(x) y1="6" y2=(ABOVE + HEIGHT) {}
        text.watermark x=(x) dx=(offset) y="15" text-anchor=(anchor) { "watermark " (clock(watermark)) }
    }
}

pub(super) fn table(state: &State<'_>) -> Markup {
    let windows = state.windows();
    let next_close = state.status.and_then(|status| status.next_close);
    html! {
        table {
            caption { "The newest windows, at most " (ROWS) }
            thead { tr { th scope="col" { "Window" } th scope="col" { "State" } th.number scope="col" { "Events" } th.number scope="col" { "Quantity" } th.number scope="col" { "Amount" } } }
            tbody {
                @for window in windows.iter().rev().take(ROWS) {
                    tr data-window=(window.start.to_string()) {
                        th scope="row" { (time(window.start)) "–" (clock(window.end)) }
                        td { (kind(window, next_close)) }
                        td.number { (count(window.events)) }
                        td.number { (count(window.quantity)) }
                        td.number { (money(&window.amount)) }
                    }
                }
            }
        }
    }
}
