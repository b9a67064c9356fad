//! What the operator is told about its surroundings, beside the pipelines themselves.

/// What decides, together with a pipeline and the world, what is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The image that producer and processor pods run.
    pub image: String,
}
