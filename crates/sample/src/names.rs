//! Words in the names of fields, and the words that producers use for the fields of a purchase.

/// The words of a name in lower case: `unitPrice`, `unit_price` and `Unit-Price` have the same.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for (at, letter) in name.char_indices() {
        let next_is_lower = name[at + letter.len_utf8()..].starts_with(|next: char| next.is_lowercase());
        // `orderID` is order, id; `HTTPCode` is http, code.
        let starts = letter.is_uppercase() && (before.is_lowercase() || before.is_numeric() || next_is_lower);
        if !letter.is_alphanumeric() {
            before = ' ';
            continue;
        }
        if words.is_empty() || before == ' ' || starts {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words
}

/// A name in lower case with underscores: the form of a column.
pub(crate) fn snake(name: &str) -> String {
    words(name).join("_")
}

/// Whether a word says that an amount counts hundredths.
pub(crate) fn is_cents(word: &str) -> bool {
    matches!(word, "cents" | "cent" | "minor" | "pence" | "paise")
}

/// What a field of a mapping means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Time,
    Quantity,
    Price,
    Amount,
    Text,
    /// A further sum, which only its own name describes.
    Sum,
}

/// How well a name fits a role, from 0, which is not at all, to 100. `parent` is the name of the object around the field.
pub(crate) fn fit(role: Role, name: &str, parent: &str) -> u32 {
    fit_of_words(role, &snake(name), &snake(parent))
}

/// As [`fit`], for names that are in lower case with underscores already.
pub(crate) fn fit_of_words(role: Role, name: &str, parent: &str) -> u32 {
    let list = match role {
        Role::Time => TIMES,
        Role::Quantity => QUANTITIES,
        Role::Price => PRICES,
        Role::Amount => AMOUNTS,
        Role::Text | Role::Sum => return 0,
    };
    let exact = |text: &str| list.iter().find(|(known, _)| *known == text).map(|(_, score)| *score);
    let by_name = |name: &str| exact(name).or_else(|| exact(without_unit(name))).or_else(|| loose(role, name));
    if !matches!(name, "amount" | "value" | "cents" | "units") || parent.is_empty() {
        return by_name(name).unwrap_or(0);
    }
    // `total_money: {amount: 1999}` and `price: {value: 19.99}`: the outer name says which money it is.
    if let Some(score) = by_name(parent) {
        return score - 1;
    }
    let is_other = parent.split('_').any(|word| PARTS.contains(&word) || matches!(word, "price" | "money"));
    if is_other { 0 } else { by_name(name).unwrap_or(0).saturating_sub(10) }
}

/// A name without the words that say its unit.
fn without_unit(name: &str) -> &str {
    let units = [
        "_cents",
        "_in_cents",
        "_minor",
        "_minor_units",
        "_money",
        "_ms",
        "_millis",
        "_micros",
        "_usd",
        "_eur",
        "_utc",
    ];
    let longest = units.iter().filter_map(|unit| name.strip_suffix(unit)).min_by_key(|rest| rest.len());
    longest.filter(|rest| !rest.is_empty()).unwrap_or(name)
}

/// Names that are not in the list, but end like one of it.
fn loose(role: Role, name: &str) -> Option<u32> {
    let words: Vec<&str> = name.split('_').collect();
    let last = *words.last()?;
    let has = |word: &str| words.contains(&word);
    match role {
        Role::Time if matches!(last, "at" | "time" | "timestamp" | "ts" | "date" | "datetime") => {
            Some(if words.iter().any(|word| LATER.contains(word)) { 15 } else { 40 })
        }
        Role::Quantity if matches!(last, "quantity" | "qty" | "units" | "pieces") => Some(40),
        Role::Price if last == "price" && !has("total") && !has("old") && !has("compare") && !has("original") => {
            Some(40)
        }
        Role::Amount
            if matches!(last, "amount" | "total" | "revenue") && !words.iter().any(|word| PARTS.contains(word)) =>
        {
            Some(35)
        }
        Role::Time | Role::Quantity | Role::Price | Role::Amount | Role::Text | Role::Sum => None,
    }
}

/// Words of times that come after the purchase.
const LATER: &[&str] = &[
    "updated",
    "modified",
    "changed",
    "received",
    "sent",
    "processed",
    "ingested",
    "expires",
    "expiry",
    "expired",
    "deleted",
    "cancelled",
    "canceled",
    "closed",
    "shipped",
    "delivered",
    "refunded",
    "birth",
    "due",
    "until",
    "published",
    "previous",
    "loaded",
    "synced",
    "first",
    "user",
    "server",
    "offset",
    "touch",
];

/// Words of amounts that are only a part of a purchase.
const PARTS: &[&str] = &[
    "tax",
    "taxes",
    "vat",
    "discount",
    "discounts",
    "shipping",
    "tip",
    "fee",
    "fees",
    "refund",
    "refunded",
    "refunds",
    "captured",
    "tendered",
    "change",
    "due",
    "paid",
    "balance",
    "original",
    "freight",
    "tare",
    "outstanding",
    "cost",
    "application",
    "rounding",
    "service",
    "charge",
    "commission",
    "min",
    "max",
    "net",
];

const TIMES: &[(&str, u32)] = &[
    ("event_time", 100),
    ("event_timestamp", 99),
    ("occurred_at", 98),
    ("created_at", 97),
    ("ordered_at", 96),
    ("purchased_at", 96),
    ("placed_at", 96),
    ("order_time", 95),
    ("order_date", 94),
    ("purchase_time", 95),
    ("purchase_date", 94),
    ("transaction_time", 95),
    ("transaction_date", 94),
    ("sold_at", 95),
    ("sale_time", 95),
    ("timestamp", 93),
    ("created", 92),
    ("create_time", 92),
    ("creation_time", 92),
    ("creation_date", 91),
    ("date_created", 91),
    ("date_created_gmt", 92),
    ("create_date", 91),
    ("paid_at", 88),
    ("completed_at", 86),
    ("time", 85),
    ("ts", 84),
    ("datetime", 83),
    ("date_time", 83),
    ("date", 80),
    ("at", 70),
    ("when", 70),
    ("started_at", 60),
    ("original_timestamp", 60),
    ("processed_at", 50),
];

const QUANTITIES: &[(&str, u32)] = &[
    ("quantity", 100),
    ("qty", 99),
    ("units", 90),
    ("pieces", 89),
    ("num_units", 88),
    ("item_quantity", 88),
    ("quantity_ordered", 88),
    ("qty_ordered", 88),
    ("total_quantity", 86),
    ("total_item_quantity", 86),
    ("total_qty", 86),
    ("item_count", 84),
    ("items_count", 84),
    ("num_items", 84),
    ("number_of_items", 84),
    ("count", 70),
    ("pcs", 70),
    ("menge", 60),
];

const PRICES: &[(&str, u32)] = &[
    ("unit_price", 100),
    ("price", 98),
    ("item_price", 97),
    ("price_per_unit", 96),
    ("unit_amount", 95),
    ("base_price", 94),
    ("sale_price", 92),
    ("selling_price", 92),
    ("price_each", 92),
    ("cents", 70),
    ("pence", 65),
    ("unit_cost", 60),
    ("list_price", 60),
];

const AMOUNTS: &[(&str, u32)] = &[
    ("amount", 100),
    ("total_amount", 99),
    ("order_total", 98),
    ("grand_total", 97),
    ("total_price", 96),
    ("total", 95),
    ("line_total", 95),
    ("item_total", 95),
    ("purchase_revenue", 95),
    ("item_revenue", 95),
    ("revenue", 94),
    ("transaction_amount", 94),
    ("payment_amount", 93),
    ("order_amount", 93),
    ("sale_amount", 93),
    ("gross_amount", 90),
    ("gross", 85),
    ("value", 80),
    ("sum", 75),
    ("cents", 72),
    ("pence", 71),
    ("subtotal", 70),
    ("net_amount", 68),
    ("price", 60),
];

/// How well a field serves as a dimension, by its name: 0 is not at all.
pub(crate) fn dimension_fit(name: &str, parent: &str) -> u32 {
    let name = snake(name);
    let words: Vec<&str> = name.split('_').collect();
    if let Some((_, score)) = DIMENSIONS.iter().find(|(known, _)| *known == name) {
        return *score;
    }
    let parent = snake(parent);
    if matches!(name.as_str(), "id" | "code" | "name" | "key") && PLACES.contains(&parent.as_str()) {
        return if name == "name" { 55 } else { 60 };
    }
    let last = words.last().copied().unwrap_or_default();
    if let Some((_, score)) = DIMENSIONS.iter().find(|(known, _)| *known == last && last != "id") {
        return score - 10;
    }
    if last == "id" && words.len() == 2 && PLACES.contains(&words[0]) {
        return 60;
    }
    0
}

/// Objects that an id or a name makes a dimension.
const PLACES: &[&str] =
    &["store", "shop", "location", "branch", "warehouse", "outlet", "seller", "vendor", "merchant", "tenant", "market"];

const DIMENSIONS: &[(&str, u32)] = &[
    ("category", 100),
    ("item_category", 98),
    ("product_category", 98),
    ("product_type", 95),
    ("department", 95),
    ("dept", 94),
    ("payment_method", 97),
    ("payment_type", 95),
    ("payment_method_type", 95),
    ("channel", 90),
    ("sales_channel", 90),
    ("store", 88),
    ("shop", 86),
    ("location", 80),
    ("branch", 80),
    ("region", 80),
    ("country", 80),
    ("country_code", 80),
    ("marketplace", 80),
    ("market", 75),
    ("currency", 70),
    ("currency_code", 70),
    ("brand", 65),
    ("vendor", 65),
    ("gateway", 65),
    ("platform", 60),
    ("source", 55),
    ("source_name", 60),
    ("created_via", 50),
    ("medium", 50),
    ("device", 45),
    ("method", 60),
    ("type", 45),
    ("kind", 45),
    ("state", 42),
    ("status", 40),
    ("financial_status", 40),
    ("segment", 40),
    ("city", 38),
    ("tier", 35),
    ("plan", 35),
    ("event", 20),
    ("event_name", 20),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_style_have_the_same_words() {
        for name in ["unitPrice", "unit_price", "Unit-Price", "UNIT_PRICE", "unit price", "UnitPrice"] {
            assert_eq!(snake(name), "unit_price", "{name}");
        }
        assert_eq!(snake("orderID"), "order_id");
        assert_eq!(snake("HTTPCode2"), "http_code2");
        assert_eq!(snake("ts"), "ts");
        assert_eq!(snake("$"), "");
    }

    #[test]
    fn holder_of_a_money_object_names_it() {
        assert_eq!(fit(Role::Price, "amount", "base_price_money"), 93);
        assert_eq!(fit(Role::Amount, "amount", "base_price_money"), 0);
        assert_eq!(fit(Role::Amount, "amount", "total_tax_money"), 0);
        assert_eq!(fit(Role::Amount, "amount", "data"), 90);
        assert_eq!(fit(Role::Price, "unitPriceCents", ""), 100);
        assert_eq!(fit(Role::Amount, "total_tax_amount", ""), 0);
        assert_eq!(fit(Role::Time, "updatedAt", ""), 15);
        assert_eq!(fit(Role::Quantity, "customer", ""), 0);
    }
}
