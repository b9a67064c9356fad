//! The fields of a mapping that a schema lacks, before any record has come.

use retail_api::EventMapping;
use retail_engine::SchemaText;

use crate::formats::{SchemaFit, Schemas};
use crate::wanted::WantedFields;

/// How a schema fits a mapping. The error continues the sentence "the schema …".
pub fn schema_fit(events: &EventMapping, schema: &SchemaText) -> Result<SchemaFit, String> {
    Schemas::new(events.mapping.format).fit(schema, &WantedFields::of(Some(&events.mapping)))
}
