//! Reads records in Avro: follows schema and bytes at the same time, with the schema as it is written.

#![allow(clippy::wildcard_enum_match_arm, reason = "few types are asked for")]

use std::collections::{BTreeMap, BTreeSet};

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use crate::fields::{Decoded, Fields, Value};

/// Maximum length of a decimal in bytes.
const MAX_DECIMAL_BYTES: usize = 1024;

/// Maximum length of the text of a decimal with a point.
const MAX_DECIMAL_TEXT: usize = 1024;

/// The wanted values of a record.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Value),
    /// The last value of a name counts.
    Object(Vec<(String, Self)>),
    /// With its elements, if it is exploded.
    Array(Vec<Self>),
}

impl Tree {
    const OTHER: Self = Self::Leaf(Value::Other);

    fn at(&self, names: &[String]) -> Option<&Self> {
        let Some((first, rest)) = names.split_first() else { return Some(self) };
        match self {
            Self::Object(fields) => fields.iter().rev().find(|(name, _)| name == first)?.1.at(rest),
            Self::Leaf(_) | Self::Array(_) => None,
        }
    }
}

impl Fields for Tree {
    fn find(&self, names: &[String]) -> Value {
        match self.at(names) {
            None => Value::Missing,
            Some(Self::Leaf(value)) => value.clone(),
            Some(Self::Object(_)) => Value::Object,
            Some(Self::Array(_)) => Value::Array,
        }
    }
}

/// A schema with the definitions of all its names.
#[derive(Clone, Debug)]
pub(crate) struct AvroSchema {
    root: Type,
    named: BTreeMap<String, Type>,
}

/// A type. Records, enums and fixed types are behind their names.
#[derive(Clone, Debug)]
enum Type {
    Primitive(String),
    Decimal(Box<Self>, u32),
    Instant(u32),
    LocalTime(Box<Self>),
    Named(String),
    Record(Vec<Field>),
    Enum(Vec<String>),
    Fixed(u64),
    Array(Box<Self>),
    Map(Box<Self>),
    Union(Vec<Self>),
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    aliases: Vec<String>,
    of_type: Type,
}

/// The paths of the fields that are read.
#[derive(Clone, Default)]
struct Paths {
    of_record: Vec<Vec<String>>,
    /// The exploded array.
    explode: Option<Vec<String>>,
    of_elements: Vec<Vec<String>>,
}

impl Paths {
    fn is_empty(&self) -> bool {
        self.of_record.is_empty() && self.explode.is_none()
    }

    /// The first names.
    fn names(&self) -> BTreeSet<String> {
        self.of_record.iter().chain(&self.explode).filter_map(|path| path.first().cloned()).collect()
    }

    /// The rest of the paths that begin with one of these names.
    fn below(&self, names: &[&String]) -> Self {
        let rest = |path: &Vec<String>| {
            let (first, rest) = path.split_first()?;
            names.contains(&first).then(|| rest.to_vec())
        };
        Self {
            of_record: self.of_record.iter().filter_map(rest).collect(),
            explode: self.explode.as_ref().and_then(rest),
            of_elements: self.of_elements.clone(),
        }
    }
}

impl AvroSchema {
    /// `None` if the schema is unusable.
    pub(crate) fn new(text: &str, references: &[(String, String)]) -> Option<Self> {
        let bytes = references.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() + text.len();
        if bytes > 1024 * 1024 || references.len() > 64 {
            return None;
        }
        let mut parser = Parser::default();
        let mut seen = BTreeSet::new();
        for reference in references {
            if seen.insert(reference) {
                parser.read(&serde_json::from_str(&reference.1).ok()?, "")?;
            }
        }
        let root = parser.read(&serde_json::from_str(text).ok()?, "")?;
        let schema = Self { root, named: parser.named };
        let mut sizes = BTreeMap::new();
        for name in schema.named.keys() {
            schema.size(&Type::Named(name.clone()), 0, &mut sizes)?;
        }
        let is_record = |of_type: &Type| matches!(schema.resolved(of_type), Type::Record(_));
        let has_record = match &schema.root {
            Type::Union(branches) => branches.iter().any(is_record),
            root => is_record(root),
        };
        has_record.then_some(schema)
    }

    fn resolved<'a>(&'a self, of_type: &'a Type) -> &'a Type {
        match of_type {
            Type::Named(name) => &self.named[name],
            of_type => of_type,
        }
    }

    /// Nesting and number of the values that a value of this type always has. `None` if they are beyond the bounds.
    fn size(&self, of_type: &Type, depth: u32, sizes: &mut BTreeMap<String, (u32, u64)>) -> Option<(u32, u64)> {
        let Type::Named(name) = of_type else { return Some((0, 1)) };
        let Type::Record(fields) = &self.named[name] else { return Some((0, 1)) };
        if let Some(size) = sizes.get(name) {
            return Some(*size);
        }
        if depth == 64 {
            return None;
        }
        let (mut height, mut count) = (0, 1);
        for field in fields {
            let (of_field, values) = self.size(&field.of_type, depth + 1, sizes)?;
            height = of_field.max(height);
            count += values;
        }
        height += 1;
        let size = (height, count);
        sizes.insert(name.clone(), size);
        (height <= 64 && count <= 65_536).then_some(size)
    }

    /// The values at these paths, and the elements of an exploded array. `None` if the body is not a value of the schema.
    pub(crate) fn decode(
        &self,
        body: &[u8],
        explode: Option<Vec<String>>,
        [mut of_record, of_elements]: [Vec<Vec<String>>; 2],
    ) -> Option<Decoded> {
        of_record.push(Vec::new());
        let paths = Paths { of_record, explode: explode.clone(), of_elements };
        let mut bytes = Bytes { rest: body, empty_items: 0 };
        let record = self.read(&self.root, &paths, 0, &mut bytes)?;
        if !bytes.rest.is_empty() {
            return None;
        }
        let elements = explode.map(|path| match record.at(&path) {
            None | Some(Tree::Leaf(Value::Missing | Value::Null)) => Err("missing_field"),
            Some(Tree::Array(elements)) => {
                Ok(elements.iter().map(|element| Some(Box::new(element.clone()) as Box<dyn Fields>)).collect())
            }
            Some(_) => Err("bad_items"),
        });
        Some(Decoded { record: Box::new(record), elements })
    }

    /// Reads a value. One that is on no path is only passed.
    fn read(&self, of_type: &Type, paths: &Paths, depth: u32, bytes: &mut Bytes<'_>) -> Option<Tree> {
        let is_wanted = !paths.is_empty();
        let of_type = self.resolved(of_type);
        if matches!(of_type, Type::Record(_) | Type::Array(_) | Type::Map(_)) && depth == 64 {
            return None;
        }
        match of_type {
            Type::Named(_) => unreachable!("a name stands for a type"),
            Type::Record(fields) => self.record(fields, paths, depth + 1, bytes),
            Type::Array(item) if paths.explode.as_deref() == Some(&[]) => {
                let paths =
                    Paths { of_record: [paths.of_elements.clone(), vec![Vec::new()]].concat(), ..Paths::default() };
                let mut elements = Vec::new();
                while let Some((count, _)) = bytes.block()? {
                    for _ in 0..count {
                        elements.push(self.item(item, &paths, depth + 1, bytes)?);
                    }
                }
                Some(Tree::Array(elements))
            }
            Type::Array(item) => {
                while let Some((count, size)) = bytes.block()? {
                    match size {
                        Some(size) => drop(bytes.take(usize::try_from(size).ok()?)?),
                        None => {
                            for _ in 0..count {
                                self.item(item, &Paths::default(), depth + 1, bytes)?;
                            }
                        }
                    }
                }
                Some(Tree::Array(Vec::new()))
            }
            Type::Map(values) => self.map(values, paths, depth + 1, bytes),
            Type::Union(branches) => {
                let branch = usize::try_from(bytes.long()?).ok()?;
                self.read(branches.get(branch)?, paths, depth, bytes)
            }
            Type::Enum(symbols) => {
                let symbol = bytes.long()?;
                if !is_wanted {
                    return Some(Tree::OTHER);
                }
                let symbol = symbols.get(usize::try_from(symbol).ok()?)?;
                Some(Tree::Leaf(Value::Text(symbol.clone())))
            }
            Type::Fixed(size) => bytes.take(usize::try_from(*size).ok()?).map(|_| Tree::OTHER),
            Type::Decimal(inner, scale) => {
                let digits = match self.resolved(inner) {
                    Type::Fixed(size) => bytes.take(usize::try_from(*size).ok()?)?,
                    _ => bytes.prefixed()?,
                };
                Some(Tree::Leaf(decimal(digits, *scale)))
            }
            Type::Instant(decimals) => {
                let units = bytes.long()?;
                Some(Tree::Leaf(Value::Instant(instant(units, *decimals), whole(units).into())))
            }
            Type::LocalTime(inner) => match self.read(inner, paths, depth, bytes)? {
                Tree::Leaf(value) => Some(Tree::Leaf(Value::Instant(None, Box::new(value)))),
                other => Some(other),
            },
            Type::Primitive(name) => primitive(name, is_wanted, bytes).map(Tree::Leaf),
        }
    }

    /// Reads an item of an array. Those without bytes are limited.
    fn item(&self, item: &Type, paths: &Paths, depth: u32, bytes: &mut Bytes<'_>) -> Option<Tree> {
        let before = bytes.rest.len();
        let value = self.read(item, paths, depth, bytes)?;
        if bytes.rest.len() == before {
            bytes.empty_items += 1;
        }
        (bytes.empty_items <= 65_536).then_some(value)
    }

    fn record(&self, fields: &[Field], paths: &Paths, depth: u32, bytes: &mut Bytes<'_>) -> Option<Tree> {
        let names = paths.names();
        let position = |name: &String| {
            let by_name = fields.iter().position(|field| field.name == *name);
            by_name.or_else(|| fields.iter().position(|field| field.aliases.contains(name)))
        };
        let mut values = Vec::new();
        for (at, field) in fields.iter().enumerate() {
            let its_names: Vec<&String> = names.iter().filter(|name| position(name) == Some(at)).collect();
            let value = self.read(&field.of_type, &paths.below(&its_names), depth, bytes)?;
            values.extend(its_names.into_iter().map(|name| (name.clone(), value.clone())));
        }
        Some(Tree::Object(values))
    }

    fn map(&self, values: &Type, paths: &Paths, depth: u32, bytes: &mut Bytes<'_>) -> Option<Tree> {
        let names = paths.names();
        let mut entries = Vec::new();
        while let Some((count, size)) = bytes.block()? {
            if let (Some(size), true) = (size, names.is_empty()) {
                bytes.take(usize::try_from(size).ok()?)?;
                continue;
            }
            for _ in 0..count {
                let key = bytes.prefixed()?;
                let name = names.iter().find(|name| name.as_bytes() == key);
                let below = name.map(|name| paths.below(&[name])).unwrap_or_default();
                let value = self.read(values, &below, depth, bytes)?;
                entries.extend(name.map(|name| (name.clone(), value)));
            }
        }
        Some(Tree::Object(entries))
    }
}

fn primitive(name: &str, is_wanted: bool, bytes: &mut Bytes<'_>) -> Option<Value> {
    Some(match name {
        "null" => Value::Null,
        "boolean" => match (bytes.take(1)?[0], is_wanted) {
            (_, false) => Value::Other,
            (0, _) => Value::Bool(false),
            (1, _) => Value::Bool(true),
            _ => return None,
        },
        "int" => {
            let value = bytes.long()?;
            if is_wanted && i32::try_from(value).is_err() {
                return None;
            }
            whole(value)
        }
        "long" => whole(bytes.long()?),
        "float" => {
            let value = f32::from_le_bytes(bytes.take(4)?.try_into().expect("four bytes"));
            float(value.is_finite(), serde_json::to_string(&value).ok())
        }
        "double" => {
            let value = f64::from_le_bytes(bytes.take(8)?.try_into().expect("eight bytes"));
            float(value.is_finite(), serde_json::to_string(&value).ok())
        }
        "string" => match (std::str::from_utf8(bytes.prefixed()?), is_wanted) {
            (Ok(text), _) => Value::Text(text.to_owned()),
            (Err(_), false) => Value::Other,
            (Err(_), true) => return None,
        },
        "bytes" => {
            let text = std::str::from_utf8(bytes.prefixed()?);
            text.map_or(Value::Other, |text| Value::Text(text.to_owned()))
        }
        other => unreachable!("not a primitive type: {other}"),
    })
}

/// The shortest decimal of a float, from its shortest text.
fn float(is_finite: bool, text: Option<String>) -> Value {
    let Some(text) = text.filter(|_| is_finite) else { return Value::Other };
    let number = text.parse::<BigDecimal>().expect("a number").normalized();
    let (digits, scale) = number.as_bigint_and_exponent();
    // A quantity has only digits, and at most ten of them.
    let is_short_integer = (-10..=0).contains(&scale);
    Value::Float(if is_short_integer { number.to_plain_string() } else { format!("{digits}e{}", -scale) })
}

fn decimal(bytes: &[u8], scale: u32) -> Value {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    // One of the bytes that repeat the sign can be needed.
    let repeated = bytes.iter().take_while(|byte| **byte == sign).count();
    let needed = match bytes.get(repeated) {
        Some(first) if (*first >= 0x80) == (sign == 0xff) => bytes.len() - repeated,
        _ => bytes.len() - repeated + 1,
    };
    if bytes.is_empty() || needed > MAX_DECIMAL_BYTES {
        return Value::Other;
    }
    let digits = BigInt::from_signed_bytes_be(bytes).to_string();
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let (digits, scale) = match digits.as_str() {
        "0" => ("0", 0),
        _ => {
            let dropped = zeros.min(scale as usize);
            (&digits[..digits.len() - dropped], scale as usize - dropped)
        }
    };
    if digits.trim_start_matches('-').len().max(scale) > MAX_DECIMAL_TEXT {
        // Its text is too long for a key.
        return Value::Float(if scale > 0 { format!("{digits}e-{scale}") } else { digits.to_owned() });
    }
    let digits: BigInt = digits.parse().expect("digits");
    Value::Number(BigDecimal::new(digits, scale as i64).to_plain_string())
}

fn whole(number: i64) -> Value {
    Value::Number(number.to_string())
}

/// The time this number of units of 10^-`decimals` seconds after 1970, without parts of a microsecond.
fn instant(units: i64, decimals: u32) -> Option<DateTime<Utc>> {
    let micros = match decimals {
        3 => units.checked_mul(1000)?,
        6 => units,
        _ => units.div_euclid(1000),
    };
    DateTime::from_timestamp_micros(micros)
}

/// The bytes of a record that were not read yet.
struct Bytes<'a> {
    rest: &'a [u8],
    empty_items: u32,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.rest.get(..count)?;
        self.rest = &self.rest[count..];
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let mut bits = 0_u128;
        for at in 0..10 {
            let byte = self.take(1)?[0];
            bits += u128::from(byte % 128) << (7 * at);
            if byte < 128 {
                let bits = u64::try_from(bits).ok()?;
                let half = (bits / 2).cast_signed();
                return Some(if bits % 2 == 0 { half } else { -half - 1 });
            }
        }
        None
    }

    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    /// Count and size of the next block; `Some(None)` at the end.
    fn block(&mut self) -> Option<Option<(u64, Option<i64>)>> {
        let count = self.long()?;
        Some(match count {
            0 => None,
            1.. => Some((count.unsigned_abs(), None)),
            _ => Some((count.unsigned_abs(), Some(self.long()?))),
        })
    }
}

#[derive(Default)]
struct Parser {
    named: BTreeMap<String, Type>,
}

impl Parser {
    fn read(&mut self, schema: &Json, namespace: &str) -> Option<Type> {
        match schema {
            Json::String(name) => self.by_name(name, namespace),
            Json::Array(branches) => {
                let branches: Option<Vec<_>> = branches.iter().map(|branch| self.read(branch, namespace)).collect();
                branches.filter(|all| !all.iter().any(|one| matches!(one, Type::Union(_)))).map(Type::Union)
            }
            Json::Object(schema) => match schema.get("type")? {
                Json::String(name) => self.complex(name, schema, namespace),
                inner => self.read(inner, namespace),
            },
            _ => None,
        }
    }

    fn by_name(&self, name: &str, namespace: &str) -> Option<Type> {
        const PRIMITIVE: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
        if PRIMITIVE.contains(&name) {
            return Some(Type::Primitive(name.to_owned()));
        }
        let candidates = [joined(namespace, name), name.to_owned()];
        candidates.into_iter().find(|name| self.named.contains_key(name)).map(Type::Named)
    }

    fn complex(&mut self, kind: &str, schema: &Map<String, Json>, namespace: &str) -> Option<Type> {
        let text = |name: &str| schema.get(name).and_then(Json::as_str);
        match kind {
            "record" | "enum" | "fixed" => {
                let namespace = text("namespace").unwrap_or(namespace);
                let name = text("name").filter(|name| !name.is_empty()).map(|name| joined(namespace, name))?;
                // A type can contain itself.
                if self.named.insert(name.clone(), Type::Union(Vec::new())).is_some() {
                    return None;
                }
                let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
                let definition = self.definition(kind, schema, namespace)?;
                let scale = decimal_scale(schema).filter(|_| kind == "fixed");
                let of_type = match scale {
                    Some(scale) => Type::Decimal(Box::new(definition), scale),
                    None => definition,
                };
                self.named.insert(name.clone(), of_type);
                Some(Type::Named(name))
            }
            "array" => Some(Type::Array(Box::new(self.read(schema.get("items")?, namespace)?))),
            "map" => Some(Type::Map(Box::new(self.read(schema.get("values")?, namespace)?))),
            _ => {
                let plain = self.by_name(kind, namespace)?;
                Some(match (kind, text("logicalType").unwrap_or_default()) {
                    ("bytes", "decimal") => match decimal_scale(schema) {
                        Some(scale) => Type::Decimal(Box::new(plain), scale),
                        None => plain,
                    },
                    ("long", "timestamp-millis") => Type::Instant(3),
                    ("long", "timestamp-micros") => Type::Instant(6),
                    ("long", "timestamp-nanos") => Type::Instant(9),
                    ("long", "local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos")
                    | ("int", "date") => Type::LocalTime(Box::new(plain)),
                    _ => plain,
                })
            }
        }
    }

    fn definition(&mut self, kind: &str, schema: &Map<String, Json>, namespace: &str) -> Option<Type> {
        Some(match kind {
            "record" => {
                let mut fields: Vec<Field> = Vec::new();
                for field in schema.get("fields")?.as_array()? {
                    let name = field.get("name")?.as_str()?.to_owned();
                    if fields.iter().any(|other| other.name == name) {
                        return None;
                    }
                    let aliases = field.get("aliases").and_then(Json::as_array).cloned().unwrap_or_default();
                    let aliases = aliases.iter().filter_map(Json::as_str).map(str::to_owned).collect();
                    fields.push(Field { name, aliases, of_type: self.read(field.get("type")?, namespace)? });
                }
                Type::Record(fields)
            }
            "enum" => {
                let symbols = schema.get("symbols")?.as_array()?;
                Type::Enum(symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned)).collect::<Option<_>>()?)
            }
            _ => {
                let size = schema.get("size")?.as_u64()?;
                if size > 2_147_483_647 {
                    return None;
                }
                Type::Fixed(size)
            }
        })
    }
}

/// A name in a namespace, which it can name itself.
fn joined(namespace: &str, name: &str) -> String {
    match name.rfind('.') {
        Some(0) => name[1..].to_owned(),
        Some(_) => name.to_owned(),
        None if namespace.is_empty() => name.to_owned(),
        None => format!("{namespace}.{name}"),
    }
}

fn decimal_scale(schema: &Map<String, Json>) -> Option<u32> {
    if schema.get("logicalType").and_then(Json::as_str) != Some("decimal") {
        return None;
    }
    let precision = schema.get("precision").and_then(Json::as_u64).unwrap_or(0);
    let scale = match schema.get("scale") {
        None => 0,
        Some(scale) => scale.as_u64()?,
    };
    if precision == 0 || scale > precision { None } else { u32::try_from(scale).ok() }
}
