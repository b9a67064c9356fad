//! Errors of Kafka, as one sentence that contains the fix.

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use retail_connection::ErrorKind;
use retail_connection::text::{bounded, foreign};

use crate::look::Spoken;

/// A failed request to Kafka.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct KafkaError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// One sentence, with the fix.
    pub message: String,
}

/// Maximum length of a message in bytes. Conditions and log lines contain it.
const MAX_MESSAGE: usize = 4 << 10;

impl KafkaError {
    /// Explains an error of librdkafka about a request for `topic` to `servers`. `last_error` is the last error that the
    /// threads of librdkafka reported.
    pub fn explain(servers: &str, topic: Option<&str>, error: &RdKafkaError, last_error: Option<&str>) -> Self {
        Self::explain_seen(servers, topic, error, last_error, None)
    }

    /// As [`explain`](Self::explain). `spoken` is what a look at the servers found, after a [`Disconnection`].
    pub(crate) fn explain_seen(
        servers: &str,
        topic: Option<&str>,
        error: &RdKafkaError,
        last_error: Option<&str>,
        spoken: Option<Spoken>,
    ) -> Self {
        use RDKafkaErrorCode as Code;
        let name = topic.unwrap_or("(none)");
        let code = code(error);
        let said = &foreign(last_error.unwrap_or_default());
        if let Some(explained) = Self::handshake(servers, said, spoken) {
            return explained;
        }
        let (kind, message) = match code {
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
                return Self::wrong_credentials(servers, said);
            }
            _ if said.contains("SASL authentication error")
                || said.contains("Authentication failed")
                || said.contains("SASL mechanism") =>
            {
                return Self::wrong_credentials(servers, said);
            }
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => return Self::missing_topic(name),
            Some(Code::TopicAuthorizationFailed) => (
                ErrorKind::Forbidden,
                format!(
                    "the Kafka user is not authorized for topic \"{name}\": grant Describe, DescribeConfigs and Read on it, and Create, Alter and AlterConfigs to provision it"
                ),
            ),
            Some(Code::GroupAuthorizationFailed) => (
                ErrorKind::Forbidden,
                "the Kafka user is not authorized for the consumer group: grant Read on groups with the prefix retail."
                    .to_owned(),
            ),
            Some(Code::InvalidSessionTimeout) => (
                ErrorKind::Other,
                format!(
                    "Kafka at {servers} rejects the session timeout: set --session-timeout between group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers"
                ),
            ),
            Some(Code::ClusterAuthorizationFailed) => (
                ErrorKind::Forbidden,
                format!("the Kafka user is not authorized to create topic \"{name}\": grant Create on the cluster"),
            ),
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerNotAvailable,
            ) => {
                let reason = if said.is_empty() { error.to_string() } else { said.clone() };
                (
                    ErrorKind::Unreachable,
                    format!(
                        "cannot reach Kafka at {servers}: check that it is running, and the bootstrap servers ({reason})"
                    ),
                )
            }
            _ => {
                let about = topic.map(|topic| format!(" for topic \"{topic}\"")).unwrap_or_default();
                (ErrorKind::Other, format!("a request{about} to Kafka at {servers} failed: {error}"))
            }
        };
        Self::new(kind, message)
    }

    /// Texts of servers are in the message: it is one line and has a bounded length.
    pub(crate) fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message: bounded(message, MAX_MESSAGE) }
    }

    /// The topic does not exist.
    pub fn missing_topic(topic: &str) -> Self {
        let message = format!("topic \"{topic}\" does not exist: create it with `retail apply-topic`");
        Self::new(ErrorKind::MissingTopic, message)
    }

    /// Explains a failed TLS handshake from the messages of librdkafka and OpenSSL: these failures have no error code.
    fn handshake(servers: &str, said: &str, spoken: Option<Spoken>) -> Option<Self> {
        let (kind, what) = if said.contains("certificate verify failed") {
            let what = "has a certificate that is not trusted or is for another host: check kafka.tls.caSecret (or \
                        RETAIL_KAFKA_CA), and use host names of the certificate as bootstrap servers";
            (ErrorKind::NoTls, what)
        } else if said.contains("SSL alert number") || said.contains("client SSL authentication might be required") {
            let what = "requires a valid client certificate: check kafka.tls.clientSecret, or \
                        RETAIL_KAFKA_CERTIFICATE and RETAIL_KAFKA_KEY";
            (ErrorKind::WrongCredentials, what)
        } else if said.contains("wrong version number") {
            (ErrorKind::NoTls, NOT_TLS)
        } else if let Some(disconnection) = Disconnection::of(said) {
            disconnection.explain(spoken)
        } else if said.contains("SSL handshake failed") {
            (ErrorKind::NoTls, "failed the TLS handshake")
        } else {
            return None;
        };
        Some(Self::new(kind, format!("Kafka at {servers} {what} ({said})")))
    }

    fn wrong_credentials(servers: &str, said: &str) -> Self {
        let message = format!(
            "Kafka at {servers} refused the user name, the password or the SASL mechanism: check kafka.sasl, or RETAIL_KAFKA_USERNAME and RETAIL_KAFKA_PASSWORD ({said})"
        );
        Self::new(ErrorKind::WrongCredentials, message)
    }
}

/// Without TLS in the pipeline, at a port with TLS.
const ONLY_TLS: &str = "requires TLS on this port: set kafka.tls, or correct the port";

/// With TLS in the pipeline, at a port without.
const NOT_TLS: &str = "does not use TLS on this port: correct the port, or remove kafka.tls";

/// A broker that closed the connection before its first answer. A broker that starts or stops does so too, if a proxy stands before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disconnection {
    /// At the first request, without TLS.
    Clear,
    /// During the TLS handshake.
    Tls,
}

impl Disconnection {
    /// The disconnection in a message of librdkafka, which names its guess ("connecting to a SSL listener?") or no cause at all.
    pub(crate) fn of(said: &str) -> Option<Self> {
        if !said.contains("Disconnected") {
            None
        } else if said.contains("in state SSL_HANDSHAKE") {
            Some(Self::Tls)
        } else if said.contains("in state APIVERSION_QUERY") && !said.contains("ssl://") {
            Some(Self::Clear)
        } else {
            None
        }
    }

    const fn explain(self, spoken: Option<Spoken>) -> (ErrorKind, &'static str) {
        match (self, spoken) {
            (Self::Clear, Some(Spoken::Tls)) => (ErrorKind::NoTls, ONLY_TLS),
            (Self::Tls, Some(Spoken::Kafka)) => (ErrorKind::NoTls, NOT_TLS),
            (_, Some(Spoken::Tls | Spoken::Kafka)) => {
                (ErrorKind::Unreachable, "closed the connection at once: it is starting or stopping")
            }
            (_, Some(Spoken::Nothing)) => (
                ErrorKind::Unreachable,
                "closed the connection at once: it is starting or stopping, or another server uses this port",
            ),
            (Self::Clear, None) => (
                ErrorKind::Unreachable,
                "closed the connection at once: it is starting or stopping, or it requires TLS on this port (kafka.tls)",
            ),
            (Self::Tls, None) => (
                ErrorKind::Unreachable,
                "closed the connection at the TLS handshake: it is starting or stopping, or it does not use TLS on this port",
            ),
        }
    }
}

/// The error code of librdkafka; `rdkafka_error_code` of rust-rdkafka does not cover admin requests.
fn code(error: &RdKafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        RdKafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind and message after a request that timed out.
    fn explained(said: &str, spoken: Option<Spoken>) -> (ErrorKind, String) {
        let error = RdKafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut);
        let KafkaError { kind, message } = KafkaError::explain_seen("k:9092", None, &error, Some(said), spoken);
        (kind, message)
    }

    #[test]
    fn disconnection_alone_does_not_mean_that_the_broker_requires_tls() {
        let stops = "Disconnected: connection closed by peer (after 0ms in state APIVERSION_QUERY)";
        let guess = "ssl://k:9092/bootstrap: Disconnected: connecting to a PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)";
        let (away, tls) = (ErrorKind::Unreachable, ErrorKind::NoTls);
        for (said, spoken, kind, means) in [
            (stops, None, away, "it is starting or stopping, or it requires TLS"),
            (stops, Some(Spoken::Nothing), away, "starting or stopping, or another server"),
            (stops, Some(Spoken::Kafka), away, "it is starting or stopping ("),
            (stops, Some(Spoken::Tls), tls, ONLY_TLS),
            (guess, None, away, "it is starting or stopping, or it does not use TLS"),
            (guess, Some(Spoken::Nothing), away, "starting or stopping, or another server"),
            (guess, Some(Spoken::Tls), away, "it is starting or stopping ("),
            (guess, Some(Spoken::Kafka), tls, NOT_TLS),
            ("SSL handshake failed: wrong version number", None, tls, NOT_TLS),
        ] {
            let (is, message) = explained(said, spoken);
            assert!(is == kind && message.contains(means), "{said}, {spoken:?}: {is:?}, {message}");
        }
    }
}
