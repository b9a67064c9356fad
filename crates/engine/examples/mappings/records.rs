//! The records of the cases.

use std::fmt::Write;

use retail_engine::Timestamp;

/// 2025-01-01T00:00:00Z.
pub(crate) const BEGIN: i64 = 1_735_689_600;

/// The names of the cases.
pub(crate) const CASES: [&str; 16] = [
    "default",
    "flat",
    "nested",
    "where",
    "items",
    "any-items",
    "change",
    "change-schema",
    "optional",
    "1-dimension",
    "2-dimensions",
    "4-dimensions",
    "8-dimensions",
    "8-dimensions-30000-groups",
    "avro",
    "protobuf",
];

const CATEGORIES: [&str; 5] = ["Skincare", "Makeup", "Hair Care", "Fragrance", "Bath & Body"];
const METHODS: [&str; 4] = ["Credit Card", "Debit Card", "PayPal", "COD"];
const CITIES: [&str; 5] = ["Jakarta", "Surabaya", "Bandung", "Medan", "Denpasar"];
const PRODUCTS: [&str; 6] =
    ["Moisturizing Cream", "Fit Me Foundation", "Argan Oil Treatment", "Sauvage", "Body Wash", "Lip Balm 3-pack"];

/// Different records of a case, up to an hour old when they arrive.
pub(crate) fn of(case: &str, different: usize) -> Vec<Vec<u8>> {
    let mut random = Random(7);
    match case {
        "avro" => return (0..different).map(|_| random.avro()).collect(),
        "protobuf" => return (0..different).map(|_| random.protobuf()).collect(),
        _ => {}
    }
    (0..different).map(|_| random.record(case).into_bytes()).collect()
}

/// The schema of the case `avro`: the fields of `flat`, and three more.
pub(crate) const AVRO: &str = r#"
{"type": "record", "name": "Purchase", "fields": [
  {"name": "transaction_id", "type": "string"}, {"name": "customer_id", "type": "long"}, {"name": "category", "type": "string"},
  {"name": "brand", "type": "string"}, {"name": "product_name", "type": "string"}, {"name": "quantity", "type": "int"},
  {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "payment_method", "type": "string"},
  {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
  {"name": "city", "type": ["null", "string"]}, {"name": "loyal", "type": "boolean"}, {"name": "coupon", "type": ["null", "string"]}
]}"#;

/// The schema of the case `protobuf`: the fields of `flat`.
pub(crate) const PROTOBUF: &str = r#"
syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Purchase {
  string transaction_id = 1;
  int64 customer_id = 2;
  string category = 3;
  string brand = 4;
  string product_name = 5;
  int32 quantity = 6;
  double price = 7;
  string payment_method = 8;
  google.protobuf.Timestamp timestamp = 9;
  string city = 10;
  bool loyal = 11;
  string coupon = 12;
}"#;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn id(&mut self) -> String {
        let parts = [1 << 32, 1 << 16, 1 << 16, 1 << 16, 1 << 31].map(|most| self.below(most));
        let [a, b, c, d, e] = parts;
        format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }

    fn millis(&mut self) -> i64 {
        BEGIN * 1000 - 1 - self.below(3_599_000).cast_signed()
    }

    fn time(&mut self) -> String {
        let micros = self.millis() * 1000 + self.below(1000).cast_signed();
        let time = Timestamp::from_micros(micros).to_string();
        format!("{}+00:00", time.strip_suffix('Z').unwrap_or(&time))
    }

    fn cents(&mut self) -> u64 {
        500 + self.below(9500)
    }

    fn record(&mut self, case: &str) -> String {
        match case {
            "default" | "flat" => self.flat(),
            "nested" | "where" => self.nested(),
            "items" => self.order(3),
            "any-items" => {
                let items = 1 + self.below(5);
                self.order(items)
            }
            "change" => self.change(),
            "change-schema" => format!("{{\"schema\":{},\"payload\":{}}}", schema(), self.change()),
            "optional" => self.optional(),
            "8-dimensions-30000-groups" => self.dimensions([5, 4, 3, 3, 2, 2, 2, 2]),
            _ => self.dimensions([5, 4, 1, 1, 1, 1, 1, 1]),
        }
    }

    /// As the tutorial's producer writes it.
    fn flat(&mut self) -> String {
        let (id, customer, cents) = (self.id(), 1 + self.below(5000), self.cents());
        let (category, product, method) = (self.pick(&CATEGORIES), self.pick(&PRODUCTS), self.pick(&METHODS));
        format!(
            "{{\"transaction_id\": \"{id}\", \"customer_id\": {customer}, \"category\": \"{category}\", \"brand\": \"CeraVe\", \
             \"product_name\": \"{product}\", \"quantity\": {}, \"price\": {}.{:02}, \"payment_method\": \"{method}\", \
             \"timestamp\": \"{}\"}}",
            1 + self.below(5),
            cents / 100,
            cents % 100,
            self.time(),
        )
    }

    /// As `flat`, with three more fields, behind the id 1.
    fn avro(&mut self) -> Vec<u8> {
        let mut record = vec![0, 0, 0, 0, 1];
        let text = |record: &mut Vec<u8>, text: &str| {
            record.push(2 * text.len() as u8);
            record.extend(text.as_bytes());
        };
        let (id, customer, cents, millis) = (self.id(), 1 + self.below(5000), self.cents(), self.millis());
        text(&mut record, &id);
        varint(&mut record, 2 * customer);
        text(&mut record, self.pick(&CATEGORIES));
        text(&mut record, "CeraVe");
        text(&mut record, self.pick(&PRODUCTS));
        record.extend([2 * (1 + self.below(5) as u8), 4]);
        record.extend((cents as u16).to_be_bytes());
        text(&mut record, self.pick(&METHODS));
        varint(&mut record, 2000 * millis.cast_unsigned());
        record.push(2);
        text(&mut record, self.pick(&CITIES));
        record.extend([1, 0]);
        record
    }

    /// As `flat`, with three more fields, behind the id 1 and the index of the first message.
    fn protobuf(&mut self) -> Vec<u8> {
        let mut record = vec![0, 0, 0, 0, 1, 0];
        let text = |record: &mut Vec<u8>, number: u8, text: &str| {
            record.extend([number << 3 | 2, text.len() as u8]);
            record.extend(text.as_bytes());
        };
        let (id, customer, cents, millis) = (self.id(), 1 + self.below(5000), self.cents(), self.millis());
        text(&mut record, 1, &id);
        record.push(2 << 3);
        varint(&mut record, customer);
        text(&mut record, 3, self.pick(&CATEGORIES));
        text(&mut record, 4, "CeraVe");
        text(&mut record, 5, self.pick(&PRODUCTS));
        record.extend([6 << 3, 1 + self.below(5) as u8, 7 << 3 | 1]);
        record.extend((cents as f64 / 100.0).to_le_bytes());
        text(&mut record, 8, self.pick(&METHODS));
        let mut time = vec![1 << 3];
        varint(&mut time, (millis / 1000).cast_unsigned());
        time.push(2 << 3);
        varint(&mut time, (millis % 1000 * 1_000_000).cast_unsigned());
        record.extend([9 << 3 | 2, time.len() as u8]);
        record.extend(time);
        text(&mut record, 10, self.pick(&CITIES));
        record.extend([11 << 3, 1]);
        text(&mut record, 12, "WELCOME10");
        record
    }

    fn nested(&mut self) -> String {
        let trace: String = (0..3).map(|_| format!("{:016x}", self.below(1 << 32))).collect();
        format!(
            "{{\"specversion\":\"1.0\",\"type\":\"order.paid\",\"meta\":{{\"id\":\"{}\",\"createdAt\":{},\"source\":\"shop-api\",\
             \"traceparent\":\"00-{trace}-01\"}},\"customer\":{{\"id\":{},\"name\":\"{} {}\",\"loyal\":{},\"address\":{{\
             \"city\":\"{}\",\"zip\":\"{:05}\",\"geo\":{{\"lat\":-{}.{:04},\"lon\":{}.{:04}}}}}}},\"store\":{{\"id\":\"S-{:03}\",\
             \"channel\":\"{}\"}},\"line\":{{\"sku\":\"SKU-{:06}\",\"title\":\"{}\",\"qty\":{},\"unit_price_cents\":{},\
             \"discount\":null}},\"currency\":\"IDR\",\"notes\":\"\"}}",
            self.id(),
            self.millis(),
            1 + self.below(5000),
            self.pick(&PRODUCTS),
            self.below(1000),
            self.below(2) == 0,
            self.pick(&CITIES),
            self.below(99999),
            self.below(9),
            self.below(10000),
            100 + self.below(9),
            self.below(10000),
            self.below(40),
            self.pick(&METHODS),
            self.below(999_999),
            self.pick(&PRODUCTS),
            1 + self.below(5),
            self.cents(),
        )
    }

    fn order(&mut self, items: u64) -> String {
        let item = |random: &mut Self| {
            format!(
                "{{\"sku\":\"SKU-{:06}\",\"category\":\"{}\",\"qty\":{},\"unit_price_cents\":{}}}",
                random.below(999_999),
                random.pick(&CATEGORIES),
                1 + random.below(5),
                random.cents(),
            )
        };
        let items: Vec<String> = (0..items).map(|_| item(self)).collect();
        format!(
            "{{\"order_id\":\"{}\",\"created_at\":{},\"customer\":{{\"id\":{}}},\"payment\":{{\"method\":\"{}\",\
             \"captured\":true}},\"items\":[{}],\"total_cents\":{}}}",
            self.id(),
            self.millis(),
            1 + self.below(5000),
            self.pick(&METHODS),
            items.join(","),
            self.below(100_000),
        )
    }

    /// A row of a database, as Debezium writes it.
    fn change(&mut self) -> String {
        let millis = self.millis();
        format!(
            "{{\"before\":null,\"after\":{{\"id\":{},\"order_id\":\"{}\",\"category\":\"{}\",\"payment_method\":\"{}\",\
             \"quantity\":{},\"price_cents\":{},\"created_at\":{millis}}},\"source\":{{\"version\":\"3.0.0.Final\",\
             \"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":{},\"snapshot\":\"false\",\"db\":\"shop\",\
             \"sequence\":\"24023128\",\"schema\":\"public\",\"table\":\"orders\",\"txId\":{},\"lsn\":{},\"xmin\":null}},\
             \"op\":\"c\",\"ts_ms\":{},\"transaction\":null}}",
            1 + self.below(1 << 30),
            self.id(),
            self.pick(&CATEGORIES),
            self.pick(&METHODS),
            1 + self.below(5),
            self.cents(),
            millis + 3,
            1000 + self.below(1 << 20),
            24_000_000 + self.below(1 << 24),
            millis + 40,
        )
    }

    /// A receipt with three fields that it can lack: eight layouts.
    fn optional(&mut self) -> String {
        let coupon = if self.below(2) == 0 { ",\"coupon\":\"SAVE10\"" } else { "" };
        let (cashier, channel) = (self.below(999), self.pick(&METHODS));
        let cashier = if self.below(2) == 0 { format!(",\"cashier\":{cashier}") } else { String::new() };
        let channel = if self.below(2) == 0 { format!(",\"channel\":\"{channel}\"") } else { String::new() };
        let cents = self.cents();
        format!(
            "{{\"id\":\"{}\",\"ts\":{}{coupon},\"store\":{{\"id\":\"S-{:03}\"{cashier}}},\"category\":\"{}\"{channel},\
             \"qty\":{},\"price\":{}.{:02},\"terminal\":\"T-{:04}\",\"shift\":\"morning\"}}",
            self.id(),
            self.millis(),
            self.below(40),
            self.pick(&CATEGORIES),
            1 + self.below(5),
            cents / 100,
            cents % 100,
            self.below(9999),
        )
    }

    /// Eight dimensions with this number of names each.
    fn dimensions(&mut self, names: [u64; 8]) -> String {
        let mut record = format!("{{\"timestamp\": \"{}\"", self.time());
        for (at, names) in (1..).zip(names) {
            let _never_fails = write!(record, ", \"d{at}\": \"{} {at}\"", CITIES[self.below(names) as usize]);
        }
        let cents = self.cents();
        let quantity = 1 + self.below(5);
        format!("{record}, \"quantity\": {quantity}, \"price\": {}.{:02}}}", cents / 100, cents % 100)
    }
}

/// The description of the row, which Debezium puts before it.
fn schema() -> String {
    let field = |name: &&str| format!("{{\"type\":\"string\",\"optional\":false,\"field\":\"{name}\"}}");
    let fields = |names: &[&str]| names.iter().map(field).collect::<Vec<_>>().join(",");
    let row = fields(&["id", "order_id", "category", "payment_method", "quantity", "price_cents", "created_at"]);
    let source = fields(&[
        "version",
        "connector",
        "name",
        "ts_ms",
        "snapshot",
        "db",
        "sequence",
        "schema",
        "table",
        "txId",
        "lsn",
        "xmin",
    ]);
    let part = |fields: &str, name: &str, field: &str| {
        format!(
            "{{\"type\":\"struct\",\"fields\":[{fields}],\"optional\":true,\"name\":\"{name}\",\"field\":\"{field}\"}}"
        )
    };
    format!(
        "{{\"type\":\"struct\",\"fields\":[{},{},{}],\"optional\":false,\"name\":\"shop.public.orders.Envelope\",\"version\":1}}",
        part(&row, "shop.public.orders.Value", "before"),
        part(&row, "shop.public.orders.Value", "after"),
        part(&source, "io.debezium.connector.postgresql.Source", "source"),
    )
}

fn varint(record: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        record.push(number as u8 | 0x80);
        number >>= 7;
    }
    record.push(number as u8);
}
