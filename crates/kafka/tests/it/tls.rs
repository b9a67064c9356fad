//! Kafka with TLS and log-ins: each supported credential, and the error for each wrong one.

use retail_api::resource::SaslMechanism;
use retail_connection::{Certificates, ErrorKind, Pem};
use retail_kafka::{KafkaConnection, SaslLogin, Security, topic};
use retail_testbed::{Certificates as Files, Kafka, SecureKafka};

fn pem(name: &str) -> Option<Pem> {
    Some(Pem { text: Files::shared().text(name), origin: name.to_owned() })
}

/// One trusted authority, and a client certificate if `client` is set.
fn certificates(ca: &str, client: Option<&str>) -> Option<Certificates> {
    let file = |extension: &str| client.and_then(|client| pem(&format!("{client}.{extension}")));
    Some(Certificates::new(pem(&format!("{ca}.crt")), file("crt"), file("key")).unwrap())
}

fn login(mechanism: SaslMechanism, password: &str) -> Option<SaslLogin> {
    Some(SaslLogin { mechanism, username: "retail".to_owned(), password: password.to_owned() })
}

/// The result of a request to Kafka with these credentials.
async fn kafka(address: String, tls: Option<Certificates>, sasl: Option<SaslLogin>) -> Result<(), (ErrorKind, String)> {
    let connection = KafkaConnection { bootstrap_servers: address, security: Security { tls, sasl } };
    topic::observe(&connection, "none").await.map(drop).map_err(|error| (error.kind, error.message))
}

#[tokio::test]
async fn kafka_accepts_scram_plain_and_client_certificates() {
    let (secure, ca) = (SecureKafka::shared(), || certificates("ca", None));
    kafka(secure.address(), ca(), login(SaslMechanism::ScramSha512, "scram-secret")).await.unwrap();
    kafka(secure.address(), ca(), login(SaslMechanism::Plain, "plain-secret")).await.unwrap();
    kafka(secure.certified(), certificates("ca", Some("certified")), None).await.unwrap();
}

/// The address of a listener that closes each connection, as a proxy does while its server restarts.
fn closes_each_connection() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

#[tokio::test]
async fn each_wrong_kafka_credential_has_its_own_error() {
    let (secure, ca) = (SecureKafka::shared(), || certificates("ca", None));
    let (scram, plain) = (SaslMechanism::ScramSha512, SaslMechanism::Plain);
    let good = || login(scram, "scram-secret");
    let plaintext = Kafka::shared().address();
    let credentials = ErrorKind::WrongCredentials;
    let stopping = closes_each_connection();
    let cases = [
        (
            kafka(secure.address(), ca(), login(scram, "wrong")).await,
            credentials,
            "refused the user name, the password or the SASL mechanism",
        ),
        (
            kafka(secure.address(), ca(), login(plain, "wrong")).await,
            credentials,
            "refused the user name, the password or the SASL mechanism",
        ),
        (
            kafka(secure.address(), ca(), login(SaslMechanism::ScramSha256, "scram-secret")).await,
            credentials,
            "supported mechanisms: SCRAM-SHA-512,PLAIN",
        ),
        (kafka(secure.certified(), ca(), None).await, credentials, "requires a valid client certificate"),
        (
            kafka(secure.certified(), certificates("ca", Some("forged")), None).await,
            credentials,
            "requires a valid client certificate",
        ),
        (
            kafka(secure.address(), certificates("stranger", None), good()).await,
            ErrorKind::NoTls,
            "has a certificate that is not trusted",
        ),
        (kafka(secure.misnamed(), ca(), None).await, ErrorKind::NoTls, "or is for another host"),
        (kafka(secure.address(), None, good()).await, ErrorKind::NoTls, "requires TLS on this port"),
        (kafka(secure.address(), None, None).await, ErrorKind::NoTls, "requires TLS on this port"),
        (kafka(plaintext.clone(), ca(), None).await, ErrorKind::NoTls, "does not use TLS on this port"),
        (kafka(plaintext, ca(), good()).await, ErrorKind::NoTls, "does not use TLS on this port"),
        (kafka(stopping.clone(), None, None).await, ErrorKind::Unreachable, "it is starting or stopping"),
        (kafka(stopping, ca(), None).await, ErrorKind::Unreachable, "it is starting or stopping"),
    ];
    for (result, kind, said) in cases {
        let (is, message) = result.unwrap_err();
        assert!(is == kind && message.contains(said), "{said}: {is:?}, {message}");
        assert!(!message.contains("scram-secret"), "{message}");
    }
}
