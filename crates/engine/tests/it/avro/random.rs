//! Random schemas, values and mappings, and mutations of the bodies.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use retail_oracle::{OracleField, OracleMapping};
use serde_json::{Map, Value as Json, json};

use super::{field, framed};
use crate::mapped_judge::MappedJudge;

/// Seconds since 1970 in 2024.
const BASE: i64 = 1_735_688_980;

/// xorshift64*: the same sequence in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

fn decimal(scale: u32) -> Json {
    json!({"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": scale})
}

fn logical(of_type: &str, logical: &str) -> Json {
    json!({"type": of_type, "logicalType": logical})
}

/// Makes schemas. The name of a field says how its values look.
struct Schemas<'a> {
    random: &'a mut Random,
    names: usize,
}

impl Schemas<'_> {
    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}_{}", self.names)
    }

    /// A scalar for a part of a mapping.
    fn scalar(&mut self, part: &str) -> Json {
        let fixed = json!({"type": "fixed", "name": self.name("F"), "size": 11, "logicalType": "decimal", "precision": 20, "scale": 2});
        let symbols = json!({"type": "enum", "name": self.name("E"), "symbols": ["a", "b", "c"]});
        let usual = match part {
            "at" => logical("long", "timestamp-millis"),
            "qty" => json!("int"),
            "price" => json!("double"),
            _ => json!("string"),
        };
        if self.random.chance(75) {
            return usual;
        }
        let others = match part {
            "at" => vec![
                logical("long", "timestamp-micros"),
                logical("long", "timestamp-nanos"),
                logical("long", "local-timestamp-millis"),
                logical("int", "date"),
                json!("long"),
                json!("double"),
                json!("string"),
                json!("bytes"),
            ],
            "qty" => vec![
                json!("long"),
                json!("string"),
                json!("double"),
                json!("float"),
                decimal(0),
                decimal(2),
                json!("bytes"),
            ],
            "price" => {
                vec![decimal(2), decimal(9), fixed, json!("float"), json!("string"), json!("long"), json!("int")]
            }
            _ => vec![
                symbols,
                json!("int"),
                json!("long"),
                json!("boolean"),
                json!("bytes"),
                decimal(1),
                json!("double"),
                fixed,
            ],
        };
        let one = self.random.pick(&others);
        if self.random.chance(30) { json!(["null", one, {"type": "map", "values": "null"}]) } else { one }
    }

    /// Any type.
    fn any(&mut self, depth: usize) -> Json {
        let kinds = if depth == 0 { 8 } else { 14 };
        match self.random.below(kinds) {
            0 => json!("null"),
            1 => json!("boolean"),
            2 => self.scalar("at"),
            3 => self.scalar("qty"),
            4 => self.scalar("price"),
            5 => self.scalar("d"),
            6 => json!({"type": "fixed", "name": self.name("F"), "size": self.random.below(4)}),
            7 => json!("bytes"),
            8 => json!({"type": "array", "items": self.any(depth - 1)}),
            9 => json!({"type": "map", "values": self.any(depth - 1)}),
            10 => {
                let one = self.any(depth - 1);
                if one.is_array() || one == "null" { one } else { json!(["null", one]) }
            }
            11 => {
                let name = self.name("L");
                json!({"type": "record", "name": name, "fields": [
                    {"name": "value", "type": self.any(depth - 1)},
                    {"name": "next", "type": ["null", name]}]})
            }
            _ => {
                let count = self.random.below(4);
                let fields = (0..count).map(|_| self.any(depth - 1)).collect::<Vec<_>>();
                let fields: Vec<Json> =
                    fields.into_iter().map(|of_type| json!({"name": self.name("x"), "type": of_type})).collect();
                json!({"type": "record", "name": self.name("R"), "fields": fields})
            }
        }
    }

    /// A record with fields for these parts of a mapping, among others. Returns the paths of the parts.
    fn record(&mut self, parts: &[&str], more: Vec<Json>) -> (Json, BTreeMap<String, String>) {
        let mut fields = more;
        let mut paths = BTreeMap::new();
        for part in parts {
            let of_type = self.scalar(part.trim_end_matches(char::is_numeric));
            let place = self.random.below(10);
            let (of_type, name, path) = match place {
                0..=5 => (of_type, (*part).to_owned(), (*part).to_owned()),
                6 | 7 => {
                    let other = self.any(1);
                    let inner = json!({"type": "record", "name": self.name("N"), "fields": [
                        {"name": self.name("x"), "type": other}, {"name": part, "type": of_type}]});
                    let name = self.name("n");
                    let path = format!("{name}.{part}");
                    (if place == 6 { inner } else { json!(["null", inner]) }, name, path)
                }
                8 => {
                    let name = self.name("m");
                    let path = format!("{name}.{part}");
                    (json!({"type": "map", "values": of_type}), name, path)
                }
                _ => {
                    // The mapping has the alias.
                    let name = self.name(part);
                    fields.push(json!({"name": name, "aliases": ["old", part], "type": of_type}));
                    paths.insert((*part).to_owned(), (*part).to_owned());
                    continue;
                }
            };
            fields.push(json!({"name": name, "type": of_type}));
            paths.insert((*part).to_owned(), path);
        }
        for _ in 0..self.random.below(5) {
            let of_type = self.any(3);
            fields.push(json!({"name": self.name("x"), "type": of_type}));
        }
        for at in (1..fields.len()).rev() {
            fields.swap(at, self.random.below(at + 1));
        }
        (json!({"type": "record", "name": self.name("Rec"), "fields": fields}), paths)
    }
}

/// Makes values of a schema.
struct Values<'a> {
    random: &'a mut Random,
    named: BTreeMap<String, Json>,
}

impl Values<'_> {
    /// A value of a field with this name.
    fn value(&mut self, schema: &Json, name: &str, depth: usize) -> Value {
        match schema {
            Json::String(of_type) => match self.named.get(of_type).cloned() {
                Some(schema) => self.value(&schema, name, depth),
                None => self.primitive(of_type, name),
            },
            Json::Array(branches) => {
                // Null ends recursive values.
                let branch =
                    if depth > 5 || self.random.chance(15) { 0 } else { 1 + self.random.below(branches.len() - 1) };
                Value::Union(branch as u32, Box::new(self.value(&branches[branch], name, depth + 1)))
            }
            Json::Object(object) => self.complex(object, name, depth),
            Json::Null | Json::Bool(_) | Json::Number(_) => panic!("{schema}"),
        }
    }

    fn complex(&mut self, object: &Map<String, Json>, name: &str, depth: usize) -> Value {
        if let Some(own) = object.get("name").and_then(Json::as_str) {
            self.named.insert(own.to_owned(), Json::Object(object.clone()));
        }
        let text = |name: &str| object.get(name).and_then(Json::as_str).unwrap_or_default();
        let count = |random: &mut Random| if depth > 4 { 0 } else { random.below(4) };
        match (text("type"), text("logicalType")) {
            ("fixed", logical) => {
                let size = object["size"].as_u64().unwrap() as usize;
                let mut bytes = self.number(name, 2).to_be_bytes().to_vec();
                let sign = if bytes[0] >= 0x80 { 0xff } else { 0 };
                while bytes.len() < size {
                    bytes.insert(0, sign);
                }
                let bytes = bytes[bytes.len() - size..].to_vec();
                if logical == "decimal" { Value::Decimal(bytes.into()) } else { Value::Fixed(size, bytes) }
            }
            ("bytes", "decimal") => {
                let scale = object["scale"].as_u64().unwrap() as u32;
                let mut bytes = self.number(name, scale).to_be_bytes().to_vec();
                if self.random.chance(10) {
                    bytes.extend([0, 7, 255, 3]);
                }
                Value::Decimal(bytes.into())
            }
            (_, "timestamp-millis") => Value::TimestampMillis(self.time(3)),
            (_, "timestamp-micros") => Value::TimestampMicros(self.time(6)),
            (_, "timestamp-nanos") => Value::TimestampNanos(self.time(9)),
            (_, "local-timestamp-millis") => Value::LocalTimestampMillis(self.time(3)),
            (_, "date") => Value::Date(20_000),
            ("enum", _) => {
                let symbol = self.random.below(3);
                Value::Enum(symbol as u32, ["a", "b", "c"][symbol].to_owned())
            }
            ("array", _) => {
                let count = if name == "items" { self.random.below(6) } else { count(self.random) };
                Value::Array((0..count).map(|_| self.value(&object["items"], name, depth + 1)).collect())
            }
            ("map", _) => {
                let part = ["at", "qty", "price", "d", "d2"].map(str::to_owned);
                let keys: Vec<String> =
                    (0..self.random.below(5)).map(|_| self.random.pick(&part)).chain(part.clone()).collect();
                let keys = keys.into_iter().skip(self.random.below(3));
                Value::Map(keys.map(|key| (key.clone(), self.value(&object["values"], &key, depth + 1))).collect())
            }
            ("record", _) => {
                let fields = object["fields"].as_array().unwrap();
                let fields = fields.iter().map(|field| {
                    let name = field["name"].as_str().unwrap();
                    (name.to_owned(), self.value(&field["type"], name, depth + 1))
                });
                Value::Record(fields.collect())
            }
            (of_type, _) => self.primitive(of_type, name),
        }
    }

    fn time(&mut self, decimals: u32) -> i64 {
        if self.random.chance(3) {
            return self.random.pick(&[i64::MIN, -1, 0, i64::MAX]);
        }
        let units = 10_i64.pow(decimals);
        (BASE + self.random.below(5000) as i64) * units + self.random.below(units as usize) as i64
    }

    /// A number of units of 10^-`scale`.
    fn number(&mut self, name: &str, scale: u32) -> i64 {
        let units = 10_i64.pow(scale);
        match self.random.below(30) {
            0 => self.random.pick(&[i64::MIN, i64::MAX, 0, -1, 1 << 40]),
            1 => -(self.random.below(100) as i64) * units,
            _ if name.starts_with("at") => (BASE + self.random.below(5000) as i64) * units,
            _ if name.starts_with("price") => self.random.below(100_000_000) as i64,
            _ => (1 + self.random.below(50) as i64) * units,
        }
    }

    fn primitive(&mut self, of_type: &str, name: &str) -> Value {
        let number = self.number(name, 0);
        match of_type {
            "null" => Value::Null,
            "boolean" => Value::Boolean(self.random.chance(50)),
            "int" => Value::Int(number as i32),
            "long" => Value::Long(number),
            "float" => Value::Float(self.random.pick(&[number as f32, number as f32 / 100.0, f32::NAN, 3.0])),
            "double" => {
                let number = number as f64;
                Value::Double(self.random.pick(&[
                    number,
                    number / 100.0,
                    number / 100.0,
                    number / 100.0,
                    0.1 + 0.2,
                    1e-9,
                ]))
            }
            _ => {
                let text = match name {
                    _ if name.starts_with("at") => self.random.pick(&["2024-12-31T23:49:40Z", "1735688980"]).to_owned(),
                    _ if name.starts_with("qty") => self.random.pick(&["3", "-2", "x"]).to_owned(),
                    _ if name.starts_with("price") => self.random.pick(&["19.99", "1e2", "x"]).to_owned(),
                    _ => self.random.pick(&["a", "b", "Łódź", "", "a\0"]).to_owned(),
                };
                if of_type == "string" { Value::String(text) } else { Value::Bytes(text.into_bytes()) }
            }
        }
    }
}

/// A schema with a mapping of its records.
fn case(random: &mut Random) -> (Json, OracleMapping) {
    let mut schemas = Schemas { random, names: 0 };
    let is_exploded = schemas.random.chance(30);
    let (schema, path, explode) = if is_exploded {
        let (item, of_item) = schemas.record(&["qty", "price", "d2"], Vec::new());
        let item = if schemas.random.chance(20) { json!(["null", item]) } else { item };
        let items = json!({"type": "array", "items": item});
        let items = if schemas.random.chance(20) { json!(["null", items]) } else { items };
        let (record, mut paths) = schemas.record(&["at", "d"], vec![json!({"name": "items", "type": items})]);
        let of_record = paths["d"].clone();
        paths.extend(of_item);
        paths.insert("d".to_owned(), format!("$.{of_record}"));
        (record, paths, Some("items".to_owned()))
    } else {
        let (record, paths) = schemas.record(&["at", "qty", "price", "d", "d2"], Vec::new());
        (record, paths, None)
    };
    let maybe = |random: &mut Random, path: &str, if_missing: &str| OracleField {
        if_missing: random.chance(30).then(|| if_missing.to_owned()),
        is_text: random.chance(50),
        scale: random.below(4) as u32,
        ..field(path)
    };
    let of_record = path["d"].trim_start_matches("$.").to_owned();
    let condition = match random.below(8) {
        0 => Some(format!("{of_record} != 'b'")),
        1 => Some(format!("{of_record} > 'A' || {of_record} != null")),
        2 => Some(format!("{} > 5 || {of_record} == 'a'", path["at"])),
        3 if of_record.contains('.') => Some(format!("has({of_record})")),
        _ => None,
    };
    let sums = if random.chance(30) { vec![maybe(random, &path["price"], "1")] } else { Vec::new() };
    let value = maybe(random, &path["price"], "2");
    let is_price = random.chance(70);
    let unit = ["Milliseconds", "Seconds", "RFC3339", "Microseconds", "RecordTime"];
    let mapping = OracleMapping {
        format: "Avro".to_owned(),
        timestamp: OracleField { is_text: random.chance(50), ..field(&path["at"]) },
        unit: random.pick(&unit).to_owned(),
        id: random.chance(30).then(|| of_record.clone()),
        dimensions: vec![maybe(random, &path["d"], "none"), maybe(random, &path["d2"], "none")],
        quantity: OracleField { scale: 0, ..maybe(random, &path["qty"], "1") },
        price: is_price.then(|| value.clone()),
        amount: (!is_price).then_some(value),
        refunds: random.chance(50),
        sums,
        condition,
        explode,
    };
    (schema, mapping)
}

#[test]
fn random_schemas_values_and_mappings_agree() {
    let number =
        |variable: &str, default| std::env::var(variable).map_or(default, |text| text.parse().expect("a number"));
    let (cases, seed) = (number("AVRO_CASES", 400), number("AVRO_SEED", 1));
    let mut fates: BTreeMap<String, usize> = BTreeMap::new();
    let mut mutated: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..cases {
        let mut random = Random(seed * 1_000_003 + number * 7919 + 1);
        let (schema, mapping) = case(&mut random);
        let text = schema.to_string();
        let parsed = Schema::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let writer = GenericDatumWriter::builder(&parsed).build().unwrap();
        let mut judge = MappedJudge::new(mapping);
        judge.learn_avro(1, &text, &[]);
        for _ in 0..6 {
            let value = Values { random: &mut random, named: BTreeMap::new() }.value(&schema, "", 0);
            let body =
                writer.write_value_to_vec(value.clone()).unwrap_or_else(|error| panic!("{error}: {value:?} {text}"));
            let fate = judge.ask(&framed(1, &body));
            assert!(!["malformed_avro", "unusable_schema"].contains(&fate.as_str()), "{fate}: {text} {value:?}");
            *fates.entry(fate).or_default() += 1;
            for _ in 0..6 {
                let mut body = body.clone();
                for _ in 0..1 + random.below(2) {
                    let at = random.below(body.len() + 1);
                    match random.below(5) {
                        0 => body.truncate(at),
                        1 => body.insert(at, random.next() as u8),
                        2 if at < body.len() => body[at] ^= 1 << random.below(8),
                        3 if at < body.len() => drop(body.remove(at)),
                        _ if at < body.len() => body[at] = random.pick(&[0, 1, 2, 3, 0x7f, 0x80, 0xff]),
                        _ => body.push(0),
                    }
                }
                *mutated.entry(judge.ask(&framed(1, &body))).or_default() += 1;
            }
        }
    }
    let all: usize = fates.values().sum();
    assert!(fates["applied"] * 6 > all, "{fates:?}");
    let reasons = ["filtered", "missing_field", "bad_items", "bad_timestamp", "bad_price", "bad_quantity", "bad_key"];
    for fate in reasons {
        assert!(fates.contains_key(fate), "{fate}: {fates:?}");
    }
    assert!(mutated["malformed_avro"] > 0 && mutated["applied"] > 0, "{mutated:?}");
}
