//! The first lines: whether the pipeline is ready, its watermark in words, and its problems.

use std::time::Duration;

use ratatui::text::{Line, Span};
use retail_api::duration;
use retail_connection::text::visible;
use retail_observe::Status;

use super::super::colours::Colours;
use super::super::model::Model;
use super::words::{cut, date_time, span, wrap};

/// Lines of the reason, and problems, that are shown; the page of the log shows all problems.
const MOST: usize = 2;

/// Lines of a terminal below which there is one of each.
const LOW: usize = 20;

/// Columns from which the watermark is described at length.
const WIDE: usize = 80;

/// Age of the newest event from which event time is in the past.
const PAST: Duration = Duration::from_secs(600);

pub(super) fn lines(model: &Model, colours: Colours, width: usize, height: usize) -> Vec<Line<'static>> {
    let most = if height < LOW { 1 } else { MOST };
    let mut lines = vec![first(model, colours, width)];
    match &model.status {
        None if model.error.is_none() => lines.push(Line::styled(" reading Postgres and Kafka …", colours.faint())),
        None => {}
        Some(status) => {
            lines.push(watermark(status, model, colours, width));
            let why = past(status, model).or_else(|| held(status)).unwrap_or_default();
            let wrapped = wrap(&visible(&why), width.saturating_sub(2));
            lines.extend(wrapped.into_iter().take(most).map(|line| Line::styled(format!(" {line}"), colours.faint())));
        }
    }
    let problems = model.all_problems();
    for problem in problems.iter().take(most) {
        lines.push(Line::styled(format!(" ! {}", cut(problem, width.saturating_sub(4))), colours.bad()));
    }
    if problems.len() > most {
        lines.push(Line::styled(format!(" … and {} more: l", problems.len() - most), colours.bad()));
    }
    lines
}

fn first(model: &Model, colours: Colours, width: usize) -> Line<'static> {
    let name = cut(&model.pipeline.name, 40);
    let (state, style) = match &model.status {
        _ if model.error.is_some() => ("NO ANSWER", colours.bad()),
        None => ("", colours.faint()),
        Some(status) if status.ready && model.problems.is_empty() => ("ready", colours.good()),
        Some(_) => ("NOT READY", colours.bad()),
    };
    let facts = model.status.as_ref().map_or_else(String::new, |status| format!("   {}", recent(status)));
    let now = model.now().map_or_else(String::new, |now| format!("{} UTC ", date_time(now)));
    let used = name.chars().count() + state.len() + facts.chars().count() + 4 + now.len();
    let gap = " ".repeat(width.saturating_sub(used));
    Line::from(vec![
        Span::styled(format!(" {name}  "), colours.strong()),
        Span::styled(state, style),
        Span::styled(facts, colours.faint()),
        Span::styled(format!(" {gap}{now}"), colours.faint()),
    ])
}

/// The last commit and the last proof.
fn recent(status: &Status) -> String {
    let commit = status.last_commit.map_or_else(
        || "no commit yet".to_owned(),
        |time| format!("last commit {} ago", span(status.taken_at.since(time).into())),
    );
    match &status.proof {
        Some(proof) => format!("{commit}, proof {} ago", span(status.taken_at.since(proof.recorded_at).into())),
        None => commit,
    }
}

fn watermark(status: &Status, model: &Model, colours: Colours, width: usize) -> Line<'static> {
    let text = match (status.watermark, &status.hold) {
        (None, Some(hold)) => format!("none yet: partition {} has no event", hold.partition),
        (None, None) => "none yet".to_owned(),
        (Some(watermark), Some(hold)) => {
            let delay = duration::write(model.pipeline.rules.delay.into());
            let of = if width < WIDE { "" } else { "the newest event of " };
            format!("{}, {delay} behind {of}partition {}", date_time(watermark), hold.partition)
        }
        (Some(watermark), None) => format!("{}; all partitions are idle", date_time(watermark)),
    };
    Line::from(vec![Span::styled(" watermark ", colours.faint()), Span::styled(text, colours.strong())])
}

/// Why event time is in the past, if simulated purchases pass faster than the clock.
fn past(status: &Status, model: &Model) -> Option<String> {
    let newest = status.partitions.iter().filter_map(|partition| partition.newest_event).max()?;
    let age = Duration::from(status.taken_at.since(newest));
    let speed = model.pipeline.producer.as_ref()?.speed;
    (speed > 1 && age > PAST).then(|| {
        format!(
            "{} in the past: simulated event time passes {speed} times faster than the clock",
            duration::approximate(age)
        )
    })
}

fn held(status: &Status) -> Option<String> {
    let hold = status.hold.as_ref()?;
    let since = hold.since.map_or_else(String::new, |since| format!(" since {}", date_time(since)));
    Some(format!("partition {} holds it{since}: {}; until {}", hold.partition, hold.why, hold.until))
}
