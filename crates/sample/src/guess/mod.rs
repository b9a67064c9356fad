//! Guesses the mapping that reads records of an unknown kind, and tries it on them.

mod columns;
mod money;
mod selection;

use retail_api::events::{Events, Format, FormatType, Money, Quantity, Refunds, TransactionId};
use retail_api::{EventMapping, Pipeline};
use retail_engine::{Format as RecordFormat, Record, SchemaId};
use serde::Serialize;

use self::money::{Basis, Number};
use self::selection::Selection;
use crate::formats::{SchemaAnswer, Schemas};
use crate::json::{Json, Kind};
use crate::profile::Profile;
use crate::report::Reporter;
use crate::yaml::{events_yaml, path_text};

/// A mapping that was tried on the records from which it was guessed.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The field `events` of a pipeline.yaml, indented for `spec`.
    pub yaml: String,
    /// Number of records that it reads.
    pub reads: usize,
    /// Number of records that it filters.
    pub filters: usize,
    /// Number of records.
    pub of: usize,
    /// What to check before use.
    pub notes: Vec<String>,
    /// The mapping.
    #[serde(skip)]
    pub mapping: EventMapping,
}

/// The mapping that reads most of these records of a format. `schemas` are the answers about the schemas that they name. The error
/// contains the reason without a mapping.
pub fn propose(
    records: &[Record<'_>],
    format: &Format,
    schemas: &[(SchemaId, SchemaAnswer<'_>)],
) -> Result<Proposal, String> {
    let mut known = Schemas::new(of_records(format.kind));
    schemas.iter().for_each(|(id, answer)| known.learn(*id, answer));
    let read = |record: &Record<'_>| known.read(record.value?, record.schema, false).ok();
    let texts: Vec<String> = records.iter().filter_map(read).map(|decoded| decoded.json).collect();
    let objects = texts.iter().filter_map(|text| Json::parse(text).ok());
    let objects: Vec<Json<'_>> = objects.filter(|record| record.kind() == Kind::Object).collect();
    if objects.is_empty() {
        let what =
            if known.are_needed() { "no record can be read by its schema" } else { "no record is a JSON object" };
        return Err(what.to_owned());
    }
    let (mut events, notes) = guess(&objects)?;
    events.format = format.clone();
    let yaml = events_yaml(&events);
    let mut proposal = tried(yaml, records, schemas)?;
    proposal.notes = notes;
    Ok(proposal)
}

const fn of_records(format: FormatType) -> RecordFormat {
    match format {
        FormatType::Json => RecordFormat::Json,
        FormatType::JsonSchema => RecordFormat::JsonSchema,
        FormatType::Avro => RecordFormat::Avro,
        FormatType::Protobuf => RecordFormat::Protobuf,
    }
}

/// The mapping, and notes.
fn guess(records: &[Json<'_>]) -> Result<(Events, Vec<String>), String> {
    let (selections, mut notes) = selections(records)?;
    let subject = selected(records, &selections);
    let profile = Profile::of(&subject);
    let basis = money::basis(&profile).ok_or_else(no_money)?;
    let (timestamp, why) = columns::timestamp(&profile);
    notes.extend(why);
    notes.extend(doubtful_unit(&basis, &subject));
    notes.extend(columns::failures(&profile));
    let constant = selections.iter().filter(|selection| selection.values.len() == 1);
    let constant: Vec<&[Box<str>]> = constant.map(|selection| &*selection.names).collect();
    let is_refund = money::has_refunds(&basis);
    let value = Some(money_field(&basis.value));
    let (price, amount) = if basis.is_price { (value, None) } else { (None, value) };
    let conditions: Vec<&str> = selections.iter().map(|selection| selection.condition.as_str()).collect();
    let events = Events {
        format: Format::default(),
        timestamp,
        transaction_id: columns::transaction_id(&profile).map(|field| TransactionId { field }),
        dimensions: columns::dimensions(&profile, &basis, &constant),
        quantity: quantity(&basis, &profile),
        price,
        amount,
        refunds: if is_refund { Refunds::Allow } else { Refunds::Reject },
        sums: Vec::new(),
        condition: (!conditions.is_empty()).then(|| conditions.join(" && ")),
        explode: basis.array.as_ref().map(|names| path_text(names, false)),
    };
    Ok((events, notes))
}

/// The conditions for the records that are purchases, and notes about them.
fn selections(records: &[Json<'_>]) -> Result<(Vec<Selection>, Vec<String>), String> {
    if let Some(rows) = selection::debezium(records) {
        let note = "Debezium: updates and deletions of rows are filtered, because an update would count its row again";
        return Ok((vec![rows], vec![note.to_owned()]));
    }
    let basis = money::basis(&Profile::of(records)).ok_or_else(no_money)?;
    let mut selections: Vec<Selection> = selection::selection(records, &basis).into_iter().collect();
    let Some(purchases) = selection::purchases(&selected(records, &selections)) else {
        return Ok((selections, Vec::new()));
    };
    let note = format!(
        "{}: the other kinds of records with amounts are filtered, because they would count purchases again",
        purchases.condition
    );
    selections.retain(|selection| selection.names != purchases.names);
    selections.push(purchases);
    Ok((selections, vec![note]))
}

fn no_money() -> String {
    "no field looks like a price or an amount".to_owned()
}

fn selected<'a>(records: &[Json<'a>], selections: &[Selection]) -> Vec<Json<'a>> {
    let is_selected = |record: &&Json<'a>| selections.iter().all(|selection| selection.selects(**record));
    records.iter().filter(is_selected).copied().collect()
}

fn money_field(Number { names, is_text, scale, .. }: &Number) -> Money {
    Money { field: path_text(names, false), if_missing: None, scale: *scale, text: *is_text }
}

/// The number of pieces: 1 where no field says it.
fn quantity(basis: &Basis, profile: &Profile) -> Quantity {
    if let Some(Number { names, is_text, is_optional, .. }) = &basis.quantity {
        let if_missing = is_optional.then_some(1);
        return Quantity { field: path_text(names, false), if_missing, text: *is_text };
    }
    let array = basis.array.as_ref().and_then(|names| profile.arrays.iter().find(|array| array.names == *names));
    let fields = array.map_or(&profile.fields, |array| &array.fields);
    let is_free = |name: &&str| fields.iter().all(|field| field.names.first().is_none_or(|first| **first != **name));
    let name = ["quantity", "pieces", "number_of_pieces"].into_iter().find(is_free).unwrap_or("retail_quantity");
    Quantity { field: name.to_owned(), if_missing: Some(1), text: false }
}

/// A warning about integers that may count cents.
fn doubtful_unit(basis: &Basis, subject: &[Json<'_>]) -> Option<String> {
    let Number { names, scale: 0, .. } = &basis.value else { return None };
    let values: Vec<Json<'_>> = match &basis.array {
        Some(array) => {
            subject.iter().filter_map(|record| record.at(array)).flat_map(|array| array.elements(10)).collect()
        }
        None => subject.to_vec(),
    };
    let values: Vec<Json<'_>> = values.into_iter().filter_map(|value| value.at(names)).collect();
    let is_whole = |value: &Json<'_>| {
        value.kind() == Kind::Number && value.raw().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    let is_large = |value: &Json<'_>| value.number().is_some_and(|number| number.abs() >= 100.0);
    let few = values.len() < 5 || !values.iter().all(is_whole) || !values.iter().all(is_large);
    (!few).then(|| {
        format!("{}: all values are integers of 100 and more; if they count cents, add scale: 2", names.join("."))
    })
}

/// Applies a mapping, as the product would parse it, to the records.
fn tried(yaml: String, records: &[Record<'_>], schemas: &[(SchemaId, SchemaAnswer<'_>)]) -> Result<Proposal, String> {
    let pipeline = Pipeline::parse(&format!("{PIPELINE}{yaml}"))
        .map_err(|problems| format!("the mapping that was guessed is not valid: {problems}"))?;
    let mapping = pipeline.events.ok_or("the mapping that was guessed is empty")?;
    let mut reporter = Reporter::new(Some(&mapping));
    schemas.iter().for_each(|(id, answer)| reporter.learn_schema(*id, answer));
    let fates: Vec<&str> = records.iter().map(|record| reporter.report(record).fate).collect();
    let count = |fate: &str| fates.iter().filter(|other| **other == fate).count();
    Ok(Proposal {
        yaml,
        reads: count("applied"),
        filters: count("filtered"),
        of: fates.len(),
        notes: Vec::new(),
        mapping,
    })
}

/// The rest of a pipeline.yaml.
const PIPELINE: &str = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: guess}\nspec:\n  \
    kafka: {bootstrapServers: \"kafka:9092\"}\n  topic: {name: guess}\n  database: {host: db, name: db}\n";
