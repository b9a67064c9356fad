//! Reads single records without judging them by time: for previews of a mapping.

use crate::batch::Purchase;
use crate::decode::{Decoder, FormatDecoder, Mapped, MappedPurchase, Reason};
use crate::mapping::Mapping;
use crate::money::Money;
use crate::partition::Record;
use crate::schema::{SchemaId, SchemaText};
use crate::time::Timestamp;

/// Reads records as an engine does, and keeps nothing of them. Slower than the engine: it copies the contents.
#[derive(Debug)]
pub struct Preview {
    decoder: Decoder,
    /// With a mapping, it replaces `decoder`.
    mapped: Option<FormatDecoder>,
}

/// The contents of a record with purchases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Event time.
    pub time: Timestamp,
    /// The purchases: one, or one for each element of an exploded array.
    pub purchases: Vec<Purchase>,
    /// The price of a piece of each purchase, without its sign.
    pub prices: Vec<Money>,
}

impl Preview {
    /// For records with the fields of a mapping, or of [`Event`](crate::Event).
    pub fn new(mapping: Option<&Mapping>) -> Self {
        Self { decoder: Decoder::default(), mapped: mapping.map(FormatDecoder::new) }
    }

    /// As [`Engine::learn_schema`](crate::Engine::learn_schema).
    pub fn learn_schema(&mut self, id: SchemaId, schema: Option<&SchemaText>) {
        if let Some(mapped) = &mut self.mapped {
            mapped.learn_schema(id, schema);
        }
    }

    /// As [`PartitionInput::missing_schema`](crate::PartitionInput::missing_schema).
    pub fn missing_schema(&self, record: &Record<'_>) -> Option<SchemaId> {
        self.mapped.as_ref()?.missing_schema(record.value, record.schema)
    }

    /// The contents of a record; `None` if it is filtered.
    ///
    /// # Panics
    ///
    /// If its schema is [missing](Self::missing_schema).
    pub fn read(&mut self, record: &Record<'_>) -> Result<Option<Contents>, Reason> {
        let Record { offset: _, timestamp, value, schema } = *record;
        let Some(mapped) = &mut self.mapped else {
            let event = self.decoder.decode(value)?;
            let purchase = Purchase {
                dimensions: Box::new([event.category.into(), event.payment_method.into()]),
                quantity: event.quantity,
                amount: event.amount(),
                more: Box::default(),
            };
            let prices = vec![Money::from_millionths(event.price.into())];
            return Ok(Some(Contents { time: event.timestamp, purchases: vec![purchase], prices }));
        };
        let record = match mapped.decode(value, schema, timestamp)? {
            Mapped::Filtered => return Ok(None),
            Mapped::Purchases(record) => record,
        };
        let purchase = |purchase: MappedPurchase<'_>| Purchase {
            dimensions: purchase.texts().map(Box::from).collect(),
            quantity: purchase.quantity,
            amount: purchase.amount,
            more: purchase.more.into(),
        };
        let prices = record.iter().map(|purchase| Money::from_millionths(purchase.price.into())).collect();
        Ok(Some(Contents { time: record.time(), purchases: record.iter().map(purchase).collect(), prices }))
    }
}
