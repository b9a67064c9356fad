//! Settings that apply to all pipelines.

/// Settings that apply to all pipelines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Image of the producer and processor pods.
    pub image: String,
}
