//! The operator: keeps every RetailPipeline of a Kubernetes cluster in its declared state.
//!
//! ```text
//!   program ► run ► election    one replica leads                      lease (pure), leader_elector (API server)
//!                 ► watch       streams of changes, readiness          calls one pass for each changed pipeline
//!
//!   reconcile     one pass:
//!     observe     reads objects, Secrets, topic and schema             (API server, Kafka, Postgres)
//!     validate    spec ► a pipeline without errors                     pure
//!     plan        observed state ► steps; cleanup, if it is deleted    pure
//!     apply       executes the steps                                   (API server, Kafka, Postgres)
//!     report      writes a changed status, an event per change         (API server)
//!
//!   resources     the objects of a pipeline: declarations, names, differences, permissions         pure
//!   external      Kafka, Postgres and Secrets: the ExternalSystems trait, its clients, addresses; limits for servers without an
//!                 answer
//!   fair_permits  limits that are fair between namespaces            pure
//!   preview       a plan in words without a cluster, for `retail plan`                             pure
//! ```
//!
//! Arrows between folders point in one direction: `watch` uses `reconcile` and `preview` uses `reconcile`; `reconcile` uses
//! `resources` and `external`.

pub mod api_client;
pub mod election;
pub mod external;
mod fair_permits;
pub mod metrics;
pub mod preview;
pub mod program;
pub mod reconcile;
pub mod resources;
pub mod run;
pub mod settings;
pub mod tenants;
pub mod watch;
