//! Errors of Kafka, as one sentence that contains the fix.

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use retail_connection::ErrorKind;
use retail_connection::text::{bounded, foreign};

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
        use RDKafkaErrorCode as Code;
        let name = topic.unwrap_or("(none)");
        let code = code(error);
        let said = &foreign(last_error.unwrap_or_default());
        if let Some(explained) = Self::handshake(servers, said) {
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
    fn handshake(servers: &str, said: &str) -> Option<Self> {
        let (kind, what) = if said.contains("certificate verify failed") {
            let what = "has a certificate that is not trusted or is for another host: check kafka.tls.caSecret (or \
                        RETAIL_KAFKA_CA), and use host names of the certificate as bootstrap servers";
            (ErrorKind::NoTls, what)
        } else if said.contains("SSL alert number") || said.contains("client SSL authentication might be required") {
            let what = "requires a valid client certificate: check kafka.tls.clientSecret, or \
                        RETAIL_KAFKA_CERTIFICATE and RETAIL_KAFKA_KEY";
            (ErrorKind::WrongCredentials, what)
        } else if said.contains("PLAINTEXT broker listener")
            || said.contains("wrong version number")
            // The broker closed the connection before librdkafka read its answer, which is not TLS.
            || (said.contains("Disconnected") && said.contains("in state SSL_HANDSHAKE"))
        {
            (ErrorKind::NoTls, "does not use TLS on this port: correct the port, or remove kafka.tls")
        } else if said.contains("Disconnected")
            && said.contains("in state APIVERSION_QUERY")
            && !said.contains("ssl://")
        {
            // The broker closed the connection at the first request, which was not TLS.
            (ErrorKind::NoTls, "requires TLS on this port: set kafka.tls, or correct the port")
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

/// The error code of librdkafka; `rdkafka_error_code` of rust-rdkafka does not cover admin requests.
fn code(error: &RdKafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        RdKafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}
