//! The tutorial's purchase, as a flat JSON object with nine fields.

use retail_engine::Timestamp;

use crate::catalogue::{CATEGORIES, CUSTOMERS, PAYMENT_METHODS, Product};
use crate::draft::Draft;
use crate::random::Random;
use crate::text::{decimal, digits, uuid};
use crate::time::TimestampWriter;

/// Writes the tutorial's purchases.
#[derive(Debug)]
pub(crate) struct Tutorial {
    /// Distinguishes the transaction ids of runs with the same seed.
    run: u64,
    timestamps: TimestampWriter,
}

impl Tutorial {
    pub(crate) fn new(run: u64) -> Self {
        Self { run, timestamps: TimestampWriter::default() }
    }

    /// Writes a purchase with this event time.
    pub(crate) fn write(&mut self, draft: &mut Draft, random: &mut Random, time: Timestamp) {
        let category = random.one_of(&CATEGORIES);
        let Product { brand, name, cents } = random.one_of(category.products);
        let customer = 1 + random.below(CUSTOMERS);
        let quantity = 1 + random.below(10);
        let price = u64::from(cents.0) + random.below(u64::from(cents.1 - cents.0) + 1);
        let payment_method = random.one_of(&PAYMENT_METHODS);
        let (high, low) = (random.bits(), random.bits());

        draft.key.clear();
        decimal(&mut draft.key, customer);
        let out = &mut draft.value;
        out.clear();
        out.extend_from_slice(b"{\"transaction_id\": \"");
        uuid(out, high ^ self.run, low);
        out.extend_from_slice(b"\", \"customer_id\": ");
        out.extend_from_slice(&draft.key);
        for (name, text) in [("category", category.name), ("brand", brand), ("product_name", name)] {
            field(out, name, text);
        }
        out.extend_from_slice(b", \"quantity\": ");
        decimal(out, quantity);
        out.extend_from_slice(b", \"price\": ");
        decimal(out, price / 100);
        out.push(b'.');
        digits(out, price % 100, 2);
        field(out, "payment_method", payment_method);
        out.extend_from_slice(b", \"timestamp\": \"");
        self.timestamps.write(out, time);
        out.extend_from_slice(b"\"}");
    }
}

/// Turns a purchase into an invalid one.
pub(crate) fn corrupt(value: &mut Vec<u8>, random: &mut Random) {
    match random.below(9) {
        0 => value.truncate(value.len() / 2),
        1 => *value = b"GET / HTTP/1.1".to_vec(),
        2 => value.clear(),
        3 => replace(value, "\"price\"", "\"cost\""),
        4 => replace(value, "\"price\": ", "\"price\": -"),
        5 => replace(value, "\"quantity\": ", "\"quantity\": 0."),
        6 => replace(value, "T", "Z"),
        7 => replace(value, "\"category\": \"", "\"category\": [], \"not\": \""),
        _ => value[25] = 0xff,
    }
}

/// Replaces the first `from` by `to`; a `T` only in the timestamp.
fn replace(value: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8_lossy(value).into_owned();
    let at = text.find(if from == "T" { "\"timestamp\": \"" } else { from }).unwrap_or_default();
    let (before, after) = text.split_at(at);
    *value = format!("{before}{}", after.replacen(from, to, 1)).into_bytes();
}

fn field(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(b", \"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\": \"");
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}
