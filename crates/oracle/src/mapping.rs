//! Reads the purchases of a record by a mapping: the rules of `spec.events`, followed one after the other.

#![allow(clippy::wildcard_enum_match_arm, reason = "each field accepts few kinds of values")]

use std::collections::BTreeMap;

use bigdecimal::{BigDecimal, RoundingMode, Signed, ToPrimitive};
use chrono::{DateTime, Utc};

use crate::avro::AvroSchema;
use crate::fields::{Decoded, Fields, Value};
use crate::filter::Filter;
use crate::framing::{self, OracleSchema, OracleSchemaId};
use crate::json::{self, Object, Raw};
use crate::protobuf;
use crate::purchase::{OraclePurchase, exact, fits_key, rfc3339, within_years};

/// The meaning of records, as `spec.events` writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OracleMapping {
    /// `JSON`, `JSONSchema`, `Avro` or `Protobuf`.
    pub format: String,
    /// Path of the event time; empty for the unit `RecordTime`.
    pub timestamp: OracleField,
    /// `RFC3339`, `Seconds`, `Milliseconds`, `Microseconds`, `Nanoseconds` or `RecordTime`.
    pub unit: String,
    /// Path of the id of the event, for deduplication.
    pub id: Option<String>,
    /// The dimensions.
    pub dimensions: Vec<OracleField>,
    /// The quantity.
    pub quantity: OracleField,
    /// The price; otherwise there is an amount.
    pub price: Option<OracleField>,
    /// The amount; otherwise there is a price.
    pub amount: Option<OracleField>,
    /// Whether refunds are allowed.
    pub refunds: bool,
    /// The further sums.
    pub sums: Vec<OracleField>,
    /// The condition, in CEL.
    pub condition: Option<String>,
    /// Path of the array whose elements are purchases.
    pub explode: Option<String>,
}

/// A field of a mapping.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OracleField {
    /// Path, as written.
    pub path: String,
    /// Value of a missing field.
    pub if_missing: Option<String>,
    /// Whether a string can contain the number.
    pub is_text: bool,
    /// Decimals of the unit.
    pub scale: u32,
}

/// A schema that records are read by.
#[derive(Clone, Debug)]
enum Schema {
    Avro(AvroSchema),
    Protobuf(protobuf::Schema),
}

impl Schema {
    /// Parses a schema of records in this format. The error is why they are invalid.
    fn new(format: &str, schema: Option<&OracleSchema>) -> Result<Self, &'static str> {
        let OracleSchema { kind, text, references } = schema.ok_or("unknown_schema")?;
        let schema = match (format, kind.as_str()) {
            ("Avro", "AVRO") => AvroSchema::new(text, references).map(Self::Avro),
            ("Protobuf", "PROTOBUF") => protobuf::Schema::new(text, references).map(Self::Protobuf),
            _ => None,
        };
        schema.ok_or("unusable_schema")
    }
}

/// A mapping with its parsed condition, and the schemas of records.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    mapping: OracleMapping,
    filter: Option<Filter>,
    schemas: BTreeMap<OracleSchemaId, Result<Schema, &'static str>>,
}

impl Reader {
    pub(crate) fn new(mapping: OracleMapping) -> Self {
        let filter = mapping.condition.as_deref().map(Filter::new);
        Self { filter, mapping, schemas: BTreeMap::new() }
    }

    pub(crate) fn learn_schema(&mut self, id: OracleSchemaId, schema: Option<&OracleSchema>) {
        let schema = Schema::new(&self.mapping.format, schema);
        self.schemas.insert(id, schema);
    }

    pub(crate) fn missing_schema(&self, (value, header): (Option<&[u8]>, Option<&[u8]>)) -> Option<OracleSchemaId> {
        let needs_schema = ["Avro", "Protobuf"].contains(&self.mapping.format.as_str());
        let value = value.filter(|value| needs_schema && !value.is_empty())?;
        let id = framing::split(value, header)?.id;
        (!self.schemas.contains_key(&id)).then_some(id)
    }

    pub(crate) const fn is_exploded(&self) -> bool {
        self.mapping.explode.is_some()
    }
}

/// The purchases of a record.
pub(crate) struct Purchases {
    pub(crate) time: DateTime<Utc>,
    pub(crate) id: Option<String>,
    pub(crate) purchases: Vec<OraclePurchase>,
}

/// The reasons in the order in which a record gets them.
const ORDER: [&str; 7] =
    ["missing_field", "bad_items", "bad_timestamp", "bad_price", "bad_quantity", "bad_key", "no_record_time"];

/// The purchases of a record. The error is `filtered`, or the reason why the record is invalid.
pub(crate) fn read(
    Reader { mapping, filter, schemas }: &Reader,
    (value, header): (Option<&[u8]>, Option<&[u8]>),
    record_time: Option<DateTime<Utc>>,
) -> Result<Purchases, &'static str> {
    let value = value.unwrap_or_default();
    if value.is_empty() {
        return Err("empty");
    }
    let Decoded { record, elements } = decode(mapping, filter.as_ref(), schemas, value, header)?;
    let record = &*record;
    if filter.as_ref().is_some_and(|filter| filter.is_true(record) != Some(true)) {
        return Err("filtered");
    }
    let mut reasons = Vec::new();
    let time = time(mapping, record, record_time).map_err(|reason| reasons.push(reason)).ok();
    let id = mapping.id.as_deref().map(|path| id(record, path)).transpose();
    let id = id.map_err(|reason| reasons.push(reason)).ok().flatten();
    let mut purchases = Vec::new();
    let mut add = |purchase: Result<OraclePurchase, &'static str>| match purchase {
        Ok(purchase) => purchases.push(purchase),
        Err(reason) => reasons.push(reason),
    };
    match elements {
        None => add(purchase(mapping, record, Some(record))),
        Some(Err(reason)) => add(Err(reason)),
        Some(Ok(elements)) => {
            if elements.is_empty() || elements.len() > 1000 {
                add(Err("bad_items"));
            }
            for element in elements.iter().take(1000) {
                add(purchase(mapping, record, element.as_deref()));
            }
        }
    }
    match (time, reasons.into_iter().min_by_key(|reason| ORDER.iter().position(|other| other == reason))) {
        (Some(time), None) => Ok(Purchases { time, id, purchases }),
        (_, reason) => Err(reason.unwrap_or("missing_field")),
    }
}

/// The fields of a record. The error is why the record is malformed.
fn decode(
    mapping: &OracleMapping,
    filter: Option<&Filter>,
    schemas: &BTreeMap<OracleSchemaId, Result<Schema, &'static str>>,
    value: &[u8],
    header: Option<&[u8]>,
) -> Result<Decoded, &'static str> {
    let of_filter = filter.map(Filter::paths).unwrap_or_default();
    if mapping.format == "JSON" {
        return decode_json(mapping, of_filter, value);
    }
    let framed = framing::split(value, header).ok_or("no_schema_id")?;
    if mapping.format == "JSONSchema" {
        return match framed.rests {
            ([], []) => Err("empty"),
            ([], body) => decode_json(mapping, of_filter, body),
            _ => Err("no_schema_id"),
        };
    }
    if mapping.format == "Avro" && !framed.rests.0.is_empty() {
        return Err("no_schema_id");
    }
    let schema = schemas.get(&framed.id).expect("a schema is learnt before its records");
    match schema.as_ref().map_err(|reason| *reason)? {
        Schema::Avro(schema) => {
            let explode = mapping.explode.as_deref().map(|path| names(path).0);
            schema.decode(framed.rests.1, explode, paths(mapping, of_filter)).ok_or("malformed_avro")
        }
        Schema::Protobuf(schema) => {
            let [of_record, of_elements] = paths(mapping, of_filter);
            let time = (mapping.unit != "RecordTime").then(|| names(&mapping.timestamp.path).0);
            let explode = mapping.explode.as_deref().map(|path| names(path).0);
            protobuf::decode(schema, framed.rests, header.is_some(), (time, explode), &of_record, &of_elements)
        }
    }
}

fn decode_json(mapping: &OracleMapping, of_filter: Vec<Vec<String>>, value: &[u8]) -> Result<Decoded, &'static str> {
    let record: Object = serde_json::from_slice(value).map_err(|_| "malformed_json")?;
    let elements = mapping.explode.as_deref().map(|path| elements(&record, path));
    check_repetitions(mapping, &record, elements.as_ref().and_then(|elements| elements.as_deref().ok()), of_filter)?;
    let fields = |element: &Raw| json::object(element.get()).map(|object| Box::new(object) as Box<dyn Fields>);
    let elements = elements.map(|elements| elements.map(|elements| elements.iter().map(fields).collect()));
    Ok(Decoded { record: Box::new(record), elements })
}

/// The id: a text, or a number or boolean as written.
fn id(record: &dyn Fields, path: &str) -> Result<String, &'static str> {
    let id = match record.find(&names(path).0).present().ok_or("missing_field")? {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    };
    id.filter(|id| (1..=1024).contains(&id.len())).ok_or("bad_key")
}

/// A path as names, and whether it starts at the record even within an element.
pub(crate) fn names(path: &str) -> (Vec<String>, bool) {
    let (path, is_record) = path.strip_prefix("$.").map_or((path, false), |path| (path, true));
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for letter in path.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => names.push(String::new()),
            letter => names.last_mut().expect("it begins with a name").push(letter),
        }
    }
    (names, is_record)
}

fn elements(record: &Object, path: &str) -> Result<Vec<Raw>, &'static str> {
    match json::find(record, &names(path).0) {
        None => Err("missing_field"),
        Some(array) if array.get() == "null" => Err("missing_field"),
        Some(array) => serde_json::from_str(array.get()).map_err(|_| "bad_items"),
    }
}

/// The paths that start at the record, and those that start at an element.
fn paths(mapping: &OracleMapping, of_filter: Vec<Vec<String>>) -> [Vec<Vec<String>>; 2] {
    let of_elements: Vec<_> = mapping.dimensions.iter().chain([&mapping.quantity]).collect();
    let of_elements = of_elements.into_iter().chain(&mapping.price).chain(&mapping.amount).chain(&mapping.sums);
    let (of_record, of_elements): (Vec<_>, Vec<_>) =
        of_elements.map(|field| names(&field.path)).partition(|(_, is_record)| *is_record || mapping.explode.is_none());
    let mut of_record: Vec<Vec<String>> = of_record.into_iter().map(|(names, _)| names).collect();
    let of_elements: Vec<Vec<String>> = of_elements.into_iter().map(|(names, _)| names).collect();
    if mapping.unit != "RecordTime" {
        of_record.push(names(&mapping.timestamp.path).0);
    }
    of_record.extend(mapping.explode.as_deref().map(|path| names(path).0));
    of_record.extend(mapping.id.as_deref().map(|path| names(path).0));
    of_record.extend(of_filter);
    [of_record, of_elements]
}

/// A name on the way to a wanted field must be unique in its object.
fn check_repetitions(
    mapping: &OracleMapping,
    record: &Object,
    elements: Option<&[Raw]>,
    of_filter: Vec<Vec<String>>,
) -> Result<(), &'static str> {
    let [of_record, of_elements] = paths(mapping, of_filter);
    let objects = elements.unwrap_or_default().iter().take(1000).filter(|element| element.get().starts_with('{'));
    let mut is_unique = json::is_unique(record, &of_record);
    for element in objects {
        is_unique &= json::object(element.get()).is_some_and(|element| json::is_unique(&element, &of_elements));
    }
    if is_unique { Ok(()) } else { Err("malformed_json") }
}

fn time(
    mapping: &OracleMapping,
    record: &dyn Fields,
    record_time: Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, &'static str> {
    if mapping.unit == "RecordTime" {
        return within_years(record_time.ok_or("no_record_time")?).ok_or("bad_timestamp");
    }
    let value = match record.find(&names(&mapping.timestamp.path).0) {
        Value::Instant(time, _) => return time.and_then(within_years).ok_or("bad_timestamp"),
        value => value.present().ok_or("missing_field")?,
    };
    let time = match mapping.unit.as_str() {
        "RFC3339" => match value {
            Value::Text(text) => rfc3339(&text),
            _ => None,
        },
        unit => {
            let decimals = match unit {
                "Seconds" => 0,
                "Milliseconds" => 3,
                "Microseconds" => 6,
                "Nanoseconds" => 9,
                other => panic!("no unit is called {other}"),
            };
            number(value, mapping.timestamp.is_text).and_then(|number| exact(&number)).and_then(|number| {
                if number.is_negative() {
                    return None;
                }
                let micros = shifted(number, 6 - decimals).with_scale_round(0, RoundingMode::Down);
                DateTime::from_timestamp_micros(micros.to_i64()?)
            })
        }
    };
    time.and_then(within_years).ok_or("bad_timestamp")
}

fn shifted(number: BigDecimal, places: i64) -> BigDecimal {
    let (digits, scale) = number.into_bigint_and_exponent();
    BigDecimal::new(digits, scale - places)
}

/// A number, or one in a string where it may be.
fn number(value: Value, is_text: bool) -> Option<String> {
    match value {
        Value::Number(text) | Value::Float(text) => Some(text),
        Value::Text(text) if is_text => {
            let is_number = !text.contains(char::is_whitespace)
                && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
                && serde_json::from_str::<Raw>(&text).is_ok();
            is_number.then_some(text)
        }
        _ => None,
    }
}

fn purchase(
    mapping: &OracleMapping,
    record: &dyn Fields,
    element: Option<&dyn Fields>,
) -> Result<OraclePurchase, &'static str> {
    let value = |field: &OracleField| {
        let (names, is_record) = names(&field.path);
        let fields = if is_record { Some(record) } else { element };
        fields.and_then(|fields| fields.find(&names).present())
    };
    let fields = mapping.dimensions.iter().chain([&mapping.quantity]).chain(&mapping.price).chain(&mapping.amount);
    for field in fields.chain(&mapping.sums) {
        if value(field).is_none() && field.if_missing.is_none() {
            return Err("missing_field");
        }
    }
    let numeric = |field: &OracleField| match value(field) {
        Some(value) => number(value, field.is_text),
        None => field.if_missing.clone(),
    };
    let money = |field: &OracleField| {
        let number = shifted(exact(&numeric(field)?)?, -i64::from(field.scale));
        let is_small = number.abs() < 1_000_000_000_000_i64;
        is_small.then_some(number)
    };
    let rounded = |number: BigDecimal| number.with_scale_round(6, RoundingMode::HalfEven);
    let main = mapping.price.as_ref().or(mapping.amount.as_ref()).expect("a price or an amount");
    let main_value = money(main).ok_or("bad_price")?;
    if !mapping.refunds && main_value.is_negative() {
        return Err("bad_price");
    }
    let main_value = rounded(main_value);
    let more =
        mapping.sums.iter().map(|sum| money(sum).map(rounded).ok_or("bad_price")).collect::<Result<Vec<_>, _>>()?;
    let quantity = numeric(&mapping.quantity).and_then(|text| text.parse::<i64>().ok()).ok_or("bad_quantity")?;
    let bound = i64::from(i32::MAX);
    if quantity == 0 || quantity > bound || quantity < -bound || (quantity < 0 && !mapping.refunds) {
        return Err("bad_quantity");
    }
    let pieces = BigDecimal::from(quantity);
    let (price, amount) = match mapping.price {
        Some(_) => (main_value.clone(), &main_value * &pieces),
        None => (rounded(&main_value / &pieces), main_value.clone()),
    };
    let is_doubly_negative = match mapping.price {
        Some(_) => price.is_negative(),
        None => amount.is_positive(),
    };
    if quantity < 0 && is_doubly_negative {
        return Err("bad_quantity");
    }
    let dimension = |field: &OracleField| {
        let text = match value(field) {
            None => field.if_missing.clone(),
            Some(Value::Text(text)) => Some(text).filter(|text| !text.contains('\0')),
            Some(Value::Number(text)) => Some(text),
            Some(Value::Bool(is)) => Some(is.to_string()),
            Some(_) => None,
        };
        text.filter(|text| fits_key(text))
    };
    let dimensions = mapping.dimensions.iter().map(|field| dimension(field).ok_or("bad_key"));
    Ok(OraclePurchase { dimensions: dimensions.collect::<Result<_, _>>()?, quantity, price: price.abs(), amount, more })
}
