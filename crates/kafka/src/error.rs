//! What went wrong with Kafka, in a sentence that says what to do.

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use retail_connection::ErrorKind;

/// A failed question or request to Kafka.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct KafkaError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// One sentence, with the fix.
    pub message: String,
}

impl KafkaError {
    /// Explains what librdkafka says of a request about `topic` to `servers`. `last_error` is what its threads said last.
    pub fn explain(servers: &str, topic: Option<&str>, error: &RdKafkaError, last_error: Option<&str>) -> Self {
        use RDKafkaErrorCode as Code;
        let topic = topic.unwrap_or("(none)");
        let code = code(error);
        let said = last_error.unwrap_or_default();
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
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => return Self::missing_topic(topic),
            Some(Code::TopicAuthorizationFailed) => (
                ErrorKind::Forbidden,
                format!(
                    "Kafka forbids this user topic \"{topic}\": it needs Describe, DescribeConfigs and Read, and Create, Alter and AlterConfigs to provision it"
                ),
            ),
            Some(Code::GroupAuthorizationFailed) => (
                ErrorKind::Forbidden,
                "Kafka forbids this user the consumer group: it needs Read on groups that begin with retail."
                    .to_owned(),
            ),
            Some(Code::InvalidSessionTimeout) => (
                ErrorKind::Other,
                format!(
                    "Kafka at {servers} allows no such session timeout: choose --session-timeout between group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers"
                ),
            ),
            Some(Code::ClusterAuthorizationFailed) => {
                (ErrorKind::Forbidden, format!("Kafka forbids this user to create topic \"{topic}\": it needs Create"))
            }
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::BrokerNotAvailable,
            ) => {
                let reason = if said.is_empty() { error.to_string() } else { said.to_owned() };
                (
                    ErrorKind::Unreachable,
                    format!(
                        "cannot reach Kafka at {servers}: is it running, and are the bootstrap servers right? ({reason})"
                    ),
                )
            }
            _ => (ErrorKind::Other, format!("Kafka at {servers} failed on topic \"{topic}\": {error}")),
        };
        Self { kind, message }
    }

    /// There is no such topic.
    pub fn missing_topic(topic: &str) -> Self {
        let message = format!("topic \"{topic}\" does not exist: create it with `retail apply-topic`");
        Self { kind: ErrorKind::MissingTopic, message }
    }

    /// What librdkafka and its OpenSSL say when two sides cannot agree on encryption: there is a code for none of it.
    fn handshake(servers: &str, said: &str) -> Option<Self> {
        let (kind, what) = if said.contains("certificate verify failed") {
            let what = "has a certificate that cannot be trusted, or one for another host: is its authority the one in \
                        kafka.tls.caSecret, or RETAIL_KAFKA_CA, and are the bootstrap servers named as in the certificate?";
            (ErrorKind::NoTls, what)
        } else if said.contains("SSL alert number") || said.contains("client SSL authentication might be required") {
            let what = "wants another client certificate than it was given: check kafka.tls.clientSecret, or \
                        RETAIL_KAFKA_CERTIFICATE and RETAIL_KAFKA_KEY";
            (ErrorKind::WrongCredentials, what)
        } else if said.contains("PLAINTEXT broker listener")
            || said.contains("wrong version number")
            // It hung up before its answer, which is no TLS, was read.
            || (said.contains("Disconnected") && said.contains("in state SSL_HANDSHAKE"))
        {
            (ErrorKind::NoTls, "speaks no TLS there: correct the port, or leave out kafka.tls")
        } else if said.contains("Disconnected")
            && said.contains("in state APIVERSION_QUERY")
            && !said.contains("ssl://")
        {
            // It hangs up on the first thing that is said: that was not TLS.
            (ErrorKind::NoTls, "does not speak without TLS there: declare kafka.tls, or correct the port")
        } else if said.contains("SSL handshake failed") {
            (ErrorKind::NoTls, "and we cannot agree on encryption")
        } else {
            return None;
        };
        Some(Self { kind, message: format!("Kafka at {servers} {what} ({said})") })
    }

    fn wrong_credentials(servers: &str, said: &str) -> Self {
        let message = format!(
            "Kafka at {servers} refused user name, password or mechanism: check kafka.sasl, or RETAIL_KAFKA_USERNAME and RETAIL_KAFKA_PASSWORD ({said})"
        );
        Self { kind: ErrorKind::WrongCredentials, message }
    }
}

/// librdkafka's code of an error; rust-rdkafka's own look-up leaves admin requests out.
fn code(error: &RdKafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        RdKafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}
