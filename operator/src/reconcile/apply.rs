//! Executes a plan step by step.
//!
//! If the operator stops between two steps, the next pass observes the executed ones and plans the rest. Two operators that execute
//! the same plan at once declare the same objects; changes of Kafka and Postgres are safe to run concurrently.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use retail_api::Pipeline;
use retail_connection::text::foreign;
use retail_kafka::KafkaConnection;
use retail_kafka::topic::{Action, Executed};
use serde_json::{Value, json};

use crate::external::guarded::{Asker, GuardedSystems};
use crate::external::secrets::Connections;
use crate::external::systems::ExternalSystems;
use crate::reconcile::apply_result::{ApplyResult, Refusal};
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::contest;
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::reconcile::plan::Plan;
use crate::reconcile::reason::Reason;
use crate::reconcile::step::Step;
use crate::reconcile::topic_contest;
use crate::reconcile::topic_users::{NamedTopic, topic_users};
use crate::reconcile::turn::Turn;
use crate::resources::difference::{LiveObject, differences};
use crate::resources::json_text::JsonText;
use crate::resources::names::{Child, FIELD_MANAGER, FINALIZER, MANAGED_BY, PIPELINE};

/// The clients and the pipeline of one execution.
#[derive(Clone, Copy)]
pub(crate) struct Applier<'a, O> {
    /// Client of the API server.
    pub(crate) client: &'a Client,
    /// Kafka and Postgres.
    pub(crate) external: &'a GuardedSystems<O>,
    /// The pipeline as the sender of requests.
    pub(crate) asker: &'a Asker,
    /// The existing child objects.
    pub(crate) children: &'a BTreeMap<Child, LiveObject>,
    /// The turn of the pass.
    pub(crate) turn: &'a Turn<'a>,
    /// State kept between passes.
    pub(crate) cache: &'a ReconcileCache,
    /// The resource.
    pub(crate) meta: &'a PipelineMeta,
    /// Watched namespaces; empty for all.
    pub(crate) namespaces: &'a BTreeSet<String>,
    /// The valid pipeline and its connections; `None` if the spec is invalid.
    pub(crate) pipeline: Option<(&'a Pipeline, &'a Connections)>,
}

impl<O: ExternalSystems> Applier<'_, O> {
    /// Executes the plan. Returns an error only if the remaining steps make no sense after it; all others are in the result.
    pub(crate) async fn apply(&self, plan: &Plan) -> Result<ApplyResult, kube::Error> {
        if plan.steps.iter().any(Step::creates) && !self.is_still_declared().await? {
            return Ok(ApplyResult { outdated: true, ..ApplyResult::default() });
        }
        let mut result = ApplyResult::default();
        let refused = self.try_templates(plan).await;
        for step in &plan.steps {
            if result.cleanup_error.is_some() {
                break;
            }
            if let Step::Apply { child, .. } = step
                && !refused.is_empty()
            {
                if let Some(refusal) = refused.get(child) {
                    result.children.insert(*child, Err(refusal.clone()));
                    continue;
                }
                // Old pods must not read the files of pods that cannot start.
                if *child == Child::ConfigMap {
                    continue;
                }
            }
            match step {
                Step::AddFinalizer | Step::RemoveFinalizer => {
                    let is_wanted = *step == Step::AddFinalizer;
                    match self.set_finalizer(is_wanted).await {
                        // Deleted during the pass.
                        Err(kube::Error::Api(status)) if status.is_not_found() => {
                            return Ok(ApplyResult { outdated: true, ..result });
                        }
                        answer => answer?,
                    }
                    result.released = !is_wanted && self.meta.deleting_for.is_some();
                }
                Step::Apply { child, object, after_topic, after_schema, differences } => {
                    let failed = (*after_topic && !matches!(result.topic, Some(Ok(_))))
                        || (*after_schema && !matches!(result.schema, Some(Ok(()))));
                    if !failed {
                        let answer = self.declare(*child, object, differences.is_none()).await;
                        if let Ok(answer) = &answer {
                            if self.is_unchanged(*child, answer) {
                                result.unchanged.insert(*child);
                            } else {
                                contest::record(self.cache, self.meta, step);
                            }
                        }
                        result.children.insert(*child, answer);
                    }
                }
                Step::Delete(child) => {
                    if let Err(refusal) = self.delete(*child).await {
                        result.cleanup_error = self.meta.deleting_for.map(|_| refusal.message.clone());
                        result.children.insert(*child, Err(refusal));
                    }
                }
                Step::Topic { .. } | Step::Schema { .. } | Step::DropSchema | Step::DeleteTopic { .. } => {
                    self.turn.wait_for(self.execute_external(step, &mut result)).await;
                }
            }
        }
        Ok(result)
    }

    async fn execute_external(&self, step: &Step, result: &mut ApplyResult) {
        let Some((pipeline, Connections { kafka, database })) = self.pipeline else { return };
        let missing = |what| format!("cannot connect to {what}: a Secret named in the spec is missing or unusable");
        match step {
            Step::Topic { name: _, actions } => {
                let Some(kafka) = kafka else { return };
                let executed = self.external.execute_topic_actions(self.asker, kafka, &pipeline.topic, actions).await;
                if let Ok(Executed { description, actions }) = &executed {
                    topic_contest::record(self.cache, &self.meta.uid, actions);
                    if actions.contains(&Action::Create) {
                        self.cache.record_created_topic(&self.meta.uid, &description.id);
                    }
                }
                result.topic = Some(executed);
            }
            Step::Schema { .. } => {
                if let Some(database) = database {
                    result.schema = Some(self.external.apply_schema(self.asker, database, pipeline).await);
                }
            }
            Step::DropSchema => match database {
                None => result.cleanup_error = Some(missing("Postgres")),
                Some(database) => match self.external.drop_schema(self.asker, database).await {
                    Ok(removal) => result.removed.push(("schema", removal)),
                    Err(error) => result.cleanup_error = Some(error.message),
                },
            },
            Step::DeleteTopic { id } => match kafka {
                None => result.cleanup_error = Some(missing("Kafka")),
                Some(kafka) => self.delete_topic(kafka, &pipeline.topic.name, id, result).await,
            },
            Step::AddFinalizer | Step::RemoveFinalizer | Step::Apply { .. } | Step::Delete(_) => {}
        }
    }

    /// Deletes the topic, unless another pipeline uses it.
    async fn delete_topic(&self, kafka: &KafkaConnection, name: &str, id: &str, result: &mut ApplyResult) {
        let topic = NamedTopic { owner: &self.meta.uid, name, id };
        match topic_users(self.client, self.namespaces, self.cache, &topic).await {
            Ok(users) if users.is_empty() => match self.external.delete_topic(self.asker, kafka, name, id).await {
                Ok(removal) => result.removed.push(("topic", removal)),
                Err(error) => result.cleanup_error = Some(error.message),
            },
            Ok(users) => result.topic_users = users,
            Err(error) => {
                let message = format!("cannot list the pipelines that may use topic \"{name}\" too: {error}");
                result.cleanup_error = Some(message);
            }
        }
    }

    fn objects(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.meta.namespace, &child.resource())
    }

    /// Tries the objects with parts that only the API server can validate, before any step changes something. Returns those that it
    /// would refuse.
    async fn try_templates(&self, plan: &Plan) -> BTreeMap<Child, Refusal> {
        let mut refused = BTreeMap::new();
        let Some((pipeline, _)) = self.pipeline else { return refused };
        for step in &plan.steps {
            let Step::Apply { child, object, .. } = step else { continue };
            let is_free = match child {
                Child::Processor | Child::Verification => !pipeline.processor.template.is_empty(),
                Child::Producer => pipeline.producer.as_ref().is_some_and(|producer| !producer.template.is_empty()),
                Child::ConfigMap | Child::ServiceAccount | Child::MetricsService | Child::DisruptionBudget => false,
            };
            if !is_free {
                continue;
            }
            let name = child.name(&self.meta.name);
            let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
            if let Err(error) = self.objects(*child).patch(&name, &params, &Patch::Apply(object)).await {
                let refusal = refusal_of(*child, &name, &error);
                // Of any other error, the step itself tells.
                if refusal.reason == Reason::ObjectRefused {
                    refused.insert(*child, refusal);
                }
            }
        }
        refused
    }

    /// Applies an object with server-side apply. An existing object of another owner is not changed.
    async fn declare(&self, child: Child, object: &Value, is_new: bool) -> Result<Value, Refusal> {
        let name = child.name(&self.meta.name);
        let failed = |error: kube::Error| refusal_of(child, &name, &error);
        let objects = self.objects(child);
        if is_new && let Some(existing) = objects.get_opt(&name).await.map_err(failed)? {
            let existing = LiveObject::new(JsonText::from(&json!(existing)), None);
            if child == Child::ServiceAccount && existing.owner().is_none() && existing.label(PIPELINE).is_none() {
                // Made beforehand, for example with the Secrets of a registry: the pods use it as it is.
                return Ok(existing.object().clone());
            }
            if !self.may_own(&existing) {
                let message = format!(
                    "{} {name} exists and belongs to another owner: delete it, or rename the pipeline",
                    child.kind()
                );
                return Err(Refusal { reason: Reason::NameConflict, message });
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let answer = json!(objects.patch(&name, &params, &Patch::Apply(object)).await.map_err(failed)?);
        if answer["metadata"]["labels"][PIPELINE] != self.meta.name {
            let message = format!(
                "{} {name} cannot be watched: an admission webhook changes or removes its label {PIPELINE}",
                child.kind()
            );
            return Err(Refusal { reason: Reason::ApplyFailed, message });
        }
        // Only an answer that differs from the declaration is needed later.
        let is_rewritten = !differences(object, &answer).is_empty();
        self.cache.record_answer(&self.meta.uid, child, is_rewritten.then(|| answer.clone()));
        Ok(answer)
    }

    /// Whether an object is ours: by its owner, or left without an owner by `kubectl delete --cascade=orphan` of a pipeline of this
    /// name.
    fn may_own(&self, existing: &LiveObject) -> bool {
        match existing.owner() {
            Some(owner) => owner == self.meta.uid,
            None => {
                existing.label(MANAGED_BY.0) == Some(MANAGED_BY.1)
                    && existing.label("app.kubernetes.io/instance") == Some(&self.meta.name)
            }
        }
    }

    /// Whether the answer has the version of the existing object: the API server wrote nothing.
    fn is_unchanged(&self, child: Child, answer: &Value) -> bool {
        let version = &answer["metadata"]["resourceVersion"];
        let live = self.children.get(&child);
        live.is_some_and(|live| !version.is_null() && live.object()["metadata"]["resourceVersion"] == *version)
    }

    /// Deletes an object. One with pods is deleted in the foreground: it exists until its last pod is gone.
    async fn delete(&self, child: Child) -> Result<(), Refusal> {
        let how = if child.runs_pods() { DeleteParams::foreground() } else { DeleteParams::background() };
        let name = child.name(&self.meta.name);
        match self.objects(child).delete(&name, &how).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(Refusal {
                reason: Reason::ApplyFailed,
                message: format!("{} {name} cannot be deleted: {error}", child.kind()),
            }),
            Ok(_) => Ok(()),
        }
    }

    /// Whether the resource exists and is not being deleted, according to the API server. The watch may lag, and a topic or schema
    /// created for a deleted resource would never be removed. Its objects would be created and collected in turn.
    async fn is_still_declared(&self) -> Result<bool, kube::Error> {
        let PipelineMeta { name, namespace, uid, .. } = self.meta;
        let there = Api::<RawPipeline>::namespaced(self.client.clone(), namespace).get_metadata_opt(name).await?;
        Ok(there.is_some_and(|there| {
            there.metadata.uid.as_ref() == Some(uid) && there.metadata.deletion_timestamp.is_none()
        }))
    }

    /// Adds or removes the finalizer. The patch names the resource version: after a concurrent change of finalizers it fails, and
    /// the next pass retries.
    async fn set_finalizer(&self, wanted: bool) -> Result<(), kube::Error> {
        let PipelineMeta { name, namespace, resource_version, finalizers, .. } = self.meta;
        let others = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).cloned();
        let finalizers: Vec<String> = others.chain(wanted.then(|| FINALIZER.to_owned())).collect();
        let change = json!({"metadata": {"resourceVersion": resource_version, "finalizers": finalizers}});
        let pipelines = Api::<RawPipeline>::namespaced(self.client.clone(), namespace);
        pipelines.patch_metadata(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
    }
}

/// The refusal of an object that is applied. The answer to an invalid object stays the same until the object changes.
fn refusal_of(child: Child, name: &str, error: &kube::Error) -> Refusal {
    let (reason, why) = if let kube::Error::Api(status) = error {
        // Server-side apply answers an unknown field, or one of another type, with an error of the server (500).
        let is_typed = status.message.starts_with("failed to create typed patch object");
        let is_final = [400, 422].contains(&status.code) || is_typed;
        (if is_final { Reason::ObjectRefused } else { Reason::ApplyFailed }, foreign(&status.message))
    } else {
        (Reason::ApplyFailed, error.to_string())
    };
    Refusal { reason, message: format!("{} {name} cannot be applied: {why}", child.kind()) }
}
