//! The kind of an error of Kafka or Postgres: it decides whether a retry can help and which condition reports it.

/// The kind of an error of Kafka or Postgres.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The server does not answer, or the connection broke. A retry can succeed.
    Unreachable,
    /// The server answers but cannot serve the request now: it starts, stops, is full, or found a deadlock. A retry can succeed.
    Busy,
    /// Another session holds a lock that the request needs. A retry can succeed.
    Locked,
    /// The server cancelled a statement: none of its changes remain. A retry can succeed.
    Stopped,
    /// The server refused the user name, the password or the client certificate.
    WrongCredentials,
    /// The TLS handshake failed: the certificate is not trusted, or one of the two sides does not use TLS.
    NoTls,
    /// The user lacks a right.
    Forbidden,
    /// The topic does not exist.
    MissingTopic,
    /// The database does not exist.
    MissingDatabase,
    /// The schema does not exist, or its version is not the one that this program supports.
    MissingSchema,
    /// The schema was altered in a way that `apply` cannot repair.
    Changed,
    /// The schema belongs to another pipeline, or was created with another window, delay or topic.
    Foreign,
    /// The schema is to be taken over, and the processors of its owner still commit. A retry can succeed.
    InUse,
    /// Another worker owns a partition of the batch, or a floor was raised: the batch must not be committed.
    Fenced,
    /// Another server answers than the one that assigned the ids of groups. A retry can succeed.
    ServerReplaced,
    /// Any other error.
    Other,
}

impl ErrorKind {
    /// Whether a retry without any change can succeed.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Busy | Self::Locked | Self::Stopped | Self::ServerReplaced | Self::InUse
        )
    }
}
