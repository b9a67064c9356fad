//! Methods of log-in of a real server: which are used, and which are refused.

use std::io::Write;
use std::sync::{Arc, Mutex};

use retail_api::resource::TlsMode;
use retail_connection::{Certificates, ErrorKind, Pem};
use retail_store::DatabaseConnection;
use retail_testbed::{Certificates as Files, SecurePostgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn certificates() -> Certificates {
    let ca = Pem { text: Files::shared().text("ca.crt"), origin: "ca.crt".to_owned() };
    Certificates::new(Some(ca), None, None).unwrap()
}

/// The link to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Clear,
    Unverified,
    Verified,
}

/// Logs in as the user, whose password is its name. Returns the user according to the server.
async fn log_in(user: &str, link: Link, options: &str) -> Result<String, (ErrorKind, String)> {
    let url = format!("{}?{options}", SecurePostgres::shared().url(user, user, "localhost"));
    let connection = DatabaseConnection::new(url.parse().unwrap(), "public");
    let connection = match link {
        Link::Clear => connection,
        Link::Unverified => connection.with_tls(TlsMode::Require, &Certificates::default()).unwrap(),
        Link::Verified => connection.with_tls(TlsMode::VerifyFull, &certificates()).unwrap(),
    };
    let session = connection.connect("test").await.map_err(|error| (error.kind, error.message))?;
    let encrypted = "SELECT current_user::text, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = session.query_one(encrypted, &[]).await.unwrap();
    assert_eq!(row.get::<_, bool>(1), link != Link::Clear || options.contains("sslmode=prefer"));
    Ok(row.get(0))
}

#[tokio::test]
async fn supported_log_ins_succeed() {
    for (user, link, options) in [
        ("clear", Link::Verified, ""),
        ("clear", Link::Verified, "require_auth=password"),
        ("hashed", Link::Clear, ""),
        ("hashed", Link::Unverified, ""),
        ("scrambled", Link::Clear, ""),
        ("scrambled", Link::Clear, "require_auth=scram-sha-256"),
        ("scrambled", Link::Clear, "sslmode=prefer"),
        ("scrambled", Link::Unverified, "channel_binding=require"),
        ("scrambled", Link::Verified, "channel_binding=require&require_auth=scram-sha-256"),
        ("scrambled", Link::Verified, "channel_binding=disable"),
        ("trusted", Link::Clear, ""),
        ("trusted", Link::Clear, "require_auth=none"),
    ] {
        assert_eq!(log_in(user, link, options).await.as_deref(), Ok(user), "{user} {link:?} {options}");
    }
}

#[tokio::test]
async fn insecure_log_ins_are_refused_with_their_cause() {
    let (no_tls, wrong) = (ErrorKind::NoTls, ErrorKind::WrongCredentials);
    for (user, link, options, kind, cause) in [
        ("clear", Link::Clear, "", no_tls, "in clear text without TLS, and it was not sent"),
        ("clear", Link::Clear, "require_auth=password", no_tls, "in clear text without TLS, and it was not sent"),
        ("clear", Link::Unverified, "", no_tls, "over TLS without a verified certificate, and it was not sent"),
        ("clear", Link::Verified, "require_auth=!password", wrong, "method password, which require_auth"),
        ("hashed", Link::Clear, "require_auth=scram-sha-256", wrong, "method md5, which require_auth"),
        ("scrambled", Link::Clear, "require_auth=md5", wrong, "method scram-sha-256, which require_auth"),
        ("trusted", Link::Clear, "require_auth=!none", wrong, "accepts the user without a log-in"),
        ("scrambled", Link::Clear, "channel_binding=require", wrong, "did not use channel binding"),
        ("hashed", Link::Verified, "channel_binding=require", wrong, "did not use channel binding"),
        ("trusted", Link::Verified, "channel_binding=require", wrong, "did not use channel binding"),
    ] {
        let (is, message) = log_in(user, link, options).await.expect_err(user);
        assert!(is == kind && message.contains(cause), "{user} {link:?} {options}: {is:?}, {message}");
    }
}

#[tokio::test]
async fn first_server_that_matches_the_url_is_used() {
    let port = SecurePostgres::shared().port();
    // Nothing listens on the first address.
    let url = format!("postgres://scrambled:scrambled@127.0.0.1:1,127.0.0.1:{port}/retail");
    let connect = async |url: &str| DatabaseConnection::new(url.parse().unwrap(), "public").connect("test").await;
    connect(&url).await.unwrap();
    connect(&format!("{url}?target_session_attrs=read-write")).await.unwrap();
    let error = connect(&format!("{url}?target_session_attrs=read-only")).await.map(drop).unwrap_err();
    assert!(error.message.contains("also writes (a primary), which target_session_attrs"), "{error}");
    let reads = "options=-c%20default_transaction_read_only%3Don";
    connect(&format!("{url}?target_session_attrs=standby&{reads}")).await.unwrap();
    let error = connect(&format!("{url}?target_session_attrs=primary&{reads}")).await.map(drop).unwrap_err();
    assert!(error.message.contains("only reads (a standby), which target_session_attrs"), "{error}");
}

/// The request for TLS, which clients send in the clear.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(Files::shared().text(name).as_bytes()).unwrap()
}

/// Ends the TLS of a client with a trusted certificate that is not the server's, and passes all bytes to the server over another
/// TLS connection.
async fn relay(client: TcpStream) -> std::io::Result<()> {
    let key = PrivateKeyDer::from_pem_slice(Files::shared().text("server.key").as_bytes()).unwrap();
    let accepts = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate("server.crt")], key);
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate("ca.crt")).unwrap();
    let connects = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
    let (mut client, mut server) = (client, TcpStream::connect(("127.0.0.1", SecurePostgres::shared().port())).await?);
    client.read_exact(&mut [0; 8]).await?;
    client.write_all(b"S").await?;
    server.write_all(&TLS_REQUEST).await?;
    assert_eq!(server.read_u8().await?, b'S');
    let mut client = TlsAcceptor::from(Arc::new(accepts.unwrap())).accept(client).await?;
    let name = "localhost".try_into().unwrap();
    let mut server = TlsConnector::from(Arc::new(connects)).connect(name, server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// By default, the log-in is bound to the certificate that the client has seen.
#[tokio::test]
async fn log_in_through_another_end_of_tls_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            tokio::spawn(relay(listener.accept().await.unwrap().0));
        }
    });
    let log_in = async |options: &str| {
        let url = format!("postgres://scrambled:scrambled@127.0.0.1:{port}/retail?{options}");
        let connection = DatabaseConnection::new(url.parse().unwrap(), "public");
        connection.with_tls(TlsMode::VerifyFull, &certificates()).unwrap().connect("test").await.map(drop)
    };
    log_in("channel_binding=disable").await.unwrap();
    let error = log_in("").await.unwrap_err();
    assert!(error.message.contains("channel binding check failed"), "{error}");
}

/// What is logged.
#[derive(Default)]
struct Log(Mutex<Vec<u8>>);

impl Write for &Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn log_in_by_md5_without_tls_is_warned_about_once() {
    let log = Arc::new(Log::default());
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::clone(&log)).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let warnings = || {
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect::<Vec<_>>()
    };
    // Other tests use another name of the server.
    let url = |user: &str| SecurePostgres::shared().url(user, user, "127.0.0.1").parse().unwrap();
    let connect = async |connection: DatabaseConnection| drop(connection.connect("test").await.unwrap());
    connect(DatabaseConnection::new(url("scrambled"), "public")).await;
    let encrypted = DatabaseConnection::new(url("hashed"), "public");
    connect(encrypted.with_tls(TlsMode::Require, &Certificates::default()).unwrap()).await;
    assert_eq!(warnings(), [""; 0]);
    for _ in 0..2 {
        connect(DatabaseConnection::new(url("hashed"), "public")).await;
    }
    let warnings = warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("sends an MD5 hash of the password without TLS"),
        "{warnings:?}"
    );
}
