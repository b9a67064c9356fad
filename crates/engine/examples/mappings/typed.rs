//! The yardstick: serde_json reads the same fields into borrowed types. It neither parses times, nor reads numbers exactly, nor sums
//! up.

use serde::Deserialize;

#[derive(Deserialize)]
struct Flat<'a> {
    category: &'a str,
    payment_method: &'a str,
    quantity: i64,
    price: f64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
struct Nested<'a> {
    meta: Meta,
    #[serde(borrow)]
    store: Store<'a>,
    line: Line,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    created_at: i64,
}

#[derive(Deserialize)]
struct Store<'a> {
    id: &'a str,
    channel: &'a str,
}

#[derive(Deserialize)]
struct Line {
    qty: i64,
    unit_price_cents: i64,
}

#[derive(Deserialize)]
struct Order<'a> {
    created_at: i64,
    #[serde(borrow)]
    payment: Payment<'a>,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Payment<'a> {
    method: &'a str,
}

#[derive(Deserialize)]
struct Item<'a> {
    category: &'a str,
    qty: i64,
    unit_price_cents: i64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Change<'a>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    after: Row<'a>,
}

#[derive(Deserialize)]
struct Row<'a> {
    category: &'a str,
    payment_method: &'a str,
    quantity: i64,
    price_cents: i64,
    created_at: i64,
}

#[derive(Deserialize)]
struct Optional<'a> {
    ts: i64,
    category: &'a str,
    channel: Option<&'a str>,
    qty: i64,
    price: f64,
}

#[derive(Deserialize)]
struct Dimensions<'a> {
    timestamp: &'a str,
    d1: &'a str,
    d2: &'a str,
    d3: &'a str,
    d4: &'a str,
    d5: &'a str,
    d6: &'a str,
    d7: &'a str,
    d8: &'a str,
    quantity: i64,
    price: f64,
}

/// A sum that needs all fields of the records.
pub(crate) fn sum<'a>(case: &str, records: impl Iterator<Item = &'a Vec<u8>>) -> i64 {
    match case {
        "default" | "flat" => total(records, |flat: Flat<'_>| {
            texts(&[flat.category, flat.payment_method, flat.timestamp]) + flat.quantity + micros(flat.price)
        }),
        "nested" | "where" => total(records, |Nested { meta, store, line }: Nested<'_>| {
            texts(&[store.id, store.channel]) + meta.created_at + line.qty + line.unit_price_cents
        }),
        "items" | "any-items" => total(records, |Order { created_at, payment, items }: Order<'_>| {
            let item = |item: &Item<'_>| texts(&[item.category]) + item.qty + item.unit_price_cents;
            items.iter().map(item).sum::<i64>() + created_at + texts(&[payment.method])
        }),
        "change" => total(records, |change: Change<'_>| change.after.sum()),
        "change-schema" => total(records, |envelope: Envelope<'_>| envelope.payload.after.sum()),
        "optional" => total(records, |record: Optional<'_>| {
            let channel = record.channel.unwrap_or("none");
            texts(&[record.category, channel]) + record.ts + record.qty + micros(record.price)
        }),
        _ => total(records, |d: Dimensions<'_>| {
            texts(&[d.timestamp, d.d1, d.d2, d.d3, d.d4, d.d5, d.d6, d.d7, d.d8]) + d.quantity + micros(d.price)
        }),
    }
}

impl Row<'_> {
    fn sum(&self) -> i64 {
        texts(&[self.category, self.payment_method]) + self.quantity + self.price_cents + self.created_at
    }
}

fn total<'a, T: Deserialize<'a>>(records: impl Iterator<Item = &'a Vec<u8>>, value: impl Fn(T) -> i64) -> i64 {
    records.map(|record| value(serde_json::from_slice(record).expect("a record of the case"))).sum()
}

fn texts(texts: &[&str]) -> i64 {
    texts.iter().map(|text| text.len() as i64).sum()
}

fn micros(price: f64) -> i64 {
    (price * 1e6) as i64
}
