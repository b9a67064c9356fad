//! From `spec.events` to the mapping of the engine, with the checks that the schema of the CRD cannot express.

use retail_engine::{Condition, Format as RecordFormat, Mapping, NumberField, Path, TextField, TimeField, ValueField};

use crate::events::{
    Events, Format, FormatType, Money, Quantity, Refunds, Registry, Sum, Timestamp, TransactionId, Unit,
};
use crate::layout::Layout;

/// Maximum number of names of a path.
const MAX_NAMES: usize = 16;

/// Maximum number of fields that a mapping reads, including the objects on the way to them.
const MAX_FIELDS: usize = 128;

/// A message about a field of `spec.events`, with the path of the field in it.
pub(crate) type MappingProblem = (String, String);

/// The meaning of the records of a topic, with the names of their columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventMapping {
    /// As written.
    pub events: Events,
    /// For the engine.
    pub mapping: Mapping,
    /// The names of dimensions and sums.
    pub layout: Layout,
}

impl EventMapping {
    /// `spec.events` as JSON in one form: equal mappings have equal texts. Without the registry, which can be changed.
    pub fn to_json(&self) -> String {
        let format = Format { registry: None, ..self.events.format };
        let events = Events { format, ..self.events.clone() };
        serde_json::to_string(&events).expect("texts, numbers and lists are JSON")
    }

    /// The schema registry.
    pub const fn registry(&self) -> Option<&Registry> {
        self.events.format.registry.as_ref()
    }

    /// The mapping of valid `spec.events`, or all its problems.
    pub(crate) fn new(events: &Events) -> Result<Self, Vec<MappingProblem>> {
        let mut reader = Reader { is_exploded: events.explode.is_some(), fields: Vec::new(), problems: Vec::new() };
        let mapping = reader.mapping(events);
        reader.check_fields(mapping.as_ref());
        let names = events.dimensions.iter().map(|dimension| dimension.name.clone()).collect();
        let layout = Layout::new(names, events.sums.iter().map(|sum| sum.name.clone()).collect());
        match (mapping, layout) {
            (Some(mapping), Ok(layout)) if reader.problems.is_empty() => {
                Ok(Self { events: events.clone(), mapping, layout })
            }
            (_, layout) => {
                reader.problems.extend(layout.err().map(|problem| ("dimensions".to_owned(), problem)));
                Err(reader.problems)
            }
        }
    }
}

/// Reads the fields, and collects their problems.
struct Reader {
    is_exploded: bool,
    /// The fields with values, each with its place in `spec.events`.
    fields: Vec<(String, Path)>,
    problems: Vec<MappingProblem>,
}

impl Reader {
    fn mapping(&mut self, events: &Events) -> Option<Mapping> {
        let Events {
            format,
            timestamp,
            transaction_id,
            dimensions,
            quantity,
            price,
            amount,
            refunds,
            sums,
            condition,
            explode,
        } = events;
        let explode = explode.as_ref().map(|path| self.path("explode", path, false));
        let timestamp = self.timestamp(timestamp);
        let id = transaction_id.as_ref().map(|TransactionId { field }| self.path("transactionId.field", field, false));
        let dimensions: Vec<_> = dimensions
            .iter()
            .enumerate()
            .map(|(at, dimension)| {
                let path = self.path(&format!("dimensions[{at}].field"), &dimension.field, self.is_exploded)?;
                Some(TextField { path, if_missing: dimension.if_missing.as_deref().map(Box::from) })
            })
            .collect();
        let Quantity { field, if_missing, text } = quantity;
        let quantity = self.number("quantity", field, *if_missing, 0, *text);
        let price = price.as_ref().map(|price| self.money("price", price).map(ValueField::Price));
        let amount = amount.as_ref().map(|amount| self.money("amount", amount).map(ValueField::Amount));
        let sums: Vec<_> = sums
            .iter()
            .enumerate()
            .map(|(at, Sum { name: _, field, if_missing, scale, text })| {
                self.number(&format!("sums[{at}]"), field, *if_missing, *scale, *text)
            })
            .collect();
        let condition = condition.as_ref().map(|condition| {
            Condition::parse(condition).map_err(|problem| self.problems.push(("where".to_owned(), problem))).ok()
        });
        Some(Mapping {
            format: match format.kind {
                FormatType::Json => RecordFormat::Json,
                FormatType::JsonSchema => RecordFormat::JsonSchema,
                FormatType::Avro => RecordFormat::Avro,
                FormatType::Protobuf => RecordFormat::Protobuf,
            },
            timestamp: timestamp?,
            id: transposed(id)?,
            dimensions: dimensions.into_iter().collect::<Option<_>>()?,
            quantity: quantity?,
            value: price.or(amount)??,
            refunds: *refunds == Refunds::Allow,
            sums: sums.into_iter().collect::<Option<_>>()?,
            condition: transposed(condition)?,
            explode: transposed(explode)?,
        })
    }

    fn path(&mut self, place: &str, text: &str, is_exploded: bool) -> Option<Path> {
        let path = Path::parse(text, is_exploded).filter(|path| path.names.len() <= MAX_NAMES);
        match &path {
            Some(path) => self.fields.push((place.to_owned(), path.clone())),
            None => {
                let message = format!("must be 1 to {MAX_NAMES} names of fields joined by dots, not \"{text}\"");
                self.problems.push((place.to_owned(), message));
            }
        }
        path
    }

    fn timestamp(&mut self, Timestamp { field, unit, text }: &Timestamp) -> Option<TimeField> {
        let decimals = match unit {
            Unit::RecordTime => return Some(TimeField::RecordTime),
            Unit::Rfc3339 => None,
            Unit::Seconds => Some(0),
            Unit::Milliseconds => Some(3),
            Unit::Microseconds => Some(6),
            Unit::Nanoseconds => Some(9),
        };
        let path = self.path("timestamp.field", field.as_deref()?, false)?;
        Some(match decimals {
            None => TimeField::Rfc3339(path),
            Some(decimals) => TimeField::Number { path, decimals, is_text: *text },
        })
    }

    fn money(&mut self, place: &str, Money { field, if_missing, scale, text }: &Money) -> Option<NumberField> {
        self.number(place, field, *if_missing, *scale, *text)
    }

    fn number(
        &mut self,
        place: &str,
        field: &str,
        if_missing: Option<i64>,
        scale: i32,
        is_text: bool,
    ) -> Option<NumberField> {
        let path = self.path(&format!("{place}.field"), field, self.is_exploded)?;
        let if_missing = if_missing.map(|number| number.to_string().into());
        Some(NumberField { path, if_missing, is_text, scale: u8::try_from(scale).ok()? })
    }

    /// Refuses fields that no record can have together, and conditions on elements.
    fn check_fields(&mut self, mapping: Option<&Mapping>) {
        let Self { fields, problems, .. } = self;
        for (place, inner) in &*fields {
            for (outer_place, outer) in &*fields {
                if !is_inside(inner, outer) {
                    continue;
                }
                problems.push(match outer_place.as_str() {
                    "explode" => (
                        place.clone(),
                        "must be a field of the record: this one is inside the exploded array".to_owned(),
                    ),
                    _ => (
                        outer_place.clone(),
                        format!("must be a value: it is an object, because {place} is a field in it"),
                    ),
                });
            }
        }
        let Some(Mapping { condition: Some(condition), explode, .. }) = mapping else { return };
        let paths = condition.places();
        if paths.iter().any(|path| explode.as_ref().is_some_and(|array| is_inside(path, array))) {
            problems.push((
                "where".to_owned(),
                "must test fields of the record: one of them is inside the exploded array".to_owned(),
            ));
        }
        let count = fields.iter().map(|(_, path)| path).chain(paths).map(|path| path.names.len()).sum::<usize>();
        if count > MAX_FIELDS {
            let message = format!("has paths with {count} names in all, and at most {MAX_FIELDS} are supported");
            problems.push((String::new(), message));
        }
    }
}

/// `None` for a problem.
fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

/// Whether `inner` is a field in the value at `outer`.
fn is_inside(inner: &Path, outer: &Path) -> bool {
    inner.level == outer.level && inner.names.len() > outer.names.len() && inner.names.starts_with(&outer.names)
}
