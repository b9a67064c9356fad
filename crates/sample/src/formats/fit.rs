//! Which fields of a mapping a schema lacks.

use prost_reflect::MessageDescriptor;
use retail_engine::{Level, SchemaText};

use super::avro::{AvroSchema, Type};
use super::protobuf;
use super::schemas::{Known, Schemas};
use crate::wanted::{Wanted, WantedFields};

/// How a schema fits a mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaFit {
    /// The full name of the record or message.
    pub name: String,
    /// The required fields of the mapping that its records cannot have, as paths.
    pub missing: Vec<String>,
    /// The names of its fields.
    pub fields: Vec<String>,
}

impl Schemas {
    /// How a schema fits the fields of a mapping. Of several messages in a Protobuf file, the one with the most wanted fields counts. The
    /// error continues the sentence "the schema …".
    pub(crate) fn fit(&self, schema: &SchemaText, wanted: &WantedFields) -> Result<SchemaFit, String> {
        match self.parsed(schema)? {
            Known::Avro(schema) => Ok(SchemaFit {
                name: schema.name.clone(),
                missing: missing(wanted, |path| avro_has(&schema, wanted, path)),
                fields: schema.fields().map(str::to_owned).collect(),
            }),
            Known::Protobuf(file) => {
                let has = |message: &MessageDescriptor, place: Place<'_>| match place {
                    Place::Record(path) => protobuf::has(message, path),
                    Place::Element(path) => {
                        let explode = wanted.explode.as_ref().map_or(&[][..], |explode| explode.names.as_slice());
                        protobuf::element(message, explode).is_some_and(|element| protobuf::has(&element, path))
                    }
                };
                let fits = protobuf::messages(&file).into_iter().map(|message| {
                    let fields = message.fields().map(|field| field.name().to_owned()).collect();
                    let missing = missing(wanted, |place| has(&message, place));
                    let present = wanted.fields.iter().filter(|field| has(&message, Place::of(field))).count();
                    (present, SchemaFit { name: message.full_name().to_owned(), missing, fields })
                });
                let key = |(present, fit): &(usize, SchemaFit)| (usize::MAX - present, fit.missing.len());
                let best = fits.reduce(|best, next| if key(&next) < key(&best) { next } else { best });
                best.map(|(_, fit)| fit).ok_or_else(|| "has no message".to_owned())
            }
            Known::Unusable(problem) => Err(problem),
            Known::Unknown => Err("is not known".to_owned()),
        }
    }
}

/// Where a path begins.
#[derive(Clone, Copy)]
enum Place<'a> {
    Record(&'a [Box<str>]),
    Element(&'a [Box<str>]),
}

impl<'a> Place<'a> {
    fn of(field: &'a Wanted) -> Self {
        match field.level {
            Level::Record => Self::Record(&field.names),
            Level::Element => Self::Element(&field.names),
        }
    }
}

fn avro_has(schema: &AvroSchema, wanted: &WantedFields, place: Place<'_>) -> bool {
    match place {
        Place::Record(path) => schema.has(path, &|_, _| true),
        Place::Element(path) => wanted.explode.as_ref().is_some_and(|explode| {
            schema.has(&explode.names, &|schema: &AvroSchema, array: &Type| schema.element_has(array, path))
        }),
    }
}

/// The required fields that a schema lacks. Without the exploded array, its fields are not named one by one.
fn missing(wanted: &WantedFields, has: impl Fn(Place<'_>) -> bool) -> Vec<String> {
    if let Some(explode) = wanted.explode.as_ref().filter(|explode| !has(Place::Record(&explode.names))) {
        return vec![explode.names.join(".")];
    }
    let lacks = |field: &&Wanted| field.is_required && !has(Place::of(field));
    let mut missing: Vec<String> = wanted.fields.iter().filter(lacks).map(|field| field.place.clone()).collect();
    missing.dedup();
    missing
}
