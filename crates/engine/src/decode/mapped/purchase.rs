//! Parses the values of the wanted fields: units, scales, refunds and constants.

use super::plan::{NumberPlan, Plan, TextPlan, TimePlan};
use super::wanted::WantedFields;
use crate::decode::Reason;
use crate::decode::event::{MAX_QUANTITY, fits_id, fits_key};
use crate::decode::number;
use crate::decode::timestamp::{Dates, from_number, from_units};
use crate::mapping::Mapping;
use crate::money::Money;
use crate::time::Timestamp;

/// 10^12 in millionths.
const LEAST_TOO_LARGE: i64 = 1_000_000_000_000_000_000;

/// The purchases of one record.
#[derive(Debug)]
pub(crate) struct Purchases {
    /// Event time.
    pub(crate) time: Timestamp,
    /// The id of the event; empty without one in the mapping.
    pub(crate) id: String,
    purchases: Vec<Numbers>,
    /// The dimensions of all purchases, one after the other, and where each of them ends.
    texts: String,
    ends: Vec<usize>,
    /// The further sums of all purchases, one after the other.
    more: Vec<Money>,
    dimensions: usize,
    sums: usize,
    is_exploded: bool,
}

#[derive(Clone, Copy, Debug)]
struct Numbers {
    quantity: i64,
    price: i64,
    amount: Money,
}

/// One purchase of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedPurchase<'a> {
    texts: &'a str,
    ends: &'a [usize],
    start: usize,
    /// Number of pieces, negative for a refund.
    pub(crate) quantity: i64,
    /// Price of a piece in millionths, without its sign.
    pub(crate) price: i64,
    /// Amount, negative for a refund.
    pub(crate) amount: Money,
    /// The further sums.
    pub(crate) more: &'a [Money],
}

impl<'a> MappedPurchase<'a> {
    /// The values of the dimensions.
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = &'a str> {
        let (texts, ends, first) = (self.texts, self.ends, self.start);
        let starts = std::iter::once(first).chain(ends.iter().copied());
        starts.zip(ends).map(move |(start, end)| &texts[start..*end])
    }
}

impl Purchases {
    pub(in crate::decode) fn new(mapping: &Mapping) -> Self {
        let Mapping { dimensions, sums, explode, .. } = mapping;
        let (id, purchases, texts, ends, more) = Default::default();
        let (dimensions, sums, is_exploded) = (dimensions.len(), sums.len(), explode.is_some());
        Self { time: Timestamp::EPOCH, id, purchases, texts, ends, more, dimensions, sums, is_exploded }
    }

    /// The purchase of a record without an exploded array.
    pub(crate) fn only(&self) -> Option<MappedPurchase<'_>> {
        self.iter().next().filter(|_| !self.is_exploded)
    }

    pub(in crate::decode) fn clear(&mut self) {
        self.purchases.clear();
        self.texts.clear();
        self.ends.clear();
        self.more.clear();
    }

    /// The purchases in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = MappedPurchase<'_>> {
        self.purchases.iter().enumerate().map(|(at, numbers)| {
            let Numbers { quantity, price, amount } = numbers;
            let more = &self.more[at * self.sums..(at + 1) * self.sums];
            let (before, ends) = self.ends[..(at + 1) * self.dimensions].split_at(at * self.dimensions);
            let start = before.last().copied().unwrap_or(0);
            MappedPurchase {
                texts: &self.texts,
                ends,
                start,
                quantity: *quantity,
                price: *price,
                amount: *amount,
                more,
            }
        })
    }

    /// Sets the id of the event.
    pub(in crate::decode) fn read_id(&mut self, plan: &Plan, fields: &impl WantedFields) -> Result<(), Reason> {
        let Some(at) = plan.id else { return Ok(()) };
        if fields.is_missing(at) {
            return Err(Reason::MissingField);
        }
        let Self { id, .. } = self;
        let is_valid = fields.with_key(at, |text| {
            id.clear();
            id.push_str(text);
            fits_id(text)
        });
        if is_valid == Some(true) { Ok(()) } else { Err(Reason::BadKey) }
    }

    /// Adds the purchase of these fields. The error is its first reason in the order of [`Reason`]; then the purchases of the
    /// record must not be used.
    #[inline(always)]
    pub(in crate::decode) fn read(&mut self, plan: &Plan, fields: &impl WantedFields) -> Result<(), Reason> {
        if plan.required.iter().any(|at| fields.is_missing(*at)) {
            return Err(Reason::MissingField);
        }
        let value = money(&plan.value, fields, plan.refunds).ok_or(Reason::BadPrice)?;
        for sum in &plan.sums {
            let value = money(sum, fields, true).ok_or(Reason::BadPrice)?;
            self.more.push(Money::from_millionths(value.into()));
        }
        let quantity = quantity(&plan.quantity, fields).filter(|quantity| plan.refunds || *quantity > 0);
        let quantity = quantity.ok_or(Reason::BadQuantity)?;
        let (price, amount) = match plan.is_amount {
            true => (divide_half_even(value, quantity), i128::from(value)),
            false => (value, i128::from(value) * i128::from(quantity)),
        };
        // A negative quantity has a positive price: both negative would count a refund as a sale.
        if quantity < 0 && (if plan.is_amount { value > 0 } else { value < 0 }) {
            return Err(Reason::BadQuantity);
        }
        for dimension in &plan.dimensions {
            match fields.plain(dimension.at) {
                Some(text) if fits_key(text) => self.texts.push_str(text),
                _ => any_text(dimension, fields, &mut self.texts)?,
            }
            self.ends.push(self.texts.len());
        }
        let amount = Money::from_millionths(amount);
        self.purchases.push(Numbers { quantity, price: price.abs(), amount });
        Ok(())
    }
}

/// Adds the text of a dimension: numbers and booleans as their format writes them.
#[inline(never)]
fn any_text(plan: &TextPlan, fields: &impl WantedFields, texts: &mut String) -> Result<(), Reason> {
    let mut add = |text: &str| {
        texts.push_str(text);
        fits_key(text) && !text.contains('\0')
    };
    let is_valid = match &plan.if_missing {
        Some(text) if fields.is_missing(plan.at) => Some(add(text)),
        _ => fields.with_key(plan.at, add),
    };
    if is_valid == Some(true) { Ok(()) } else { Err(Reason::BadKey) }
}

/// Reads a number as JSON writes it. `None` for another value.
fn with_number<R>(plan: &NumberPlan, fields: &impl WantedFields, read: impl FnOnce(&str) -> R) -> Option<R> {
    match &plan.if_missing {
        Some(text) if fields.is_missing(plan.at) => Some(read(text)),
        _ => fields.with_number(plan.at, plan.is_text, read),
    }
}

/// A number of units of 10^-scale in millionths, rounded half to even; `None` if its magnitude is 10^12 or more, or if it is
/// negative and may not be.
#[inline(always)]
fn money(plan: &NumberPlan, fields: &impl WantedFields, can_be_negative: bool) -> Option<i64> {
    let NumberPlan { at, is_text, scale, .. } = *plan;
    match fields.millionths(at, is_text, scale).filter(|value| *value < LEAST_TOO_LARGE) {
        Some(value) => Some(value),
        None => any_money(plan, fields, can_be_negative),
    }
}

/// As [`money`], for any number.
#[inline(never)]
fn any_money(plan: &NumberPlan, fields: &impl WantedFields, can_be_negative: bool) -> Option<i64> {
    with_number(plan, fields, |text| {
        let text = text.as_bytes();
        let plain = if plan.scale == 0 { number::plain(text) } else { None };
        plain.or_else(|| {
            let millionths = number::millionths_of(text, -i64::from(plan.scale))?;
            if can_be_negative { Some(millionths.signed_rounded()) } else { millionths.rounded() }
        })
    })?
}

/// A whole number that is not zero.
#[inline(always)]
fn quantity(plan: &NumberPlan, fields: &impl WantedFields) -> Option<i64> {
    let usual = fields.positive(plan.at, plan.is_text).filter(|quantity| *quantity <= MAX_QUANTITY);
    usual.or_else(|| any_quantity(plan, fields))
}

/// As [`quantity`], for any number.
#[inline(never)]
fn any_quantity(plan: &NumberPlan, fields: &impl WantedFields) -> Option<i64> {
    with_number(plan, fields, |text| {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        number::positive(digits.as_bytes()).filter(|quantity| *quantity <= MAX_QUANTITY).map(|quantity| sign * quantity)
    })?
}

fn divide_half_even(dividend: i64, divisor: i64) -> i64 {
    let (magnitude, divisor) = (dividend.unsigned_abs(), divisor.unsigned_abs());
    let (quotient, rest) = (magnitude / divisor, magnitude % divisor);
    let up = match (2 * rest).cmp(&divisor) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => quotient & 1,
        std::cmp::Ordering::Greater => 1,
    };
    (quotient + up).cast_signed()
}

impl TimePlan {
    /// The event time of a record with this timestamp.
    #[inline(always)]
    pub(in crate::decode) fn read(
        &self,
        fields: &impl WantedFields,
        record_time: Option<Timestamp>,
        dates: &mut Dates,
    ) -> Result<Timestamp, Reason> {
        let at = match self {
            Self::Rfc3339(at) | Self::Number { at, .. } => Some(*at),
            Self::RecordTime => None,
        };
        if let Some(instant) = at.and_then(|at| fields.instant(at)) {
            return instant;
        }
        let usual = match self {
            Self::Rfc3339(at) => fields.plain(*at).and_then(|text| dates.rfc3339(text.as_bytes())),
            Self::Number { at, decimals, is_text } => {
                fields.positive(*at, *is_text).and_then(|units| from_units(units, *decimals))
            }
            Self::RecordTime => None,
        };
        usual.map_or_else(|| self.read_any(fields, record_time, dates), Ok)
    }

    /// As [`Self::read`], for any time.
    #[inline(never)]
    fn read_any(
        &self,
        fields: &impl WantedFields,
        record_time: Option<Timestamp>,
        dates: &mut Dates,
    ) -> Result<Timestamp, Reason> {
        let at = match self {
            Self::RecordTime => {
                let time = record_time.ok_or(Reason::NoRecordTime)?;
                return time.in_years_of_events().ok_or(Reason::BadTimestamp);
            }
            Self::Rfc3339(at) | Self::Number { at, .. } => *at,
        };
        if fields.is_missing(at) {
            return Err(Reason::MissingField);
        }
        let time = match self {
            Self::Number { decimals, is_text, .. } => {
                fields.with_number(at, *is_text, |text| from_number(text.as_bytes(), *decimals))
            }
            Self::Rfc3339(_) => fields.with_string(at, |text| dates.rfc3339(text.as_bytes())),
            Self::RecordTime => None,
        };
        time.flatten().ok_or(Reason::BadTimestamp)
    }
}
