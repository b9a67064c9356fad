//! A request in terms of RBAC.

use http::Request;
use kube::client::Body;
use serde_json::Value;

use super::Key;

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ApiRequest {
    /// Verb of RBAC.
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    query: String,
}

impl ApiRequest {
    pub(super) fn of(request: &Request<Body>) -> Self {
        let path = request.uri().path().trim_matches('/').to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut parts = path.split('/');
        let (group, version) = match parts.next() {
            Some("api") => ("", parts.next().unwrap()),
            _ => (parts.next().unwrap(), parts.next().unwrap()),
        };
        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = "";
        if rest.len() > 2 && rest[0] == "namespaces" {
            namespace = rest[1];
            rest.drain(..2);
        }
        let part = |i: usize| rest.get(i).copied().unwrap_or_default().to_owned();
        let (resource, name, subresource) = (part(0), part(1), part(2));
        let verb = match request.method().as_str() {
            "GET" if query.contains("watch=true") => "watch",
            "GET" if name.is_empty() => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            method => panic!("{method} is not modelled"),
        };
        let (group, version, namespace) = (group.to_owned(), version.to_owned(), namespace.to_owned());
        Self { verb, group, version, resource, subresource, namespace, name, query }
    }

    /// Whether it is a write.
    pub(crate) fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb)
    }

    /// `pods/status` for example.
    pub(crate) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let value = self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.replace("%2F", "/").replace("%3D", "=").replace("%2C", ","))
    }

    pub(super) fn key(&self) -> Key {
        Key { resource: self.resource.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }

    pub(super) fn key_of(&self, body: &Value) -> Key {
        let metadata = &body["metadata"];
        let generated = metadata["generateName"].as_str().map(|prefix| format!("{prefix}1"));
        Key { name: metadata["name"].as_str().map(str::to_owned).or(generated).unwrap(), ..self.key() }
    }

    /// Whether a list or watch contains an object with this key and these labels.
    pub(super) fn covers(&self, key: &Key, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let selected = self.parameter("labelSelector").is_none_or(|selector| {
            selector.split(',').all(|pair| match pair.split_once('=') {
                Some((label, value)) => labels[label] == value,
                None => labels[pair].is_string(),
            })
        });
        self.resource == key.resource && (self.namespace.is_empty() || self.namespace == key.namespace) && selected
    }
}
