//! Verdicts on schemas, and the choice of an address.

use retail_connection::Certificates;
use retail_engine::{Reference, SchemaId, SchemaKind, SchemaText};
use retail_registry::{Login, Newest, Verdict};

use crate::fake::{Fake, Reply, json, not_found, registry, registry_with};

fn avro(text: &str) -> Verdict {
    Verdict::Found(SchemaText { kind: SchemaKind::Avro, text: text.to_owned(), references: Vec::new() })
}

#[tokio::test]
async fn schema_comes_with_all_its_references() {
    let fake = Fake::start(|path| match path {
        "/apis/v7/schemas/ids/4294967295" => json(
            r#"{"id":1,"schemaType":"PROTOBUF","schema":"root \"é\"","new":{},"references":[
                {"name":"a.proto","subject":"a","version":2},{"name":"b.proto","subject":"b","version":1}]}"#,
        ),
        "/apis/v7/subjects/a/versions/2" => {
            json(r#"{"schema":"of a","references":[{"name":"b.proto","subject":"b","version":1}]}"#)
        }
        "/apis/v7/subjects/b/versions/1" => json(r#"{"schema":"of b","references":null}"#),
        _ => not_found(40403),
    })
    .await;
    let registry = registry(&format!("{}/apis/v7/", fake.url()));
    let reference = |name: &str, text: &str| Reference { name: name.to_owned(), text: text.to_owned() };
    let expected = SchemaText {
        kind: SchemaKind::Protobuf,
        text: "root \"é\"".to_owned(),
        references: vec![reference("b.proto", "of b"), reference("a.proto", "of a")],
    };
    assert_eq!(registry.schema(SchemaId::Number(u32::MAX)).await.unwrap(), Verdict::Found(expected));
    assert_eq!(registry.schema(SchemaId::Number(7)).await.unwrap(), Verdict::Absent);
}

#[tokio::test]
async fn guid_is_asked_for_as_such() {
    let fake = Fake::start(|_| json(r#"{"schema":"x"}"#)).await;
    let guid = SchemaId::Guid(*b"\x89\x79\x1e\x4e\x6e\x2f\x4b\x7b\x9f\x3c\x0a\x1b\x2c\x3d\x4e\x5f");
    assert_eq!(fake.registry().schema(guid).await.unwrap(), avro("x"));
    assert_eq!(fake.paths(), ["/schemas/guids/89791e4e-6e2f-4b7b-9f3c-0a1b2c3d4e5f"]);
}

#[tokio::test]
async fn address_that_knows_the_schema_decides() {
    let knows = Fake::start(|_| json(r#"{"schema":"x"}"#)).await;
    let lags = Fake::start(|_| not_found(40403)).await;
    let fails = Fake::start(|_| Reply::Answer(500, "no".to_owned())).await;
    let schema = async |fakes: &[&Fake]| {
        let urls: Vec<String> = fakes.iter().map(|fake| fake.url()).collect();
        registry(&urls.join(",")).schema(SchemaId::Number(5)).await
    };
    assert_eq!(schema(&[&fails, &lags, &knows]).await.unwrap(), avro("x"));
    assert_eq!(schema(&[&fails, &lags]).await.unwrap(), Verdict::Absent);
    let error = schema(&[&fails, &fails]).await.unwrap_err();
    assert!(error.message.contains("500"), "{error}");
    let asked = knows.paths().len();
    assert_eq!(schema(&[&knows, &fails]).await.unwrap(), avro("x"));
    assert_eq!((knows.paths().len(), fails.paths().len()), (asked + 1, 4));
}

#[tokio::test]
async fn check_requires_a_list_in_json() {
    let check = async |reply: Reply| {
        let fake = Fake::start(move |_| reply.clone()).await;
        let result = fake.registry().check().await;
        assert_eq!(fake.paths(), ["/schemas/types"]);
        result.map_err(|error| error.message)
    };
    assert_eq!(check(json(r#"["JSON","AVRO"]"#)).await, Ok(()));
    for reply in [json("<html>Apicurio</html>"), json("{}"), not_found(40403), Reply::Answer(401, String::new())] {
        assert!(check(reply).await.is_err());
    }
    // One address of several is enough.
    let (works, fails) = (Fake::start(|_| json("[]")).await, Fake::start(|_| Reply::Raw(b"")).await);
    registry(&format!("{},{}", fails.url(), works.url())).check().await.unwrap();
}

#[tokio::test]
async fn log_in_is_sent_with_every_request() {
    let fake = Fake::start(|path| match path {
        "/schemas/ids/5" => json(r#"{"schema":"x","references":[{"name":"n","subject":"s","version":1}]}"#),
        _ => json(r#"{"schema":"y"}"#),
    })
    .await;
    let login = Login { username: "reader".to_owned(), password: "päss:word".to_owned() };
    assert_eq!(format!("{login:?}"), "Login(reader)");
    let registry = registry_with(&fake.url(), Some(login), Certificates::default());
    assert!(registry.connection().sends_clear_password());
    registry.schema(SchemaId::Number(5)).await.unwrap();
    let heads = fake.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(head.contains("\r\nauthorization: Basic cmVhZGVyOnDDpHNzOndvcmQ=\r\n"), "{head}");
    }
}

#[tokio::test]
async fn registration_returns_the_id_or_the_reason() {
    let register = async |reply: Reply| {
        let fake = Fake::start(move |_| reply.clone()).await;
        let id = fake.registry().register("shop/orders-value", SchemaKind::Avro, "\"string\"").await;
        let heads = fake.heads();
        assert_eq!(heads.len(), 1);
        assert!(heads[0].starts_with("POST /subjects/shop%2Forders-value/versions HTTP/1.1\r\n"), "{}", heads[0]);
        assert!(heads[0].ends_with(r#"{"schema":"\"string\"","schemaType":"AVRO"}"#), "{}", heads[0]);
        id.map_err(|error| error.message)
    };
    assert_eq!(register(json(r#"{"id":4294967295}"#)).await, Ok(u32::MAX));
    for (reply, expected) in [
        (json(r#"{"id":4294967296}"#), "with another text than a registry"),
        (json("[1]"), "with another text than a registry"),
        (
            Reply::Answer(409, "{}".to_owned()),
            "not compatible with the others of subject \"shop/orders-value\": delete the subject",
        ),
        (Reply::Answer(422, "{}".to_owned()), "refuses the schema for subject \"shop/orders-value\" (422, \"{}\")"),
        (Reply::Answer(403, String::new()), "grant the user the right to register schemas"),
    ] {
        let message = register(reply).await.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    let (works, fails) = (Fake::start(|_| json(r#"{"id":7}"#)).await, Fake::start(|_| Reply::Raw(b"")).await);
    let registry = registry(&format!("{},{}", fails.url(), works.url()));
    assert_eq!(registry.register("s", SchemaKind::Protobuf, "").await.unwrap(), 7);
}

#[tokio::test]
async fn newest_version_of_a_subject_comes_with_its_references() {
    let fake = Fake::start(|path| match path {
        "/subjects/a%2Fb-value/versions/latest" => json(
            r#"{"subject":"a/b-value","version":3,"id":7,"schema":"x","references":[{"name":"n","subject":"s","version":1}]}"#,
        ),
        "/subjects/s/versions/1" => json(r#"{"schema":"y"}"#),
        "/subjects/html/versions/latest" => json("<html>"),
        "/subjects/bare/versions/latest" => json(r#"{"schema":"x"}"#),
        "/subjects/busy/versions/latest" => Reply::Answer(503, String::new()),
        "/subjects/path/versions/latest" => not_found(40403),
        _ => not_found(40401),
    })
    .await;
    let references = vec![Reference { name: "n".to_owned(), text: "y".to_owned() }];
    let schema = Verdict::Found(SchemaText { kind: SchemaKind::Avro, text: "x".to_owned(), references });
    assert_eq!(fake.registry().newest("a/b-value").await, Ok(Some(Newest { version: 3, id: 7, schema })));
    assert_eq!(fake.registry().newest("none").await, Ok(None));
    for subject in ["html", "bare", "busy", "path"] {
        assert!(fake.registry().newest(subject).await.is_err(), "{subject}");
    }
    // A copy that fails does not hide one that lacks the subject.
    let both = registry(&format!("http://127.0.0.1:1,{}", fake.url()));
    assert!(both.newest("none").await.is_err());
    assert!(both.newest("a/b-value").await.is_ok());
}
