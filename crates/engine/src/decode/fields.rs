//! The fields of a purchase as they stand in the JSON text, before anyone asks what they mean.

/// The value of a field, as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Value<'a> {
    /// The object has no such field.
    #[default]
    Missing,
    /// The inside of a string without escapes.
    Plain(&'a str),
    /// A string with escapes, quotes included.
    Escaped(&'a str),
    /// A number.
    Number(&'a str),
    /// `true`, `false`, `null`, an array or an object: nothing that any field may be.
    Other,
}

/// A field that the rules know by name.
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
    /// The field of that name, if the rules know it.
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

/// What the JSON object has under the names the rules know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) category: Value<'a>,
    pub(super) payment_method: Value<'a>,
    pub(super) quantity: Value<'a>,
    pub(super) price: Value<'a>,
    pub(super) timestamp: Value<'a>,
    pub(super) ts: Value<'a>,
    /// One bit for each known field that was met.
    seen: u16,
}

/// A known field came a second time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Repeated;

impl<'a> Fields<'a> {
    /// Takes the value of a field; that of a field nobody computes with is forgotten, but not that it was there.
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
            Field::TransactionId | Field::CustomerId | Field::Brand | Field::ProductName => {}
        }
        Ok(())
    }
}
