//! Texts of other programs, for messages: errors of servers, host names, values of events.
//!
//! A terminal executes control characters, and a line break forges a line of a log. Every text that this project shows passes
//! one of these functions: [`foreign`] where it enters a message, [`visible`] or [`visible_lines`] where it leaves a program.

use std::borrow::Cow;
use std::fmt::Write;

/// Maximum length of a text of another program in a message, in bytes.
pub const MAX_FOREIGN: usize = 1 << 10;

/// A text of another program, for a message: one line of at most [`MAX_FOREIGN`] bytes before it is escaped.
pub fn foreign(text: &str) -> String {
    shortened(text, MAX_FOREIGN)
}

/// One line with the first `most` bytes of a text; "…" replaces the rest.
pub fn shortened(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    let mut line = visible(text[..end].trim_end()).into_owned();
    if end < text.len() {
        line.push('…');
    }
    line
}

/// A message that contains texts of other programs, as one line of at most `most` bytes before it is escaped.
pub fn bounded(message: String, most: usize) -> String {
    if message.len() <= most && !message.contains(is_hidden) { message } else { shortened(&message, most) }
}

/// As [`shortened`], but keeps the line breaks and tabs of a text of several lines.
pub fn shortened_lines(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    let mut lines = visible_lines(&text[..end]).into_owned();
    if end < text.len() {
        lines.push('…');
    }
    lines
}

/// Escapes the characters that a terminal executes or reorders, and all line breaks and tabs: ESC becomes `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden)
}

/// As [`visible`], but keeps the line breaks and tabs of a text of several lines.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes the same characters in a text in JSON, whose value stays the same.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) {
            let _infallible = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// A decimal number for people: without trailing zeros beyond the second decimal.
pub fn amount(decimal: &str) -> String {
    let Some((whole, fraction)) = decimal.split_once('.') else { return format!("{decimal}.00") };
    let fraction = fraction.trim_end_matches('0');
    format!("{whole}.{fraction:0<2}")
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_escaped(c) {
            escaped.push(c);
        } else if matches!(c, '\n' | '\t' | '\r') {
            escaped.extend(c.escape_default());
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character has an effect instead of a shape: control characters, line separators, and the marks, embeddings,
/// overrides and isolates that change the direction of a text (Unicode Standard Annex 9).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\u{9b}31m\u{1b}]0;title\u{7}\r\nERROR forged\u{202e}txt\u{2066}\u{2028}\u{7f}";

    #[test]
    fn control_characters_and_directions_are_escaped() {
        let line = visible(HOSTILE);
        assert_eq!(line, r"a\u{1b}[2Jb\u{9b}31m\u{1b}]0;title\u{7}\r\nERROR forged\u{202e}txt\u{2066}\u{2028}\u{7f}");
        assert_eq!(visible_lines("a\tb\nc\u{1b}"), "a\tb\nc\\u{1b}");
        let plain = "Bath & Body für 雑貨 👩‍👩‍👧 العربية";
        assert!(matches!(visible(plain), Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn amount_keeps_the_digits_it_has() {
        let amounts = ["1086.500000", "12.345600", "86", "-0.000001", "0.100000", "7.000000"];
        assert_eq!(amounts.map(amount), ["1086.50", "12.3456", "86.00", "-0.000001", "0.10", "7.00"]);
    }

    #[test]
    fn json_keeps_its_value() {
        let json = serde_json::to_string(HOSTILE).unwrap();
        let shown = visible_json(&json);
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), HOSTILE);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = format!("{}é and more", "x".repeat(MAX_FOREIGN - 1));
        assert_eq!(foreign(&text), format!("{}…", "x".repeat(MAX_FOREIGN - 1)));
        assert_eq!(foreign(&"\n".repeat(4)), "");
        assert_eq!(foreign("short\n"), "short");
    }
}
