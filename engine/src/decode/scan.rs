//! The fast reading of a purchase: one pass over a flat object, no allocation.
//!
//! It knows objects of strings without escapes, numbers and literals, which is what producers send. At anything else,
//! right or wrong, it answers nothing, and `slow` decides: whatever is accepted here, serde_json accepts too, with the
//! same fields.

use super::fields::{Field, Fields, Value};

/// The fields of `text`, or nothing where a fuller reading must decide.
pub(super) fn scan(text: &str) -> Option<Fields<'_>> {
    let mut fields = Fields::default();
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
        let value = scan.value()?;
        if let Some(field) = Field::named(name) {
            fields.set(field, value).ok()?;
        }
        scan.blanks();
        match scan.next()? {
            b',' => scan.blanks(),
            b'}' => break,
            _ => return None,
        }
    }
    scan.blanks();
    (scan.at == text.len()).then_some(fields)
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

    /// The inside of a string whose opening quote is behind us; nothing if it has an escape.
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

    /// A number by the JSON grammar.
    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => while self.digit() {},
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(&self.text[start..self.at])
    }

    fn digit(&mut self) -> bool {
        let digit = matches!(self.peek(), Some(b'0'..=b'9'));
        self.at += usize::from(digit);
        digit
    }

    fn digits(&mut self) -> Option<()> {
        let some = self.digit();
        while self.digit() {}
        some.then_some(())
    }

    fn literal(&mut self, literal: &str) -> Option<Value<'a>> {
        self.text[self.at..].starts_with(literal).then(|| self.at += literal.len())?;
        Some(Value::Other)
    }
}
