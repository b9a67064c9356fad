//! The fast decoder: one pass over a flat object, without allocation.
//!
//! It reads objects of strings without escapes, numbers and literals, the usual payloads of producers. For anything else,
//! valid or not, it returns `None`, and `slow` decides. serde_json accepts everything that this decoder accepts, with the
//! same fields.

use std::ops::Range;

use super::fields::{Field, Fields, Value};
use super::number;

/// The fields of `text`; `None` if `slow` must decide.
pub(super) fn scan(text: &str) -> Option<Fields<'_>> {
    let mut fields = Fields::default();
    walk(text, |name, value, _| Field::named(name).map_or(Ok(()), |field| fields.set(field, value)).ok())?;
    Some(fields)
}

/// Calls `each` for each field of an object, with its name, its value, and the range of the value including quotes. Returns
/// `None` if `each` does, or if `slow` must decide.
pub(super) fn walk<'a>(
    text: &'a str,
    mut each: impl FnMut(&'a str, Value<'a>, Range<usize>) -> Option<()>,
) -> Option<()> {
    let mut scan = Scan { text, at: 0 };
    scan.blanks();
    scan.expect(b'{')?;
    scan.blanks();
    loop {
        scan.expect(b'"')?;
        let name = scan.string()?;
        scan.blanks();
        scan.expect(b':')?;
        scan.blanks();
        let start = scan.at;
        let value = scan.value()?;
        each(name, value, start..scan.at)?;
        scan.blanks();
        match scan.next()? {
            b',' => scan.blanks(),
            b'}' => break,
            _ => return None,
        }
    }
    scan.blanks();
    (scan.at == text.len()).then_some(())
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(Value::Plain)
            }
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => None,
        }
    }

    /// The content of a string after its opening quote; `None` if it contains an escape.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => return Some(&self.text[start..self.at - 1]),
                b'\\' | 0..=0x1f => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at += number::length(&self.text.as_bytes()[start..])?;
        Some(&self.text[start..self.at])
    }

    fn literal(&mut self, literal: &str) -> Option<Value<'a>> {
        self.text[self.at..].starts_with(literal).then(|| self.at += literal.len())?;
        Some(Value::Other)
    }
}
