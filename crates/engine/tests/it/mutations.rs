//! Generates purchases in the layouts of producers, some of them invalid, at millions per minute.

use std::ops::Range;

/// A generator of purchases.
pub(crate) struct Mutants {
    layouts: &'static [&'static str],
    state: u64,
    layout: usize,
    value: Vec<u8>,
}

/// The layouts of purchases. `C` category, `M` payment method, `Q` quantity, `P` price, `T` a time, `U` Unix seconds, `I` an id,
/// `N` a number, `S` any text, `L` Unix milliseconds, `G` cents.
const LAYOUTS: [&str; 13] = [
    r#"{"transaction_id": "I", "customer_id": N, "category": "C", "brand": "S", "product_name": "S", "quantity": Q, "price": P, "payment_method": "M", "timestamp": "T"}"#,
    r#"{"transaction_id":"I","customer_id":"N","category":"C","brand":"S","product_name":"S","quantity":Q,"price":P,"payment_method":"M","timestamp":"T"}"#,
    r#"{"category":"C","payment_method":"M","quantity":Q,"price":P,"ts":"T"}"#,
    r#"{"ts": U, "price": P, "quantity": Q, "payment_method": "M", "category": "C"}"#,
    r#"{"price": P, "gift": true, "coupon": null, "category": "C", "discount": -N.5e1, "payment_method": "M", "timestamp": U, "quantity": Q}"#,
    r#"{"timestamp": "T", "ts": "T", "category": "C", "a_field_with_a_name_of_more_than_thirty_two_bytes": "S", "payment_method": "M", "price": P, "quantity": Q}"#,
    r#"{"the_first_field_has_a_name_of_more_than_thirty_two_bytes": N, "category": "C", "payment_method": "M", "timestamp": "T", "quantity": Q, "price": P}"#,
    r#" {"quantity":Q ,"price":P , "category" :"C", "payment_method":  "M","timestamp":"T","note":"S","note":"S" } "#,
    r#"{"category": "C", "payment_method": "M", "quantity": Q, "price": P, "timestamp": "T", "stadt": "Łódź S", "日本": "N"}"#,
    r#"{"timestamp":"T","brand":"","category":"C","quantity":Q,"customer_id":"S","price":P,"payment_method":"M"}"#,
    r#"{"category": "C", "payment_method": "M", "quantity": Q, "price": P, "timestamp": "T", "tags": ["S", N], "nested": {"price": N}}"#,
    r#"{"product_name": "S \"S\"", "category": "C", "payment_method": "M", "quantity": Q, "price": P, "timestamp": "T"}"#,
    "{\n  \"category\": \"C\",\n\t\"payment_method\": \"M\",\r\n  \"quantity\": Q,\n  \"price\": P,\n  \"timestamp\": \"T\"\n}\n",
];

/// Texts that are inserted at wrong positions.
const PIECES: [&str; 32] = [
    "\"",
    "\\",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    " ",
    "\t",
    "\n",
    "0",
    "9",
    "-",
    "+",
    ".",
    "e",
    "E",
    "a",
    "\u{0}",
    "\u{1f}",
    "\u{7f}",
    "é",
    "null",
    "true",
    "\"price\"",
    "\"category\": \"x\", ",
    ", \"ts\": 1",
    "\\u0041",
    "\\\"",
    "00",
    "1e3",
];

impl Mutants {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(&LAYOUTS, seed)
    }

    /// Records in these layouts.
    pub(crate) fn of(layouts: &'static [&'static str], seed: u64) -> Self {
        Self { layouts, state: seed.wrapping_mul(2).wrapping_add(1), layout: 0, value: Vec::new() }
    }

    /// Switches to another layout.
    pub(crate) fn change_layout(&mut self) {
        self.layout = self.below(self.layouts.len());
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        self.value.clear();
        for byte in self.layouts[self.layout].bytes() {
            self.write(byte);
        }
        for _ in 0..[0, 0, 0, 1, 1, 2][self.below(6)] {
            self.mutate();
        }
        &self.value
    }

    /// A number below `n`, by Marsaglia's xorshift.
    fn below(&mut self, n: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 32) as usize % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn digits(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    /// Writes a byte of a layout, or the value that it stands for. Field names in layouts are lower case, except for one.
    fn write(&mut self, byte: u8) {
        let text = match byte {
            b'C' => self
                .pick(&[
                    "Skincare",
                    "Makeup",
                    "Hair Care",
                    "Bath & Body",
                    "A category of more than sixteen bytes",
                    "x",
                    "日本",
                    "x",
                ])
                .to_owned(),
            b'M' => self.pick(&["COD", "Credit Card", "Debit Card", "PayPal", "PayPa1", "Überweisung"]).to_owned(),
            b'Q' => self
                .pick(&[
                    "1",
                    "2",
                    "3",
                    "5",
                    "17",
                    "999",
                    "1",
                    "2",
                    "3",
                    "5",
                    "2147483647",
                    "2147483648",
                    "0",
                    "-1",
                    "1.0",
                    "\"1\"",
                ])
                .to_owned(),
            b'P' => {
                let (integer, decimals) = (1 + self.below(6), self.below(9));
                let integer = self.digits(integer);
                let integer = integer.trim_start_matches('0');
                let integer = if integer.is_empty() { "0" } else { integer };
                if decimals == 0 { integer.to_owned() } else { format!("{integer}.{}", self.digits(decimals)) }
            }
            b'T' => {
                let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
                let fraction = self.below(10);
                let fraction = if fraction == 0 { String::new() } else { format!(".{}", self.digits(fraction)) };
                let zone = self.pick(&["Z", "Z", "Z", "+00:00", "+00:00", "+00:00", "-07:30", "z", ""]);
                let date = self.pick(
                    &["2025-01-01"; 6]
                        .into_iter()
                        .chain(["2024-12-31", "2025-02-29", "1970-01-01"])
                        .collect::<Vec<_>>(),
                );
                format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
            }
            b'U' => format!("17{}.{}", self.digits(8), self.digits(2)),
            b'L' => format!("17{}{}", self.digits(8), self.digits(3)),
            b'G' => (1 + self.below(1_000_000)).to_string(),
            b'I' => format!("{}-{}", self.digits(8), self.digits(12)),
            b'N' => (1 + self.below(5000)).to_string(),
            b'S' => {
                let length = self.below(40);
                self.digits(length)
            }
            other => {
                self.value.push(other);
                return;
            }
        };
        self.value.extend_from_slice(text.as_bytes());
    }

    fn mutate(&mut self) {
        let members = members(&self.value);
        if self.below(2) == 0 && members.len() > 1 {
            return self.mutate_members(&members);
        }
        let length = self.value.len();
        if length == 0 {
            return;
        }
        let at = self.below(length);
        match self.below(8) {
            0 => drop(self.value.remove(at)),
            1 => self.value[at] = self.below(256) as u8,
            2 => self.value.truncate(at),
            3 => {
                let end = at + self.below(length - at).min(40);
                self.value.drain(at..end);
            }
            4 => {
                let end = at + self.below(length - at).min(40);
                let again = self.value[at..end].to_vec();
                let to = self.below(length);
                self.value.splice(to..to, again);
            }
            5 => {
                let piece = self.pick(&PIECES);
                self.value.splice(at..=at, piece.bytes());
            }
            _ => {
                let piece = self.pick(&PIECES);
                self.value.splice(at..at, piece.bytes());
            }
        }
    }
}

/// A member of an object: from its name to the end of its value.
#[derive(Clone)]
struct Member {
    all: Range<usize>,
    name: Range<usize>,
    value: Range<usize>,
}

impl Mutants {
    /// Renames, repeats, moves, removes, exchanges or encloses members.
    fn mutate_members(&mut self, members: &[Member]) {
        let (one, other, kind) = (self.below(members.len()), self.below(members.len()), self.below(8));
        let (one, other) = (members[one].clone(), members[other].clone());
        let text = |range: &Range<usize>| self.value[range.clone()].to_vec();
        let (at, new) = match kind {
            0 => (one.name, text(&other.name)),
            1 | 2 => (one.all.start..one.all.start, [text(&other.all), b",".to_vec()].concat()),
            3 => (one.value, text(&other.value)),
            4 => (one.value.clone(), [b"[".to_vec(), text(&one.value), b"]".to_vec()].concat()),
            5 => (one.value.clone(), [b"{".to_vec(), text(&other.all), b"}".to_vec()].concat()),
            6 => (one.all.clone(), text(&other.all)),
            _ => (one.all.end..one.all.end, [b",".to_vec(), text(&one.all)].concat()),
        };
        self.value.splice(at, new);
    }
}

/// The members of all objects; none if the text is not well-formed.
fn members(text: &[u8]) -> Vec<Member> {
    let mut members = Vec::new();
    let mut at = 0;
    if value_end(text, &mut at, &mut members).is_none() { Vec::new() } else { members }
}

/// Moves `at` behind the value that begins there, and collects the members in it.
fn value_end(text: &[u8], at: &mut usize, members: &mut Vec<Member>) -> Option<()> {
    blanks(text, at);
    match text.get(*at)? {
        b'"' => string_end(text, at),
        open @ (b'{' | b'[') => loop {
            *at += 1;
            blanks(text, at);
            let start = *at;
            if matches!(text.get(*at)?, b'}' | b']') {
                *at += 1;
                return Some(());
            }
            if *open == b'{' {
                string_end(text, at)?;
                let name = start..*at;
                blanks(text, at);
                *at += 1;
                blanks(text, at);
                let begin = *at;
                value_end(text, at, members)?;
                members.push(Member { all: start..*at, name, value: begin..*at });
            } else {
                value_end(text, at, members)?;
            }
            blanks(text, at);
            if *text.get(*at)? != b',' {
                *at += 1;
                return Some(());
            }
        },
        _ => {
            *at += text[*at..].iter().position(|byte| b",]} \n".contains(byte))?;
            Some(())
        }
    }
}

fn string_end(text: &[u8], at: &mut usize) -> Option<()> {
    *at += 1;
    while *text.get(*at)? != b'"' {
        *at += 1 + usize::from(text[*at] == b'\\');
    }
    *at += 1;
    Some(())
}

fn blanks(text: &[u8], at: &mut usize) {
    while text.get(*at).is_some_and(u8::is_ascii_whitespace) {
        *at += 1;
    }
}
