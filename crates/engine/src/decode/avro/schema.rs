//! Parses Avro schemas.
//!
//! The parser is lenient where a schema is unambiguous: names can have any letters, and defaults are not checked, because only
//! readers use them. A logical type that does not fit its type is ignored, as the specification says.

#![allow(clippy::wildcard_enum_match_arm, reason = "few types are asked for")]

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{Reference, SchemaKind, SchemaText};

/// Maximum nesting of the values of a record.
pub(super) const MAX_DEPTH: u32 = 64;

/// Maximum number of values of a record with all records in it that are always there.
const MAX_WEIGHT: u32 = 65_536;

/// Maximum size of a fixed value, in bytes.
const MAX_FIXED: u64 = i32::MAX as u64;

pub(super) type TypeId = usize;

/// The types of a schema and of its references.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) types: Vec<Type>,
    /// A record, or a union with one.
    pub(super) root: TypeId,
}

#[derive(Debug)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(u32),
    /// In bytes, or in a fixed value of this size.
    Decimal {
        size: Option<u32>,
        scale: u32,
    },
    /// A long: a number of units of 10^-`decimals` seconds since 1970.
    Instant {
        decimals: u8,
    },
    /// An int.
    Date,
    /// A long.
    LocalTimestamp,
    Enum(Vec<Box<str>>),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Record),
}

#[derive(Default, Debug)]
pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    /// The nesting of records in it that are always there, itself included.
    pub(super) height: u32,
    /// The number of its values, including those of records that are always there, and itself.
    pub(super) weight: u32,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) aliases: Vec<Box<str>>,
    pub(super) of_type: TypeId,
}

impl Record {
    /// The field with this name, or else with this alias.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let named = self.fields.iter().position(|field| *field.name == *name);
        named.or_else(|| self.fields.iter().position(|field| field.aliases.iter().any(|alias| **alias == *name)))
    }
}

impl Schema {
    /// `None` if the schema is invalid, no record, or beyond the bounds.
    pub(super) fn parse(schema: &SchemaText) -> Option<Self> {
        if schema.kind != SchemaKind::Avro || !schema.is_within_bounds() {
            return None;
        }
        let mut parser = Parser { types: Vec::new(), names: BTreeMap::new() };
        for (at, reference) in schema.references.iter().enumerate() {
            if !schema.references[..at].contains(reference) {
                let Reference { name: _, text } = reference;
                parser.parse(&serde_json::from_str(text).ok()?, "")?;
            }
        }
        let root = parser.parse(&serde_json::from_str(&schema.text).ok()?, "")?;
        let Parser { mut types, .. } = parser;
        let records: Vec<TypeId> = (0..types.len()).filter(|id| matches!(types[*id], Type::Record(_))).collect();
        records.into_iter().try_for_each(|record| measure(&mut types, record, 1).map(drop))?;
        let is_record = |id: &TypeId| matches!(types[*id], Type::Record(_));
        let has_record = match &types[root] {
            Type::Union(branches) => branches.iter().any(is_record),
            _ => is_record(&root),
        };
        has_record.then_some(Self { types, root })
    }
}

/// Height and weight of a record. `None` if they are too large: no value of a record that contains itself ends.
fn measure(types: &mut [Type], id: TypeId, depth: u32) -> Option<(u32, u32)> {
    let Type::Record(Record { fields, height, weight }) = &types[id] else { return Some((0, 1)) };
    if *weight > 0 {
        return Some((*height, *weight));
    }
    if depth > MAX_DEPTH {
        return None;
    }
    let of_fields: Vec<TypeId> = fields.iter().map(|field| field.of_type).collect();
    let (mut height, mut weight) = (0, 1_u32);
    for field in of_fields {
        let (its_height, its_weight) = measure(types, field, depth + 1)?;
        height = height.max(its_height);
        weight = weight.saturating_add(its_weight);
    }
    height += 1;
    if height > MAX_DEPTH || weight > MAX_WEIGHT {
        return None;
    }
    if let Type::Record(record) = &mut types[id] {
        (record.height, record.weight) = (height, weight);
    }
    Some((height, weight))
}

struct Parser {
    types: Vec<Type>,
    names: BTreeMap<String, TypeId>,
}

impl Parser {
    /// The type in this JSON value, within a namespace. serde_json limits the nesting of a text.
    fn parse(&mut self, value: &Value, namespace: &str) -> Option<TypeId> {
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.parse(branch, namespace));
                let branches: Vec<TypeId> = branches.collect::<Option<_>>()?;
                let has_union = branches.iter().any(|branch| matches!(self.types[*branch], Type::Union(_)));
                (!has_union).then(|| self.add(Type::Union(branches)))
            }
            Value::Object(object) => self.object(object, namespace),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }

    fn add(&mut self, added: Type) -> TypeId {
        self.types.push(added);
        self.types.len() - 1
    }

    /// A primitive type, or a type that was defined before.
    fn named(&mut self, name: &str, namespace: &str) -> Option<TypeId> {
        Some(match primitive(name) {
            Some(primitive) => self.add(primitive),
            None => {
                let full = match name.rsplit_once('.') {
                    Some((namespace, name)) => full_name(namespace, name),
                    None => full_name(namespace, name),
                };
                *self.names.get(&full).or_else(|| self.names.get(name))?
            }
        })
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Option<TypeId> {
        let name = match object.get("type")? {
            Value::String(name) => name.as_str(),
            nested => return self.parse(nested, namespace),
        };
        match name {
            "record" => {
                let (namespace, id) = self.define(object, namespace)?;
                let fields = object.get("fields")?.as_array()?;
                let fields = fields.iter().map(|field| self.field(field.as_object()?, &namespace));
                let fields: Vec<Field> = fields.collect::<Option<_>>()?;
                let mut names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
                names.sort_unstable();
                names.dedup();
                if names.len() < fields.len() {
                    return None;
                }
                self.types[id] = Type::Record(Record { fields, ..Record::default() });
                Some(id)
            }
            "enum" => {
                let (_, id) = self.define(object, namespace)?;
                let symbols = object.get("symbols")?.as_array()?;
                let symbols = symbols.iter().map(|symbol| symbol.as_str().map(Box::from));
                self.types[id] = Type::Enum(symbols.collect::<Option<_>>()?);
                Some(id)
            }
            "fixed" => {
                let (_, id) = self.define(object, namespace)?;
                let size = object.get("size")?.as_u64().filter(|size| *size <= MAX_FIXED)? as u32;
                self.types[id] = match decimal_scale(object) {
                    Some(scale) => Type::Decimal { size: Some(size), scale },
                    None => Type::Fixed(size),
                };
                Some(id)
            }
            "array" => {
                let items = self.parse(object.get("items")?, namespace)?;
                Some(self.add(Type::Array(items)))
            }
            "map" => {
                let values = self.parse(object.get("values")?, namespace)?;
                Some(self.add(Type::Map(values)))
            }
            name => match logical(name, object) {
                Some(logical) => Some(self.add(logical)),
                None => self.named(name, namespace),
            },
        }
    }

    /// Adds the name of a type before the type, which can contain itself. Returns the namespace in the type.
    fn define(&mut self, object: &Map<String, Value>, namespace: &str) -> Option<(String, TypeId)> {
        let name = object.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let (namespace, name) = name.rsplit_once('.').unwrap_or((namespace, name));
        let id = self.add(Type::Null);
        let is_new = self.names.insert(full_name(namespace, name), id).is_none();
        is_new.then(|| (namespace.to_owned(), id))
    }

    fn field(&mut self, field: &Map<String, Value>, namespace: &str) -> Option<Field> {
        let name = field.get("name")?.as_str()?.into();
        let aliases = field.get("aliases").and_then(Value::as_array);
        let aliases = aliases.into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect();
        Some(Field { name, aliases, of_type: self.parse(field.get("type")?, namespace)? })
    }
}

fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

/// A primitive type with a logical type that changes its meaning.
fn logical(name: &str, object: &Map<String, Value>) -> Option<Type> {
    Some(match (name, object.get("logicalType")?.as_str()?) {
        ("bytes", _) => Type::Decimal { size: None, scale: decimal_scale(object)? },
        ("int", "date") => Type::Date,
        ("long", "timestamp-millis") => Type::Instant { decimals: 3 },
        ("long", "timestamp-micros") => Type::Instant { decimals: 6 },
        ("long", "timestamp-nanos") => Type::Instant { decimals: 9 },
        ("long", "local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos") => Type::LocalTimestamp,
        _ => return None,
    })
}

/// The scale of a valid decimal.
fn decimal_scale(object: &Map<String, Value>) -> Option<u32> {
    if object.get("logicalType")?.as_str()? != "decimal" {
        return None;
    }
    let precision = object.get("precision")?.as_u64().filter(|precision| *precision > 0)?;
    let scale = object.get("scale").map_or(Some(0), Value::as_u64).filter(|scale| *scale <= precision)?;
    u32::try_from(scale).ok()
}
