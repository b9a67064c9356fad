//! Methods of log-in of a real server: which are used, and which are refused.

use retail_api::resource::TlsMode;
use retail_connection::{Certificates, ErrorKind, Pem};
use retail_store::DatabaseConnection;
use retail_testbed::{Certificates as Files, SecurePostgres};

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
