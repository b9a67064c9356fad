//! What the objects of a pipeline are made from.

use retail_api::Pipeline;

use crate::settings::Settings;

/// Pods run as this user; the image is made for it.
pub(super) const USER: i64 = 65532;

/// Where the processor serves probes and metrics.
pub(super) const PORT: i32 = 8080;

/// What the children are made from.
#[derive(Clone, Copy, Debug)]
pub struct Blueprint<'a> {
    /// The pipeline, checked.
    pub pipeline: &'a Pipeline,
    /// Number of processors that run.
    pub processors: i32,
    /// Number of producers that run.
    pub producers: i32,
    /// The operator's settings.
    pub settings: &'a Settings,
}

/// Where the ConfigMap and Secrets are mounted.
pub(super) const DIRECTORY: &str = "/etc/retail";
