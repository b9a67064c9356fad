//! The conditions of a pipeline, and every reason that one can have.

use std::fmt;

/// What a condition is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Aspect {
    /// Everything is as declared.
    Ready,
    /// The operator is at it: something is not yet as declared, and may become so without anybody doing anything.
    Reconciling,
    /// Somebody must do something: the message says what.
    Stalled,
    /// The Kafka topic.
    TopicReady,
    /// The Postgres schema.
    SchemaReady,
    /// The Secrets that are named.
    CredentialsReady,
    /// The processor pods.
    ProcessorReady,
    /// The producer pods.
    ProducerReady,
    /// Whether fewer processors run than are asked for.
    ScalingLimited,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Who can do something about a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nobody needs to.
    Good,
    /// It passes by itself, or the operator is at it.
    Waiting,
    /// Somebody must.
    Stuck,
}

macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident: $kind:ident,)+) => {
        /// Why a condition is what it is. Users' alerts and scripts know these words: none is ever renamed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Reason {
            $($(#[doc = $text])+ $name,)+
        }

        impl Reason {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Who can do something about it.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind::$kind,)+
                }
            }

            /// What it means, as the documentation says it.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($text,)+).trim_ascii_start(),)+
                }
            }
        }
    };
}

reasons! {
    /// Everything is as declared.
    UpToDate: Good,
    /// Producer and processor are stopped, because spec.suspend says so.
    Suspended: Good,
    /// The producer is not declared, or not enabled.
    NotDeclared: Good,
    /// The topic is there, and differs from the declaration in what cannot be changed, or not without deleting records.
    TopicDiffers: Good,
    /// No Secret is named.
    NoSecretNamed: Good,
    /// Pods are being started, stopped or replaced.
    PodsStarting: Waiting,
    /// Pods do not become ready; they or their log say why.
    PodsNotReady: Waiting,
    /// It is not begun, because something else is not there yet.
    DependencyNotReady: Waiting,
    /// No broker answers.
    KafkaUnreachable: Waiting,
    /// Postgres does not answer.
    DatabaseUnreachable: Waiting,
    /// Postgres answers, and cannot do it now.
    DatabaseBusy: Waiting,
    /// The API server refused a change, or did not answer.
    ApplyFailed: Waiting,
    /// The operator failed at it without knowing why; its log says more. It goes on trying.
    InternalError: Waiting,
    /// More processors are asked for than the topic has partitions; the others would have nothing to do.
    FewerPartitions: Good,
    /// The spec breaks a rule.
    InvalidSpec: Stuck,
    /// A Secret that is named is not there. Pods that run are left alone.
    SecretMissing: Stuck,
    /// The operator may not read the Secret that is named. Pods that run are left alone.
    SecretForbidden: Stuck,
    /// A Secret is there and lacks the key that is named. Pods that run are left alone.
    SecretKeyMissing: Stuck,
    /// What is in a Secret is not what it should be: no connection URI, no certificate, or a key of another certificate. Pods that run are left alone.
    SecretInvalid: Stuck,
    /// Kafka refused user name, password or client certificate.
    KafkaCredentialsRefused: Stuck,
    /// There is no encryption that we and Kafka agree on: its certificate cannot be trusted, or one side speaks no TLS.
    KafkaTlsFailed: Stuck,
    /// Kafka forbids the user something that is needed.
    KafkaForbidden: Stuck,
    /// Kafka refuses the topic as it is declared.
    TopicRefused: Stuck,
    /// The topic was deleted, or deleted and made again: the offsets in Postgres are not about it.
    TopicReplaced: Stuck,
    /// Postgres refused user name, password or client certificate.
    DatabaseCredentialsRefused: Stuck,
    /// There is no encryption that we and Postgres agree on: its certificate cannot be trusted, or one side speaks no TLS.
    DatabaseTlsFailed: Stuck,
    /// There is no such database.
    DatabaseMissing: Stuck,
    /// The user lacks a right in Postgres.
    DatabaseForbidden: Stuck,
    /// The schema is another pipeline's, or holds tables of somebody else.
    SchemaForeign: Stuck,
    /// Somebody changed the schema, and it cannot be put back without losing data.
    SchemaChanged: Stuck,
    /// The schema cannot be made or brought up to date.
    SchemaFailed: Stuck,
    /// An object with a name that the pipeline needs belongs to somebody else.
    NameConflict: Stuck,
    /// The pipeline is being deleted, and with it what deletionPolicy says.
    Deleting: Waiting,
    /// What deletionPolicy asks to delete cannot be deleted.
    CleanupBlocked: Stuck,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
