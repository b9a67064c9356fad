//! TLS and SASL settings of librdkafka.

use rdkafka::config::ClientConfig;
use retail_api::resource::SaslMechanism;
use retail_connection::Certificates;

/// TLS and SASL, each optional.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Security {
    /// Encrypts, and verifies authority and host name of the broker's certificate.
    pub tls: Option<Certificates>,
    /// Logs in with user name and password.
    pub sasl: Option<SaslLogin>,
}

/// The log-in of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslLogin {
    /// SASL mechanism.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for SaslLogin {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SaslLogin({} as {})", mechanism(self.mechanism), self.username)
    }
}

impl Security {
    /// Whether the log-in sends the password itself over a connection without TLS.
    pub fn sends_clear_password(&self) -> bool {
        self.tls.is_none() && self.sasl.as_ref().is_some_and(|login| login.mechanism == SaslMechanism::Plain)
    }

    pub(super) fn put_into(&self, config: &mut ClientConfig) {
        let Self { tls, sasl } = self;
        let protocol = match (tls, sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(certificates) = tls {
            config.set("ssl.endpoint.identification.algorithm", "https");
            match certificates.ca() {
                Some(ca) => config.set("ssl.ca.pem", ca),
                // Searches the paths of Linux distributions, which a static OpenSSL does not know.
                None => config.set("ssl.ca.location", "probe"),
            };
            if let Some((certificate, key)) = certificates.client() {
                config.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key);
            }
        }
        if let Some(SaslLogin { mechanism: name, username, password }) = sasl {
            config
                .set("sasl.mechanism", mechanism(*name))
                .set("sasl.username", username)
                .set("sasl.password", password);
        }
    }
}

/// The name of a mechanism in Kafka.
const fn mechanism(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}
