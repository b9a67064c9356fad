//! `spec.events`: the fields of the records of a topic. `kubectl explain` prints the doc comments.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use kube::KubeSchema;
use kube::core::cel::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fixed::NO_SCHEMA;
use crate::layout;
use crate::secrets::{Credentials, SecretKey};

/// Names of fields joined by dots; a name with a dot or a blank is quoted.
const PATH: &str = r#"^(\$\.)?([^\s."]+|"[^"]+")(\.([^\s."]+|"[^"]+"))*$"#;

/// URLs with a host and without a log-in, query or fragment, separated by commas.
const URLS: &str = r"^https?://[^\s,@?#/]+(/[^\s,@?#]*)?(,https?://[^\s,@?#/]+(/[^\s,@?#]*)?)*$";

/// Fields of the records.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.price) != has(self.amount)", "set either price or amount"))]
#[x_kube(validation = (
    "self.dimensions.all(a, self.dimensions.exists_one(b, b.name == a.name) && (!has(self.sums) || !self.sums.exists(b, b.name == a.name)))",
    "each dimension needs another name"
))]
#[x_kube(validation = (
    "!has(self.sums) || self.sums.all(a, self.sums.exists_one(b, b.name == a.name))",
    "each sum needs another name"
))]
pub struct Events {
    /// Format of the records. Default: JSON.
    #[serde(default)]
    pub format: Format,
    /// Event time.
    pub timestamp: Timestamp,
    /// Id of an event, by which spec.deduplicate finds records that were sent twice. Without spec.deduplicate, it is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<TransactionId>,
    /// Dimensions by which purchases are grouped: 1 to 8. Their names are columns of retail.
    #[schemars(length(min = 1, max = 8))]
    pub dimensions: Vec<Dimension>,
    /// Number of pieces: an integer from 1 to 2147483647.
    pub quantity: Quantity,
    /// Price of a piece, from 0 to below 10^12; the amount of a purchase is quantity × price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// Amount of a purchase, from 0 to below 10^12; its price is amount / quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Negative quantities and amounts: Reject makes such a record invalid, Allow subtracts them. Default: Reject.
    #[serde(default)]
    pub refunds: Refunds,
    /// Further numbers to add up: at most 8. Their names are columns of retail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub sums: Vec<Sum>,
    /// Condition in CEL, such as kind in ['sale', 'refund']: a record for which it is not true is filtered. It compares fields of
    /// the record with constants (==, !=, <, <=, >, >=, in), tests them (has, startsWith, endsWith, contains, or a boolean field),
    /// and combines that with &&, || and !. Default: all records count.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub condition: Option<String>,
    /// Path of an array with 1 to 1000 elements: each of them is a purchase. The paths of dimensions, quantity, price, amount and
    /// sums then start at the element, except for those that begin with $. and start at the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub explode: Option<String>,
}

/// Format of the records.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.type in ['Avro', 'Protobuf']) == has(self.registry)",
    "Avro and Protobuf need a registry, JSON and JSONSchema have none"
))]
pub struct Format {
    /// JSON: an object in UTF-8. JSONSchema: the same after the 5 bytes of a schema id, which is not read. Avro or Protobuf: a value
    /// after the id of its schema, or with the header __value_schema_id.
    #[serde(rename = "type")]
    pub kind: FormatType,
    /// Schema registry with Confluent's interface, for Avro and Protobuf. It can be changed: used schemas are kept in Postgres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
}

/// Format of the records.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum FormatType {
    /// A JSON object.
    #[default]
    #[serde(rename = "JSON")]
    Json,
    /// A JSON object after the id of its schema.
    #[serde(rename = "JSONSchema")]
    JsonSchema,
    /// An Avro record after the id of its schema.
    Avro,
    /// A Protobuf message after the id of its schema.
    Protobuf,
}

/// Connection to a schema registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.tls) || !self.url.contains('http://')", "registry.tls needs URLs that begin with https://"))]
pub struct Registry {
    /// Base URL, as https://host:port; several URLs of one registry are separated by commas. With Apicurio, it ends with
    /// /apis/ccompat/v7.
    #[schemars(length(min = 1, max = 1024), regex(pattern = URLS))]
    pub url: String,
    /// Secret with user name and password. If omitted, the programs do not log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Credentials>,
    /// TLS of URLs that begin with https://.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RegistryTls>,
}

/// TLS for a schema registry. The certificate and the host name are always verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RegistryTls {
    /// Certificate authority of the registry, in PEM. Default: the authorities of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
}

/// Event time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.field) == (!has(self.unit) || self.unit != 'RecordTime')",
    "set field, or the unit RecordTime without a field"
))]
#[x_kube(validation = (
    "!has(self.text) || !self.text || (has(self.unit) && !(self.unit in ['RFC3339', 'RecordTime']))",
    "text is only for units that are numbers"
))]
pub struct Timestamp {
    /// Path of the event time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub field: Option<String>,
    /// RFC3339: a string with an offset. Seconds, Milliseconds, Microseconds or Nanoseconds: a number since 1970-01-01T00:00:00Z.
    /// RecordTime: the timestamp of the Kafka record. Default: RFC3339.
    #[serde(default)]
    pub unit: Unit,
    /// Whether a string can contain the number, such as "1735689600000". Default: false.
    #[serde(default)]
    pub text: bool,
}

/// Id of an event.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct TransactionId {
    /// Path of the id: a text of 1 to 1024 bytes, or a number or boolean as written. It is a field of the record, also with explode.
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub field: String,
}

/// Unit of the event time.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Unit {
    /// A string with an offset.
    #[default]
    #[serde(rename = "RFC3339")]
    Rfc3339,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
    /// The timestamp of the Kafka record.
    RecordTime,
}

/// A dimension.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Dimension {
    /// Name of the column: 1 to 40 lower-case letters, digits and '_', not beginning with a digit, and not reserved by SQL.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    #[x_kube(validation = not_reserved("a dimension"))]
    pub name: String,
    /// Path of the field: a text of 1 to 128 bytes. Numbers and booleans become text as written.
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub field: String,
    /// Value of a missing field. If omitted, the record is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub if_missing: Option<String>,
}

/// Number of pieces.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Quantity {
    /// Path of the field.
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub field: String,
    /// Value of a missing field, from 1 to 2147483647. If omitted, the record is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub if_missing: Option<i64>,
    /// Whether a string can contain the number, such as "2". Default: false.
    #[serde(default)]
    pub text: bool,
}

/// A price or an amount.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// Path of the field.
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub field: String,
    /// Value of a missing field, in the unit of the field. If omitted, the record is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 999_999_999_999_i64))]
    pub if_missing: Option<i64>,
    /// Decimals of the unit of the field, 0 to 12: with scale 2, the number 1999 is 19.99. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 12))]
    pub scale: i32,
    /// Whether a string can contain the number, such as "19.99". Default: false.
    #[serde(default)]
    pub text: bool,
}

/// A further sum.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// Name of the column: 1 to 40 lower-case letters, digits and '_', not beginning with a digit, and not reserved by SQL.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    #[x_kube(validation = not_reserved("a sum"))]
    pub name: String,
    /// Path of the field: a number of a magnitude below 10^12, which can be negative.
    #[schemars(length(max = 256), regex(pattern = PATH))]
    pub field: String,
    /// Value of a missing field, in the unit of the field. If omitted, the record is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -999_999_999_999_i64, max = 999_999_999_999_i64))]
    pub if_missing: Option<i64>,
    /// Decimals of the unit of the field, 0 to 12: with scale 2, the number 1999 is 19.99. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 12))]
    pub scale: i32,
    /// Whether a string can contain the number, such as "19.99". Default: false.
    #[serde(default)]
    pub text: bool,
}

/// Negative quantities and amounts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Refunds {
    /// The record is invalid.
    #[default]
    Reject,
    /// They are subtracted.
    Allow,
}

/// The rule for names of columns. One pattern costs less than a list of words.
fn not_reserved(what: &str) -> Rule {
    let words: Vec<&str> = layout::refused_names().collect();
    Rule::new(format!("!self.matches('^({})$')", words.join("|")))
        .message(&*format!("the name of {what} must not be reserved by SQL, and not be another column of retail"))
}

/// The rule that keeps `spec.events` once the Postgres schema exists, except for the address of the registry. Each field is named:
/// CEL has no copy of an object without one of its fields.
pub(crate) fn unchanged() -> Rule {
    let required = ["format.type", "timestamp", "dimensions", "quantity", "refunds"];
    let optional = ["transactionId", "price", "amount", "sums", "where", "explode"];
    let (new, old) = ("self.spec.events", "oldSelf.spec.events");
    let same = |field: &str| format!("{new}.{field} == {old}.{field}");
    let required = required.map(same);
    let optional = optional
        .map(|field| format!("has({new}.{field}) == has({old}.{field}) && (!has({new}.{field}) || {})", same(field)));
    let fields = [&required[..], &optional[..]].concat().join(" && ");
    Rule::new(format!("!has({new}) && !has({old}) || {NO_SCHEMA} || (has({new}) && has({old}) && {fields})")).message(
        "events cannot be changed once the Postgres schema exists, except for format.registry: create a new pipeline",
    )
}
