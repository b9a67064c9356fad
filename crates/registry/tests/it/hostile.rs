//! Answers without a verdict. A verdict decides the fate of records for ever.

use retail_connection::ErrorKind;
use retail_engine::SchemaId;
use retail_registry::{RegistryError, Verdict};

use crate::fake::{Fake, Reply, json, not_found, registry};

async fn error(reply: Reply) -> RegistryError {
    let fake = Fake::start(move |_| reply.clone()).await;
    let error = fake.registry().schema(SchemaId::Number(5)).await.unwrap_err();
    assert!(error.message.starts_with(&format!("the schema registry at {} ", fake.url())), "{error}");
    assert!(!error.message.contains(char::is_control), "{error}");
    error
}

#[track_caller]
fn assert_error(error: &RegistryError, kind: ErrorKind, part: &str) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(part), "{error}");
}

#[tokio::test]
async fn status_404_without_the_code_of_an_unknown_id_is_an_error() {
    let html = "<html><body>\u{1b}[31mNot here</body></html>";
    for (body, part) in [
        (html, "404 Not Found, \"<html><body>\\u{1b}[31mNot here"),
        ("", "404 Not Found: check the path of events.format.registry.url"),
        (r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, "404 Not Found, \"{"),
        (r#"{"error_code":40401}"#, "404 Not Found"),
        (r#"{"error_code":"40403"}"#, "404 Not Found"),
        (r#"[40403]"#, "404 Not Found"),
        (r#"{"error_code":40403"#, "404 Not Found"),
    ] {
        assert_error(&error(Reply::Answer(404, body.to_owned())).await, ErrorKind::Other, part);
    }
    // The code alone means nothing either.
    for (status, kind) in [(200, ErrorKind::Other), (400, ErrorKind::Other), (500, ErrorKind::Busy)] {
        let body = r#"{"error_code":40403}"#.to_owned();
        assert_error(&error(Reply::Answer(status, body)).await, kind, "40403");
    }
}

#[tokio::test]
async fn statuses_have_their_remedies() {
    for (status, kind, part) in [
        (401, ErrorKind::WrongCredentials, "check events.format.registry.secret, or RETAIL_REGISTRY_USERNAME"),
        (403, ErrorKind::Forbidden, "does not allow GET /schemas/ids/5: grant the user the right to read schemas"),
        (429, ErrorKind::Busy, "is busy"),
        (500, ErrorKind::Busy, "500 Internal Server Error, \"no\": check its log"),
        (503, ErrorKind::Busy, "503 Service Unavailable"),
        (302, ErrorKind::Other, "redirects GET /schemas/ids/5 to http://other/ (302 Found)"),
        (204, ErrorKind::Other, "answered GET /schemas/ids/5 with 204"),
    ] {
        let body = if status == 204 { "" } else { "no" };
        assert_error(&error(Reply::Answer(status, body.to_owned())).await, kind, part);
    }
}

#[tokio::test]
async fn answer_that_is_no_schema_is_an_error() {
    for body in [
        "",
        "<html>",
        "null",
        "{}",
        "[]",
        r#"["x"]"#,
        r#"{"schema":5}"#,
        r#"{"schema":"x","references":[{"name":"a"}]}"#,
        "\u{0}",
    ] {
        assert_error(&error(json(body)).await, ErrorKind::Other, "with another text than a registry");
    }
    for raw in [&b"\x15\x03\x01\x00\x02\x02\x16"[..], b"SSH-2.0-x\r\n", b"\0\0\0\0\0\0\0\0"] {
        assert_error(&error(Reply::Raw(raw)).await, ErrorKind::Other, "does not answer in HTTP");
    }
    for raw in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"] {
        assert_error(&error(Reply::Raw(raw)).await, ErrorKind::Unreachable, "cannot be reached");
    }
}

#[tokio::test]
async fn endless_large_and_slow_answers_are_bounded() {
    assert_error(&error(Reply::Endless).await, ErrorKind::Other, "with more than 4 MiB");
    let large = Reply::Answer(200, " ".repeat(100 << 20));
    assert_error(&error(large).await, ErrorKind::Other, "with more than 4 MiB");
    for silent in [Reply::SlowHead, Reply::Silence] {
        assert_error(&error(silent).await, ErrorKind::Unreachable, "did not answer GET /schemas/ids/5 in time");
    }
}

#[tokio::test]
async fn server_that_is_away_is_unreachable() {
    let closed = Fake::start(|_| Reply::Silence).await.url();
    let error = registry(&closed).schema(SchemaId::Number(5)).await.unwrap_err();
    assert_error(&error, ErrorKind::Unreachable, "check that it is running");
}

#[tokio::test]
async fn missing_or_endless_references_are_no_absence() {
    let root = r#"{"schema":"x","references":[{"name":"n","subject":"a/b","version":3}]}"#;
    for code in [40401, 40402] {
        let fake = Fake::start(move |path| if path == "/schemas/ids/5" { json(root) } else { not_found(code) }).await;
        let error = fake.registry().schema(SchemaId::Number(5)).await.unwrap_err();
        assert_error(&error, ErrorKind::Other, "lacks version 3 of subject \"a/b\"");
        assert_eq!(fake.paths(), ["/schemas/ids/5", "/subjects/a%2Fb/versions/3"]);
    }
    let fake = Fake::start(move |path| if path == "/schemas/ids/5" { json(root) } else { not_found(40403) }).await;
    assert!(fake.registry().schema(SchemaId::Number(5)).await.is_err());

    // Each schema refers to itself.
    let fake = Fake::start(move |_| json(root)).await;
    let verdict = fake.registry().schema(SchemaId::Number(5)).await.unwrap();
    assert!(matches!(&verdict, Verdict::Unusable(problem) if problem.contains("in a circle")), "{verdict:?}");
    assert_eq!(fake.paths().len(), 2);
}

#[tokio::test]
async fn many_slow_references_end_at_the_deadline_of_the_schema() {
    let fake = Fake::start(|path| {
        // Slower than a reference may be together with the others, but not alone.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let number: u32 = path.rsplit('/').next().unwrap().parse().unwrap();
        json(&format!(
            r#"{{"schema":"x","references":[{{"name":"n{number}","subject":"s","version":{}}}]}}"#,
            number + 1
        ))
    })
    .await;
    let error = fake.registry().schema(SchemaId::Number(5)).await.unwrap_err();
    assert_error(&error, ErrorKind::Unreachable, "did not return a schema in time");
}
