//! Why a record is invalid: the field that causes it, the value that stands there, and the field that looks like a missing one.

use retail_api::events::Unit;
use retail_connection::text::shortened;
use retail_engine::{Format, Level, MAX_ELEMENTS, Mapping, Reason, SchemaId};

use crate::formats::{Decoded, Failure, SchemaAnswer, Schemas, likely_format};
use crate::json::{Json, Kind};
use crate::names::{Role, is_cents, words};
use crate::similar::Candidates;
use crate::values::{TimeForm, excerpt, time_form, unit_name, unit_of};
use crate::wanted::{Wanted, WantedFields};

/// Maximum length of a detail, in bytes.
pub const MAX_DETAIL: usize = 200;

/// Longer records are not examined. Dead letters contain as much of a record.
const MAX_RECORD: usize = 64 * 1024;

/// Finds the causes of invalid records of one pipeline.
#[derive(Debug)]
pub struct Diagnosis {
    wanted: WantedFields,
    schemas: Schemas,
}

/// The fields at the top of a record.
type Fields<'a> = [(String, Json<'a>)];

impl Diagnosis {
    /// For records with the fields of a mapping, or of the tutorial.
    pub fn new(mapping: Option<&Mapping>) -> Self {
        let format = mapping.map(|mapping| mapping.format).unwrap_or_default();
        Self { wanted: WantedFields::of(mapping), schemas: Schemas::new(format) }
    }

    /// For the tutorial's purchases of a pipeline that deduplicates.
    pub fn of_purchases_with_ids() -> Self {
        Self { wanted: WantedFields::tutorial_with_id(), schemas: Schemas::new(Format::default()) }
    }

    /// Takes the answer about a schema that records name. Without it, the causes of their records are general.
    pub fn learn_schema(&mut self, id: SchemaId, answer: &SchemaAnswer<'_>) {
        self.schemas.learn(id, answer);
    }

    pub(crate) const fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// The causes of an invalid record, each in one line, such as `quantity missing; has "qty": 2`. At least one. `header` is the
    /// value of the header `__value_schema_id`.
    pub fn causes(&self, value: Option<&[u8]>, header: Option<&[u8]>, reason: Reason) -> Vec<String> {
        self.found(value, header, reason, true)
    }

    /// Without `is_thorough`, no similar field is looked for, which takes most of the time.
    fn found(&self, value: Option<&[u8]>, header: Option<&[u8]>, reason: Reason, is_thorough: bool) -> Vec<String> {
        let names_schema = matches!(reason, Reason::UnknownSchema | Reason::UnusableSchema);
        let causes = match (reason, value) {
            (Reason::Empty, _) | (_, None) => vec!["the record has no value".to_owned()],
            (Reason::NoSchemaId, Some(value)) => vec![no_schema_id(value, header)],
            (Reason::NoRecordTime, _) => {
                vec!["the record has no timestamp, and its event time is the latest of its partition".to_owned()]
            }
            (_, Some(value)) if value.len() >= MAX_RECORD && !names_schema => {
                vec![format!("not examined, because the record has {} KiB or more", MAX_RECORD / 1024)]
            }
            (Reason::MalformedJson, Some(value)) => vec![self.malformed(self.schemas.json_body(value, header))],
            (_, Some(value)) => match self.schemas.read(value, header, true) {
                Err(failure) => vec![unread(failure, reason)],
                Ok(decoded) => self.decoded_causes(&decoded, reason, is_thorough),
            },
        };
        causes.into_iter().map(|cause| shortened(&cause, MAX_DETAIL)).collect()
    }

    /// As many causes as fit into [`MAX_DETAIL`] bytes, in one line. Without `is_thorough`, it names no similar field, which saves most
    /// of the time.
    pub fn detail(&self, value: Option<&[u8]>, header: Option<&[u8]>, reason: Reason, is_thorough: bool) -> String {
        let mut detail = String::new();
        for cause in self.found(value, header, reason, is_thorough) {
            let separator = if detail.is_empty() { "" } else { SEPARATOR };
            // The mark of a shortened text has three bytes.
            if detail.len() + separator.len() + cause.len() > MAX_DETAIL && !detail.is_empty() {
                break;
            }
            detail += separator;
            detail += &cause;
        }
        if detail.len() > MAX_DETAIL { shortened(&detail, MAX_DETAIL - '…'.len_utf8()) } else { detail }
    }

    fn malformed(&self, value: &[u8]) -> String {
        if let Some((id, format)) = likely_format(value) {
            return format!("begins with the id of schema {id}: looks like {format}; set format.type to {format}");
        }
        if value.first() == Some(&0) {
            return "begins with a zero byte: the record may be Avro, Protobuf or JSON Schema of a registry, not JSON"
                .to_owned();
        }
        let Ok(text) = std::str::from_utf8(value) else { return "the record is not UTF-8".to_owned() };
        match Json::parse(text) {
            Err(error) => format!("not JSON: {error}"),
            Ok(record) if record.kind() != Kind::Object => format!("{}, not a JSON object", record.kind().in_words()),
            Ok(record) => match self.repeated(record, 0) {
                Some(name) => format!("field \"{name}\" occurs twice in its object"),
                None => "not a valid JSON object".to_owned(),
            },
        }
    }

    /// A name that an object repeats, and that the mapping reads.
    fn repeated(&self, value: Json<'_>, depth: usize) -> Option<String> {
        let fields = match value.kind() {
            Kind::Object if depth < 16 => value.fields(usize::MAX),
            Kind::Array if depth < 16 => {
                return value.elements(MAX_ELEMENTS).into_iter().find_map(|element| self.repeated(element, depth + 1));
            }
            Kind::Null | Kind::Bool | Kind::Number | Kind::Text | Kind::Array | Kind::Object => return None,
        };
        let mut seen = std::collections::BTreeSet::new();
        let repeated = fields.iter().find(|(name, _)| self.wanted.reads(name) && !seen.insert(name));
        if let Some((name, _)) = repeated {
            return Some(name.clone());
        }
        fields.iter().find_map(|(_, value)| self.repeated(*value, depth + 1))
    }

    /// The causes in a record whose contents are known.
    fn decoded_causes(&self, decoded: &Decoded, reason: Reason, is_thorough: bool) -> Vec<String> {
        let Decoded { json, schema, problem } = decoded;
        let schema = schema.as_deref().unwrap_or("its schema");
        match reason {
            Reason::MalformedAvro | Reason::MalformedProtobuf => {
                let problem = problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
                vec![format!("not a value of {schema}{problem}")]
            }
            Reason::UnusableSchema => vec![format!("{schema} is nested too deeply, or too large")],
            Reason::UnknownSchema => vec![format!("the registry did not know {schema} when a processor asked")],
            Reason::Empty
            | Reason::NoSchemaId
            | Reason::MalformedJson
            | Reason::MissingField
            | Reason::BadItems
            | Reason::BadTimestamp
            | Reason::BadPrice
            | Reason::BadQuantity
            | Reason::BadKey
            | Reason::NoRecordTime => {
                let mut causes = self.field_causes(json, reason, is_thorough);
                if decoded.schema.is_some() {
                    let first = &mut causes[0];
                    let end = first.find("; has ").unwrap_or(first.len());
                    first.insert_str(end, &format!(" in {schema}"));
                }
                causes
            }
        }
    }

    fn field_causes(&self, value: &str, reason: Reason, is_thorough: bool) -> Vec<String> {
        let record = Json::parse(value).ok();
        let Some(record) = record.filter(|record| record.kind() == Kind::Object) else {
            return vec!["not a JSON object".to_owned()];
        };
        let fields = record.fields(usize::MAX);
        let mut causes = Vec::new();
        let (of_record, of_elements): (Vec<&Wanted>, Vec<&Wanted>) =
            self.wanted.fields.iter().partition(|wanted| wanted.level == Level::Record);
        let candidates = Candidates::of(is_thorough.then_some(record));
        for wanted in of_record {
            let value = lookup(&fields, &wanted.names).or_else(|| self.other_name(wanted, &fields));
            causes.extend(self.cause(wanted, value, reason, &candidates, &wanted.place));
        }
        if let Some(array) = &self.wanted.explode {
            let place = array.names.join(".");
            match array_cause(&place, lookup(&fields, &array.names), reason) {
                Some(cause) => causes.push(cause),
                None => {
                    let array = lookup(&fields, &array.names);
                    causes.extend(self.element_causes(&place, array, &of_elements, reason, is_thorough));
                }
            }
        }
        if causes.is_empty() {
            causes.push(format!("the record is invalid: {reason}"));
        }
        causes
    }

    /// The tutorial's event time has two names.
    fn other_name<'a>(&self, wanted: &Wanted, fields: &Fields<'a>) -> Option<Json<'a>> {
        if self.wanted.is_default && wanted.role == Role::Time { lookup(fields, &["ts".into()]) } else { None }
    }

    /// The causes in the first element that has one.
    fn element_causes(
        &self,
        place: &str,
        array: Option<Json<'_>>,
        wanted: &[&Wanted],
        reason: Reason,
        is_thorough: bool,
    ) -> Vec<String> {
        let elements = array.map(|array| array.elements(MAX_ELEMENTS)).unwrap_or_default();
        let of_element = elements.into_iter().enumerate().map(|(at, element)| {
            let fields = if element.kind() == Kind::Object { element.fields(usize::MAX) } else { Vec::new() };
            let candidates = Candidates::of(is_thorough.then_some(element));
            let causes = wanted.iter().filter_map(|wanted| {
                let place = format!("{place}[{at}].{}", wanted.place);
                self.cause(wanted, lookup(&fields, &wanted.names), reason, &candidates, &place)
            });
            causes.collect::<Vec<_>>()
        });
        of_element.into_iter().find(|causes| !causes.is_empty()).unwrap_or_default()
    }

    /// The cause that a field is for a reason.
    fn cause(
        &self,
        wanted: &Wanted,
        value: Option<Json<'_>>,
        reason: Reason,
        around: &Candidates<'_>,
        place: &str,
    ) -> Option<String> {
        let is_null = value.is_some_and(|value| value.kind() == Kind::Null) && !self.wanted.is_default;
        if reason == Reason::MissingField {
            if !wanted.is_required || (value.is_some() && !is_null) {
                return None;
            }
            let state = match (is_null, self.schemas.format) {
                (false, _) => "missing",
                (true, Format::Protobuf) => "is not set",
                (true, Format::Json | Format::JsonSchema | Format::Avro) => "is null",
            };
            let similar = around.similar(wanted).map_or_else(String::new, |similar| format!("; has {similar}"));
            let need = if wanted.is_id { ID_NEEDED } else { "" };
            return Some(format!("{place} {state}{need}{similar}"));
        }
        let value = value.filter(|_| !is_null)?;
        let problem = match (reason, wanted.role) {
            (Reason::BadTimestamp, Role::Time) => Some(time_problem(wanted, value, self.wanted.is_default)),
            (Reason::BadPrice, Role::Price | Role::Amount | Role::Sum) => money_problem(wanted, value),
            (Reason::BadQuantity, Role::Quantity) => Some(quantity_problem(wanted, value, self.wanted.refunds)),
            (Reason::BadKey, Role::Text) if wanted.is_id => id_problem(value, self.wanted.is_default),
            (Reason::BadKey, Role::Text) => key_problem(wanted, value, self.schemas.are_needed()),
            _ => None,
        };
        problem.map(|problem| format!("{place}: {} {problem}", excerpt(value)))
    }
}

/// Why a pipeline reads an id.
const ID_NEEDED: &str = ", and deduplicate needs an id";

/// Maximum length of an id, in bytes.
const MAX_ID: usize = 1024;

/// Why a record names no schema.
fn no_schema_id(value: &[u8], header: Option<&[u8]>) -> String {
    if header.is_some() {
        return "the header __value_schema_id has no schema id: 01 and 16 bytes".to_owned();
    }
    let looks = match value.trim_ascii_start().first() {
        Some(b'{') => "; looks like JSON: set format.type to JSON",
        _ => ", which is 00 and four bytes, and has no header __value_schema_id",
    };
    format!("does not begin with a schema id{looks}")
}

/// The cause of a record whose contents are unknown.
fn unread(failure: Failure, reason: Reason) -> String {
    match (failure, reason) {
        (Failure::NoId, _) => format!("the record is invalid: {reason}"),
        (Failure::Unknown(schema), _) | (Failure::NotLearnt(schema), Reason::UnknownSchema) => {
            format!("the registry does not know {schema}")
        }
        (Failure::Unusable(schema, problem), _) => format!("{schema} {problem}"),
        (Failure::NotLearnt(schema), Reason::UnusableSchema) => {
            format!("{schema} is invalid, of another format, not a record, or too large")
        }
        (Failure::Malformed(schema, problem), Reason::MalformedAvro | Reason::MalformedProtobuf) => {
            format!("not a value of {schema}: {problem}")
        }
        (Failure::NotLearnt(schema), Reason::MalformedAvro | Reason::MalformedProtobuf) => {
            format!("not a value of {schema}")
        }
        (Failure::Malformed(schema, _) | Failure::NotLearnt(schema), _) => {
            format!("the record is invalid: {reason} in {schema}")
        }
    }
}

/// Between the causes of one detail.
const SEPARATOR: &str = " | ";

/// The value at these names.
fn lookup<'a>(fields: &Fields<'a>, names: &[Box<str>]) -> Option<Json<'a>> {
    let (first, rest) = names.split_first()?;
    let (_, value) = fields.iter().find(|(name, _)| **name == **first)?;
    value.at(rest)
}

/// The cause that the exploded array itself is.
fn array_cause(place: &str, array: Option<Json<'_>>, reason: Reason) -> Option<String> {
    let kind = array.map(Json::kind);
    match (reason, kind) {
        (Reason::MissingField, None) => Some(format!("{place} missing")),
        (Reason::MissingField, Some(Kind::Null)) => Some(format!("{place} is null")),
        (Reason::BadItems, Some(Kind::Array)) => {
            let elements = array.map_or(0, |array| array.elements(usize::MAX).len());
            let most = format!("{place} has {elements} elements, and at most {MAX_ELEMENTS} are possible");
            Some(if elements == 0 { format!("{place} has no elements") } else { most })
        }
        (Reason::BadItems, Some(kind)) => Some(format!("{place} is {}, not an array", kind.in_words())),
        _ => None,
    }
}

fn time_problem(wanted: &Wanted, value: Json<'_>, is_default: bool) -> String {
    const NOT_RFC3339: &str = "is not RFC 3339, such as 2026-01-02T03:04:05Z";
    let takes_rfc3339 = wanted.is_rfc3339 || is_default;
    match (value.kind(), time_form(value)) {
        (Kind::Number, Some(TimeForm::Valid { unit, .. })) if !wanted.is_rfc3339 || is_default => {
            format!("looks like {}", unit_name(unit).to_lowercase())
        }
        (Kind::Number, Some(TimeForm::Valid { unit, .. })) => format!("is a number (unit: {})", unit_name(unit)),
        (Kind::Number, _) if !wanted.is_rfc3339 || is_default => "is not in the years 1970 to 9999".to_owned(),
        (Kind::Text, Some(TimeForm::WithoutOffset)) => "has no offset, such as Z or +02:00".to_owned(),
        (Kind::Text, Some(TimeForm::Valid { unit, is_text: true })) if takes_rfc3339 => {
            format!("is a number in a string (unit: {}, text: true)", unit_name(unit))
        }
        (Kind::Text, Some(TimeForm::Valid { is_text: true, .. })) if !wanted.is_text => {
            "is a string (text: true)".to_owned()
        }
        (Kind::Text, Some(TimeForm::Valid { is_text: true, unit })) => {
            format!("looks like {}", unit_name(unit).to_lowercase())
        }
        (Kind::Text, Some(TimeForm::Valid { .. })) => "is RFC 3339 (unit: RFC3339)".to_owned(),
        (Kind::Text, None) if takes_rfc3339 => NOT_RFC3339.to_owned(),
        (kind, _) if takes_rfc3339 => format!("is {}, and {}", kind.in_words(), &NOT_RFC3339[3..]),
        (kind, _) => format!("is {}, not a number", kind.in_words()),
    }
}

/// `None` if the value seems valid: another field is the cause.
fn money_problem(wanted: &Wanted, value: Json<'_>) -> Option<String> {
    if let Some(problem) = number_problem(wanted, value) {
        return Some(problem);
    }
    let number = value.number()? / 10_f64.powi(i32::from(wanted.scale));
    if number < 0.0 && !wanted.can_be_negative {
        return Some("is negative (refunds: Allow)".to_owned());
    }
    (number.abs() >= 999_999_999_999.999_9).then(|| "is 10^12 or more".to_owned())
}

/// The problem of a value that is not a number.
fn number_problem(wanted: &Wanted, value: Json<'_>) -> Option<String> {
    match value.kind() {
        Kind::Number => None,
        Kind::Text => {
            let text = value.text().unwrap_or_default();
            if value.number().is_some() {
                return if wanted.is_text { None } else { Some("is a string (text: true)".to_owned()) };
            }
            let with_point = serde_json::to_string(&text.replace(',', ".")).unwrap_or_default();
            let is_comma = Json::parse(&with_point).is_ok_and(|value| value.number().is_some());
            Some(match text.as_str() {
                "" => "is empty".to_owned(),
                _ if is_comma => "has a decimal comma".to_owned(),
                _ => "is not a number".to_owned(),
            })
        }
        kind @ (Kind::Null | Kind::Bool | Kind::Array | Kind::Object) => {
            Some(format!("is {}, not a number", kind.in_words()))
        }
    }
}

fn quantity_problem(wanted: &Wanted, value: Json<'_>, refunds: bool) -> String {
    if let Some(problem) = number_problem(wanted, value) {
        return problem;
    }
    let text = value.shown().unwrap_or_default();
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return "is not written as an integer".to_owned();
    }
    match text.parse::<i64>() {
        Ok(0) => "is zero".to_owned(),
        Ok(number) if number < 0 && !refunds => "is negative (refunds: Allow)".to_owned(),
        Ok(number) if number.abs() <= i64::from(i32::MAX) => {
            "does not fit the sign of the price or amount: both would be refunds".to_owned()
        }
        Ok(_) | Err(_) => format!("is more than {}", i32::MAX),
    }
}

/// `None` if the value seems valid: another field is the cause.
fn key_problem(wanted: &Wanted, value: Json<'_>, has_schema: bool) -> Option<String> {
    match value.kind() {
        Kind::Number if has_schema && value.raw().contains(['.', 'e']) => {
            Some("is a number with a fraction: a float or double cannot be text".to_owned())
        }
        Kind::Text => match value.text() {
            None => Some("is not Unicode".to_owned()),
            Some(text) if text.is_empty() => Some("is empty".to_owned()),
            Some(text) if text.len() > 128 => Some(format!("has {} bytes, and at most 128 are possible", text.len())),
            Some(text) if text.contains('\0') => Some("contains U+0000".to_owned()),
            Some(_) => None,
        },
        Kind::Number | Kind::Bool if wanted.takes_all_scalars => {
            (value.raw().len() > 128).then(|| "has more than 128 bytes".to_owned())
        }
        kind @ (Kind::Null | Kind::Bool | Kind::Number | Kind::Array | Kind::Object) => {
            Some(format!("is {}, not a string", kind.in_words()))
        }
    }
}

/// `None` if the id seems valid: another field is the cause.
fn id_problem(value: Json<'_>, is_default: bool) -> Option<String> {
    let too_long = |length: usize| format!("has {length} bytes, and an id has at most {MAX_ID}");
    match value.kind() {
        Kind::Text => match value.text() {
            None => Some("is not Unicode".to_owned()),
            Some(text) if text.is_empty() => Some(format!("is empty{ID_NEEDED}")),
            Some(text) => (text.len() > MAX_ID).then(|| too_long(text.len())),
        },
        Kind::Number => (value.raw().len() > MAX_ID).then(|| too_long(value.raw().len())),
        Kind::Bool if !is_default => None,
        kind @ (Kind::Null | Kind::Bool | Kind::Array | Kind::Object) => {
            let forms = if is_default { "a string or number" } else { "a string, number or boolean" };
            Some(format!("is {}, and an id is {forms}", kind.in_words()))
        }
    }
}

/// What looks wrong in a valid record: a time in another unit, and an amount in cents.
pub(crate) fn doubts(wanted: &WantedFields, record: Json<'_>) -> Vec<String> {
    let of_record = |wanted: &&Wanted| wanted.level == Level::Record;
    let doubts = wanted.fields.iter().filter(of_record).filter_map(|wanted| {
        let value = record.at(&wanted.names)?;
        match wanted.role {
            Role::Time if !wanted.is_rfc3339 => unit_doubt(wanted, value),
            Role::Price | Role::Amount if wanted.scale == 0 => cents_doubt(wanted, value),
            Role::Time | Role::Quantity | Role::Price | Role::Amount | Role::Text | Role::Sum => None,
        }
    });
    doubts.collect()
}

/// A number that is a plausible time, but not in the unit of its field.
fn unit_doubt(wanted: &Wanted, value: Json<'_>) -> Option<String> {
    let number = value.number()?;
    let unit = unit_of(number)?;
    let is_plausible = unit_of(number / 10_f64.powi(i32::from(wanted.scale))) == Some(Unit::Seconds);
    let looks = format!("{}: {} looks like {}", wanted.place, excerpt(value), unit_name(unit).to_lowercase());
    (!is_plausible).then_some(looks)
}

/// An integer in a field whose name says that it counts cents.
fn cents_doubt(wanted: &Wanted, value: Json<'_>) -> Option<String> {
    let is_integer = value.number()?.fract() == 0.0;
    let says_cents = wanted.names.iter().any(|name| words(name).iter().any(|word| is_cents(word)));
    let looks = format!("{}: {} looks like cents (scale: 2)", wanted.place, excerpt(value));
    (is_integer && says_cents).then_some(looks)
}
