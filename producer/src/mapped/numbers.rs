//! Quantities, money and times in the units of a mapping.

use retail_engine::{Level, Mapping, NumberField, TimeField, Timestamp, ValueField};

use crate::catalogue::{CATEGORIES, Product};
use crate::random::Random;
use crate::text::{decimal, digits};
use crate::time::TimestampWriter;

/// One of this number of fields that can be missing is missing.
pub(super) const MISSING: u64 = 4;

/// One of this number of purchases is a refund, if the mapping allows them.
const REFUNDS: u64 = 10;

/// Largest further sum, in cents.
const MAX_SUM: u64 = 500;

/// A purchase to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// The number of pieces; `None` for a missing field.
    pub(super) quantity: Option<u64>,
    /// Price of a piece.
    cents: u64,
    pub(super) is_refund: bool,
}

/// Writes the numbers of a mapping.
#[derive(Debug)]
pub(super) struct Numbers {
    timestamps: TimestampWriter,
    time: TimeFormat,
    quantity: NumberField,
    value: ValueField,
    sums: Vec<NumberField>,
    refunds: bool,
}

#[derive(Clone, Copy, Debug)]
enum TimeFormat {
    Rfc3339,
    Number { decimals: u8, is_text: bool },
}

impl Numbers {
    pub(super) fn new(mapping: &Mapping) -> Self {
        Self {
            timestamps: TimestampWriter::default(),
            time: match mapping.timestamp {
                TimeField::Rfc3339(_) | TimeField::RecordTime => TimeFormat::Rfc3339,
                TimeField::Number { path: _, decimals, is_text } => TimeFormat::Number { decimals, is_text },
            },
            quantity: mapping.quantity.clone(),
            value: mapping.value.clone(),
            sums: mapping.sums.clone(),
            refunds: mapping.refunds,
        }
    }

    /// A random purchase. The elements of a record have its quantity, if that is a field of the record, and are refunds like it.
    pub(super) fn facts(&self, random: &mut Random, of_record: Option<&Facts>) -> Facts {
        let products = random.one_of(&CATEGORIES).products;
        let Product { cents: (least, most), .. } = *random.one_of(products);
        let cents = u64::from(least) + random.below(u64::from(most - least) + 1);
        let is_refund = match of_record {
            Some(record) => record.is_refund,
            None => self.refunds && random.below(REFUNDS) == 0,
        };
        let quantity = match of_record {
            Some(record) if self.quantity.path.level == Level::Record => record.quantity,
            // A refund has a negative quantity.
            _ if !is_refund && self.quantity.if_missing.is_some() && random.below(MISSING) == 0 => None,
            _ => Some(1 + random.below(10)),
        };
        Facts { quantity, cents, is_refund }
    }

    pub(super) fn quantity(&self, out: &mut Vec<u8>, facts: &Facts) {
        quoted(out, self.quantity.is_text, |out| {
            sign(out, facts.is_refund);
            decimal(out, facts.quantity.unwrap_or(1));
        });
    }

    /// A price is positive; an amount has the sign of the quantity, as sums have.
    pub(super) fn value(&self, out: &mut Vec<u8>, Facts { quantity, cents, is_refund }: &Facts) {
        match &self.value {
            ValueField::Price(field) => money(out, field, false, *cents),
            ValueField::Amount(field) => {
                let missing = || self.quantity.if_missing.as_ref().and_then(|number| number.parse().ok());
                money(out, field, *is_refund, cents * quantity.or_else(missing).unwrap_or(1));
            }
        }
    }

    pub(super) fn sum(&self, out: &mut Vec<u8>, random: &mut Random, facts: &Facts, at: usize) {
        money(out, &self.sums[at], facts.is_refund, random.below(MAX_SUM + 1));
    }

    pub(super) fn time(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        match self.time {
            TimeFormat::Rfc3339 => {
                out.push(b'"');
                self.timestamps.write(out, time);
                out.push(b'"');
            }
            TimeFormat::Number { decimals, is_text } => quoted(out, is_text, |out| {
                let micros = time.as_micros().unsigned_abs();
                let decimals = u32::from(decimals);
                decimal(out, micros / 10_u64.pow(6_u32.saturating_sub(decimals)));
                out.extend(std::iter::repeat_n(b'0', decimals.saturating_sub(6) as usize));
            }),
        }
    }
}

/// Writes cents in units of 10^-`scale`.
fn money(out: &mut Vec<u8>, field: &NumberField, is_negative: bool, cents: u64) {
    quoted(out, field.is_text, |out| {
        sign(out, is_negative && cents > 0);
        let places = usize::from(2_u8.saturating_sub(field.scale));
        let unit = 10_u64.pow(places as u32);
        decimal(out, cents / unit);
        if places > 0 {
            out.push(b'.');
            digits(out, cents % unit, places);
        } else if cents > 0 {
            out.extend(std::iter::repeat_n(b'0', usize::from(field.scale) - 2));
        }
    });
}

fn sign(out: &mut Vec<u8>, is_negative: bool) {
    if is_negative {
        out.push(b'-');
    }
}

fn quoted(out: &mut Vec<u8>, is_text: bool, write: impl FnOnce(&mut Vec<u8>)) {
    if is_text {
        out.push(b'"');
    }
    write(out);
    if is_text {
        out.push(b'"');
    }
}
