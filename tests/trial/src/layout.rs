//! The fields of the records of a round, and of its pipeline.

use serde::{Deserialize, Serialize};

/// Reasons of dead letters that all rounds have.
const REASONS: [&str; 9] = [
    "empty",
    "missing_field",
    "bad_timestamp",
    "bad_price",
    "bad_quantity",
    "bad_key",
    "no_record_time",
    "future",
    "late",
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

/// One purchase for each item, in Avro. REGISTRY is the URL of the registry.
const AVRO: &str = r#"{
    "format": {"type": "Avro", "registry": {"url": "REGISTRY"}},
    "timestamp": {"field": "placed_at", "unit": "Milliseconds"},
    "transactionId": {"field": "order.id"},
    "dimensions": [
        {"name": "store", "field": "$.store"},
        {"name": "sku", "field": "sku"},
        {"name": "channel", "field": "$.channel", "ifMissing": "web"}],
    "quantity": {"field": "pieces"},
    "price": {"field": "price"},
    "refunds": "Allow",
    "sums": [{"name": "discount", "field": "discount", "ifMissing": 0}],
    "where": "kind in ['sale', 'refund'] && !test",
    "explode": "order.items"
}"#;

/// The fields of records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Flat purchases of the tutorial.
    #[default]
    Tutorial,
    /// Nested orders with an amount in cents, refunds and a condition.
    Orders,
    /// The same with several items.
    Items,
    /// Orders with items in Avro, by several writers whose schemas are in a registry.
    Avro,
}

impl Layout {
    /// `spec.events` as JSON in one line, if the pipeline has it. `registry` is the URL of the registry.
    pub(crate) fn events(self, registry: &str) -> Option<String> {
        let events = match self {
            Self::Tutorial => return None,
            Self::Orders => ORDERS,
            Self::Items => ITEMS,
            Self::Avro => AVRO,
        };
        Some(events.replace('\n', " ").replace("REGISTRY", registry))
    }

    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tutorial => "tutorial",
            Self::Orders => "orders",
            Self::Items => "items",
            Self::Avro => "Avro",
        }
    }

    /// Whether the records name schemas of a registry.
    pub(crate) const fn has_registry(self) -> bool {
        matches!(self, Self::Avro)
    }

    /// Columns of `retail`: the dimensions.
    pub(crate) const fn dimensions(self) -> &'static [&'static str] {
        match self {
            Self::Tutorial => &["category", "payment_method"],
            Self::Orders => &["store", "channel", "member"],
            Self::Items => &["store", "sku"],
            Self::Avro => &["store", "sku", "channel"],
        }
    }

    /// Columns of `retail`: the further sums.
    pub(crate) const fn sums(self) -> &'static [&'static str] {
        match self {
            Self::Tutorial => &[],
            Self::Orders | Self::Items | Self::Avro => &["discount"],
        }
    }

    /// The reasons for which records are rejected.
    pub(crate) fn reasons(self) -> Vec<&'static str> {
        let others: &[&str] = match self {
            Self::Tutorial | Self::Orders => &["malformed_json"],
            Self::Items => &["malformed_json", "bad_items"],
            Self::Avro => &["no_schema_id", "unknown_schema", "malformed_avro", "bad_items"],
        };
        [&REASONS, others].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_mapping() {
        for layout in [Layout::Orders, Layout::Items, Layout::Avro] {
            let events: serde_json::Value = serde_json::from_str(&layout.events("").unwrap()).unwrap();
            let names = |list: &str| -> Vec<String> {
                let fields = events[list].as_array().unwrap();
                fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!(names("dimensions"), layout.dimensions());
            assert_eq!(names("sums"), layout.sums());
        }
    }
}
