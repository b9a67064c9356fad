//! State of the Secrets for one server.

/// State of the Secrets for one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Credentials {
    /// The spec names no Secret.
    NotNamed,
    /// All Secrets are usable.
    Found {
        /// Hash of the keys and values that pods receive.
        hash: String,
        /// A probable mistake in a user name or password, in case the server refuses it.
        hint: Option<String>,
    },
    /// A Secret is unusable.
    Unusable(SecretProblem),
}

impl Credentials {
    /// A probable mistake in a user name or password.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Found { hint, .. } => hint.as_deref(),
            Self::NotNamed | Self::Unusable(_) => None,
        }
    }
}

/// Why a Secret is unusable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SecretProblem {
    /// The Secret does not exist.
    Missing {
        /// Name of the Secret.
        secret: String,
    },
    /// The operator lacks permission to read the Secret.
    Forbidden {
        /// Name of the Secret.
        secret: String,
    },
    /// The Secret lacks a key.
    KeyMissing {
        /// Name of the Secret.
        secret: String,
        /// The missing key.
        key: String,
    },
    /// The content is invalid; the text says which key and why.
    Invalid(String),
}
