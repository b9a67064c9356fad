//! Settings that apply to all pipelines.

use crate::reconcile::reason::Reason;
use crate::reconcile::validate::{Invalid, Valid};
use crate::tenants::Tenants;

/// Settings that apply to all pipelines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Image of the producer and processor pods.
    pub image: String,
    /// Class of the operator: it runs the pipelines whose spec.operatorClass is equal.
    pub class: Option<String>,
    /// Namespace and name of the lease, written to all objects; `None` to write nothing.
    pub lease: Option<String>,
    /// The servers and roles that each namespace may name.
    pub tenants: Tenants,
}

impl Settings {
    /// Why the operator does not run a valid pipeline.
    pub(crate) fn refuses(&self, valid: &Valid) -> Option<Invalid> {
        let message = self.tenants.refuses(&valid.pipeline)?;
        Some(Invalid { reason: Reason::NotAllowed, message })
    }
}
