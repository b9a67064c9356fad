//! A mapping as YAML to paste into a pipeline.yaml.

use retail_api::events::{Dimension, Events, Format, Money, Quantity, Refunds, Sum, Timestamp, TransactionId, Unit};

use crate::values::unit_name;

/// A path as `spec.events` has it: names joined by dots, quoted where necessary. `is_of_record` starts it with `$.`.
pub(crate) fn path_text(names: &[Box<str>], is_of_record: bool) -> String {
    let name = |name: &str| {
        let is_plain = !name.contains(|letter: char| letter == '.' || letter.is_whitespace());
        if is_plain { name.to_owned() } else { format!("\"{name}\"") }
    };
    let path = names.iter().map(|text| name(text)).collect::<Vec<_>>().join(".");
    if is_of_record { format!("$.{path}") } else { path }
}

/// The field `events`, indented for `spec`.
pub(crate) fn events_yaml(events: &Events) -> String {
    let Events {
        format,
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
    let mut lines = vec!["  events:".to_owned()];
    if *format != Format::default() {
        // JSON is YAML.
        let format = serde_json::to_string(format).expect("a format can be written as JSON");
        lines.push(format!("    format: {format}"));
    }
    lines.push(format!("    timestamp: {}", timestamp_yaml(timestamp)));
    lines.extend(
        transaction_id
            .as_ref()
            .map(|TransactionId { field }| format!("    transactionId: {{field: {}}}", scalar(field))),
    );
    lines.push("    dimensions:".to_owned());
    for Dimension { name, field, if_missing } in dimensions {
        let if_missing = if_missing.as_ref().map(|text| format!(", ifMissing: {}", scalar(text))).unwrap_or_default();
        lines.push(format!("    - {{name: {}, field: {}{if_missing}}}", scalar(name), scalar(field)));
    }
    let Quantity { field, if_missing, text } = quantity;
    lines.push(format!("    quantity: {}", number_yaml(field, *if_missing, 0, *text)));
    let money = |Money { field, if_missing, scale, text }: &Money| number_yaml(field, *if_missing, *scale, *text);
    lines.extend(price.as_ref().map(|price| format!("    price: {}", money(price))));
    lines.extend(amount.as_ref().map(|amount| format!("    amount: {}", money(amount))));
    if *refunds == Refunds::Allow {
        lines.push("    refunds: Allow".to_owned());
    }
    if !sums.is_empty() {
        lines.push("    sums:".to_owned());
    }
    for Sum { name, field, if_missing, scale, text } in sums {
        let number = number_yaml(field, *if_missing, *scale, *text);
        lines.push(format!("    - {{name: {}, {}", scalar(name), &number[1..]));
    }
    lines.extend(condition.as_ref().map(|condition| format!("    where: {}", quoted(condition))));
    lines.extend(explode.as_ref().map(|path| format!("    explode: {}", scalar(path))));
    lines.join("\n") + "\n"
}

fn timestamp_yaml(Timestamp { field, unit, text }: &Timestamp) -> String {
    let mut parts: Vec<String> = field.iter().map(|field| format!("field: {}", scalar(field))).collect();
    if *unit != Unit::Rfc3339 {
        parts.push(format!("unit: {}", unit_name(*unit)));
    }
    if *text {
        parts.push("text: true".to_owned());
    }
    format!("{{{}}}", parts.join(", "))
}

fn number_yaml(field: &str, if_missing: Option<i64>, scale: i32, text: bool) -> String {
    let mut parts = vec![format!("field: {}", scalar(field))];
    parts.extend(if_missing.map(|number| format!("ifMissing: {number}")));
    if scale != 0 {
        parts.push(format!("scale: {scale}"));
    }
    if text {
        parts.push("text: true".to_owned());
    }
    format!("{{{}}}", parts.join(", "))
}

/// A text without quotes if YAML reads it as the same text, otherwise in quotes.
fn scalar(text: &str) -> String {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '$'));
    let continues =
        text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$' | '.' | '-'));
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | "nan" | "inf"
    );
    if starts && continues && !is_word { text.to_owned() } else { quoted(text) }
}

/// A text in JSON is one in YAML.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text can be written as JSON")
}
