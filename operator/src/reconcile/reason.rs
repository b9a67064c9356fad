//! The types of conditions and all their reasons.

use std::fmt;

/// The type of a condition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ConditionType {
    /// The pipeline is in the declared state.
    Ready,
    /// The pipeline is not in the declared state yet, and may reach it without action by a user.
    Reconciling,
    /// The pipeline requires action by a user; the message says which.
    Stalled,
    /// The Kafka topic.
    TopicReady,
    /// The Postgres schema.
    SchemaReady,
    /// The Secrets named in the spec.
    CredentialsReady,
    /// The processor pods.
    ProcessorReady,
    /// The producer pods.
    ProducerReady,
    /// Whether windows are closed once the watermark has passed them.
    WindowsClosing,
    /// Whether fewer processors run than requested.
    ScalingLimited,
    /// Whether transaction ids are unknown that should count, with spec.deduplicate.
    DedupIncomplete,
    /// Whether most records are invalid.
    RecordsRejected,
    /// Whether the schema registry cannot be used, with one.
    RegistryUnreachable,
    /// Whether records wait for schemas, or have unknown ones, with a schema registry.
    SchemaUnknown,
    /// Whether Postgres matches the topic, with spec.verify.
    Verified,
    /// Whether another client changes the objects of the pipeline again after each repair.
    Contested,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether a reason requires action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReasonKind {
    /// No action: the state is intended.
    Normal,
    /// No action: the state passes, or the operator changes it.
    Transient,
    /// A user must act.
    ActionRequired,
}

macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident: $kind:ident,)+) => {
        /// Reason of a condition. Alerts and scripts of users depend on these names: they are never changed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Reason {
            $($(#[doc = $text])+ $name,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Whether the reason requires action.
            pub(crate) const fn kind(self) -> ReasonKind {
                match self {
                    $(Self::$name => ReasonKind::$kind,)+
                }
            }

            /// Its meaning, as in the documentation.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($text,)+).trim_ascii_start(),)+
                }
            }
        }
    };
}

reasons! {
    /// The pipeline is in the declared state.
    UpToDate: Normal,
    /// Producer and processor are stopped because spec.suspend is true.
    Suspended: Normal,
    /// The operator changes nothing because spec.paused is true.
    Paused: Normal,
    /// The producer is not declared or not enabled.
    NotDeclared: Normal,
    /// The topic differs from its declaration in a setting that the operator cannot change, or only by deleting records.
    TopicDiffers: Normal,
    /// Producers set the timestamps of records: one clock that is ahead can close windows early.
    ProducerTimestamps: Normal,
    /// Kafka deletes records whose transaction ids still count, which makes deduplication incomplete after a restart.
    RetentionTooShort: Normal,
    /// Kafka has deleted records whose transaction ids should still count.
    RecordsDeleted: Normal,
    /// The spec names no Secret.
    NoSecretNamed: Normal,
    /// The log-in to Kafka sends the password without TLS.
    PasswordWithoutTls: Normal,
    /// Pods are being started, stopped or replaced.
    PodsStarting: Transient,
    /// Pods do not become ready.
    PodsNotReady: Transient,
    /// The operator waits for another part of the pipeline.
    DependencyNotReady: Transient,
    /// A Secret named in the spec does not exist yet: after five minutes, the reason is SecretMissing.
    SecretAwaited: Transient,
    /// No Kafka broker answers.
    KafkaUnreachable: Transient,
    /// Postgres does not answer.
    DatabaseUnreachable: Transient,
    /// Postgres answers but cannot execute the request at the moment.
    DatabaseBusy: Transient,
    /// Another session holds a lock that a change of the schema needs.
    SchemaLocked: Transient,
    /// The schema is to be taken over, and the processors of its owner have committed recently.
    SchemaInUse: Transient,
    /// The last attempt to close windows failed, or old rows could not be dropped.
    ClosingFailed: Transient,
    /// The clock of Postgres differs from another one by more than 30 seconds, and whenIdle is FollowClock: windows stay open.
    ClocksDiffer: Transient,
    /// Windows have stayed open for too long that should be closed: a partition, an open transaction or a lock holds them.
    WatermarkHeld: Transient,
    /// The API server refused a change or did not answer.
    ApplyFailed: Transient,
    /// The operator failed for an unknown reason and retries; its log contains details.
    InternalError: Transient,
    /// The spec requests more processors than the topic has partitions.
    FewerPartitions: Normal,
    /// Reading is behind, and autoscaling starts no more processors.
    AutoscalingLimited: Normal,
    /// More than half of the records of a minute were invalid: no part of the pipeline fails, but their purchases are missing.
    MostlyInvalid: Normal,
    /// The spec violates a validation rule.
    InvalidSpec: ActionRequired,
    /// The operator's tenants do not allow a server or a role of the spec for its namespace. Running pods stay.
    NotAllowed: ActionRequired,
    /// A Secret named in the spec does not exist. Running pods stay.
    SecretMissing: ActionRequired,
    /// The operator lacks permission to read a Secret named in the spec. Running pods stay.
    SecretForbidden: ActionRequired,
    /// A Secret lacks a key named in the spec. Running pods stay.
    SecretKeyMissing: ActionRequired,
    /// A Secret contains an invalid connection URI, certificate or private key. Running pods stay.
    SecretInvalid: ActionRequired,
    /// Kafka refused the user name, the password or the client certificate.
    KafkaCredentialsRefused: ActionRequired,
    /// The TLS connection to Kafka failed: the certificate is not trusted, or one side does not use TLS.
    KafkaTlsFailed: ActionRequired,
    /// The Kafka user lacks a permission.
    KafkaForbidden: ActionRequired,
    /// Kafka refused to create or change the topic as declared.
    TopicRefused: ActionRequired,
    /// The topic was deleted or recreated, so the offsets in Postgres do not match it.
    TopicReplaced: ActionRequired,
    /// The topic is compacted, which spec.deduplicate excludes.
    TopicCompacted: ActionRequired,
    /// Postgres refused the user name, the password or the client certificate.
    DatabaseCredentialsRefused: ActionRequired,
    /// The TLS connection to Postgres failed: the certificate is not trusted, or one side does not use TLS.
    DatabaseTlsFailed: ActionRequired,
    /// The database does not exist.
    DatabaseMissing: ActionRequired,
    /// The address of the database was changed, and the new one leads to another database. Running pods stay at the former one.
    DatabaseReplaced: ActionRequired,
    /// The Postgres user lacks a permission.
    DatabaseForbidden: ActionRequired,
    /// The schema belongs to another pipeline or contains foreign tables.
    SchemaForeign: ActionRequired,
    /// The schema was changed outside the pipeline and cannot be repaired without losing data.
    SchemaChanged: ActionRequired,
    /// The schema cannot be created or migrated.
    SchemaFailed: ActionRequired,
    /// The topic does not exist, and topic.management is Use.
    TopicMissing: ActionRequired,
    /// Another client changes a field of an object or a setting of the topic again after each repair by the operator.
    Contested: ActionRequired,
    /// An object with a name required by the pipeline belongs to another owner.
    NameConflict: ActionRequired,
    /// The API server refuses an object of the pipeline, and would refuse it again: a field of the spec is invalid.
    ObjectRefused: ActionRequired,
    /// The pipeline and the data selected by deletionPolicy are being deleted.
    Deleting: Transient,
    /// The data selected by deletionPolicy cannot be deleted.
    CleanupBlocked: ActionRequired,
    /// The schema registry does not answer, or with a failure: records with new schemas wait, others are processed.
    RegistryUnreachable: Transient,
    /// The schema registry refused the user name or the password.
    RegistryCredentialsRefused: ActionRequired,
    /// The TLS connection to the schema registry failed: the certificate is not trusted, or one side does not use TLS.
    RegistryTlsFailed: ActionRequired,
    /// The user of the schema registry lacks a permission.
    RegistryForbidden: ActionRequired,
    /// The server at the URL does not answer like a schema registry.
    RegistryRefused: ActionRequired,
    /// Records wait for a schema that the registry has not returned.
    WaitingForSchema: Transient,
    /// The schema registry did not know schemas that records of the last day name: these records are invalid.
    SchemaUnknown: ActionRequired,
    /// The last verification found no difference between Postgres and the topic.
    ProofRecorded: Normal,
    /// No verification has ended yet.
    NotVerifiedYet: Transient,
    /// The last verification found that Postgres differs from the topic.
    DifferencesFound: ActionRequired,
    /// The last proof is older than two intervals of spec.verify.
    ProofOverdue: ActionRequired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
