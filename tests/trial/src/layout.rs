//! The fields of the records of a round, and of its pipeline.

use serde::{Deserialize, Serialize};

/// Reasons of dead letters, in the order of docs/reference/events.md.
const REASONS: [&str; 11] = [
    "empty",
    "malformed_json",
    "missing_field",
    "bad_timestamp",
    "bad_price",
    "bad_quantity",
    "bad_key",
    "no_record_time",
    "future",
    "late",
    "bad_items",
];

/// One purchase for each record.
const ORDERS: &str = r#"{
    "timestamp": {"field": "meta.time", "unit": "Milliseconds"},
    "transactionId": {"field": "order.id"},
    "dimensions": [
        {"name": "store", "field": "store.id"},
        {"name": "channel", "field": "channel", "ifMissing": "web"},
        {"name": "member", "field": "customer.member", "ifMissing": "unknown"}],
    "quantity": {"field": "pieces"},
    "amount": {"field": "total.cents", "scale": 2},
    "refunds": "Allow",
    "sums": [{"name": "discount", "field": "discount.cents", "scale": 2, "ifMissing": 0}],
    "where": "meta.kind in ['sale', 'refund'] && !meta.test"
}"#;

/// One purchase for each item.
const ITEMS: &str = r#"{
    "timestamp": {"field": "meta.time", "unit": "Milliseconds"},
    "transactionId": {"field": "order.id"},
    "dimensions": [
        {"name": "store", "field": "$.store.id"},
        {"name": "sku", "field": "sku"}],
    "quantity": {"field": "pieces", "ifMissing": 1},
    "price": {"field": "price.cents", "scale": 2},
    "refunds": "Allow",
    "sums": [{"name": "discount", "field": "discount.cents", "scale": 2, "ifMissing": 0}],
    "where": "meta.kind in ['sale', 'refund'] && !meta.test",
    "explode": "order.items"
}"#;

/// The fields of records.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Flat purchases of the tutorial.
    #[default]
    Tutorial,
    /// Nested orders with an amount in cents, refunds and a condition.
    Orders,
    /// The same with several items.
    Items,
}

impl Layout {
    /// `spec.events` as JSON, if the pipeline has it.
    pub(crate) const fn events(self) -> Option<&'static str> {
        match self {
            Self::Tutorial => None,
            Self::Orders => Some(ORDERS),
            Self::Items => Some(ITEMS),
        }
    }

    /// Columns of `retail`: the dimensions.
    pub(crate) const fn dimensions(self) -> &'static [&'static str] {
        match self {
            Self::Tutorial => &["category", "payment_method"],
            Self::Orders => &["store", "channel", "member"],
            Self::Items => &["store", "sku"],
        }
    }

    /// Columns of `retail`: the further sums.
    pub(crate) const fn sums(self) -> &'static [&'static str] {
        match self {
            Self::Tutorial => &[],
            Self::Orders | Self::Items => &["discount"],
        }
    }

    /// The reasons for which records are rejected.
    pub(crate) fn reasons(self) -> &'static [&'static str] {
        // Only an exploded array can be wrong.
        &REASONS[..REASONS.len() - usize::from(self != Self::Items)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_mapping() {
        for layout in [Layout::Orders, Layout::Items] {
            let events: serde_json::Value = serde_json::from_str(layout.events().unwrap()).unwrap();
            let names = |list: &str| -> Vec<String> {
                let fields = events[list].as_array().unwrap();
                fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!(names("dimensions"), layout.dimensions());
            assert_eq!(names("sums"), layout.sums());
        }
    }
}
