//! `spec.events` for the oracle, which reads its texts by itself.

use chrono::Duration;
use retail_api::Pipeline;
use retail_api::events::{Dimension, Events, Format, Money, Quantity, Refunds, Sum, Timestamp, TransactionId};
use retail_oracle::{Judge, OracleField, OracleMapping};

/// The judge of the records of a pipeline.
pub(crate) fn judge(pipeline: &Pipeline, window: Duration, delay: Duration) -> Judge {
    let within = pipeline.deduplicate_within.map(|within| Duration::microseconds(within.as_micros()));
    let mapping = pipeline.events.as_ref().map(|events| {
        let mapping = mapping(&events.events);
        // Without deduplication, records need no id.
        OracleMapping { id: mapping.id.filter(|_| within.is_some()), ..mapping }
    });
    Judge::new(window, delay).with_mapping(mapping).deduplicating(within)
}

fn mapping(events: &Events) -> OracleMapping {
    let Events {
        format: Format { kind, registry: _ },
        timestamp,
        transaction_id,
        dimensions,
        quantity,
        price,
        amount,
        refunds,
        sums,
        condition,
        explode,
    } = events;
    let kind = serde_json::to_value(kind).expect("a format is a name");
    let Timestamp { field, unit, text } = timestamp;
    let path = field.clone().unwrap_or_default();
    let unit = serde_json::to_value(unit).expect("a unit is a name");
    let Quantity { field: of_quantity, if_missing, text: is_text } = quantity;
    OracleMapping {
        format: kind.as_str().expect("a format is a name").to_owned(),
        timestamp: OracleField { path, is_text: *text, ..OracleField::default() },
        unit: unit.as_str().expect("a unit is a name").to_owned(),
        dimensions: dimensions.iter().map(dimension).collect(),
        quantity: number(of_quantity, *if_missing, 0, *is_text),
        price: price.as_ref().map(money),
        amount: amount.as_ref().map(money),
        refunds: *refunds == Refunds::Allow,
        sums: sums.iter().map(sum).collect(),
        condition: condition.clone(),
        id: transaction_id.as_ref().map(|TransactionId { field }| field.clone()),
        explode: explode.clone(),
    }
}

fn dimension(Dimension { name: _, field, if_missing }: &Dimension) -> OracleField {
    OracleField { path: field.clone(), if_missing: if_missing.clone(), ..OracleField::default() }
}

fn money(Money { field, if_missing, scale, text }: &Money) -> OracleField {
    number(field, *if_missing, *scale, *text)
}

fn sum(Sum { name: _, field, if_missing, scale, text }: &Sum) -> OracleField {
    number(field, *if_missing, *scale, *text)
}

fn number(field: &str, if_missing: Option<i64>, scale: i32, is_text: bool) -> OracleField {
    let if_missing = if_missing.map(|number| number.to_string());
    OracleField { path: field.to_owned(), if_missing, is_text, scale: scale.unsigned_abs() }
}
