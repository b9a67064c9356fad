//! Records in Avro: orders of [`Layout::Avro`](crate::layout::Layout::Avro).

use crate::purchases::Draws;
use crate::writers::{Version, Writer, Writers};

const SKUS: [&str; 5] = ["A-1", "A-2", "Käse", "数", "\"quoted\""];

/// The first id that no registry gives to a schema.
const UNKNOWN: u64 = 2_000_000_000;

/// The bounds of amounts and quantities: 10^12 and 2^31.
const TOO_MUCH: i128 = 1_000_000_000_000;
const TOO_MANY: i64 = 2_147_483_648;

/// A value that is no UTF-8.
const NO_TEXT: &[u8] = &[b'a', 0xff];

/// The body of a record.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn long(&mut self, value: i64) -> &mut Self {
        let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.long(bytes.len() as i64);
        self.0.extend(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn boolean(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    /// A decimal in bytes, sometimes with bytes that only repeat its sign.
    fn decimal(&mut self, unscaled: i128, padding: u64) -> &mut Self {
        let all = unscaled.to_be_bytes();
        let repeats = |at: &usize| all[..=*at].iter().all(|byte| *byte == all[0]) && all[*at] >> 7 == all[at + 1] >> 7;
        let skip = (0..15).take_while(repeats).count();
        let padding = vec![all[0] >> 7 & 1; padding as usize].iter().map(|sign| sign * 0xff).collect::<Vec<u8>>();
        let bytes = [&padding, &all[skip..]].concat();
        self.bytes(&bytes)
    }
}

/// An order before it is written.
struct Order {
    kind: &'static str,
    is_test: bool,
    time_ms: i64,
    store: i64,
    id: i64,
    is_refund: bool,
}

/// A record of an order with this id and event time in milliseconds, with the fault that gives it this reason, and the partition to
/// which its writer sends. Every tenth record without a fault is filtered.
pub(crate) fn record(
    draws: &mut Draws,
    writers: &Writers,
    id: u64,
    time_ms: i64,
    reason: Option<&str>,
) -> (Vec<u8>, Option<i32>) {
    let writer = writers.choose(draws);
    let is_filtered = reason.is_none() && draws.below(10) == 0;
    let is_refund = draws.below(10) == 0;
    let order = Order {
        kind: if is_filtered { "login" } else { draws.one_of(&["sale", "sale", "refund"]) },
        is_test: is_filtered && draws.below(2) == 0,
        time_ms: if reason == Some("bad_timestamp") { -1 } else { time_ms },
        store: 1 + draws.below(3) as i64,
        id: (id >> 1).cast_signed(),
        is_refund,
    };
    let damage = Damage::of(draws, writer.version, reason);
    let mut body = Body::default();
    match writer.version {
        Version::First => first(draws, &mut body, &order, reason),
        Version::Second => second(draws, &mut body, &order, reason, damage),
        Version::Third => third(draws, &mut body, &order, reason),
    }
    if writer.has_extra {
        body.long(-7);
    }
    damage.apply(draws, &mut body.0);
    (framed(draws, writer, &body.0, reason), writer.partition)
}

/// The fault of a malformed body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    None,
    /// It ends too early.
    Cut,
    /// A byte follows.
    Longer,
    /// A varint of more than ten bytes.
    Overlong,
    /// A branch or a symbol that the schema lacks. The third version begins with a text.
    NoBranch,
    /// A wanted text of the second version is no UTF-8.
    NoText,
}

impl Damage {
    fn of(draws: &mut Draws, version: Version, reason: Option<&str>) -> Self {
        if reason != Some("malformed_avro") {
            return Self::None;
        }
        match draws.below(5) {
            0 => Self::Overlong,
            1 => Self::Longer,
            2 if version != Version::Third => Self::NoBranch,
            3 if version == Version::Second => Self::NoText,
            _ => Self::Cut,
        }
    }

    fn apply(self, draws: &mut Draws, body: &mut Vec<u8>) {
        match self {
            Self::None | Self::NoText => {}
            Self::Cut => body.truncate(draws.below(body.len() as u64) as usize),
            Self::Longer => body.push(0),
            Self::Overlong => *body = vec![0xff; 11],
            Self::NoBranch => body[0] = 0x7e,
        }
    }
}

fn framed(draws: &mut Draws, writer: Writer, body: &[u8], reason: Option<&str>) -> Vec<u8> {
    let id = match reason {
        Some("no_schema_id") => {
            let value = draws.one_of(&["{\"kind\":\"sale\"}", "0", "\0\0\0\0", "\u{1}\0\0\0\u{1}\u{2}"]);
            return value.as_bytes().to_vec();
        }
        Some("unknown_schema") => (UNKNOWN + draws.below(3)) as u32,
        _ => writer.id,
    };
    [&[0][..], &id.to_be_bytes(), body].concat()
}

/// The number of items, and which of them has a fault.
fn items(draws: &mut Draws, reason: Option<&str>) -> (i64, i64) {
    let count = match reason {
        Some("bad_items") if draws.below(4) == 0 => 1001,
        Some("bad_items") => 0,
        _ => 1 + draws.below(4) as i64,
    };
    (count, draws.below(count.max(1) as u64) as i64)
}

/// Writes an array in one block, or in two, of which the first one has a size.
fn array(draws: &mut Draws, body: &mut Body, items: &[Body]) {
    let split = if draws.below(4) == 0 { items.len() / 2 } else { 0 };
    let (sized, rest) = items.split_at(split);
    if !sized.is_empty() {
        let bytes: usize = sized.iter().map(|item| item.0.len()).sum();
        body.long(-(sized.len() as i64)).long(bytes as i64);
        sized.iter().for_each(|item| body.0.extend(&item.0));
    }
    if !rest.is_empty() {
        body.long(rest.len() as i64);
        rest.iter().for_each(|item| body.0.extend(&item.0));
    }
    body.long(0);
}

fn pieces(draws: &mut Draws, order: &Order, is_bad: bool, is_long: bool) -> i64 {
    let pieces = 1 + draws.below(9) as i64;
    match (is_bad, order.is_refund) {
        (true, _) if is_long && draws.below(2) == 0 => TOO_MANY,
        (true, _) => [0, i64::from(i32::MIN)][draws.below(2) as usize],
        (false, true) => -pieces,
        (false, false) => pieces,
    }
}

fn first(draws: &mut Draws, body: &mut Body, order: &Order, reason: Option<&str>) {
    let is = |other: &str| reason == Some(other);
    let symbol = ["sale", "refund", "login"].iter().position(|kind| *kind == order.kind);
    body.long(symbol.map_or(0, |symbol| symbol as i64)).boolean(order.is_test).long(order.time_ms).long(order.store);
    let of_id = draws.below(2) == 0;
    match of_id {
        true if is("missing_field") => drop(body.long(0)),
        true if is("bad_key") => drop(body.long(1).text("")),
        _ => drop(body.long(1).text(&order.id.to_string())),
    }
    let (count, bad) = items(draws, reason);
    let items: Vec<Body> = (0..count)
        .map(|at| {
            let is = |other: &str| is(other) && at == bad;
            let mut item = Body::default();
            match of_id {
                false if is("missing_field") => drop(item.long(0)),
                false if is("bad_key") => drop(item.long(1).text(draws.one_of(&["", "a\0b"]))),
                _ => drop(item.long(1).text(draws.one_of(&SKUS))),
            }
            item.long(pieces(draws, order, is("bad_quantity"), false));
            let cents = if is("bad_price") { TOO_MUCH * 100 } else { i128::from(draws.below(50_000)) };
            let padding = draws.below(2) * draws.below(12);
            item.decimal(cents, padding);
            item
        })
        .collect();
    array(draws, body, &items);
}

fn second(draws: &mut Draws, body: &mut Body, order: &Order, reason: Option<&str>, damage: Damage) {
    let is = |other: &str| reason == Some(other);
    // A value that is not needed may be anything with a length.
    match draws.below(3) {
        0 => drop(body.long(0)),
        1 => drop(body.long(1).long(0)),
        _ => drop(body.long(1).long(1).text("kind").bytes(NO_TEXT).long(0)),
    }
    body.long(order.time_ms * 1000 + if order.time_ms < 0 { 0 } else { draws.below(1000) as i64 });
    match damage == Damage::NoText {
        true => drop(body.long(1).bytes(NO_TEXT)),
        false if order.kind == "login" && draws.below(2) == 0 => drop(body.long(0)),
        false => drop(body.long(1).text(order.kind)),
    }
    body.long(1).boolean(order.is_test).long(order.store);
    let (count, bad) = items(draws, reason);
    let items: Vec<Body> = (0..count)
        .map(|at| {
            let is = |other: &str| is(other) && at == bad;
            let mut item = Body::default();
            match draws.below(3) {
                0 => drop(item.long(0)),
                _ => drop(item.long(1).decimal(i128::from(draws.below(5000)), 0)),
            }
            item.text(if is("bad_key") { draws.one_of(&["", "a\0b"]) } else { draws.one_of(&SKUS) });
            match is("missing_field") {
                true => drop(item.long(0)),
                false => drop(item.long(1).long(pieces(draws, order, is("bad_quantity"), false))),
            }
            let price = match is("bad_price") {
                true => [1e12, f64::NAN, f64::INFINITY][draws.below(3) as usize],
                false => draws.below(5_000_000) as f64 / 10_f64.powi(draws.below(5) as i32),
            };
            match is("bad_price") && draws.below(2) == 0 {
                true => drop(item.long(1).text("5")),
                false => item.long(0).0.extend(price.to_le_bytes()),
            }
            item
        })
        .collect();
    array(draws, body, &items);
    body.long(order.id);
    match draws.below(2) {
        0 => drop(body.long(0)),
        _ => drop(body.long(1).text(draws.one_of(&["app", "web"]))),
    }
}

fn third(draws: &mut Draws, body: &mut Body, order: &Order, reason: Option<&str>) {
    let is = |other: &str| reason == Some(other);
    body.text(order.kind).boolean(order.is_test).long(order.time_ms);
    let place = draws.below(3);
    match place {
        0 if is("bad_key") => body.long(1).0.extend(1_f64.to_le_bytes()),
        _ => drop(body.long(0).long(order.store)),
    }
    body.text(draws.one_of(&["app", "shop"]));
    match place {
        0 if is("missing_field") => drop(body.long(1)),
        1 if is("bad_key") => drop(body.long(0).text("")),
        _ => drop(body.long(0).text(&order.id.to_string())),
    }
    let (count, bad) = items(draws, reason);
    let items: Vec<Body> = (0..count)
        .map(|at| {
            let is = |other: &str| is(other) && at == bad;
            let mut item = Body::default();
            match place {
                1 | 2 if is("missing_field") => drop(item.long(1)),
                2 if is("bad_key") => drop(item.long(0).bytes(NO_TEXT)),
                _ => drop(item.long(0).text(draws.one_of(&SKUS))),
            }
            item.long(pieces(draws, order, is("bad_quantity"), true));
            let unscaled = if is("bad_price") { TOO_MUCH * 10_000 } else { i128::from(draws.below(5_000_000)) };
            item.0.extend(&unscaled.to_be_bytes()[4..]);
            item.0.extend((draws.below(5000) as f32 / 100.0).to_le_bytes());
            item
        })
        .collect();
    array(draws, body, &items);
}
