//! The schema registry of a pipeline: its conditions, and how pipelines share its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use retail_connection::{Certificates, ErrorKind};
use retail_engine::Timestamp;
use retail_operator::external::registry_checks::{FRESH, RegistryChecks};
use retail_registry::{Login, RegistryConnection, RegistryError};
use retail_store::{LongWait, SchemaProblems, UnknownSchemas};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::Harness;

/// A pipeline of registered Avro, whose registry is a Service without a namespace.
fn registered() -> Value {
    json!({"events": {
        "format": {"type": "Avro", "registry": {"url": "http://registry:8081/api", "secret": {"name": "retail-db"}}},
        "timestamp": {"field": "time"},
        "dimensions": [{"name": "store", "field": "store"}],
        "quantity": {"field": "qty"},
        "price": {"field": "price"},
    }})
}

fn message(harness: &Harness, condition_type: &str) -> String {
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap().clone();
    let condition = conditions.iter().find(|condition| condition["type"] == condition_type).unwrap();
    condition["message"].as_str().unwrap().to_owned()
}

fn failure(kind: ErrorKind) -> RegistryError {
    RegistryError { kind, message: "the schema registry at http://registry.shop.svc:8081/api fails".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn unusable_registry_is_a_condition_and_stops_no_part() {
    let harness = Harness::start();
    harness.external.state().registry = Some(failure(ErrorKind::Unreachable));
    harness.declare("retail", registered());
    harness.until_ready("retail").await;
    harness.until("retail", "RegistryUnreachable", "True", "RegistryUnreachable").await;
    assert_eq!(message(&harness, "RegistryUnreachable"), failure(ErrorKind::Unreachable).message);
    assert!(harness.events("retail").contains(&"RegistryUnreachable".to_owned()), "{:?}", harness.events("retail"));
    let asked = harness.external.state().asked_registries[0].clone();
    assert_eq!(asked.to_string(), "http://registry.shop.svc:8081/api", "the operator runs in another namespace");
    assert_eq!(asked.login, Some(Login { username: "retail".to_owned(), password: "wonderful".to_owned() }));
    for (kind, reason) in [
        (ErrorKind::WrongCredentials, "RegistryCredentialsRefused"),
        (ErrorKind::NoTls, "RegistryTlsFailed"),
        (ErrorKind::Forbidden, "RegistryForbidden"),
        (ErrorKind::Other, "RegistryRefused"),
        (ErrorKind::Busy, "RegistryUnreachable"),
    ] {
        harness.external.state().registry = Some(failure(kind));
        harness.until("retail", "RegistryUnreachable", "True", reason).await;
    }
    let writes = harness.api.writes();
    harness.passes(120).await;
    assert_eq!(harness.api.writes(), writes, "an unchanged failure is not written again");
    harness.external.state().registry = None;
    harness.until("retail", "RegistryUnreachable", "False", "UpToDate").await;
    harness.until_ready("retail").await;

    harness.edit("retail", |spec| spec["events"]["format"]["registry"]["secret"]["name"] = json!("absent"));
    harness.until("retail", "RegistryUnreachable", "Unknown", "DependencyNotReady").await;
}

#[tokio::test(start_paused = true)]
async fn missing_schemas_are_a_condition_and_a_warning() {
    let harness = Harness::start();
    harness.declare("retail", registered());
    harness.until_ready("retail").await;
    harness.until("retail", "SchemaUnknown", "False", "UpToDate").await;
    let report = |problems: SchemaProblems| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.schemas = problems;
    };
    let since = Timestamp::from_micros(1_800_000_000_500_000);
    let wait = LongWait { partitions: vec![2], since, detail: "schema 7: away".to_owned() };
    let unknown = UnknownSchemas { number: 1, newest: vec!["9".to_owned()], last: since };
    report(SchemaProblems { wait: None, unknown: Some(unknown.clone()) });
    harness.until("retail", "SchemaUnknown", "True", "SchemaUnknown").await;
    let unknown_message = message(&harness, "SchemaUnknown");
    assert_eq!(
        unknown_message,
        "records with schema 9 are invalid, because the schema registry at http://registry:8081/api did not know these ids: correct \
         events.format.registry.url if the producers use another registry, otherwise let them register their schemas before they \
         send; `retail sample` shows such records"
    );
    report(SchemaProblems { wait: Some(wait), unknown: Some(unknown) });
    harness.until("retail", "SchemaUnknown", "True", "WaitingForSchema").await;
    let waits = "partition 2 waits since 2027-01-15T08:00:00Z: schema 7: away";
    assert_eq!(message(&harness, "SchemaUnknown"), format!("{waits}; {unknown_message}"));
    assert_eq!(harness.condition("retail", "Ready"), ("True".to_owned(), "UpToDate".to_owned()));
    let events = harness.events("retail");
    assert!(
        ["SchemaUnknown", "WaitingForSchema"].iter().all(|reason| events.iter().any(|event| event == reason)),
        "{events:?}"
    );
    report(SchemaProblems::default());
    harness.until("retail", "SchemaUnknown", "False", "UpToDate").await;
}

#[tokio::test(start_paused = true)]
async fn pipeline_without_a_registry_has_no_condition_about_it() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    for condition_type in ["RegistryUnreachable", "SchemaUnknown"] {
        assert_eq!(harness.condition("retail", condition_type), Default::default());
    }
    assert_eq!(harness.external.state().asked_registries, []);
}

/// A registry that answers 401 without a log-in. Returns its URL and the number of requests.
async fn listening() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let is_logged_in = String::from_utf8(head).unwrap().contains("authorization: Basic ");
            let status = if is_logged_in { "200 OK" } else { "401 Unauthorized" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 8\r\n\r\n[\"AVRO\"]");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, requests)
}

#[tokio::test]
async fn pipelines_with_one_registry_share_its_answer() {
    let (url, requests) = listening().await;
    let login = |password: &str| Some(Login { username: "retail".to_owned(), password: password.to_owned() });
    let at = |url: &str, login| RegistryConnection::new(url, login, Certificates::default()).unwrap();
    let checks = RegistryChecks::default();
    let good = at(&url, login("a"));
    let (one, other) = tokio::join!(checks.check(&good), checks.check(&good));
    assert_eq!((one, other, requests.load(Ordering::SeqCst)), (Ok(()), Ok(()), 1));
    assert_eq!(checks.check(&at(&url, login("b"))).await, Ok(()));
    let refused = checks.check(&at(&url, None)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::WrongCredentials, "{refused}");
    assert_eq!(checks.check(&at(&url, None)).await, Err(refused));
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    let closed = checks.check(&at("http://127.0.0.1:1", None)).await.unwrap_err();
    assert_eq!(closed.kind, ErrorKind::Unreachable, "{closed}");

    tokio::time::pause();
    tokio::time::advance(FRESH).await;
    tokio::time::resume();
    assert_eq!(checks.check(&good).await, Ok(()));
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}
