//! The stored verdicts on schema ids, and the partitions that wait.

use retail_engine::{Reference, SchemaId, SchemaKind, SchemaText};
use retail_store::{SchemaProblems, SchemaWait, StoredSchema, progress};
use retail_testbed::{Case, Feeder};

#[tokio::test]
async fn first_verdict_on_a_schema_stays() {
    let case = Case::shared().start().await;
    let (one, other) = (Feeder::new(&case, "a").await.store, Feeder::new(&case, "b").await.store);
    let id = SchemaId::Number(u32::MAX);
    assert_eq!(one.schema(id).await.unwrap(), None);
    let reference = |name: &str| Reference { name: name.to_owned(), text: format!("text of {name}") };
    let found = StoredSchema::Found(SchemaText {
        kind: SchemaKind::Protobuf,
        text: "syntax = \"proto3\"; // é".to_owned(),
        references: vec![reference("b.proto"), reference("a.proto")],
    });
    // Both have asked the registry before either has stored its answer.
    let (left, right) = tokio::join!(one.keep_schema(id, &found), other.keep_schema(id, &StoredSchema::Unknown));
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(left, right);
    assert_eq!(one.schema(id).await.unwrap().as_ref(), Some(&left));
    assert_eq!(one.keep_schema(id, &StoredSchema::Unusable("is large".to_owned())).await.unwrap(), left);

    let guid = SchemaId::Guid(*b"0123456789abcdef");
    for (id, verdict) in [
        (guid, found.clone()),
        (SchemaId::Number(0), StoredSchema::Unknown),
        (SchemaId::Number(1), StoredSchema::Unusable("is large".to_owned())),
    ] {
        assert_eq!(one.keep_schema(id, &verdict).await.unwrap(), verdict);
        assert_eq!(other.schema(id).await.unwrap(), Some(verdict));
    }
    assert_eq!(StoredSchema::Unknown.text(), None);
    let unusable = StoredSchema::Unusable(String::new()).text().unwrap();
    assert_eq!((unusable.kind, unusable.text.as_str()), (SchemaKind::Json, ""));
}

#[tokio::test]
async fn largest_schema_is_stored_and_read() {
    let case = Case::shared().start().await;
    let store = Feeder::new(&case, "a").await.store;
    let text = "é".repeat(1 << 19);
    let found = StoredSchema::Found(SchemaText { kind: SchemaKind::Avro, text, references: Vec::new() });
    assert_eq!(store.keep_schema(SchemaId::Number(1), &found).await.unwrap(), found);
}

#[tokio::test]
async fn waits_of_owned_partitions_are_replaced() {
    let case = Case::shared().start().await;
    let store = Feeder::new(&case, "a").await.store;
    let wait = |partition, number, detail: &str| SchemaWait {
        partition,
        id: SchemaId::Number(number),
        detail: detail.to_owned(),
    };
    let waits = async || store.schema_waits().await.unwrap();
    store.note_schema_waits(&[wait(0, 5, "away"), wait(2, 5, "away")], &[0, 1, 2]).await.unwrap();
    store.note_schema_waits(&[wait(3, 6, "late")], &[3]).await.unwrap();
    let all = [(0, "away".to_owned()), (2, "away".to_owned()), (3, "late".to_owned())];
    assert_eq!(waits().await, all);
    // Partition 2 has another owner now, which notes another reason.
    store.note_schema_waits(&[], &[0, 1]).await.unwrap();
    store.note_schema_waits(&[wait(2, 7, "busy")], &[2]).await.unwrap();
    assert_eq!(waits().await, [(2, "busy".to_owned()), (3, "late".to_owned())]);
    let age = "UPDATE {schema}.schema_waits SET noted_at = noted_at - interval '61 seconds' WHERE partition = 3";
    store.session().execute(age, &[]).await.unwrap();
    assert_eq!(waits().await, [(2, "busy".to_owned())]);
}

#[tokio::test]
async fn long_waits_and_new_unknown_ids_are_problems() {
    let url = "{type: Avro, registry: {url: \"http://127.0.0.1:1\"}}";
    let case = Case::shared()
        .spec("events:")
        .spec(&format!("  format: {url}"))
        .spec("  timestamp: {field: time}")
        .spec("  dimensions: [{name: store, field: store}]")
        .spec("  quantity: {field: qty}")
        .spec("  price: {field: price}")
        .start()
        .await;
    let store = Feeder::new(&case, "a").await.store;
    let problems = async || {
        let session = case.settings.database.connect("test").await.unwrap();
        progress::look(&session, &case.settings.pipeline).await.unwrap().unwrap().schemas
    };
    let age = async |statement: &str| store.session().execute(statement, &[]).await.unwrap();
    let wait = |partition, number| SchemaWait {
        partition,
        id: SchemaId::Number(number),
        detail: format!("schema {number}: away"),
    };
    store.note_schema_waits(&[wait(3, 7), wait(0, 5), wait(1, 5)], &[]).await.unwrap();
    assert_eq!(problems().await, SchemaProblems::default(), "schemas can take some seconds");
    age("UPDATE {schema}.schema_waits SET since = '2025-01-01T00:00:00.5Z' WHERE partition = 3").await;
    age("UPDATE {schema}.schema_waits SET since = '2025-01-01T00:00:09Z' WHERE partition = 0").await;
    let found = problems().await;
    assert_eq!(
        found.wait.unwrap().to_string(),
        "partitions 0, 3 wait since 2025-01-01T00:00:00Z: schema 7: away",
        "with the reason of the longest wait"
    );
    assert_eq!(found.unknown, None);
    age("UPDATE {schema}.schema_waits SET noted_at = noted_at - interval '61 seconds'").await;

    let keep = async |id, verdict: StoredSchema| store.keep_schema(SchemaId::Number(id), &verdict).await.unwrap();
    keep(1, StoredSchema::Unknown).await;
    age("UPDATE {schema}.schemas SET stored_at = stored_at - interval '25 hours'").await;
    keep(2, StoredSchema::Unusable("is large".to_owned())).await;
    assert_eq!(problems().await, SchemaProblems::default());
    keep(10, StoredSchema::Unknown).await;
    assert_eq!(problems().await.unknown.unwrap().to_string(), "schema 10");
    for id in 11..17 {
        keep(id, StoredSchema::Unknown).await;
    }
    assert_eq!(problems().await.unknown.unwrap().to_string(), "schemas 16, 15, 14, 13, 12 and 2 more");
}
