//! Each form of libpq's documentation, and the ways in which users get one wrong.

use super::*;
use crate::connection::DatabaseConnection;

/// The servers as name>address:port if name and address differ, then user, password and database.
fn parts(url: &str) -> String {
    let mut url: DatabaseUrl = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
    url.set_default_host("pipeline", 7000);
    let text = |part: &Option<String>| part.clone().unwrap_or("-".to_owned());
    let rest = format!("{} {} {}", text(&url.user), text(&url.password), text(&url.database));
    let connection = DatabaseConnection::new(url, "public");
    let servers = connection.servers().map(|server| {
        let address = if server.name == server.address { String::new() } else { format!(">{}", server.address) };
        format!("{}{address}:{}", server.name, server.port)
    });
    format!("{} {rest}", servers.collect::<Vec<_>>().join(","))
}

#[test]
fn forms_of_libpq_are_understood() {
    let forms = [
        ("postgresql://", "pipeline:7000 - - -"),
        ("postgres://", "pipeline:7000 - - -"),
        ("postgresql://localhost", "localhost:5432 - - -"),
        ("postgresql://localhost:5433", "localhost:5433 - - -"),
        ("postgresql://localhost/mydb", "localhost:5432 - - mydb"),
        ("postgresql://user@localhost", "localhost:5432 user - -"),
        ("postgresql://user:secret@localhost", "localhost:5432 user secret -"),
        ("postgresql://user:@localhost/", "localhost:5432 user - -"),
        ("postgresql://:secret@localhost", "localhost:5432 - secret -"),
        ("postgresql://@localhost", "localhost:5432 - - -"),
        ("postgresql://user:secret@localhost:/db", "localhost:5432 user secret db"),
        ("postgresql://user@/db", "pipeline:7000 user - db"),
        ("postgresql://:5433/db", "pipeline:5433 - - db"),
        ("postgresql:///mydb", "pipeline:7000 - - mydb"),
        ("postgresql:///mydb?host=other&port=5433", "other:5433 - - mydb"),
        ("postgresql:///mydb?port=5433", "pipeline:5433 - - mydb"),
        ("postgresql:///?user=other&password=s&dbname=d", "pipeline:7000 other s d"),
        ("postgresql://localhost?port=5433", "localhost:5433 - - -"),
        (
            "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
            "localhost:5432 other - otherdb",
        ),
        ("postgresql://host1:123,host2:456/db", "host1:123,host2:456 - - db"),
        ("postgresql://host1,host2:456/db?target_session_attrs=read-write", "host1:5432,host2:456 - - db"),
        ("postgresql:///db?host=host1,host2&port=1,2", "host1:1,host2:2 - - db"),
        ("postgresql:///db?host=host1,host2&port=6", "host1:6,host2:6 - - db"),
        ("postgresql://host1,host2:2?port=7", "host1:7,host2:7 - - -"),
        ("postgresql:///db?host=name&hostaddr=10.0.0.1", "name>10.0.0.1:5432 - - db"),
        ("postgresql:///db?hostaddr=::1&port=3", "::1:3 - - db"),
        ("postgresql://[2001:db8::1234]/db", "2001:db8::1234:5432 - - db"),
        ("postgresql://[::1]:5433/db", "::1:5433 - - db"),
        ("postgresql://%2Fvar%2Frun/db", "/var/run:5432 - - db"),
        ("postgresql:///db?host=/var/run&port=5433", "/var/run:5433 - - db"),
        ("postgresql://us%40er:p%40s%2Fs%3A%25@localhost/d%20b", "localhost:5432 us@er p@s/s:% d b"),
        ("postgresql://user:p#a+s&s=w@localhost", "localhost:5432 user p#a+s&s=w -"),
        ("postgresql://user:a:b@localhost", "localhost:5432 user a:b -"),
        ("postgresql://localhost/db?", "localhost:5432 - - db"),
        (
            "postgres://localhost/db?sslmode=require&options=-c%20geqo%3Doff&client_encoding=utf8",
            "localhost:5432 - - db",
        ),
        ("  postgres://localhost/db\n", "localhost:5432 - - db"),
    ];
    for (url, expected) in forms {
        assert_eq!(parts(url), expected, "{url}");
    }
}

#[test]
fn options_are_obeyed() {
    let url = |options: &str| -> DatabaseUrl { format!("postgres://h/d?{options}").parse().unwrap() };
    let modes = [
        ("sslmode=disable", SslMode::Disable),
        ("sslmode=prefer", SslMode::Prefer),
        ("sslmode=require", SslMode::Require),
        ("ssl=true", SslMode::Require),
        ("sslmode=verify-ca", SslMode::VerifyCa),
        ("sslmode=verify-full&sslrootcert=system", SslMode::VerifyFull),
    ];
    for (options, mode) in modes {
        assert_eq!(url(options).ssl_mode, Some(mode), "{options}");
    }
    assert_eq!(url("").ssl_mode, None);
    assert_eq!(url("channel_binding=require").channel_binding, Some(ChannelBinding::Require));
    assert_eq!(url("connect_timeout=3").connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(url("connect_timeout=0").connect_timeout, None);
    assert_eq!(url("target_session_attrs=standby").reads_only, Some(true));
    assert_eq!(url("target_session_attrs=any").reads_only, None);
    assert_eq!(url("options=-c%20geqo%3Doff").options.as_deref(), Some("-c geqo=off"));
    let allows = |options: &str| url(options).require_auth.unwrap();
    let names = |options: &str| {
        use crate::log_in::Method::{Md5, None, Password, Scram};
        let all = [None, Password, Md5, Scram].into_iter().filter(|method| allows(options).contains(*method));
        all.map(crate::log_in::Method::name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("require_auth=scram-sha-256"), "scram-sha-256");
    assert_eq!(names("require_auth=md5,none"), "none md5");
    assert_eq!(names("require_auth=!password,!gss"), "none md5 scram-sha-256");
}

#[test]
fn other_forms_are_refused_with_their_cause() {
    let cases = [
        ("host=localhost user=u password=tail", "has the form host=... of libpq"),
        ("localhost/db", "does not begin with postgres://"),
        ("mysql://tail@localhost", "does not begin with postgres://"),
        ("jdbc:postgresql://localhost/db?user=u&password=tail", "is a JDBC URL"),
        ("", "does not begin with postgres://"),
        ("postgres://user:pass@tail@localhost/db", "is not percent-encoded"),
        ("postgres://user:pass/tail@localhost/db", "is not percent-encoded"),
        ("postgres://user:12/tail@localhost/db", "is not percent-encoded"),
        ("postgres://user:pass?tail@localhost/db", "is not percent-encoded"),
        ("postgres://user:pass%tail@localhost/db", "is not followed by two hexadecimal digits"),
        ("postgres://user:pass%@localhost/db", "is not followed by two hexadecimal digits"),
        ("postgres://user:pass%00tail@localhost", "contains %00"),
        ("postgres://user:%FF%FEtail@localhost", "is not UTF-8"),
        ("postgres://localhost:tail/db", "port is not a number"),
        ("postgres://localhost:65536", "port is not a number"),
        ("postgres://localhost:0", "port is not a number"),
        ("postgres://[::1", "has no closing bracket"),
        ("postgres://[::1]tail", "is not followed by a port"),
        ("postgres://::1/db", "port is not a number"),
        ("postgres://ho st/db", "character that host names cannot have"),
        ("postgres://%40abstract/db", "abstract Unix sockets"),
        ("postgres://a,,b/db", "one of several hosts is empty"),
        ("postgres:///db?host=a,b,c&port=1,2", "not one port for each host"),
        ("postgres:///db?host=a,b&hostaddr=10.0.0.1", "different numbers of entries"),
        ("postgres:///db?hostaddr=tail", "hostaddr is not an IP address"),
        ("postgres://h/db?sslmode", "has no value"),
        ("postgres://h/db?sslmode=allow", "sslmode=allow is not supported"),
        ("postgres://h/db?sslmode=tail", "sslmode is not disable"),
        ("postgres://h/db?sslrootcert=/tail.crt", "use database.tls, or PGSSLROOTCERT"),
        ("postgres://h/db?sslkey=/tail.key", "use database.tls, or PGSSLROOTCERT"),
        ("postgres://h/db?sslnegotiation=direct", "supports only the value postgres"),
        ("postgres://h/db?gssencmode=require", "supports only the value disable"),
        ("postgres://h/db?load_balance_hosts=random", "supports only the value disable"),
        ("postgres://h/db?channel_binding=tail", "channel_binding is not"),
        ("postgres://h/db?require_auth=tail", "require_auth is not a list"),
        ("postgres://h/db?require_auth=md5,!none", "both allowed and forbidden"),
        ("postgres://h/db?require_auth=gss", "require_auth=gss is not supported"),
        ("postgres://h/db?target_session_attrs=prefer-standby", "prefer-standby is not supported"),
        ("postgres://h/db?connect_timeout=tail", "connect_timeout is not a number"),
        ("postgres://h/db?service=tail", "reads a file of this machine"),
        ("postgres://h/db?client_encoding=LATIN1", "supports only the value UTF8"),
        ("postgres://h/db?sslmod=require", "option sslmod is not supported"),
        ("postgres://h/db?search_path=a", "option search_path is not supported"),
        ("postgres://user:1?Tail%2F=x", "contains an unknown option"),
    ];
    for (url, cause) in cases {
        let error = url.parse::<DatabaseUrl>().map(drop).expect_err(url).to_string();
        assert!(error.contains(cause), "{url}: {error}");
        assert!(!error.contains("tail") && !error.contains("Tail"), "{url}: {error}");
    }
}
