//! Child objects as the watches cache them: as JSON text.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use kube::core::discovery::ApiResource;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::resources::json_text::JsonText;

/// An object of any kind.
#[derive(Clone, Debug)]
pub(crate) struct CachedObject {
    /// The metadata that the watches need: identity and owner.
    metadata: ObjectMeta,
    /// The whole object except managedFields.
    text: JsonText,
}

impl CachedObject {
    /// The object as JSON.
    pub(crate) fn text(&self) -> &JsonText {
        &self.text
    }

    /// Uid of the controlling owner.
    pub(crate) fn owner(&self) -> Option<&str> {
        let mut owners = self.metadata.owner_references.iter().flatten();
        Some(&owners.find(|owner| owner.controller == Some(true))?.uid)
    }
}

impl<'de> Deserialize<'de> for CachedObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let ObjectMeta { name, namespace, uid, resource_version, owner_references, .. } =
            ObjectMeta::deserialize(&object["metadata"]).map_err(D::Error::custom)?;
        let metadata = ObjectMeta { name, namespace, uid, resource_version, owner_references, ..ObjectMeta::default() };
        Ok(Self { metadata, text: JsonText::from(&object) })
    }
}

impl Resource for CachedObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }

    fn api_version(kind: &ApiResource) -> Cow<'_, str> {
        kind.api_version.as_str().into()
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
