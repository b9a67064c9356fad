//! The fate and the contents of records, without the fates that depend on time and on earlier records.

use std::collections::{BTreeMap, BTreeSet};

use retail_api::{EventMapping, Layout};
use retail_connection::text::shortened;
use retail_engine::{Contents, Money, Preview, Reason, Record, SchemaId, SchemaKind, SchemaText};
use serde::Serialize;

use crate::diagnosis::{Diagnosis, doubts};
use crate::formats::{Decoded, SchemaAnswer};
use crate::json::{Json, Kind};
use crate::wanted::WantedFields;

/// Number of purchases of a record that a line shows.
const SHOWN: usize = 3;

/// Maximum length of a value of a dimension in a line, in bytes.
const MAX_SHOWN: usize = 40;

/// Reports on records, one after the other.
#[derive(Debug)]
pub struct Reporter {
    preview: Preview,
    diagnosis: Diagnosis,
    wanted: WantedFields,
    layout: Layout,
}

/// The fate and the contents of a record.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `applied`, `filtered` or `invalid`; `waiting` if the schema is not known yet. An applied record can still be late, in the
    /// future or a duplicate.
    pub fate: &'static str,
    /// Why it is invalid, as in `dead_letter.reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Id and name of the schema of the record, if it names a known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
    /// The causes of an invalid record, one line each; for another fate, doubts about its values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The values of an applied record.
    #[serde(flatten)]
    pub facts: Option<Facts>,
}

/// The schema of a record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
pub struct Schema {
    /// Its id in the registry.
    pub id: String,
    /// The full name of the record or message.
    pub name: String,
}

/// The contents of a record.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Event time, in RFC 3339.
    pub event_time: String,
    /// The purchases: one, or one for each element of an exploded array.
    pub purchases: Vec<Purchase>,
}

/// A purchase.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Purchase {
    /// The values of the dimensions, by their names.
    pub dimensions: BTreeMap<String, String>,
    /// Number of pieces.
    pub quantity: i64,
    /// Price of a piece, a plain decimal.
    pub price: String,
    /// Amount, a plain decimal.
    pub amount: String,
    /// The further sums, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sums: BTreeMap<String, String>,
}

impl Reporter {
    /// For the records of a pipeline; without `spec.events`, they have the tutorial's fields.
    pub fn new(events: Option<&EventMapping>) -> Self {
        let mapping = events.map(|events| &events.mapping);
        Self {
            preview: Preview::new(mapping),
            diagnosis: Diagnosis::new(mapping),
            wanted: WantedFields::of(mapping),
            layout: events.map_or_else(Layout::default, |events| events.layout.clone()),
        }
    }

    /// The schema that a record names, if it must be learnt before the report on the record.
    pub fn missing_schema(&self, record: &Record<'_>) -> Option<SchemaId> {
        self.preview.missing_schema(record)
    }

    /// Takes the answer about a schema.
    pub fn learn_schema(&mut self, id: SchemaId, answer: &SchemaAnswer<'_>) {
        self.diagnosis.learn_schema(id, answer);
        match answer {
            SchemaAnswer::Found(schema) => self.preview.learn_schema(id, Some(schema)),
            SchemaAnswer::Unknown => self.preview.learn_schema(id, None),
            SchemaAnswer::Unusable(_) => {
                let empty = SchemaText { kind: SchemaKind::Json, text: String::new(), references: Vec::new() };
                self.preview.learn_schema(id, Some(&empty));
            }
        }
    }

    /// The report on a record. Without its schema, the record waits.
    pub fn report(&mut self, record: &Record<'_>) -> Report {
        let Record { value, schema: header, .. } = *record;
        let schema = value.and_then(|value| self.diagnosis.schemas().name(value, header));
        let schema = schema.map(|(id, name)| Schema { id: id.to_string(), name });
        if let Some(id) = self.missing_schema(record) {
            let notes = vec![format!("schema {id} is not known")];
            return Report { fate: "waiting", reason: None, schema, notes, facts: None };
        }
        match self.preview.read(record) {
            Err(reason) => Report {
                fate: "invalid",
                reason: Some(reason.as_str()),
                schema,
                notes: self.diagnosis.causes(value, header, reason),
                facts: None,
            },
            Ok(None) => Report { fate: "filtered", reason: None, schema, notes: Vec::new(), facts: None },
            Ok(Some(contents)) => Report {
                fate: "applied",
                reason: None,
                schema,
                notes: value.map_or_else(Vec::new, |value| self.doubts(value, header)),
                facts: Some(self.facts(&contents)),
            },
        }
    }

    /// A record as JSON, as far as its schema is known.
    pub fn json(&self, value: &[u8], header: Option<&[u8]>) -> Option<String> {
        self.diagnosis.schemas().read(value, header, false).ok().map(|decoded| decoded.json)
    }

    fn doubts(&self, value: &[u8], header: Option<&[u8]>) -> Vec<String> {
        let Ok(Decoded { json, .. }) = self.diagnosis.schemas().read(value, header, true) else { return Vec::new() };
        let record = Json::parse(&json).ok().filter(|record| record.kind() == Kind::Object);
        record.map_or_else(Vec::new, |record| doubts(&self.wanted, record))
    }

    fn facts(&self, contents: &Contents) -> Facts {
        let Contents { time, purchases, prices } = contents;
        let named = |names: &[String], values: Vec<String>| names.iter().cloned().zip(values).collect();
        let purchase = |(purchase, price): (&retail_engine::Purchase, &Money)| Purchase {
            dimensions: named(
                self.layout.dimensions(),
                purchase.dimensions.iter().map(|text| (**text).to_owned()).collect(),
            ),
            quantity: purchase.quantity,
            price: plain(*price),
            amount: plain(purchase.amount),
            sums: named(self.layout.sums(), purchase.more.iter().map(|sum| plain(*sum)).collect()),
        };
        Facts { event_time: time.to_string(), purchases: purchases.iter().zip(prices).map(purchase).collect() }
    }

    /// A report in one line. `place` says where the record is.
    pub fn line(&self, place: &str, report: &Report) -> String {
        let Report { fate, reason, schema, notes, facts } = report;
        let mut line = format!("{place}: {fate}");
        if let Some(reason) = reason {
            line += &format!(", {reason}");
        }
        if let Some(Facts { event_time, purchases }) = facts {
            line += &format!(", {event_time}, {}", self.purchases(purchases));
        }
        if let (Some(Schema { id, name }), Some(_)) = (schema, facts) {
            line += &format!(", schema {id} ({})", shortened(name, MAX_SHOWN));
        }
        if !notes.is_empty() {
            line += &format!(": {}", notes.join(" | "));
        }
        line
    }

    /// The first purchases of a record, as part of a line.
    pub fn purchases(&self, purchases: &[Purchase]) -> String {
        let mut shown: Vec<String> = purchases.iter().take(SHOWN).map(|purchase| self.in_words(purchase)).collect();
        if purchases.len() > SHOWN {
            shown.push(format!("and {} more purchases", purchases.len() - SHOWN));
        }
        shown.join(", ")
    }

    fn in_words(&self, purchase: &Purchase) -> String {
        let Purchase { dimensions, quantity, price, amount, sums } = purchase;
        let value = |name: &String| shortened(dimensions.get(name).map_or("", String::as_str), MAX_SHOWN);
        let mut parts: Vec<String> =
            self.layout.dimensions().iter().map(|name| format!("{name} \"{}\"", value(name))).collect();
        parts.push(format!("{quantity} × {price} = {amount}"));
        parts.extend(sums.iter().map(|(name, sum)| format!("{name} {sum}")));
        parts.join(" ")
    }
}

/// Money as a plain decimal without zeros at its end.
fn plain(money: Money) -> String {
    let text = money.to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The number of records of a schema.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct SchemaCount {
    /// The schema.
    #[serde(flatten)]
    pub schema: Schema,
    /// Number of its records.
    pub records: usize,
}

/// The counts of many reports.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Number of records.
    pub records: usize,
    /// Number of records by fate.
    pub fates: BTreeMap<&'static str, usize>,
    /// Number of invalid records by reason.
    pub reasons: BTreeMap<&'static str, usize>,
    /// Number of records by schema.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<SchemaCount>,
    /// Number of distinct groups.
    pub groups: usize,
    /// The oldest event time.
    pub oldest: Option<String>,
    /// The newest event time.
    pub newest: Option<String>,
}

impl Summary {
    /// The counts of these reports.
    pub fn of(reports: &[Report]) -> Self {
        let mut summary = Self { records: reports.len(), ..Self::default() };
        let mut groups = BTreeSet::new();
        let mut schemas: BTreeMap<&Schema, usize> = BTreeMap::new();
        for report in reports {
            *summary.fates.entry(report.fate).or_default() += 1;
            if let Some(reason) = report.reason {
                *summary.reasons.entry(reason).or_default() += 1;
            }
            if let Some(schema) = &report.schema {
                *schemas.entry(schema).or_default() += 1;
            }
            if let Some(facts) = &report.facts {
                groups.extend(facts.purchases.iter().map(|purchase| &purchase.dimensions));
            }
        }
        summary.schemas =
            schemas.into_iter().map(|(schema, records)| SchemaCount { schema: schema.clone(), records }).collect();
        // RFC 3339 in UTC has several lengths: the fraction is optional.
        let times = reports.iter().filter_map(|report| report.facts.as_ref()).map(|facts| &facts.event_time);
        let order = |time: &&String| time.trim_end_matches('Z').to_owned();
        summary.oldest = times.clone().min_by_key(order).cloned();
        summary.newest = times.max_by_key(order).cloned();
        summary.groups = groups.len();
        summary
    }

    /// The counts in two lines.
    pub fn in_words(&self) -> String {
        let Self { records, fates, reasons, schemas, groups, oldest, newest } = self;
        let count = |fate: &str| fates.get(fate).copied().unwrap_or_default();
        let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let waiting = match count("waiting") {
            0 => String::new(),
            waiting => format!(", {waiting} waiting for their schemas"),
        };
        let mut text = format!(
            "{records} records: {} applied, {} filtered, {} invalid{reasons}{waiting}\n",
            count("applied"),
            count("filtered"),
            count("invalid")
        );
        if let (Some(oldest), Some(newest)) = (oldest, newest) {
            text += &format!("{groups} groups; event times from {oldest} to {newest}\n");
        }
        if !schemas.is_empty() {
            let schemas = schemas.iter().map(|SchemaCount { schema: Schema { id, name }, records }| {
                format!("{id} {} ({records})", shortened(name, MAX_SHOWN))
            });
            text += &format!("schemas: {}\n", schemas.collect::<Vec<_>>().join(", "));
        }
        text
    }
}

/// The reason with this name in `dead_letter.reason`.
pub fn reason_named(name: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == name)
}
