//! Does what the plan says, step by step, and says what became of it.
//!
//! If we die between two steps, the next pass finds what was done and plans the rest. If two of us do it at once, they
//! declare the same things; what is outside of the cluster is made by code that is safe to be run twice at once.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use retail_api::Pipeline;
use retail_kafka::topic::{Action, Executed};
use serde_json::{Value, json};

use crate::external::secrets::Connections;
use crate::external::systems::ExternalSystems;
use crate::reconcile::apply_result::{ApplyResult, Refusal};
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::reconcile::plan::Plan;
use crate::reconcile::reason::Reason;
use crate::reconcile::step::Step;
use crate::resources::difference::{LiveObject, differences};
use crate::resources::json_text::JsonText;
use crate::resources::names::{Child, FIELD_MANAGER, FINALIZER};

/// Who does it, and for which pipeline.
#[derive(Clone, Copy)]
pub struct Applier<'a, O> {
    /// To the API server.
    pub client: &'a Client,
    /// To Kafka and Postgres.
    pub external: &'a O,
    /// What is remembered.
    pub cache: &'a ReconcileCache,
    /// Which resource.
    pub meta: &'a PipelineMeta,
    /// What it declares and how to reach what it stands on; nothing if it is not valid.
    pub pipeline: Option<(&'a Pipeline, &'a Connections)>,
}

impl<O: ExternalSystems> Applier<'_, O> {
    /// Does it. An error is one after which going on makes no sense; everything else is in what is answered.
    pub async fn apply(&self, plan: &Plan) -> Result<ApplyResult, kube::Error> {
        if plan.steps.iter().any(Step::creates_data) && !self.is_still_declared().await? {
            return Ok(ApplyResult { outdated: true, ..ApplyResult::default() });
        }
        let mut result = ApplyResult::default();
        for step in &plan.steps {
            if result.cleanup_error.is_some() {
                break;
            }
            match step {
                Step::AddFinalizer => self.set_finalizer(true).await?,
                Step::RemoveFinalizer => {
                    self.set_finalizer(false).await?;
                    result.released = self.meta.deleting_for.is_some();
                }
                Step::Apply { child, object, after_topic, after_schema, differences } => {
                    let failed = (*after_topic && !matches!(result.topic, Some(Ok(_))))
                        || (*after_schema && !matches!(result.schema, Some(Ok(()))));
                    if !failed {
                        let answer = self.declare(*child, object, differences.is_none()).await;
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
                    self.do_outside(step, &mut result).await;
                }
            }
        }
        Ok(result)
    }

    async fn do_outside(&self, step: &Step, result: &mut ApplyResult) {
        let Some((pipeline, Connections { kafka, database })) = self.pipeline else { return };
        let missing = |what| format!("there are no credentials for {what}: a Secret is missing or cannot be used");
        match step {
            Step::Topic { name: _, actions } => {
                let Some(kafka) = kafka else { return };
                let executed = self.external.execute_topic_actions(kafka, &pipeline.topic, actions).await;
                if let Ok(Executed { description, actions }) = &executed
                    && actions.contains(&Action::Create)
                {
                    self.cache.record_created_topic(&self.meta.uid, &description.id);
                }
                result.topic = Some(executed);
            }
            Step::Schema { .. } => {
                if let Some(database) = database {
                    result.schema = Some(self.external.apply_schema(database, pipeline).await);
                }
            }
            Step::DropSchema => match database {
                None => result.cleanup_error = Some(missing("Postgres")),
                Some(database) => match self.external.drop_schema(database, &self.meta.uid).await {
                    Ok(removal) => result.removed.push(("schema", removal)),
                    Err(error) => result.cleanup_error = Some(error.message),
                },
            },
            Step::DeleteTopic { id } => match kafka {
                None => result.cleanup_error = Some(missing("Kafka")),
                Some(kafka) => match self.external.delete_topic(kafka, &pipeline.topic.name, id).await {
                    Ok(removal) => result.removed.push(("topic", removal)),
                    Err(error) => result.cleanup_error = Some(error.message),
                },
            },
            Step::AddFinalizer | Step::RemoveFinalizer | Step::Apply { .. } | Step::Delete(_) => {}
        }
    }

    fn objects(&self, child: Child) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.meta.namespace, &child.resource())
    }

    /// Server-side apply. What has the name already and is somebody else's, is left alone.
    async fn declare(&self, child: Child, object: &Value, is_new: bool) -> Result<Value, Refusal> {
        let name = child.name(&self.meta.name);
        let failed = |error: kube::Error| Refusal {
            reason: Reason::ApplyFailed,
            message: format!("{} {name} cannot be applied: {error}", child.kind()),
        };
        let objects = self.objects(child);
        if is_new && let Some(there) = objects.get_opt(&name).await.map_err(failed)? {
            let there = LiveObject::new(JsonText::from(&json!(there)), None);
            if there.owner() != Some(&self.meta.uid) {
                let message = format!(
                    "{} {name} is there and is not this pipeline's: delete it, or give the pipeline another name",
                    child.kind()
                );
                return Err(Refusal { reason: Reason::NameConflict, message });
            }
        }
        let as_us = PatchParams::apply(FIELD_MANAGER).force();
        let answer = json!(objects.patch(&name, &as_us, &Patch::Apply(object)).await.map_err(failed)?);
        // Where the API server made of it what it is, there is nothing to remember.
        let is_rewritten = !differences(object, &answer).is_empty();
        self.cache.answered(&self.meta.uid, child, is_rewritten.then(|| answer.clone()));
        Ok(answer)
    }

    /// A Deployment stays until the last of its pods is gone, so that it is known when they are.
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

    /// Asks, because watches may be behind: nobody takes away a topic or a schema that is made for a resource that is gone.
    async fn is_still_declared(&self) -> Result<bool, kube::Error> {
        let PipelineMeta { name, namespace, uid, .. } = self.meta;
        let there = Api::<RawPipeline>::namespaced(self.client.clone(), namespace).get_metadata_opt(name).await?;
        Ok(there.is_some_and(|there| {
            there.metadata.uid.as_ref() == Some(uid) && there.metadata.deletion_timestamp.is_none()
        }))
    }

    /// Names the resource version: whoever else changes the finalizers meanwhile, wins, and we look again.
    async fn set_finalizer(&self, wanted: bool) -> Result<(), kube::Error> {
        let PipelineMeta { name, namespace, resource_version, finalizers, .. } = self.meta;
        let others = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).cloned();
        let finalizers: Vec<String> = others.chain(wanted.then(|| FINALIZER.to_owned())).collect();
        let change = json!({"metadata": {"resourceVersion": resource_version, "finalizers": finalizers}});
        let pipelines = Api::<RawPipeline>::namespaced(self.client.clone(), namespace);
        pipelines.patch_metadata(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
    }
}
