//! The error of an invalid database URL.

/// An invalid database URL or setting of libpq. The text contains nothing of the URL except names of options.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(pub(crate) String);

impl UrlError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
