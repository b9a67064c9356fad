//! Parses the values of the wanted fields: units, scales, refunds and constants.

use super::plan::{NodeId, NumberPlan, Plan, TextPlan, TimePlan};
use super::wanted::WantedFields;
use crate::decode::Reason;
use crate::decode::event::{MAX_QUANTITY, fits_id, fits_key};
use crate::decode::number;
use crate::decode::timestamp::{Dates, from_number, from_units};
use crate::mapping::{MAX_ELEMENTS, Mapping};
use crate::money::Money;
use crate::time::Timestamp;

/// 10^12 in millionths.
const LEAST_TOO_LARGE: i64 = 1_000_000_000_000_000_000;

/// The purchases of one record.
#[derive(Debug)]
pub(in crate::decode) struct Purchases {
    /// Event time.
    pub(in crate::decode) time: Timestamp,
    /// The id of the event, with an id in the mapping.
    id: Text,
    /// Number of purchases. The vectors are at least as long.
    count: usize,
    purchases: Vec<Numbers>,
    /// The dimensions of all purchases, one purchase after the other.
    dimensions: Vec<Text>,
    /// The further sums of all purchases, one purchase after the other.
    more: Vec<Money>,
    /// The texts that are not in the record as they are.
    made: String,
    /// Number of dimensions and of further sums of a purchase.
    width: usize,
    sums: usize,
    is_exploded: bool,
}

/// Where a text is: in the record, or in [`Purchases::made`]. A record has less than 4 GiB, an id at most 1,024 bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Text {
    start: u32,
    length: u16,
    is_made: bool,
}

impl Text {
    /// A text in the record.
    #[inline(always)]
    const fn new((start, end): (u32, u32)) -> Self {
        Self { start, length: (end - start) as u16, is_made: false }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Numbers {
    quantity: i64,
    price: i64,
    amount: Money,
}

/// A record with purchases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedRecord<'a> {
    purchases: &'a Purchases,
    record: &'a [u8],
}

/// One purchase of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedPurchase<'a> {
    record: MappedRecord<'a>,
    dimensions: &'a [Text],
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
    /// The values of the dimensions, which are UTF-8.
    #[inline(always)]
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = &'a [u8]> {
        let record = self.record;
        self.dimensions.iter().map(move |text| record.text(*text))
    }

    /// As [`Self::dimensions`].
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'a str> {
        self.dimensions().map(|text| std::str::from_utf8(text).expect("dimensions are texts"))
    }
}

impl<'a> MappedRecord<'a> {
    /// Event time.
    #[inline(always)]
    pub(crate) const fn time(self) -> Timestamp {
        self.purchases.time
    }

    /// The id of the event; empty without one in the mapping.
    #[inline(always)]
    pub(crate) fn id(self) -> &'a [u8] {
        self.text(self.purchases.id)
    }

    /// The purchase of a record without an exploded array.
    pub(crate) fn only(self) -> Option<MappedPurchase<'a>> {
        self.iter().next().filter(|_| !self.purchases.is_exploded)
    }

    /// The purchases in their order.
    #[inline(always)]
    pub(crate) fn iter(self) -> impl Iterator<Item = MappedPurchase<'a>> {
        let Purchases { count, purchases, dimensions, more, width, sums, .. } = self.purchases;
        let (mut dimensions, mut more) = (&**dimensions, &**more);
        purchases[..*count].iter().map(move |Numbers { quantity, price, amount }| MappedPurchase {
            record: self,
            dimensions: first(&mut dimensions, *width),
            quantity: *quantity,
            price: *price,
            amount: *amount,
            more: first(&mut more, *sums),
        })
    }

    #[inline(always)]
    fn text(self, Text { start, length, is_made }: Text) -> &'a [u8] {
        let texts = if is_made { self.purchases.made.as_bytes() } else { self.record };
        &texts[start as usize..][..length.into()]
    }
}

/// Splits off the first items.
#[inline(always)]
fn first<'a, T>(items: &mut &'a [T], count: usize) -> &'a [T] {
    let (first, rest) = items.split_at(count);
    *items = rest;
    first
}

impl Purchases {
    pub(in crate::decode) fn new(mapping: &Mapping) -> Self {
        let (id, count, made) = Default::default();
        let (width, sums, is_exploded) = (mapping.dimensions.len(), mapping.sums.len(), mapping.explode.is_some());
        let most = if is_exploded { MAX_ELEMENTS } else { 1 };
        Self {
            time: Timestamp::EPOCH,
            id,
            count,
            purchases: vec![Numbers::default(); most],
            dimensions: vec![Text::default(); most * width],
            more: vec![Money::ZERO; most * sums],
            made,
            width,
            sums,
            is_exploded,
        }
    }

    #[inline(always)]
    pub(in crate::decode) fn clear(&mut self) {
        self.count = 0;
        self.made.clear();
    }

    /// The purchases, of this record.
    #[inline(always)]
    pub(in crate::decode) const fn of<'a>(&'a self, record: &'a [u8]) -> MappedRecord<'a> {
        MappedRecord { purchases: self, record }
    }

    /// Adds a text that is not in the record.
    fn make(&mut self, text: &str) -> Text {
        let start = self.made.len() as u32;
        self.made.push_str(text);
        Text { start, length: text.len() as u16, is_made: true }
    }

    /// Sets the id of the event.
    #[inline(always)]
    pub(in crate::decode) fn read_id(&mut self, plan: &Plan, fields: &impl WantedFields) -> Result<(), Reason> {
        let Some(at) = plan.id else { return Ok(()) };
        match fields.plain(at) {
            Some((start, end)) if fits_id((end - start) as usize) => {
                self.id = Text::new((start, end));
                Ok(())
            }
            _ => self.read_any_id(at, fields),
        }
    }

    #[inline(never)]
    fn read_any_id(&mut self, at: NodeId, fields: &impl WantedFields) -> Result<(), Reason> {
        if fields.is_missing(at) {
            return Err(Reason::MissingField);
        }
        let id = fields.with_key(at, |text| fits_id(text.len()).then(|| self.make(text)));
        self.id = id.flatten().ok_or(Reason::BadKey)?;
        Ok(())
    }

    /// Adds the purchase of these fields: one of at most [`MAX_ELEMENTS`]. The error is its first reason in the order of [`Reason`];
    /// then the purchases of the record must not be used.
    #[inline(always)]
    pub(in crate::decode) fn read(&mut self, plan: &Plan, fields: &impl WantedFields) -> Result<(), Reason> {
        // A required field that is missing also has no valid value.
        self.read_values(plan, fields).map_err(|reason| {
            let is_missing = plan.required.iter().any(|at| fields.is_missing(*at));
            if is_missing { Reason::MissingField } else { reason }
        })
    }

    /// As [`Self::read`], if all required fields are there.
    #[inline(always)]
    fn read_values(&mut self, plan: &Plan, fields: &impl WantedFields) -> Result<(), Reason> {
        let value = money(&plan.value, fields, plan.refunds).ok_or(Reason::BadPrice)?;
        for (at, sum) in (self.count * self.sums..).zip(&plan.sums) {
            let value = money(sum, fields, true).ok_or(Reason::BadPrice)?;
            self.more[at] = Money::from_millionths(value.into());
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
        for (at, dimension) in (self.count * self.width..).zip(&plan.dimensions) {
            let text = match fields.plain(dimension.at) {
                Some((start, end)) if fits_key((end - start) as usize) => Text::new((start, end)),
                _ => self.any_text(dimension, fields)?,
            };
            self.dimensions[at] = text;
        }
        let amount = Money::from_millionths(amount);
        self.purchases[self.count] = Numbers { quantity, price: price.abs(), amount };
        self.count += 1;
        Ok(())
    }

    /// The text of a dimension: numbers and booleans as their format writes them.
    #[inline(never)]
    fn any_text(&mut self, plan: &TextPlan, fields: &impl WantedFields) -> Result<Text, Reason> {
        let mut make = |text: &str| (fits_key(text.len()) && !text.contains('\0')).then(|| self.make(text));
        let text = match &plan.if_missing {
            Some(text) if fields.is_missing(plan.at) => make(text),
            _ => fields.with_key(plan.at, make).flatten(),
        };
        text.ok_or(Reason::BadKey)
    }
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
            Self::Rfc3339(at) => fields.plain_text(*at).and_then(|text| dates.rfc3339(text)),
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
