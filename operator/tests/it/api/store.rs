//! Objects, versions and watches.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::merge::{apply, merge_patch, withdraw};
use super::request::ApiRequest;
use crate::harness::now;

/// Key of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    /// `name` is in the namespace `shop`, `office/name` in another.
    pub(crate) fn new(resource: &str, name: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
        Self { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// A refusal, with its status code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused(pub(crate) u16);

struct Watch {
    asked: ApiRequest,
    to: UnboundedSender<Bytes>,
}

/// A change, kept for watches from an earlier version.
struct Change {
    version: u64,
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
}

/// The objects.
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    declared: BTreeMap<(Key, String), Value>,
    history: Vec<Change>,
    watches: Vec<Watch>,
    version: u64,
    uids: u64,
    /// Whether an expired watch is refused with status 410, as some servers and proxies do.
    pub(crate) refuses_old_watches: bool,
    /// Whether the pods of a Deployment are ready at once.
    pub(crate) pods_start: bool,
    /// Admission: applied to every written object.
    pub(crate) admission: Option<fn(&mut Value)>,
    /// Validation: the status code and the message for a refused write.
    pub(crate) refusal: Option<Refusal>,
}

/// The answer to a write that validation refuses.
pub(crate) type Refusal = fn(&ApiRequest, &Value) -> Option<(u16, &'static str)>;

impl Default for Store {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            declared: BTreeMap::new(),
            history: Vec::new(),
            watches: Vec::new(),
            version: 0,
            uids: 0,
            refuses_old_watches: false,
            pods_start: true,
            admission: None,
            refusal: None,
        }
    }
}

impl Store {
    pub(crate) fn all(&self) -> &BTreeMap<Key, Value> {
        &self.objects
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(crate) fn create(&mut self, key: &Key, object: Value) -> Result<Value, Refused> {
        if self.objects.contains_key(key) {
            return Err(Refused(409));
        }
        Ok(self.put(key, object))
    }

    /// Changes an object as another client.
    pub(crate) fn edit(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let mut object = self.objects.get(key).unwrap_or_else(|| panic!("there is no {key:?}")).clone();
        edit(&mut object);
        self.put(key, object);
    }

    pub(super) fn replace(&mut self, key: &Key, object: Value) -> Result<Value, Refused> {
        let is = self.objects.get(key).ok_or(Refused(404))?;
        let named = &object["metadata"]["resourceVersion"];
        if !named.is_null() && *named != is["metadata"]["resourceVersion"] {
            return Err(Refused(409));
        }
        Ok(self.put(key, object))
    }

    pub(super) fn merge(&mut self, key: &Key, patch: &Value) -> Result<Value, Refused> {
        let mut object = self.objects.get(key).ok_or(Refused(404))?.clone();
        merge_patch(&mut object, patch);
        self.replace(key, object)
    }

    pub(super) fn apply(
        &mut self,
        key: &Key,
        subresource: &str,
        manager: &str,
        declared: &Value,
    ) -> Result<Value, Refused> {
        assert!(!manager.is_empty(), "who declares {key:?}?");
        let is = self.objects.get(key).cloned();
        if is.is_none() && !subresource.is_empty() {
            return Err(Refused(404));
        }
        let named = &declared["metadata"]["resourceVersion"];
        if !named.is_null() && is.as_ref().is_none_or(|is| *named != is["metadata"]["resourceVersion"]) {
            return Err(Refused(409));
        }
        let mut object = is.unwrap_or_else(|| json!({}));
        let before = self.declared.insert((key.clone(), manager.to_owned()), declared.clone());
        if let Some(before) = before {
            withdraw(&mut object, &before, Some(declared));
        }
        apply(&mut object, declared);
        Ok(self.put(key, object))
    }

    pub(crate) fn delete(&mut self, key: &Key) -> Result<Value, Refused> {
        let mut object = self.objects.get(key).ok_or(Refused(404))?.clone();
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(crate::harness::now().to_string());
        }
        Ok(self.put(key, object))
    }

    pub(super) fn list(&self, asked: &ApiRequest) -> Value {
        let covered = self.objects.iter().filter(|(key, object)| asked.covers(key, object));
        let mut items: Vec<Value> = covered.map(|(_, object)| object.clone()).collect();
        for item in &mut items {
            let item = item.as_object_mut().unwrap();
            item.remove("apiVersion");
            item.remove("kind");
        }
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    pub(super) fn watch(&mut self, asked: &ApiRequest, from: u64) -> Result<UnboundedReceiver<Bytes>, Refused> {
        let oldest = self.history.first().map_or(self.version + 1, |change| change.version);
        if from + 1 < oldest {
            return Err(Refused(410));
        }
        let (to, receiver) = unbounded_channel();
        for change in self.history.iter().filter(|change| change.version > from) {
            if let Some(line) = line(asked, change) {
                to.send(line).unwrap();
            }
        }
        self.watches.push(Watch { asked: asked.clone(), to });
        Ok(receiver)
    }

    /// Ends all watches; clients resume from their version.
    pub(crate) fn close_watches(&mut self) {
        self.watches.clear();
    }

    /// Ends all watches and discards the history, so that clients must list again.
    pub(crate) fn expire_watches(&mut self) {
        self.close_watches();
        self.forget_history();
    }

    /// Expires the watches of one namespace.
    pub(crate) fn expire_watches_of(&mut self, namespace: &str) {
        self.watches.retain(|watch| watch.asked.namespace != namespace);
        self.forget_history();
    }

    fn forget_history(&mut self) {
        self.history.clear();
        self.version += 10;
    }

    /// Writes an object with the side effects of an API server.
    fn put(&mut self, key: &Key, mut object: Value) -> Value {
        let before = self.objects.get(key).cloned();
        if let Some(admission) = self.admission {
            admission(&mut object);
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        metadata["namespace"] = json!(key.namespace);
        if metadata["uid"].is_null() {
            self.uids += 1;
            metadata["uid"] = json!(format!("uid-{}", self.uids));
            metadata["creationTimestamp"] = json!(now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        let generation = before.as_ref().map_or(0, |before| before["metadata"]["generation"].as_i64().unwrap_or(0));
        let changed = before.as_ref().is_none_or(|before| before["spec"] != object["spec"]);
        object["metadata"]["generation"] = json!(generation + i64::from(changed));
        if key.resource == "deployments" {
            object["spec"]["revisionHistoryLimit"] = json!(10);
            if self.pods_start {
                start_pods(&mut object);
            }
        }
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let finalizers = object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
        let goes = object["metadata"]["deletionTimestamp"].is_string() && finalizers == 0;
        if goes {
            self.objects.remove(key);
            self.declared.retain(|(other, _), _| other != key);
        } else {
            self.objects.insert(key.clone(), object.clone());
        }
        let change = Change { version: self.version, key: key.clone(), before, after: (!goes).then(|| object.clone()) };
        self.watches.retain(|watch| match line(&watch.asked, &change) {
            Some(line) => watch.to.send(line).is_ok(),
            None => !watch.to.is_closed(),
        });
        self.history.push(change);
        if goes {
            self.collect(&object["metadata"]["uid"]);
        } else if self.is_orphan(&object) {
            // The owner is deleted already.
            let _as_it_goes = self.delete(key);
        }
        object
    }

    fn is_orphan(&self, object: &Value) -> bool {
        let is_there = |uid: &Value| self.objects.values().any(|other| other["metadata"]["uid"] == *uid);
        let owners = object["metadata"]["ownerReferences"].as_array();
        object["metadata"]["deletionTimestamp"].is_null()
            && owners.is_some_and(|owners| owners.iter().all(|owner| !is_there(&owner["uid"])))
    }

    /// Garbage collection: deletes the objects of a deleted owner.
    fn collect(&mut self, uid: &Value) {
        let owned = |object: &Value| {
            object["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
        };
        let orphans: Vec<Key> =
            self.objects.iter().filter(|(_, object)| owned(object)).map(|(key, _)| key.clone()).collect();
        for orphan in orphans {
            self.delete(&orphan).unwrap();
        }
    }
}

fn start_pods(object: &mut Value) {
    let replicas = object["spec"]["replicas"].clone();
    object["status"] = json!({
        "observedGeneration": object["metadata"]["generation"],
        "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
    });
}

/// The event of a watch: an object that no longer matches its selector counts as deleted.
fn line(asked: &ApiRequest, change: &Change) -> Option<Bytes> {
    let Change { version, key, before, after } = change;
    let covered = |object: &Option<Value>| object.as_ref().filter(|object| asked.covers(key, object)).cloned();
    let (kind, object) = match (covered(before), covered(after)) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(mut before), None) => {
            before["metadata"]["resourceVersion"] = json!(version.to_string());
            ("DELETED", before)
        }
    };
    let mut line = serde_json::to_vec(&json!({"type": kind, "object": object})).unwrap();
    line.push(b'\n');
    Some(Bytes::from(line))
}
