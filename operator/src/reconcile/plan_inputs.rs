//! Everything that a plan is decided from, to know without deciding it that it would be the same one.
//!
//! A pass looks at the world each time. But nearly always the world is what it was, and nothing is to be done: then declaring
//! all objects once more, to compare them with those that are there, would cost ten times as much as looking.

use std::sync::Arc;

use retail_api::status::TopicStatus;
use retail_store::progress::Progress;

use crate::reconcile::observed_state::{Sight, World};
use crate::reconcile::pipeline_meta::Subject;
use crate::reconcile::validate::{Invalid, Valid};

/// What [`plan`](crate::reconcile::planner::plan) knows. A plan that nothing is done by depends on no more of a pipeline that stays.
#[derive(Clone, Debug)]
pub struct Basis {
    valid: Arc<Result<Valid, Invalid>>,
    finalizers: Vec<String>,
    topic: Option<TopicStatus>,
    schema: Option<String>,
    world: World,
}

impl Basis {
    /// What is known of a pipeline; nothing if it is being deleted, where time counts too.
    pub fn of(subject: &Subject, valid: &Arc<Result<Valid, Invalid>>, world: &World) -> Option<Self> {
        if subject.deleting_for.is_some() {
            return None;
        }
        let mut world = world.clone();
        // How far it is decides nothing.
        if let Sight::Seen(Some(progress)) = &mut world.schema {
            *progress = Progress::default();
        }
        if let Sight::Seen(Some(seen)) = &mut world.topic {
            seen.log_ends.clear();
        }
        Some(Self {
            valid: Arc::clone(valid),
            finalizers: subject.finalizers.clone(),
            topic: subject.recorded.topic.clone(),
            schema: subject.recorded.schema.clone(),
            world,
        })
    }
}

impl PartialEq for Basis {
    /// A spec that means the same is the same value, as long as it is remembered.
    fn eq(&self, other: &Self) -> bool {
        let Self { valid, finalizers, topic, schema, world } = self;
        Arc::ptr_eq(valid, &other.valid)
            && (finalizers, topic, schema, world) == (&other.finalizers, &other.topic, &other.schema, &other.world)
    }
}
