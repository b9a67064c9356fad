//! The pages that keys select: partitions, dead letters, longer delays, the log.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use retail_api::duration;
use retail_connection::text::{amount, visible};
use retail_store::snapshot::LateCount;

use super::super::colours::Colours;
use super::super::model::{LATE_EVENTS, Model};
use super::frames::{framed, lines};
use super::words::{cut, date_time, span, wrap};
use crate::text::{count, share, table};

pub(super) fn partitions(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let status = model.status.as_ref();
    let inner = framed(frame, area, " partitions ".to_owned(), colours);
    let header = ["", "LAG", "NEWEST EVENT", "COMMIT", "STATE", "OWNER"].map(str::to_owned);
    let rows = status.into_iter().flat_map(|status| {
        status.partitions.iter().map(|partition| {
            let missing = || "-".to_owned();
            let commit = partition.last_commit.map(|time| format!("{} ago", span(status.taken_at.since(time).into())));
            let state = if partition.holds_watermark { "HOLDS" } else { partition.state.as_str() };
            [
                partition.partition.to_string(),
                partition.lag.map_or_else(missing, count),
                partition.newest_event.map_or_else(missing, date_time),
                commit.unwrap_or_else(missing),
                state.to_owned(),
                partition.owner.as_deref().map_or_else(missing, |owner| cut(owner, 60)),
            ]
        })
    });
    let mut shown = scrolled_table(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), model.scroll);
    if let Some(hold) = status.and_then(|status| status.hold.as_ref()) {
        let since = hold.since.map_or_else(String::new, |since| format!(" since {}", date_time(since)));
        let text =
            format!("partition {} holds the watermark{since}: {}; until {}", hold.partition, hold.why, hold.until);
        let lines = wrap(&visible(&text), usize::from(inner.width).saturating_sub(2));
        shown.splice(0..0, lines.into_iter().map(|line| format!(" {line}")));
    }
    text(frame, inner, shown);
}

pub(super) fn letters(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let inner = framed(frame, area, " newest dead letters ".to_owned(), colours);
    let Some(letters) = &model.letters else { return text(frame, inner, vec![" reading …".to_owned()]) };
    if letters.is_empty() {
        return text(frame, inner, vec![" no record was rejected or late".to_owned()]);
    }
    let header = ["RECORD", "REASON", "EVENT TIME", "WHY"].map(str::to_owned);
    let rows = letters.iter().map(|letter| {
        let late = letter.missed_by.map(|missed| format!("missed its window by {}", duration::approximate(missed)));
        [
            format!("{}:{}", letter.partition, letter.offset),
            cut(&letter.reason, 20),
            letter.event_time.map_or_else(|| "-".to_owned(), date_time),
            late.or_else(|| letter.detail.as_deref().map(|detail| cut(detail, 200))).unwrap_or_default(),
        ]
    });
    let mut shown = scrolled_table(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), model.scroll);
    shown.push(String::new());
    text(frame, inner, shown);
}

pub(super) fn what_if(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let inner = framed(frame, area, " late events with longer delays (estimate) ".to_owned(), colours);
    let Some(late) = &model.late else { return text(frame, inner, vec![" reading …".to_owned()]) };
    let width = usize::from(inner.width).saturating_sub(2);
    let notes = format!(
        "Counted among the late events of the newest {} dead letters, which are stored with lateEvents: DeadLetter. \
         `retail what-if --delay D` reads the topic.",
        count(LATE_EVENTS)
    );
    let mut shown = what_if_rows(Duration::from(model.pipeline.rules.delay), &model.additional_delays(), late);
    shown.push(String::new());
    shown.extend(wrap(&notes, width).into_iter().map(|line| format!(" {line}")));
    text(frame, inner, shown);
}

fn what_if_rows(delay: Duration, additional: &[Duration], late: &[LateCount]) -> Vec<String> {
    let sums: Vec<LateCount> = late.iter().scan(LateCount::default(), sum).collect();
    let Some(LateCount { events, amount: late_amount }) = sums.last().filter(|all| all.events > 0) else {
        return vec![" no late event is stored".to_owned()];
    };
    let header = ["DELAY", "STILL LATE", "OF TODAY'S", "COUNTED", "AMOUNT"].map(str::to_owned);
    let today = [
        format!("{} (now)", duration::write(delay)),
        count(*events),
        share(*events, *events),
        "-".to_owned(),
        format!("{} late", amount(&late_amount.to_string())),
    ];
    let rows = additional.iter().zip(&sums).map(|(more, counted)| {
        let late = events - counted.events;
        [
            duration::write(delay + *more),
            count(late),
            if late == 0 { "0 %".to_owned() } else { share(late, *events) },
            count(counted.events),
            format!("{} counted", amount(&counted.amount.to_string())),
        ]
    });
    scrolled_table(&[header, today].into_iter().chain(rows).collect::<Vec<_>>(), 0)
}

/// The events up to and including those of a step.
fn sum(sum: &mut LateCount, step: &LateCount) -> Option<LateCount> {
    sum.events += step.events;
    sum.amount += step.amount;
    Some(*sum)
}

/// Problems in full, and the newest lines of the log.
pub(super) fn log(frame: &mut Frame<'_>, area: Rect, model: &Model, colours: Colours) {
    let inner = framed(frame, area, " problems and log ".to_owned(), colours);
    let width = usize::from(inner.width).saturating_sub(2);
    let problems = model.all_problems();
    let problems = problems.iter().flat_map(|problem| wrap(&visible(&format!("! {problem}")), width));
    let mut shown: Vec<String> = problems.map(|line| format!(" {line}")).collect();
    if shown.is_empty() && model.log.is_empty() {
        shown.push(" no problem, and nothing was logged".to_owned());
    }
    let room = usize::from(inner.height).saturating_sub(shown.len());
    // The newest lines; scrolling leads to older ones.
    let last = model.log.len().saturating_sub(model.scroll);
    let first = last.saturating_sub(room);
    shown.extend(model.log[first..last].iter().map(|line| format!(" {}", visible(line))));
    text(frame, inner, shown);
}

/// The lines of a table, without the rows that are scrolled away; the header stays.
fn scrolled_table<const COLUMNS: usize>(rows: &[[String; COLUMNS]], scroll: usize) -> Vec<String> {
    let lines: Vec<String> = table(rows).lines().map(|line| format!(" {line}")).collect();
    let scroll = scroll.min(lines.len().saturating_sub(2));
    lines.iter().take(1).chain(lines.iter().skip(1 + scroll)).cloned().collect()
}

fn text(frame: &mut Frame<'_>, area: Rect, shown: Vec<String>) {
    lines(frame, area, shown.into_iter().map(Line::raw).collect());
}
