//! Settings that apply to all pipelines.

/// Settings that apply to all pipelines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Image of the producer and processor pods.
    pub image: String,
    /// Class of the operator: it runs the pipelines whose spec.operatorClass is equal.
    pub class: Option<String>,
    /// Namespace and name of the lease, written to all objects; `None` to write nothing.
    pub lease: Option<String>,
}
