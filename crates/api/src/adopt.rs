//! The take-over of a Postgres schema. `kubectl explain` prints the doc comments.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Takes the Postgres schema over from another pipeline, if it still belongs to that one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Adopt {
    /// Uid of the pipeline to which the schema belongs, as the condition SchemaReady names it. Its pods must be gone: the schema is
    /// taken over once no partition was committed for three times trigger or idleTimeout, whichever is longer.
    #[schemars(length(min = 1, max = 253))]
    pub uid: String,
}
