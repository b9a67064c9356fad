//! Events as ten well-known interfaces send them, with our own values and only the fields that their documentation lists.

use serde_json::{Value, json};

/// A generator of small numbers.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    /// Null in one of four cases.
    fn maybe(&mut self, value: Value) -> Value {
        if self.below(4) == 0 { Value::Null } else { value }
    }

    fn cents(&mut self) -> u64 {
        199 + self.below(20_000)
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

/// 2026-01-02T03:04:05Z, in seconds.
pub(crate) const TIME: u64 = 1_767_323_045;

fn decimal(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn number(cents: u64) -> Value {
    serde_json::from_str(&decimal(cents)).unwrap()
}

/// RFC 3339 on 2026-01-02, `at` seconds into its fourth hour.
fn rfc3339(at: u64, end: &str) -> String {
    format!("2026-01-02T03:{:02}:{:02}{end}", at / 60 % 60, at % 60)
}

/// An order of a shop system: prices are strings, the lines are `line_items`.
pub(crate) fn shop_order(at: u64, r: &mut Numbers) -> Value {
    let line = |r: &mut Numbers| {
        json!({
            "id": 9_000_000_000_u64 + r.below(1_000_000), "title": r.one(&["Mug", "Poster", "Socks"]), "quantity": 1 + r.below(4),
            "price": decimal(r.cents()), "sku": r.digits(8), "vendor": r.one(&["Acme", "Globex"]), "taxable": true,
            "total_discount": "0.00", "variant_title": r.maybe(json!("Large")),
            "tax_lines": [{"title": "VAT", "price": "1.00", "rate": 0.19}],
        })
    };
    let lines: Vec<Value> = (0..=r.below(3)).map(|_| line(r)).collect();
    json!({
        "id": 5_000_000_000_u64 + at, "name": format!("#{}", 1000 + at), "created_at": rfc3339(at, "+01:00"),
        "updated_at": rfc3339(at + 60, "+01:00"), "processed_at": rfc3339(at, "+01:00"), "cancelled_at": null,
        "currency": r.one(&["EUR", "USD"]), "financial_status": r.one(&["paid", "pending"]), "fulfillment_status": r.maybe(json!("fulfilled")),
        "source_name": r.one(&["web", "pos"]), "total_price": decimal(r.cents()), "subtotal_price": decimal(r.cents()),
        "total_tax": "1.00", "email": format!("c{at}@example.org"), "line_items": lines,
        "shipping_lines": [{"title": "Standard", "price": "4.90", "code": "std"}], "refunds": [], "note": r.maybe(json!("gift")),
    })
}

/// A charge of a payment service: the smallest unit of the currency, seconds.
pub(crate) fn charge(at: u64, r: &mut Numbers) -> Value {
    json!({
        "id": format!("ch_{}", r.digits(14)), "object": "charge", "amount": r.cents(), "amount_captured": r.cents(), "amount_refunded": 0,
        "created": TIME + at, "currency": r.one(&["usd", "eur"]), "livemode": false, "paid": true, "refunded": false,
        "status": r.one(&["succeeded", "failed"]), "customer": r.maybe(json!(format!("cus_{at}"))), "description": r.maybe(json!("order")),
        "payment_method_details": {"type": r.one(&["card", "sepa_debit"]), "card": {"brand": r.one(&["visa", "amex"]), "last4": r.digits(4)}},
        "metadata": {}, "invoice": null,
    })
}

/// An event of web analytics: microseconds, and other events without purchases among them.
pub(crate) fn analytics(at: u64, r: &mut Numbers) -> Value {
    let is_purchase = at % 3 != 2;
    let item = |r: &mut Numbers| {
        json!({"item_id": r.digits(6), "item_name": r.one(&["Shirt", "Cap"]), "item_category": r.one(&["Apparel", "Bags", "Kitchen"]),
            "price": number(r.cents()), "quantity": 1 + r.below(3), "item_revenue": number(r.cents()), "coupon": r.maybe(json!("NEW"))})
    };
    let items: Vec<Value> = if is_purchase { (0..=r.below(2)).map(|_| item(r)).collect() } else { Vec::new() };
    let ecommerce = if is_purchase {
        json!({"transaction_id": r.digits(9), "purchase_revenue": number(r.cents()), "total_item_quantity": 2, "tax_value": 0.5})
    } else {
        json!({})
    };
    json!({
        "event_date": "20260102", "event_timestamp": (TIME + at) * 1_000_000 + 17, "user_first_touch_timestamp": TIME * 1_000_000,
        "event_name": if is_purchase { "purchase" } else { r.one(&["page_view", "scroll"]) },
        "event_params": [{"key": "page", "value": {"string_value": "/"}}],
        "user_pseudo_id": r.digits(12), "device": {"category": r.one(&["mobile", "desktop"]), "language": "en"},
        "geo": {"country": r.one(&["France", "Japan"]), "city": r.one(&["Paris", "Tokyo"])},
        "traffic_source": {"medium": r.one(&["organic", "email"]), "source": "x"}, "platform": "WEB", "ecommerce": ecommerce, "items": items,
    })
}

/// An order of a shop plugin: times without an offset.
pub(crate) fn plugin_order(at: u64, r: &mut Numbers) -> Value {
    let line = |r: &mut Numbers| {
        let (quantity, cents) = (1 + r.below(5), r.cents());
        json!({"id": r.below(10_000), "name": r.one(&["Tea", "Coffee"]), "product_id": r.below(50), "variation_id": 0, "quantity": quantity,
            "tax_class": "", "subtotal": decimal(cents), "total": decimal(cents), "total_tax": "0.10", "sku": r.digits(5),
            "price": cents as f64 / 100.0 / quantity as f64, "meta_data": []})
    };
    let lines: Vec<Value> = (0..=r.below(2)).map(|_| line(r)).collect();
    json!({
        "id": 700 + at, "number": format!("{}", 700 + at), "status": r.one(&["processing", "completed"]), "currency": "EUR",
        "created_via": r.one(&["checkout", "admin"]), "version": "8.0", "date_created": rfc3339(at, ""), "date_created_gmt": rfc3339(at, ""),
        "date_modified": rfc3339(at + 9, ""), "discount_total": "0.00", "total": decimal(r.cents()), "total_tax": "0.10",
        "payment_method": r.one(&["card", "cod", "paypal"]), "payment_method_title": "Pay", "customer_note": "",
        "billing": {"country": "DE", "city": r.one(&["Bonn", "Ulm"])}, "line_items": lines, "refunds": [], "date_paid": r.maybe(json!(rfc3339(at, ""))),
    })
}

/// An order of a till service: quantities are strings, money is an object with the smallest unit.
pub(crate) fn till_order(at: u64, r: &mut Numbers) -> Value {
    let line = |r: &mut Numbers| {
        let money = |amount: u64| json!({"amount": amount, "currency": "USD"});
        json!({"uid": r.digits(10), "name": r.one(&["Latte", "Bagel"]), "quantity": (1 + r.below(3)).to_string(), "item_type": "ITEM",
            "variation_name": r.one(&["Small", "Large"]), "base_price_money": money(r.cents()), "gross_sales_money": money(r.cents()),
            "total_tax_money": money(7), "total_discount_money": money(0), "total_money": money(r.cents())})
    };
    let lines: Vec<Value> = (0..=r.below(3)).map(|_| line(r)).collect();
    json!({
        "id": r.digits(20), "location_id": r.one(&["L1", "L2", "L3"]), "created_at": rfc3339(at, ".250Z"), "updated_at": rfc3339(at, ".750Z"),
        "closed_at": r.maybe(json!(rfc3339(at, "Z"))), "state": r.one(&["COMPLETED", "OPEN"]), "version": 3, "source": {"name": "Till"},
        "line_items": lines, "total_money": {"amount": r.cents(), "currency": "USD"}, "total_tax_money": {"amount": 7, "currency": "USD"},
        "tenders": [{"id": r.digits(9), "type": r.one(&["CARD", "CASH"]), "amount_money": {"amount": 100, "currency": "USD"}}],
    })
}

/// A change of a row of a table: updates among the insertions.
pub(crate) fn table_row(at: u64, r: &mut Numbers) -> Value {
    let op = if at % 4 == 3 { "u" } else { "c" };
    let row = |r: &mut Numbers| {
        json!({"id": 1000 + at, "customer_id": r.below(500), "category": r.one(&["toys", "books", "garden"]), "channel": r.one(&["web", "app"]),
            "qty": 1 + r.below(9), "unit_price": decimal(r.cents()), "created_at": (TIME + at) * 1_000_000, "note": r.maybe(json!("x"))})
    };
    let before = if op == "u" { row(r) } else { Value::Null };
    json!({
        "before": before, "after": row(r), "op": op, "ts_ms": (TIME + at) * 1000 + 450, "transaction": null,
        "source": {"version": "2.7", "connector": "postgresql", "name": "shop", "ts_ms": (TIME + at) * 1000, "db": "shop", "schema": "public",
            "table": "orders", "lsn": 24_000_000 + at},
    })
}

/// An event in an envelope with its own attributes.
pub(crate) fn cloud_event(at: u64, r: &mut Numbers) -> Value {
    json!({
        "specversion": "1.0", "id": format!("e-{at}"), "source": "/checkout", "type": "shop.order.placed", "time": rfc3339(at, "Z"),
        "datacontenttype": "application/json", "subject": r.maybe(json!("order")),
        "data": {"orderId": format!("o-{at}"), "productCategory": r.one(&["Shoes", "Hats"]), "paymentMethod": r.one(&["card", "invoice"]),
            "itemCount": 1 + r.below(4), "totalAmount": number(r.cents()), "currency": "EUR", "coupon": r.maybe(json!("A"))},
    })
}

/// An event of a tracking library: views of pages among the orders.
pub(crate) fn tracked(at: u64, r: &mut Numbers) -> Value {
    let product = |r: &mut Numbers| {
        json!({"product_id": r.digits(5), "sku": r.digits(4), "category": r.one(&["Games", "Puzzles"]), "name": r.one(&["A", "B"]),
            "brand": "Acme", "price": number(r.cents()), "quantity": 1 + r.below(3), "position": 1})
    };
    let is_order = at.is_multiple_of(2);
    let properties = if is_order {
        let products: Vec<Value> = (0..=r.below(2)).map(|_| product(r)).collect();
        json!({"order_id": format!("o-{at}"), "revenue": number(r.cents()), "total": number(r.cents()), "tax": 1.2, "currency": "USD", "products": products})
    } else {
        json!({"path": "/", "title": "Home"})
    };
    json!({
        "type": "track", "event": if is_order { "Order Completed" } else { "Page Viewed" }, "messageId": format!("m-{at}"),
        "anonymousId": r.digits(9), "userId": r.maybe(json!("u1")), "timestamp": rfc3339(at, ".125Z"), "sentAt": rfc3339(at, ".2Z"),
        "receivedAt": rfc3339(at, ".3Z"), "originalTimestamp": rfc3339(at, ".1Z"), "version": 2,
        "context": {"library": {"name": "js", "version": "1"}, "ip": "192.0.2.1"}, "properties": properties,
    })
}

/// A receipt of a till: returns have negative quantities.
pub(crate) fn receipt(at: u64, r: &mut Numbers) -> Value {
    let is_return = at % 5 == 4;
    let line = |r: &mut Numbers| {
        let pieces = 1 + r.below(3) as i64;
        json!({"sku": r.digits(8), "dept": r.one(&["Dairy", "Bakery", "Produce"]), "qty": if is_return { -pieces } else { pieces },
            "unitPrice": number(r.cents()), "taxCode": r.one(&["A", "B"])})
    };
    let lines: Vec<Value> = (0..=r.below(4)).map(|_| line(r)).collect();
    json!({
        "receiptNo": format!("{}-{at}", r.digits(3)), "storeId": 10 + r.below(3), "till": 1 + r.below(4), "cashier": r.maybe(json!("kim")),
        "time": rfc3339(at, "+02:00"), "type": if is_return { "RETURN" } else { "SALE" }, "lines": lines,
        "payments": [{"type": r.one(&["CARD", "CASH"]), "amount": number(r.cents())}], "total": number(r.cents()),
    })
}

/// An order of a marketplace: milliseconds, cents, items below the order's own objects.
pub(crate) fn marketplace_order(at: u64, r: &mut Numbers) -> Value {
    let item = |r: &mut Numbers| {
        json!({"sku": r.digits(7), "category": r.one(&["Toys", "Tools", "Lamps"]), "units": 1 + r.below(4), "unitPriceCents": r.cents(),
            "commissionCents": 12, "giftWrap": r.maybe(json!(true))})
    };
    let items: Vec<Value> = (0..=r.below(3)).map(|_| item(r)).collect();
    json!({
        "eventId": format!("ev-{at}"), "order": {"id": format!("mp-{at}"), "placedAt": (TIME + at) * 1000 + 7, "marketplace": r.one(&["DE", "PL"]),
            "fulfilment": {"carrier": r.maybe(json!("post"))}},
        "seller": {"id": r.one(&["s-1", "s-2"]), "name": "x"}, "items": items, "shippingCents": 490,
    })
}

/// A generator of one kind of record.
pub(crate) type Shape = fn(u64, &mut Numbers) -> Value;

/// All shapes, with n if every n-th of their records is something else than a purchase.
pub(crate) const SHAPES: [(&str, Shape, Option<u64>); 10] = [
    ("shop order", shop_order, None),
    ("charge", charge, None),
    ("analytics", analytics, Some(3)),
    ("plugin order", plugin_order, None),
    ("till order", till_order, None),
    ("table row", table_row, Some(4)),
    ("cloud event", cloud_event, None),
    ("tracked event", tracked, Some(2)),
    ("receipt", receipt, None),
    ("marketplace order", marketplace_order, None),
];
