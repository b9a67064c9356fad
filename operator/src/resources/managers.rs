//! The field managers of a live object, for messages about fields that another client changes. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

/// The manager other than `ours` that owns most of the path of a field, with its subresource.
pub(crate) fn other_manager(entries: &[ManagedFieldsEntry], ours: &str, path: &str) -> Option<String> {
    let others = entries.iter().filter(|entry| entry.manager.as_deref() != Some(ours));
    let owners = others.filter_map(|entry| {
        let depth = depth(&entry.fields_v1.as_ref()?.0, path);
        (depth > 0).then_some((depth, entry.time.as_ref().map(|time| time.0), entry))
    });
    let (_, _, owner) = owners.max_by_key(|(depth, time, _)| (*depth, *time))?;
    let manager = owner.manager.clone()?;
    Some(match owner.subresource.as_deref() {
        None | Some("") => manager,
        Some(subresource) => format!("{manager} (subresource {subresource})"),
    })
}

/// How many parts of the path are in a tree of owned fields. Names of annotations contain dots, so a part may be several.
fn depth(fields: &Value, path: &str) -> usize {
    let Some(fields) = fields.as_object() else { return 0 };
    let inner = fields.iter().filter_map(|(name, inner)| {
        let rest = path.strip_prefix(name.strip_prefix("f:")?)?;
        match rest.chars().next() {
            None => Some(1),
            Some('.') => Some(1 + depth(inner, &rest[1..])),
            // An item of a list: its key is not compared.
            Some('[') => Some(2),
            Some(_) => None,
        }
    });
    inner.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, subresource: &str, fields: &Value) -> ManagedFieldsEntry {
        let entry = json!({"manager": manager, "subresource": subresource, "operation": "Update", "fieldsV1": fields});
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn owner_of_the_field_is_named_with_its_subresource() {
        let entries = [
            entry("retail-operator", "", &json!({"f:spec": {"f:replicas": {}, "f:template": {}}})),
            entry("kube-controller-manager", "scale", &json!({"f:spec": {"f:replicas": {}}})),
            entry("kubectl-edit", "", &json!({"f:spec": {"f:template": {"f:spec": {}}}})),
            entry("annotator", "", &json!({"f:metadata": {"f:annotations": {"f:a.dev/b": {}}}})),
        ];
        let owner = |path| other_manager(&entries, "retail-operator", path);
        assert_eq!(owner("spec.replicas").as_deref(), Some("kube-controller-manager (subresource scale)"));
        assert_eq!(owner("spec.template.spec.containers[0].image").as_deref(), Some("kubectl-edit"));
        assert_eq!(owner("metadata.annotations.a.dev/b").as_deref(), Some("annotator"));
        assert_eq!(owner("data.file"), None);
    }
}
