//! Reads whole Avro records.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::writer;

/// Maximum nesting of a value.
const MAX_DEPTH: usize = 64;

/// Maximum number of values of a record. Those of an array can have no bytes.
const MAX_VALUES: usize = 65_536;

/// Decimals with more bytes are not written.
const MAX_DECIMAL: usize = 128;

/// A valid schema.
#[derive(Debug)]
pub(super) struct AvroSchema {
    named: BTreeMap<String, Type>,
    root: Type,
    /// The full name of the record, or of the first one in a union.
    pub(super) name: String,
}

#[derive(Clone, Debug)]
pub(super) enum Type {
    Primitive(Primitive),
    Decimal {
        size: Option<usize>,
        scale: usize,
    },
    Instant {
        decimals: u8,
    },
    Fixed(usize),
    Enum(Vec<String>),
    Array(Box<Self>),
    Map(Box<Self>),
    Union(Vec<Self>),
    Record(Vec<Field>),
    /// A record, an enum or a fixed value.
    Named(String),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    name: String,
    aliases: Vec<String>,
    of_type: Type,
}

impl AvroSchema {
    /// The schema in a text, with the texts that it uses. The error continues the sentence "the schema …".
    pub(super) fn new<'a>(text: &str, references: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut parser = Parser::default();
        let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("is not JSON: {error}"));
        for reference in references {
            parser.read(&parse(reference)?, "")?;
        }
        let root = parser.read(&parse(text)?, "")?;
        let Parser { named } = parser;
        let record = |of_type: &Type| {
            let Type::Named(name) = of_type else { return None };
            matches!(named.get(name), Some(Type::Record(_))).then(|| name.clone())
        };
        let name = if let Type::Union(branches) = &root { branches.iter().find_map(record) } else { record(&root) };
        let name = name.ok_or("is not a record")?;
        Ok(Self { named, root, name })
    }

    /// Whether a record can have a value at the end of this path that `is_wanted`. Paths go through maps by any key.
    pub(super) fn has(&self, path: &[Box<str>], is_wanted: &dyn Fn(&Self, &Type) -> bool) -> bool {
        self.has_in(&self.root, path, is_wanted)
    }

    /// The same, from the elements of an array on.
    pub(super) fn element_has(&self, array: &Type, path: &[Box<str>]) -> bool {
        if let Type::Union(branches) = array {
            return branches.iter().any(|branch| self.element_has(branch, path));
        }
        matches!(array, Type::Array(element) if self.has_in(element, path, &|_, _| true))
    }

    fn has_in(&self, of_type: &Type, path: &[Box<str>], is_wanted: &dyn Fn(&Self, &Type) -> bool) -> bool {
        let Some((first, rest)) = path.split_first() else { return is_wanted(self, of_type) };
        match of_type {
            Type::Named(name) => self.named.get(name).is_some_and(|named| self.has_in(named, path, is_wanted)),
            Type::Union(branches) => branches.iter().any(|branch| self.has_in(branch, path, is_wanted)),
            Type::Map(values) => self.has_in(values, rest, is_wanted),
            Type::Record(fields) => {
                let by_name = fields.iter().find(|field| *field.name == **first);
                let field = by_name
                    .or_else(|| fields.iter().find(|field| field.aliases.iter().any(|alias| **alias == **first)));
                field.is_some_and(|field| self.has_in(&field.of_type, rest, is_wanted))
            }
            Type::Primitive(_)
            | Type::Decimal { .. }
            | Type::Instant { .. }
            | Type::Fixed(_)
            | Type::Enum(_)
            | Type::Array(_) => false,
        }
    }

    /// The names of the fields of the record, or of the first one in a union.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        let fields = match self.named.get(&self.name) {
            Some(Type::Record(fields)) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|field| field.name.as_str())
    }

    /// A record as JSON, and the first place where it breaks its schema if the rest can be read. `with_aliases` repeats fields under
    /// their aliases.
    pub(super) fn json(&self, body: &[u8], with_aliases: bool) -> Result<(String, Option<String>), String> {
        let mut reader = Reader {
            schema: self,
            body,
            at: 0,
            out: String::new(),
            place: Vec::new(),
            values: 0,
            problem: None,
            with_aliases,
        };
        reader.value(&self.root, 0)?;
        if reader.at < body.len() {
            let left = body.len() - reader.at;
            reader.note(&format!("the record ends, and {left} bytes are left"));
        }
        Ok((reader.out, reader.problem))
    }
}

struct Reader<'a> {
    schema: &'a AvroSchema,
    body: &'a [u8],
    /// Number of bytes that were read.
    at: usize,
    out: String,
    /// The names on the way to the present value.
    place: Vec<&'a str>,
    values: usize,
    problem: Option<String>,
    with_aliases: bool,
}

impl<'a> Reader<'a> {
    fn failed<T>(&self, problem: &str) -> Result<T, String> {
        let field = if self.place.is_empty() { String::new() } else { format!(" in field {}", self.place.join(".")) };
        Err(format!("{problem} at byte {} of the body{field}", self.at))
    }

    /// Keeps a problem that does not hinder reading on.
    fn note(&mut self, problem: &str) {
        if self.problem.is_none() {
            self.problem = self.failed::<()>(problem).err();
        }
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let left = &self.body[self.at..];
        match left.get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => self.failed(&format!("{what} needs {count} bytes, and {} are left,", left.len())),
        }
    }

    fn long(&mut self, what: &str) -> Result<i64, String> {
        let mut bits = 0_u128;
        for (index, byte) in self.body[self.at..].iter().take(10).enumerate() {
            bits |= u128::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                let Ok(bits) = u64::try_from(bits) else { break };
                self.at += index + 1;
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        self.failed(&format!("{what} is truncated or too long"))
    }

    fn prefixed(&mut self, what: &str) -> Result<&'a [u8], String> {
        let start = self.at;
        let length = self.long(&format!("the length of {what}"))?;
        let Ok(length) = usize::try_from(length) else {
            self.at = start;
            return self.failed(&format!("the length of {what} is {length}"));
        };
        self.take(length, what)
    }

    /// Number of items of the next block of an array or a map; 0 at its end.
    fn block(&mut self) -> Result<u64, String> {
        let count = self.long("the number of items")?;
        if count < 0 {
            self.long("the size of a block")?;
        }
        Ok(count.unsigned_abs())
    }

    fn value(&mut self, of_type: &'a Type, depth: usize) -> Result<(), String> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return self.failed("the record is nested too deeply or has too many values");
        }
        match of_type {
            Type::Named(name) => match self.schema.named.get(name) {
                Some(definition) => self.value(definition, depth + 1)?,
                None => return self.failed("a type is missing"),
            },
            Type::Primitive(primitive) => self.primitive(*primitive)?,
            Type::Decimal { size, scale } => {
                let bytes = match size {
                    Some(size) => self.take(*size, "a decimal")?,
                    None => self.prefixed("a decimal")?,
                };
                if bytes.is_empty() || bytes.len() > MAX_DECIMAL || *scale > 10 * MAX_DECIMAL {
                    self.out += "null";
                } else {
                    writer::decimal(&mut self.out, &writer::unscaled(bytes), *scale);
                }
            }
            Type::Instant { decimals } => {
                let units = self.long("a timestamp")?;
                writer::instant(&mut self.out, units, *decimals);
            }
            Type::Fixed(size) => {
                self.take(*size, "a fixed value")?;
                self.out += "null";
            }
            Type::Enum(symbols) => {
                let number = self.long("an enum")?;
                match usize::try_from(number).ok().and_then(|number| symbols.get(number)) {
                    Some(symbol) => writer::text(&mut self.out, symbol),
                    None => {
                        self.note(&format!("the enum has no symbol {number}"));
                        self.out += &number.to_string();
                    }
                }
            }
            Type::Union(branches) => {
                let branch = self.long("the branch of a union")?;
                match usize::try_from(branch).ok().and_then(|branch| branches.get(branch)) {
                    Some(branch) => self.value(branch, depth + 1)?,
                    None => return self.failed(&format!("the union has no branch {branch}")),
                }
            }
            Type::Array(items) => {
                self.out.push('[');
                let mut is_first = true;
                loop {
                    let count = self.block()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        self.comma(&mut is_first);
                        self.value(items, depth + 1)?;
                    }
                }
                self.out.push(']');
            }
            Type::Map(values) => self.map(values, depth)?,
            Type::Record(fields) => self.record(fields, depth)?,
        }
        Ok(())
    }

    fn comma(&mut self, is_first: &mut bool) {
        if !std::mem::take(is_first) {
            self.out.push(',');
        }
    }

    fn map(&mut self, values: &'a Type, depth: usize) -> Result<(), String> {
        // The last value of a key counts.
        let mut entries: Vec<(String, String)> = Vec::new();
        let outer = std::mem::take(&mut self.out);
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let key = String::from_utf8_lossy(self.prefixed("a key")?).into_owned();
                self.value(values, depth + 1)?;
                entries.push((key, std::mem::take(&mut self.out)));
            }
        }
        let entries: BTreeMap<String, String> = entries.into_iter().collect();
        self.out = outer + "{";
        let mut is_first = true;
        for (key, value) in entries {
            self.comma(&mut is_first);
            writer::text(&mut self.out, &key);
            self.out.push(':');
            self.out += &value;
        }
        self.out.push('}');
        Ok(())
    }

    fn record(&mut self, fields: &'a [Field], depth: usize) -> Result<(), String> {
        self.out.push('{');
        let mut is_first = true;
        for Field { name, aliases, of_type } in fields {
            self.comma(&mut is_first);
            writer::text(&mut self.out, name);
            self.out.push(':');
            let start = self.out.len();
            self.place.push(name);
            self.value(of_type, depth + 1)?;
            self.place.pop();
            if self.with_aliases {
                let value = self.out[start..].to_owned();
                let is_free = |alias: &&String| fields.iter().all(|field| field.name != **alias);
                for alias in aliases.iter().filter(is_free) {
                    self.out.push(',');
                    writer::text(&mut self.out, alias);
                    self.out.push(':');
                    self.out += &value;
                }
            }
        }
        self.out.push('}');
        Ok(())
    }

    fn primitive(&mut self, primitive: Primitive) -> Result<(), String> {
        match primitive {
            Primitive::Null => self.out += "null",
            Primitive::Boolean => {
                let byte = self.take(1, "a boolean")?[0];
                if byte > 1 {
                    self.note(&format!("a boolean is {byte}"));
                }
                self.out += if byte == 0 { "false" } else { "true" };
            }
            Primitive::Int => {
                let number = self.long("an int")?;
                if i32::try_from(number).is_err() {
                    self.note(&format!("the int {number} needs more than 32 bits"));
                }
                self.out += &number.to_string();
            }
            Primitive::Long => {
                let number = self.long("a long")?;
                self.out += &number.to_string();
            }
            Primitive::Float => {
                let bytes = self.take(4, "a float")?;
                let value = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
                writer::float(&mut self.out, value.is_finite(), &format!("{value:?}"));
            }
            Primitive::Double => {
                let bytes = self.take(8, "a double")?;
                let value = f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                writer::float(&mut self.out, value.is_finite(), &format!("{value:?}"));
            }
            Primitive::Bytes => {
                let bytes = self.prefixed("bytes")?;
                writer::bytes(&mut self.out, bytes);
            }
            Primitive::String => {
                let text = String::from_utf8_lossy(self.prefixed("a string")?);
                if matches!(text, std::borrow::Cow::Owned(_)) {
                    self.note("a string is not UTF-8");
                }
                writer::text(&mut self.out, &text);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Parser {
    named: BTreeMap<String, Type>,
}

impl Parser {
    fn read(&mut self, schema: &Value, namespace: &str) -> Result<Type, String> {
        match schema {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                Ok(Type::Union(branches.iter().map(|branch| self.read(branch, namespace)).collect::<Result<_, _>>()?))
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.complex(kind, object, namespace),
                Some(inner) => self.read(inner, namespace),
                None => Err("has a type without \"type\"".to_owned()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => Err(format!("has {schema} as a type")),
        }
    }

    fn by_name(&self, name: &str, namespace: &str) -> Result<Type, String> {
        let primitive = match name {
            "null" => Primitive::Null,
            "boolean" => Primitive::Boolean,
            "int" => Primitive::Int,
            "long" => Primitive::Long,
            "float" => Primitive::Float,
            "double" => Primitive::Double,
            "bytes" => Primitive::Bytes,
            "string" => Primitive::String,
            _ => {
                let candidates = [full_name(namespace, name), name.to_owned()];
                let known = candidates.into_iter().find(|name| self.named.contains_key(name));
                return known
                    .map(Type::Named)
                    .ok_or_else(|| format!("uses the type {name}, which neither it nor its references define"));
            }
        };
        Ok(Type::Primitive(primitive))
    }

    fn complex(&mut self, kind: &str, object: &Map<String, Value>, namespace: &str) -> Result<Type, String> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let inner = |name: &str| object.get(name).ok_or_else(|| format!("has a type {kind} without {name}"));
        match kind {
            "record" | "enum" | "fixed" => {
                let name = text("name").ok_or_else(|| format!("has a type {kind} without a name"))?;
                let name = full_name(text("namespace").unwrap_or(namespace), name);
                // A record can contain itself.
                if self.named.insert(name.clone(), Type::Record(Vec::new())).is_some() {
                    return Err(format!("defines {name} twice"));
                }
                let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                let definition = match kind {
                    "record" => {
                        let fields = inner("fields")?.as_array().ok_or_else(|| format!("has no fields of {name}"))?;
                        Type::Record(
                            fields.iter().map(|field| self.field(field, &namespace)).collect::<Result<_, _>>()?,
                        )
                    }
                    "enum" => {
                        let symbols = inner("symbols")?.as_array().into_iter().flatten();
                        Type::Enum(symbols.filter_map(Value::as_str).map(str::to_owned).collect())
                    }
                    _ => {
                        let size = inner("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                        let size = size.ok_or_else(|| format!("has no size of {name}"))?;
                        match decimal_scale(object) {
                            Some(scale) => Type::Decimal { size: Some(size), scale },
                            None => Type::Fixed(size),
                        }
                    }
                };
                self.named.insert(name.clone(), definition);
                Ok(Type::Named(name))
            }
            "array" => Ok(Type::Array(Box::new(self.read(inner("items")?, namespace)?))),
            "map" => Ok(Type::Map(Box::new(self.read(inner("values")?, namespace)?))),
            _ => match (kind, text("logicalType").unwrap_or_default()) {
                ("bytes", "decimal") if decimal_scale(object).is_some() => {
                    Ok(Type::Decimal { size: None, scale: decimal_scale(object).unwrap_or_default() })
                }
                ("long", "timestamp-millis") => Ok(Type::Instant { decimals: 3 }),
                ("long", "timestamp-micros") => Ok(Type::Instant { decimals: 6 }),
                ("long", "timestamp-nanos") => Ok(Type::Instant { decimals: 9 }),
                _ => self.by_name(kind, namespace),
            },
        }
    }

    fn field(&mut self, field: &Value, namespace: &str) -> Result<Field, String> {
        let name = field.get("name").and_then(Value::as_str).ok_or("has a field without a name")?.to_owned();
        let aliases = field.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let aliases = aliases.filter_map(Value::as_str).map(str::to_owned).collect();
        let of_type = field.get("type").ok_or_else(|| format!("has the field {name} without a type"))?;
        Ok(Field { name, aliases, of_type: self.read(of_type, namespace)? })
    }
}

fn full_name(namespace: &str, name: &str) -> String {
    match name.strip_prefix('.') {
        Some(name) => name.to_owned(),
        None if namespace.is_empty() || name.contains('.') => name.to_owned(),
        None => format!("{namespace}.{name}"),
    }
}

fn decimal_scale(object: &Map<String, Value>) -> Option<usize> {
    if object.get("logicalType")?.as_str()? != "decimal" {
        return None;
    }
    let precision = object.get("precision")?.as_u64().filter(|precision| *precision > 0)?;
    let scale = object.get("scale").map_or(Some(0), Value::as_u64).filter(|scale| *scale <= precision)?;
    usize::try_from(scale).ok()
}
