//! Postgres with TLS and log-ins: each supported credential, and the error for each wrong one.

use retail_api::resource::TlsMode;
use retail_connection::{Certificates, ErrorKind, Pem};
use retail_store::DatabaseConnection;
use retail_testbed::{Certificates as Files, Issued, Postgres, SecurePostgres, eventually, self_signed};

fn pem(name: &str) -> Option<Pem> {
    Some(Pem { text: Files::shared().text(name), origin: name.to_owned() })
}

/// One trusted authority, and a client certificate if `client` is set.
fn certificates(ca: &str, client: Option<&str>) -> Option<Certificates> {
    let file = |extension: &str| client.and_then(|client| pem(&format!("{client}.{extension}")));
    Some(Certificates::new(pem(&format!("{ca}.crt")), file("crt"), file("key")).unwrap())
}

/// The result of a connection with these credentials.
async fn postgres(url: &str, mode: TlsMode, tls: Option<Certificates>) -> Result<(), (ErrorKind, String)> {
    let mut connection = DatabaseConnection::new(url.parse().unwrap(), "public");
    if let Some(certificates) = tls {
        connection = connection.with_tls(mode, &certificates).unwrap();
    }
    connection.connect("test").await.map(drop).map_err(|error| (error.kind, error.message))
}

#[tokio::test]
async fn postgres_accepts_verified_tls_and_client_certificates() {
    let (secure, full) = (SecurePostgres::shared(), TlsMode::VerifyFull);
    let by_name = secure.url("retail", "retail", "localhost");
    postgres(&by_name, full, certificates("ca", None)).await.unwrap();
    let certified = secure.url("certified", "certified", "localhost");
    postgres(&certified, full, certificates("ca", Some("certified"))).await.unwrap();
    // Mode require ignores the host name, and verifies the authority only if one is given.
    let by_address = secure.url("retail", "retail", "127.0.0.1");
    postgres(&by_address, TlsMode::Require, certificates("ca", None)).await.unwrap();
    postgres(&by_address, TlsMode::Require, Some(Certificates::default())).await.unwrap();
    postgres(&format!("{by_address}?sslmode=require"), TlsMode::Require, None).await.unwrap();
}

#[tokio::test]
async fn each_wrong_postgres_credential_has_its_own_error() {
    let (secure, full) = (SecurePostgres::shared(), TlsMode::VerifyFull);
    let url = |user: &str, password: &str| secure.url(user, password, "localhost");
    let good = url("retail", "retail");
    let ca = || certificates("ca", None);
    let credentials = ErrorKind::WrongCredentials;
    let cases = [
        (postgres(&url("retail", "wrong"), full, ca()).await, credentials, "refused user \"retail\""),
        (postgres(&url("certified", "certified"), full, ca()).await, credentials, "requires a client certificate"),
        (
            postgres(&url("certified", "certified"), full, certificates("ca", Some("forged"))).await,
            credentials,
            "refused the client certificate",
        ),
        (postgres(&good, full, certificates("stranger", None)).await, ErrorKind::NoTls, "is not trusted"),
        (postgres(&good, TlsMode::Require, certificates("stranger", None)).await, ErrorKind::NoTls, "is not trusted"),
        (
            postgres(&secure.url("retail", "retail", "127.0.0.1"), full, ca()).await,
            ErrorKind::NoTls,
            "has a certificate for another host",
        ),
        (postgres(&good, full, None).await, ErrorKind::NoTls, "requires TLS: set database.tls"),
        (postgres(&Postgres::shared().url(), full, ca()).await, ErrorKind::NoTls, "does not use TLS"),
    ];
    for (result, kind, said) in cases {
        let (is, message) = result.unwrap_err();
        assert!(is == kind && message.contains(said), "{said}: {is:?}, {message}");
    }
}

/// A server with a self-signed certificate, which is also the trusted authority.
#[tokio::test]
async fn self_signed_certificate_works_unless_it_can_sign_others() {
    let server = Postgres::private();
    let (client, connection) = tokio_postgres::connect(&server.superuser_url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let url = server.url().replace("127.0.0.1", "localhost");
    let use_certificate = async |is_authority| {
        let Issued { certificate, key } = self_signed("localhost", is_authority);
        for (name, pem) in [("own.crt", &certificate), ("own.key", &key)] {
            let lines = format!("SELECT unnest(string_to_array('{pem}', E'\n'))");
            let copy = format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {name}'");
            client.batch_execute(&copy).await.unwrap();
        }
        for setting in ["ssl_cert_file = 'own.crt'", "ssl_key_file = 'own.key'", "ssl = on"] {
            client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
        }
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let ca = Pem { text: certificate, origin: "own.crt".to_owned() };
        Certificates::new(Some(ca), None, None).unwrap()
    };
    let tls = use_certificate(false).await;
    eventually("the server uses the certificate", async || {
        postgres(&url, TlsMode::VerifyFull, Some(tls.clone())).await.ok()
    })
    .await;
    let tls = use_certificate(true).await;
    for mode in [TlsMode::VerifyFull, TlsMode::Require] {
        eventually("the cause is named", async || {
            let (kind, message) = postgres(&url, mode, Some(tls.clone())).await.err()?;
            (kind == ErrorKind::NoTls && message.contains("basicConstraints=critical,CA:FALSE")).then_some(())
        })
        .await;
    }
}
