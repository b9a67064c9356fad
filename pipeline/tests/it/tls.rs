//! Servers that let nobody in who does not encrypt: each way in, and what each wrong credential is called.

use retail_pipeline::certificates::{CertificateError, Certificates, Pem};
use retail_pipeline::kafka::{Explained, KafkaConnection, SaslLogin, Security, topic};
use retail_pipeline::postgres::{DatabaseConnection, Trouble};
use retail_pipeline::resource::{SaslMechanism, TlsMode};
use retail_testbed::{Certificates as Files, Kafka, Postgres, SecureKafka, SecurePostgres};

fn pem(name: &str) -> Option<Pem> {
    Some(Pem { text: Files::shared().text(name), origin: name.to_owned() })
}

/// Trusting one authority, as one client if any.
fn certificates(ca: &str, client: Option<&str>) -> Option<Certificates> {
    let file = |extension: &str| client.and_then(|client| pem(&format!("{client}.{extension}")));
    Some(Certificates::new(pem(&format!("{ca}.crt")), file("crt"), file("key")).unwrap())
}

fn login(mechanism: SaslMechanism, password: &str) -> Option<SaslLogin> {
    Some(SaslLogin { mechanism, username: "retail".to_owned(), password: password.to_owned() })
}

/// What a look at a Kafka comes to.
async fn kafka(address: String, tls: Option<Certificates>, sasl: Option<SaslLogin>) -> Result<(), (Explained, String)> {
    let connection = KafkaConnection { bootstrap_servers: address, security: Security { tls, sasl } };
    topic::observe(&connection, "none").await.map(drop).map_err(|error| (error.kind, error.message))
}

/// What a connection to a Postgres comes to.
async fn postgres(url: &str, mode: TlsMode, tls: Option<Certificates>) -> Result<(), (Trouble, String)> {
    let mut connection = DatabaseConnection::new(url.parse().unwrap(), "public");
    if let Some(certificates) = tls {
        connection = connection.with_tls(mode, &certificates).unwrap();
    }
    connection.connect("test").await.map(drop).map_err(|error| (error.trouble, error.message))
}

#[tokio::test]
async fn kafka_is_reached_with_scram_with_plain_and_with_a_client_certificate() {
    let (secure, ca) = (SecureKafka::shared(), || certificates("ca", None));
    kafka(secure.address(), ca(), login(SaslMechanism::ScramSha512, "scram-secret")).await.unwrap();
    kafka(secure.address(), ca(), login(SaslMechanism::Plain, "plain-secret")).await.unwrap();
    kafka(secure.certified(), certificates("ca", Some("certified")), None).await.unwrap();
}

#[tokio::test]
async fn each_wrong_credential_for_kafka_is_told_from_the_others() {
    let (secure, ca) = (SecureKafka::shared(), || certificates("ca", None));
    let (scram, plain) = (SaslMechanism::ScramSha512, SaslMechanism::Plain);
    let good = || login(scram, "scram-secret");
    let plaintext = Kafka::shared().address();
    let credentials = Explained::WrongCredentials;
    let cases = [
        (kafka(secure.address(), ca(), login(scram, "wrong")).await, credentials, "refused user name, password"),
        (kafka(secure.address(), ca(), login(plain, "wrong")).await, credentials, "refused user name, password"),
        (
            kafka(secure.address(), ca(), login(SaslMechanism::ScramSha256, "scram-secret")).await,
            credentials,
            "supported mechanisms: SCRAM-SHA-512,PLAIN",
        ),
        (kafka(secure.certified(), ca(), None).await, credentials, "wants another client certificate"),
        (
            kafka(secure.certified(), certificates("ca", Some("forged")), None).await,
            credentials,
            "wants another client certificate",
        ),
        (
            kafka(secure.address(), certificates("stranger", None), good()).await,
            Explained::NoTls,
            "has a certificate that cannot be trusted",
        ),
        (kafka(secure.misnamed(), ca(), None).await, Explained::NoTls, "or one for another host"),
        (kafka(secure.address(), None, good()).await, Explained::NoTls, "does not speak without TLS"),
        (kafka(secure.address(), None, None).await, Explained::NoTls, "does not speak without TLS"),
        (kafka(plaintext.clone(), ca(), None).await, Explained::NoTls, "speaks no TLS"),
        (kafka(plaintext, ca(), good()).await, Explained::NoTls, "speaks no TLS"),
    ];
    for (result, kind, said) in cases {
        let (is, message) = result.unwrap_err();
        assert!(is == kind && message.contains(said), "{said}: {is:?}, {message}");
        assert!(!message.contains("scram-secret"), "{message}");
    }
}

#[tokio::test]
async fn postgres_is_reached_with_verified_tls_and_with_a_client_certificate() {
    let (secure, full) = (SecurePostgres::shared(), TlsMode::VerifyFull);
    let by_name = secure.url("retail", "retail", "localhost");
    postgres(&by_name, full, certificates("ca", None)).await.unwrap();
    let certified = secure.url("certified", "certified", "localhost");
    postgres(&certified, full, certificates("ca", Some("certified"))).await.unwrap();
    // Mode require asks for no name, and for no authority that is not given.
    let by_address = secure.url("retail", "retail", "127.0.0.1");
    postgres(&by_address, TlsMode::Require, certificates("ca", None)).await.unwrap();
    postgres(&by_address, TlsMode::Require, Some(Certificates::default())).await.unwrap();
    postgres(&format!("{by_address}?sslmode=require"), TlsMode::Require, None).await.unwrap();
}

#[tokio::test]
async fn each_wrong_credential_for_postgres_is_told_from_the_others() {
    let (secure, full) = (SecurePostgres::shared(), TlsMode::VerifyFull);
    let url = |user: &str, password: &str| secure.url(user, password, "localhost");
    let good = url("retail", "retail");
    let ca = || certificates("ca", None);
    let credentials = Trouble::WrongCredentials;
    let cases = [
        (postgres(&url("retail", "wrong"), full, ca()).await, credentials, "refused user \"retail\""),
        (postgres(&url("certified", "certified"), full, ca()).await, credentials, "wants a client certificate"),
        (
            postgres(&url("certified", "certified"), full, certificates("ca", Some("forged"))).await,
            credentials,
            "refused our client certificate",
        ),
        (postgres(&good, full, certificates("stranger", None)).await, Trouble::NoTls, "cannot be trusted"),
        (postgres(&good, TlsMode::Require, certificates("stranger", None)).await, Trouble::NoTls, "cannot be trusted"),
        (
            postgres(&secure.url("retail", "retail", "127.0.0.1"), full, ca()).await,
            Trouble::NoTls,
            "has a certificate for another host",
        ),
        (postgres(&good, full, None).await, Trouble::NoTls, "lets nobody in without encryption"),
        (postgres(&Postgres::shared().url(), full, ca()).await, Trouble::NoTls, "speaks no TLS"),
    ];
    for (result, trouble, said) in cases {
        let (is, message) = result.unwrap_err();
        assert!(is == trouble && message.contains(said), "{said}: {is:?}, {message}");
    }
}

#[test]
fn what_is_no_certificate_or_anothers_key_is_said_before_anybody_is_asked() {
    let text = |text: &str| Some(Pem { text: text.to_owned(), origin: "here".to_owned() });
    let refused = |ca, certificate, key| Certificates::new(ca, certificate, key).unwrap_err();
    assert!(matches!(refused(text("hello"), None, None), CertificateError::NoCertificate(_)));
    assert!(matches!(refused(None, pem("certified.crt"), None), CertificateError::Half(..)));
    assert!(matches!(refused(None, pem("certified.crt"), text("hello")), CertificateError::NoKey(_)));
    assert!(matches!(refused(None, pem("certified.crt"), pem("forged.key")), CertificateError::Mismatch(..)));
}
