//! Numbers, times and sentences of the screen.

use std::time::Duration;

use ratatui::text::Span;
use retail_api::duration;
use retail_connection::text::visible;
use retail_engine::Timestamp;

use super::super::model::Model;
use crate::text::{count, share};

/// An instant as date and time in UTC, without fractions.
pub(super) fn date_time(instant: Timestamp) -> String {
    let text = instant.to_string();
    text.get(..19).map_or(text.clone(), |text| text.replace('T', " "))
}

/// The time of day of an instant; the seconds only if `with_seconds`.
pub(super) fn clock(instant: Timestamp, with_seconds: bool) -> String {
    let text = instant.to_string();
    text.get(11..if with_seconds { 19 } else { 16 }).map_or(text.clone(), str::to_owned)
}

/// A time that has passed or will pass: with a decimal below ten seconds.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{} s", span.as_secs()),
        _ => duration::approximate(span),
    }
}

/// Foreign text, at most so many columns of it.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = visible(text);
    if columns(&text) <= most {
        return text.into_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if columns(&cut) + columns(c.encode_utf8(&mut [0; 4])) + 1 > most {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

/// The number of columns that a terminal needs for a text.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// Lines of at most `width` characters, broken between words.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A blank at which no line is broken.
const TIED: &str = "\u{a0}";

/// Lines with the number of offsets, and the fates that add up to it. Late and invalid records have their share.
pub(super) fn fates(model: &Model, width: usize) -> Vec<String> {
    let Some(status) = &model.status else { return vec!["no record is processed yet".to_owned()] };
    let total: i64 = status.fates.values().sum();
    let sign = if total == status.offsets { '=' } else { '≠' };
    let always = ["applied", "late", "invalid", "future"];
    // Only pipelines with a filter or deduplication have these.
    let at_times = ["filtered", "duplicate"].into_iter().filter(|name| status.fate(name) > 0);
    let fates = always.into_iter().chain(at_times).chain(["gaps"]).map(|name| match (name, status.fate(name)) {
        ("late" | "invalid", number) if number > 0 => format!("{} {name} ({})", count(number), share(number, total)),
        (_, number) => format!("{} {name}", count(number)),
    });
    // A fate and its number stay on one line.
    let fates: Vec<String> = fates.map(|fate| fate.replace(' ', TIED)).collect();
    let lines = wrap(&format!("{} offsets {sign} {}", count(status.offsets), fates.join(" + ")), width);
    lines.into_iter().map(|line| line.replace(TIED, " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_wrapped_and_escaped() {
        assert_eq!((cut("Bath & Body", 11), cut("Bath & Body", 5)), ("Bath & Body".to_owned(), "Bath…".to_owned()));
        assert_eq!(
            (cut("雑貨", 4), cut("雑貨と", 5), cut("雑", 1)),
            ("雑貨".to_owned(), "雑貨…".to_owned(), "…".to_owned())
        );
        assert_eq!(cut("a\u{1b}[2J", 99), "a\\u{1b}[2J");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("longer than", 3), ["longer", "than"]);
        let spans = [Duration::from_millis(640), Duration::from_secs(59), Duration::from_secs(3700)];
        assert_eq!(spans.map(span), ["0.6 s", "59 s", "1h1m"]);
    }
}
