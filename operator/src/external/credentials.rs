//! Whether the Secrets that one server needs can be used.

/// What is known of the Secrets that one server needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// None is named.
    NotNamed,
    /// They are there, and what pods get of them has this hash.
    Found {
        /// Of keys and values.
        hash: String,
    },
    /// One is no use.
    Unusable(SecretProblem),
}

/// Why a Secret is no use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretProblem {
    /// It is not there.
    Missing {
        /// Its name.
        secret: String,
    },
    /// The operator may not read it.
    Forbidden {
        /// Its name.
        secret: String,
    },
    /// It lacks a key.
    KeyMissing {
        /// Its name.
        secret: String,
        /// The key.
        key: String,
    },
    /// What is in it is not what it should be, in words.
    Invalid(String),
}
