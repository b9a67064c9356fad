//! Plots as SVG, without a background, in colours visible on white and on black.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};

use crate::comparison;
use crate::curves::{groups, rates};
use crate::report::grouped;
use crate::results::Results;

/// The colour of text and axes in light mode; see [`STYLE`] for dark mode.
const INK: RGBColor = RGBColor(110, 118, 129);
const OURS: RGBColor = RGBColor(38, 132, 255);
const OTHERS: RGBColor = RGBColor(150, 150, 150);
const DATABASE: RGBColor = RGBColor(230, 126, 34);

const FONT: &str = "sans-serif";

/// Text colours for light and dark mode. A style rule takes precedence over the attributes that plotters writes.
const STYLE: &str =
    "<style>text { fill: #1f2328; } @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } }</style>";

/// Formats a number with commas, or with at most six decimals.
fn plain(value: &f64) -> String {
    if *value >= 1000.0 { grouped(value.round() as u64) } else { format!("{}", (value * 1e6).round() / 1e6) }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the plots into a directory.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<()> {
    if let Some(race) = &results.race {
        let bars = comparison::bars(&race.figures);
        let height = 60 + 38 * bars.len() as u32;
        draw(&directory.join("performance.svg"), (900, height), |area| draw_bars(area, &bars))?;
    }
    if let Some(rates) = &results.rates {
        draw(&directory.join("performance-load.svg"), (720, 380), |area| draw_load(area, &rates.figures))?;
    }
    if let Some(groups) = &results.groups {
        draw(&directory.join("performance-groups.svg"), (720, 380), |area| draw_groups(area, &groups.figures))?;
    }
    Ok(())
}

fn draw(file: &Path, size: (u32, u32), plot: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        plot(&area)?;
        area.present().map_err(failed)?;
    }
    let (head, body) = text.split_once('>').ok_or_else(|| anyhow!("plotters wrote no SVG"))?;
    std::fs::write(file, format!("{head}>\n{STYLE}{body}"))?;
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a plot: {error}")
}

fn ink() -> TextStyle<'static> {
    // Plotters renders text at 80 % of this size.
    (FONT, 16).into_font().color(&INK)
}

/// A bar: its title, the figure, and whether the sums were correct.
pub(crate) type Bar = (String, f64, bool);

/// Draws the CPU time per event of each system, on a linear scale from zero.
fn draw_bars(area: &Area<'_>, bars: &[Bar]) -> Result<()> {
    let most = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        // Space for the label of the longest bar.
        .build_cartesian_2d(0.0..most * 1.2, 0.0..bars.len() as f64)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc("CPU time per event in microseconds, including the start")
        .x_labels(8)
        .x_label_formatter(&plain)
        .label_style(ink())
        .axis_desc_style(ink())
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(INK.mix(0.0))
        .draw()
        .map_err(failed)?;
    for (number, (title, value, is_right)) in bars.iter().enumerate() {
        let top = (bars.len() - number) as f64;
        let colour = if title.starts_with("retail-processor") { OURS } else { OTHERS };
        let bar = Rectangle::new([(0.0, top - 0.55), (*value, top - 0.95)], colour.filled());
        chart.draw_series([bar]).map_err(failed)?;
        let middle = Pos::new(HPos::Left, VPos::Center);
        let figure = format!("{value:.2}{}", if *is_right { "" } else { ", wrong sums" });
        let label = Text::new(figure, (value + most * 0.008, top - 0.75), ink().pos(middle));
        let name = Text::new(title.clone(), (0.0, top - 0.3), ink().pos(middle));
        chart.draw_series([label, name]).map_err(failed)?;
    }
    Ok(())
}

/// A line of a chart: its name, colour and points.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

fn draw_lines(area: &Area<'_>, x: &str, y: &str, lines: Vec<Line>) -> Result<()> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let range = |of: fn((f64, f64)) -> f64| {
        let (least, most) =
            points().map(of).fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        10_f64.powf(least.log10().floor())..10_f64.powf(most.log10().ceil())
    };
    if points().next().is_none() {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        // Space for the right half of the last label.
        .margin_right(36)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(range(|point| point.0).log_scale(), range(|point| point.1).log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .label_style(ink())
        .axis_desc_style(ink())
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(INK.mix(0.1))
        .draw()
        .map_err(failed)?;
    for Line { name, colour, points } in lines {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .map_err(failed)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled()))).map_err(failed)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(ink())
        .draw()
        .map_err(failed)?;
    Ok(())
}

/// Draws the CPU usage of processor and Postgres with a trigger of one second.
fn draw_load(area: &Area<'_>, rows: &[rates::Row]) -> Result<()> {
    let rows = || rows.iter().filter(|row| row.rate > 0 && row.trigger == "1s");
    let line = |name, colour, of: fn(&rates::Row) -> Option<f64>| {
        let points = rows().filter_map(|row| Some((row.rate as f64, of(row).filter(|cores| *cores > 0.0)?)));
        Line { name, colour, points: points.collect() }
    };
    let lines = vec![
        line("retail-processor", OURS, |row| Some(row.cores.median)),
        line("Postgres", DATABASE, |row| Some(row.postgres_cores?.median)),
    ];
    draw_lines(area, "purchases per second, trigger 1 s", "cores", lines)
}

/// Draws the CPU time per event by number of groups in one window.
fn draw_groups(area: &Area<'_>, rows: &[groups::Row]) -> Result<()> {
    let rows = || rows.iter().filter(|row| row.windows == 1);
    let line = |name, colour, of: fn(&groups::Row) -> Option<f64>| {
        let points = rows()
            .filter_map(|row| Some((row.groups as f64, of(row).filter(|cpu| *cpu > 0.0)? * 1e6 / row.events as f64)));
        Line { name, colour, points: points.collect() }
    };
    let lines = vec![
        line("retail-processor", OURS, |row| Some(row.cpu.median)),
        line("Postgres", DATABASE, |row| Some(row.postgres_cpu?.median)),
    ];
    draw_lines(area, "groups in one window, 1,000,000 events", "CPU per event, microseconds", lines)
}
