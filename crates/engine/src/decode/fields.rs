//! The fields of a purchase as JSON text, before their values are parsed.

/// The value of a field, as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Value<'a> {
    /// The object has no such field.
    #[default]
    Missing,
    /// The content of a string without escapes.
    Plain(&'a str),
    /// A string with escapes, quotes included.
    Escaped(&'a str),
    /// A number.
    Number(&'a str),
    /// `true`, `false`, `null`, an array or an object, which no field may have.
    Other,
}

/// A known field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Category,
    PaymentMethod,
    Quantity,
    Price,
    Timestamp,
    /// The other name of `timestamp`.
    Ts,
    TransactionId,
    CustomerId,
    Brand,
    ProductName,
}

impl Field {
    /// The field with this name, if it is known.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "category" => Self::Category,
            "payment_method" => Self::PaymentMethod,
            "quantity" => Self::Quantity,
            "price" => Self::Price,
            "timestamp" => Self::Timestamp,
            "ts" => Self::Ts,
            "transaction_id" => Self::TransactionId,
            "customer_id" => Self::CustomerId,
            "brand" => Self::Brand,
            "product_name" => Self::ProductName,
            _ => return None,
        })
    }
}

/// The values of the known fields of a JSON object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) category: Value<'a>,
    pub(super) payment_method: Value<'a>,
    pub(super) quantity: Value<'a>,
    pub(super) price: Value<'a>,
    pub(super) timestamp: Value<'a>,
    pub(super) ts: Value<'a>,
    pub(super) transaction_id: Value<'a>,
    /// One bit for each known field that occurred.
    seen: u16,
}

/// A known field occurred twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Repeated;

impl<'a> Fields<'a> {
    /// Sets the value of a field. The values of fields that are not aggregated are dropped, but their repetition is an error.
    pub(super) fn set(&mut self, field: Field, value: Value<'a>) -> Result<(), Repeated> {
        let bit = 1 << field as u16;
        if self.seen & bit != 0 {
            return Err(Repeated);
        }
        self.seen |= bit;
        match field {
            Field::Category => self.category = value,
            Field::PaymentMethod => self.payment_method = value,
            Field::Quantity => self.quantity = value,
            Field::Price => self.price = value,
            Field::Timestamp => self.timestamp = value,
            Field::Ts => self.ts = value,
            Field::TransactionId => self.transaction_id = value,
            Field::CustomerId | Field::Brand | Field::ProductName => {}
        }
        Ok(())
    }
}
