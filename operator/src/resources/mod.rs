//! The objects of a pipeline in the cluster: `declare` builds them, `difference` compares them with the live objects, `names`
//! names them, and `rbac` lists the permissions that the operator needs.

pub(crate) mod blueprint;
pub(crate) mod cached_object;
pub mod config_files;
pub(crate) mod declare;
mod deployments;
pub mod difference;
pub(crate) mod hash;
pub(crate) mod json_text;
pub(crate) mod managers;
mod metrics_service;
pub mod names;
mod pod;
mod pod_resources;
mod pod_secrets;
mod pod_template;
pub mod rbac;
mod verification;
