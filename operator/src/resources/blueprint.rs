//! Input of the declared objects, and the constants that they share.

use retail_api::Pipeline;

use crate::settings::Settings;

/// User of the pods; the image is built for this user.
pub(super) const USER: i64 = 65532;

/// Port of the processor's probes and metrics.
pub(super) const PORT: i32 = 8080;

/// Input of the declared objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blueprint<'a> {
    /// The validated pipeline.
    pub(crate) pipeline: &'a Pipeline,
    /// Replicas of the processor.
    pub(crate) processors: i32,
    /// Replicas of the producer.
    pub(crate) producers: i32,
    /// Whether verifications are suspended.
    pub(crate) suspended: bool,
    /// Settings of the operator.
    pub(crate) settings: &'a Settings,
}

impl Blueprint<'_> {
    /// Image of the pods.
    pub(super) fn image(&self) -> &str {
        self.pipeline.image.as_deref().unwrap_or(&self.settings.image)
    }
}

/// Directory of the mounted ConfigMap and Secrets.
pub(super) const DIRECTORY: &str = "/etc/retail";
