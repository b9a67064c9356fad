//! Records with nested objects: orders of [`Layout::Orders`] and [`Layout::Items`].

use crate::layout::Layout;
use crate::purchases::Draws;

const SKUS: [&str; 5] = ["A-1", "A-2", "Käse", "数", "\\\"quoted\\\""];

/// A small valid item.
const ITEM: &str = "{\"sku\":\"A-1\",\"price\":{\"cents\":5}}";

/// The record of an order with this id and event time in milliseconds, with the fault that gives it this reason. Every tenth record
/// without a fault is filtered.
pub(crate) fn object(draws: &mut Draws, layout: Layout, id: u64, time: i64, reason: Option<&str>) -> String {
    let is = |other: &str| reason == Some(other);
    // Several fields can have the fault; one of them has it.
    let place = draws.below(3);
    let mut members = vec![meta(draws, time, reason)];
    let id = match place {
        0 if is("missing_field") => draws.one_of(&["\"no\":1", "\"id\":null"]).to_owned(),
        0 if is("bad_key") => draws.one_of(&["\"id\":\"\"", "\"id\":{}", "\"id\":[1]"]).to_owned(),
        // A number and its text are the same id.
        _ if draws.below(3) == 0 => format!("\"id\":{id}"),
        _ => format!("\"id\":\"{id}\""),
    };
    let fault = reason.filter(|_| place != 0 || !(is("missing_field") || is("bad_key")));
    let store = match fault {
        Some("missing_field") if place == 1 => draws.one_of(&["{}", "5", "[{\"id\":1}]"]).to_owned(),
        Some("bad_key") if layout == Layout::Orders || place == 1 => {
            draws.one_of(&["{\"id\":\"\"}", "{\"id\":{}}", "{\"id\":\"a\\u0000b\"}"]).to_owned()
        }
        _ => format!("{{\"city\":\"Jakarta\",\"id\":{}}}", 1 + draws.below(3)),
    };
    members.push(format!("\"store\":{store}"));
    // The fault is in the fields of the purchase, unless it was in those of the record.
    let fault = fault.filter(|fault| place != 1 || !["missing_field", "bad_key"].contains(fault));
    if layout == Layout::Items {
        members.push(format!("\"order\":{{{id},\"items\":{}}}", items(draws, fault)));
    } else {
        members.push(format!("\"order\":{{{id}}}"));
        members.extend(optional(draws));
        members.extend(purchase(draws, layout, fault));
    }
    if draws.below(8) == 0 {
        draws.shuffle(&mut members);
    }
    let mut text = format!("{{{}}}", members.join(","));
    if is("malformed_json") {
        match place {
            0 => drop(text.pop()),
            1 => text.push('!'),
            _ => text.insert_str(1, "\"store\":{\"id\":1},"),
        }
    }
    text
}

fn meta(draws: &mut Draws, time: i64, reason: Option<&str>) -> String {
    let time = match reason {
        Some("bad_timestamp") => draws.one_of(&["\"1735689600000\"", "-1", "1e18", "true", "{}"]).to_owned(),
        _ => time.to_string(),
    };
    let (kind, test) = match draws.below(10) {
        0 if reason.is_none() => (
            draws.one_of(&["\"kind\":\"login\",", "\"kind\":7,", "\"kind\":null,", "", "\"kind\":\"sale\","]),
            draws.one_of(&["\"test\":true,", "", "\"test\":null,", "\"test\":\"false\","]),
        ),
        1..4 => ("\"kind\":\"refund\",", "\"test\":false,"),
        _ => ("\"kind\":\"sale\",", "\"test\":false,"),
    };
    format!("\"meta\":{{{kind}{test}\"time\":{time}}}")
}

/// Fields that have a value if they are missing, and one that is not read.
fn optional(draws: &mut Draws) -> Vec<String> {
    let mut members = vec![format!("\"channel\":{}", draws.one_of(&["\"app\"", "\"web\"", "null"]))];
    members.push(
        draws.one_of(&["\"customer\":{\"member\":true}", "\"customer\":{}", "\"note\":[1,{\"id\":2}]"]).to_owned(),
    );
    members
}

fn items(draws: &mut Draws, fault: Option<&str>) -> String {
    if fault == Some("bad_items") {
        return match draws.below(4) {
            0 => format!("[{0}{ITEM}]", format!("{ITEM},").repeat(1000)),
            _ => draws.one_of(&["[]", "{}", "\"A-1\"", "7"]).to_owned(),
        };
    }
    let count = 1 + draws.below(4);
    let bad = draws.below(count);
    let items = (0..count).map(|at| {
        let fault = fault.filter(|_| at == bad);
        let mut members = purchase(draws, Layout::Items, fault);
        let sku = match fault {
            Some("bad_key") => draws.one_of(&["\"\"", "{}", "[\"A-1\"]"]).to_owned(),
            _ => format!("\"{}\"", draws.one_of(&SKUS)),
        };
        if fault != Some("missing_field") {
            members.push(format!("\"sku\":{sku}"));
        }
        format!("{{{}}}", members.join(","))
    });
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// The fields of quantity, money and discount, of which one has the fault.
fn purchase(draws: &mut Draws, layout: Layout, fault: Option<&str>) -> Vec<String> {
    let is = |other: &str| fault == Some(other);
    let of_order = layout == Layout::Orders;
    let is_refund = draws.below(10) == 0;
    let pieces = 1 + draws.below(9) as i64;
    let mut cents = format!("{}.{}", draws.below(50_000), draws.below(1_000_000));
    if draws.below(2) == 0 {
        cents = draws.below(50_000).to_string();
    }
    let mut pieces = if is_refund { -pieces } else { pieces }.to_string();
    if is_refund && of_order {
        cents.insert(0, '-');
    }
    let mut discount = draws.below(500).to_string();
    if is("bad_quantity") {
        pieces = draws.one_of(&["0", "1.0", "\"1\"", "1e2", "2147483648", "-2147483648", "true"]).to_owned();
    }
    if is("bad_price") {
        let bad = draws.one_of(&["\"5\"", "true", "1e14", "-1e14", "[5]"]);
        *(if draws.below(3) == 0 { &mut discount } else { &mut cents }) = bad.to_owned();
    }
    let money = if of_order { "total" } else { "price" };
    let mut members = Vec::new();
    // The pieces of an item, and each discount, may be missing.
    if !(is("missing_field") && of_order) && (of_order || is("bad_quantity") || draws.below(4) > 0) {
        members.push(format!("\"pieces\":{pieces}"));
    }
    members.push(format!("\"{money}\":{{\"cents\":{cents}}}"));
    if is("bad_price") || draws.below(3) > 0 {
        members.push(format!("\"discount\":{{\"cents\":{discount}}}"));
    }
    members
}
